"""Settings made for one size of images, for another.

The mean of s x s pixels has an s-th of their noise: in an image with s times as many pixels a side, as much is left to be seen at
s times the level of noise. So noise levels, in training and in drawing, grow with the side (Hoogeboom et al. 2023, 2301.11093,
equation 3; Esser et al. 2024, 2403.03206, equation 23), and a network keeps what it looks at as a whole: a U-Net gets one more
level for every doubling, a transformer larger patches. DDPM chains, times of a flow, budget, batch and learning rate stay.
"""

from collections.abc import Iterator, Mapping
from math import log, log2
from typing import Any

from darkroom.curation.filters import SmallestSide
from darkroom.networks.captioned import ReadsCaptions
from darkroom.networks.saved import Network
from darkroom.networks.transformer import TransformerSettings
from darkroom.networks.unet import UnetSettings
from darkroom.noise import Cosine, Density, Exponential, FlowTime, Karras, LogitNormal, LogNormal, Schedule
from darkroom.params import Params

MOST_PATCH, MOST_LEVELS = 16, 7
SEEN = (64, 224)  # pixels a side on which an EfficientNet judges images, at least and at most


def changes_for(settings: Params, size: int) -> dict[str, Any]:
    """What to change of settings where images shall have another size; nested as params.yaml is, empty where it is theirs."""
    before = settings.curate.image_size
    if size == before:
        return {}
    base, drawing, features, times = settings.train_base, settings.train_base.drawing, settings.evaluate.features, size / before
    wanted: dict[str, Any] = {
        "curate": {"image_size": size, "filters": [_not_enlarged(one, size) for one in settings.curate.filters]},
        "train_base": {
            "network": resized(base.network, before, size).model_dump(mode="json"),
            "noise": _density(base.noise, times).model_dump(mode="json"),
            "drawing": {
                "schedule": _schedule(drawing.schedule, times).model_dump(mode="json"),
                "guided_levels": {"most": _rounded(drawing.guided_levels.most * times)},
            },
        },
        "finetune": {"noise": _density(settings.finetune.noise, times).model_dump(mode="json")},
        "evaluate": {"drawing": {"guided_levels": {"most": _rounded(settings.evaluate.drawing.guided_levels.most * times)}}},
    }
    if features.kind == "efficientnet_lite0":
        seen = -(-min(max(size, SEEN[0]), SEEN[1]) // 32) * 32  # it halves them five times
        wanted["evaluate"]["features"] = {"side": max(features.side, seen)}
    return differing(settings.model_dump(mode="json", by_alias=True), wanted)


def changes_for_budget(settings: Params, images: int) -> dict[str, Any]:
    """What to change where base training shall see so many images: warm-up, average and cadences take the same shares of it.

    Fine-tuning stays the share of base training that it is, of at least one batch, or none at all.
    """
    base, tuning = settings.train_base, settings.finetune
    wanted: dict[str, Any] = {"train_base": base.stretched(images).model_dump(mode="json")}
    if tuning.images:
        budget = max(tuning.batch_size, round(tuning.images * images / base.images))
        wanted["finetune"] = tuning.stretched(budget).model_dump(mode="json")
    return differing(settings.model_dump(mode="json", by_alias=True), wanted)


def resized(network: Network, before: int, size: int) -> Network:
    """A network for images of another size that keeps what it looks at as a whole, as far as the size can be divided."""
    if isinstance(network, ReadsCaptions):
        return network.model_copy(update={"image": resized(network.image, before, size)})
    if isinstance(network, TransformerSettings):
        wanted = max(1, min(MOST_PATCH, round(network.patch * size / before)))
        fitting = [patch for patch in range(1, wanted + 1) if size % patch == 0]
        return network.model_copy(update={"patch": fitting[-1]})
    assert isinstance(network, UnetSettings)
    more = max(0, min(round(log2(size / before)), MOST_LEVELS - len(network.widening)))
    while more and size % 2 ** (len(network.widening) - 1 + more):
        more -= 1
    return network.model_copy(update={"widening": network.widening + network.widening[-1:] * more})


def told(changes: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Each change in words, such as `train_base.noise.mean 0.693`; of a list, that it changed."""
    for name, value in changes.items():
        if isinstance(value, Mapping):
            yield from told(value, f"{above}{name}.")
        else:
            listed = isinstance(value, list) and any(isinstance(one, Mapping) for one in value)
            yield f"{above}{name}" if listed else f"{above}{name} {value}"


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with nested changes in them."""
    both = {name: merged(settings[name], value) if isinstance(value, Mapping) else value for name, value in changes.items()}
    return {**settings, **both}


def differing(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The part of what is wanted that is not so."""
    found: dict[str, Any] = {}
    for name, value in wanted.items():
        if isinstance(value, Mapping):
            if inside := differing(settings[name], value):
                found[name] = inside
        elif settings[name] != value:
            found[name] = value
    return found


def _not_enlarged(one: Any, size: int) -> dict[str, Any]:
    """A filter as settings; smaller images than are trained on are rejected, not enlarged."""
    limits: dict[str, Any] = one.model_dump(mode="json")
    if isinstance(one, SmallestSide) and isinstance(one.least, int | float):
        limits["least"] = max(one.least, size)
    return limits


def _density(noise: Density, times: float) -> Density:
    match noise:
        case LogNormal():
            return noise.model_copy(update={"mean": _rounded(noise.mean + log(times))})
        case LogitNormal() | Cosine():
            return noise.model_copy(update={"shift": _rounded(noise.shift * times)})
    return noise


def _schedule(schedule: Schedule, times: float) -> Schedule:
    match schedule:
        case FlowTime() | Cosine():
            return schedule.model_copy(update={"shift": _rounded(schedule.shift * times)})
        case Karras() | Exponential():
            return schedule.model_copy(update={"most": _rounded(schedule.most * times)})
    return schedule


def _rounded(value: float) -> float:
    return round(value, 3)
