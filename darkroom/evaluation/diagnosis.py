"""Diagnosis: from what was measured to a word for it, its evidence, and a change of params.yaml that the guide suggests.

A pure function: the same evidence, the same verdict. A finding needs an interval that leaves chance out and a size that
matters; held-out images in place of generated ones come out healthy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from darkroom.evaluation.figures import Estimate, Figure
from darkroom.evaluation.memorisation import Memorisation, Share
from darkroom.evaluation.signs import Sign

Kind = Literal[
    "memorising", "collapsed", "leaking augmentation", "colour-shifted", "overfit", "underfit", "not listening", "healthy"
]

LEAST_VARIETY = 0.6  # of what as many real images amount to
MOST_SHIFT = 8.0  # levels of 255 by which a channel's mean or deviation may be off
LEAST_LEAK = 0.25  # of an augmentation's probability
MOST_GAP = 1.15  # held-out loss over training loss
LEAST_HEARD = 0.6  # share of images that fit better what is said of them than what is said of another


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a diagnosis rests on. What was not measured is left empty, and nothing is said of it."""

    figures: Mapping[str, Figure]  # kernel_distance and precision are read
    copies: Memorisation
    in_features: Memorisation | None = None
    variety: Estimate | None = None
    colour: Mapping[str, Sign] = field(default_factory=dict)
    leaks: Mapping[str, Sign] = field(default_factory=dict)
    gaps: Mapping[str, Estimate] = field(default_factory=dict)  # by band of noise levels
    heard: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A setting, such as `train_base.images`, its value and the one to try."""

    setting: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.setting}: {_short(self.old)} -> {_short(self.new)}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One disease, its evidence in a sentence, the remedy in words and as changes of settings."""

    kind: Kind
    evidence: str
    remedy: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found, the gravest first."""

    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Kind:
        """The gravest, or healthy."""
        return self.findings[0].kind if self.findings else "healthy"

    @property
    def changes(self) -> tuple[Change, ...]:
        """Those of the gravest finding: one thing at a time shows what helped."""
        return self.findings[0].changes if self.findings else ()

    @property
    def snippet(self) -> str:
        """The changes as YAML that can be pasted over the same settings of params.yaml; empty where there are none."""
        nested: dict[str, Any] = {}
        for change in self.changes:
            *above, name = change.setting.split(".")
            place = nested
            for part in above:
                place = place.setdefault(part, {})
            place[name] = change.new
        return yaml.safe_dump(nested, sort_keys=False) if nested else ""


def diagnose(evidence: Evidence, settings: Mapping[str, Any], section: str) -> Diagnosis:
    """The verdict on a model that `section` (train_base or finetune) of the settings (all of params.yaml) made."""
    known = _Settings(settings, section)
    signs = (_memorising, _collapsed, _leaking, _colour_shifted, _overfit)
    found = [finding for sign in signs for finding in sign(evidence, known)]
    if not any(finding.kind in ("memorising", "collapsed") for finding in found):
        found += _underfit(evidence, known)
    found += _not_listening(evidence, known)
    return Diagnosis(tuple(found))


@dataclass(frozen=True, slots=True)
class _Settings:
    """Settings to be changed; a change of one that is not there is left out."""

    whole: Mapping[str, Any]
    section: str

    def at(self, setting: str) -> Any:
        place: Any = self.whole
        for part in setting.replace("*", self.section).split("."):
            place = place.get(part) if isinstance(place, Mapping) else None
        return place

    def changes(self, **wanted: Any) -> tuple[Change, ...]:
        """Each `section__key` (`own__key` for the model's own section) to a value or to a function of the old value."""
        made = []
        for name, new in wanted.items():
            setting = name.replace("__", ".").replace("own.", f"{self.section}.", 1)
            old = self.at(setting)
            value = new(old) if callable(new) and old is not None else new
            if old is not None and value is not None and value != old:
                made.append(Change(setting, old, value))
        return tuple(made)

    def less_led(self, share: float) -> tuple[Change, ...]:
        """Guidance of either kind where there is any, a share of it left."""
        led = {name: self.at(f"evaluate.drawing.{name}") or 1 for name in ("guidance", "away")}
        less = {name: round(1 + share * (scale - 1), 2) if scale > 1.5 else 1.0 for name, scale in led.items() if scale > 1}
        return self.changes(**{f"evaluate__drawing__{name}": scale for name, scale in less.items()})


def _memorising(evidence: Evidence, known: _Settings) -> Iterator[Finding]:
    places = {"in pixels": evidence.copies} | ({"in features": evidence.in_features} if evidence.in_features else {})
    found = {place: it for place, it in places.items() if _above(it.copied, it.copied_held_out)}
    if not found:
        return
    yield Finding(
        "memorising",
        "; ".join(
            f"{place} {_counted(it.copied)} are copies of a training image, of real held-out images "
            f"{_counted(it.copied_held_out)} look so, nearer to one than 99 % of real images: {_counted(it.too_near)}"
            for place, it in found.items()
        ),
        "more images or stronger augmentation; a shorter training",
        known.changes(own__images=_half, own__patience=lambda old: old or 3, augment__transforms=_stronger),
    )


def _collapsed(evidence: Evidence, known: _Settings) -> Iterator[Finding]:
    variety = evidence.variety
    if variety is None or variety.high >= LEAST_VARIETY:
        return
    yield Finding(
        "collapsed",
        f"the generated images are as varied as {_percent(variety.value)} ({_percent(variety.low)} to "
        f"{_percent(variety.high)}) of as many real ones",
        "less guidance; where that does not help, a smaller learning rate",
        known.less_led(0.0) or known.changes(own__learning_rate=lambda old: float(f"{old / 3:.1e}")),
    )


def _leaking(evidence: Evidence, known: _Settings) -> Iterator[Finding]:
    transforms = known.at("augment.transforms") or []
    usual = {item["kind"]: item["probability"] for item in transforms}
    shifted = bool(_off(evidence))
    for kind, sign in evidence.leaks.items():
        least = max(LEAST_LEAK * usual.get(kind, 0.2), 0.05)
        if sign.made.low <= max(least, sign.floor.high) or (kind == "brightness_contrast" and shifted):
            continue
        weaker = [
            item | {"probability": round(item["probability"] / 2, 3)} if item["kind"] == kind else item for item in transforms
        ]
        yield Finding(
            "leaking augmentation",
            f"{_percent(sign.made.value)} ({_percent(sign.made.low)} to {_percent(sign.made.high)}) of the generated images "
            f"look like real ones after `{kind}`; of real held-out images {_percent(sign.floor.value)}",
            "augment less often, or train longer: the network has to learn what it is told of each augmentation",
            known.changes(augment__transforms=weaker),
        )


def _off(evidence: Evidence) -> dict[str, Sign]:
    """Colour figures that are off by more than matters, and further than held-out images are."""
    return {
        name: sign
        for name, sign in evidence.colour.items()
        if (sign.made.low > MOST_SHIFT and sign.made.low > sign.floor.high)
        or (sign.made.high < -MOST_SHIFT and sign.made.high < sign.floor.low)
    }


def _colour_shifted(evidence: Evidence, known: _Settings) -> Iterator[Finding]:
    off = _off(evidence)
    if not off:
        return
    worst = sorted(off.items(), key=lambda item: -abs(item[1].made.value))[:2]
    told = "; ".join(
        f"{name} {sign.made.value:+.1f} levels of 255 ({sign.made.low:+.1f} to {sign.made.high:+.1f}; held-out "
        f"{sign.floor.value:+.1f})"
        for name, sign in worst
    )
    yield Finding(
        "colour-shifted",
        f"against real images: {told}",
        "less guidance of either kind; then a longer average of weights, more training at much noise, where colours are decided",
        known.less_led(0.5)
        or known.changes(own__averaging__halflife_images=lambda old: 2 * old, own__noise__mean=lambda old: round(old + 0.4, 3)),
    )


def _overfit(evidence: Evidence, known: _Settings) -> Iterator[Finding]:
    bands = {band: gap for band, gap in evidence.gaps.items() if gap.low > MOST_GAP}
    if not bands:
        return
    told = ", ".join(f"{band} {gap.value:.2f} ({gap.low:.2f} to {gap.high:.2f})" for band, gap in bands.items())
    yield Finding(
        "overfit",
        f"the loss on held-out images over that on training images, by noise: {told}; 1 is none learned by heart",
        "end earlier; more images or stronger augmentation; a smaller network",
        known.changes(own__images=_half, own__patience=lambda old: old or 3, augment__transforms=_stronger),
    )


def _underfit(evidence: Evidence, known: _Settings) -> Iterator[Finding]:
    distance, precision = evidence.figures.get("kernel_distance"), evidence.figures.get("precision")
    if distance is None or distance.reading != "worse" or (precision is not None and precision.reading != "worse"):
        return
    told = f"kernel distance {distance.made.value:.3g} ({distance.made.low:.3g} to {distance.made.high:.3g}), real images score "
    told += f"{distance.floor.value:.3g}"
    if precision is not None:
        told += (
            f"; {_percent(precision.made.value)} look like some training image, of real ones {_percent(precision.floor.value)}"
        )
    yield Finding(
        "underfit",
        f"the images can be told from real ones: {told}",
        "train longer; then another noise schedule or a larger network",
        known.changes(own__images=lambda old: 2 * old),
    )


def _not_listening(evidence: Evidence, known: _Settings) -> Iterator[Finding]:
    heard = evidence.heard
    if heard is None or heard.high >= LEAST_HEARD:
        return
    yield Finding(
        "not listening",
        f"told what an image is, the model denoises {_percent(heard.value)} ({_percent(heard.low)} to {_percent(heard.high)}) of "
        "the held-out images better than told what another is; 50 % is chance",
        "train longer; look whether labels or captions say what is seen; then guidance towards them",
        known.changes(own__images=lambda old: 2 * old),
    )


def _above(share: Share, floor: Share) -> bool:
    """Whether a share lies above its floor by more than chance, and is no single image."""
    return share.count > 1 and share.interval[0] > floor.interval[1] if floor.count else share.interval[0] > 0.01


def _half(images: int) -> int:
    return max(1, images // 2)


def _stronger(transforms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each twice as often, up to every other image; where there is none, small moves and turns."""
    if not transforms:
        return [{"kind": "affine", "probability": 0.2, "shift": 0.06, "scale": 0.08, "degrees": 5.0}]
    return [item | {"probability": max(item["probability"], min(0.5, 2 * item["probability"]))} for item in transforms]


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(f"{item['kind']} {item['probability']:g}" for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _counted(share: Share) -> str:
    return f"{share.count} of {share.n}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
