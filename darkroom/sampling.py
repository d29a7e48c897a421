"""Drawing: images out of a model, and the wrappers that steer it. How a sampler walks is in `darkroom/samplers.py`."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from math import inf
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from darkroom.events import Event, Progressed
from darkroom.images import Pixels, to_pixels
from darkroom.networks.captioned import ReadsCaptions, tokens_of
from darkroom.networks.denoiser import Condition, DenoiserContract
from darkroom.networks.saved import Drawing, ModelCard, ModelError, device_named, load_model
from darkroom.randomness import LABELS, SAMPLES, SHAPES, generator_for
from darkroom.samplers import FreshNoise, UniPc
from darkroom.shapes import Shape, by_shape, canvas_of, framed

Preset = Literal["draft", "default", "quality"]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Guided:
    """Classifier-free guidance (Ho & Salimans 2022): away from what the model answers when the class is not told.

    Only at noise levels from `least` to `most` (Kynkaanniemi et al. 2024, 2404.07724); elsewhere, and at a scale of 1, the model
    is asked once.
    """

    denoiser: DenoiserContract
    scale: float
    least: float = 0.0
    most: float = inf

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Expected clean images, guided."""
        told = self.denoiser(noisy, sigma, condition)
        return _led(told, lambda: self.denoiser(noisy, sigma, condition.without_label()), self, sigma)


@dataclass(frozen=True)
class Autoguided:
    """Away from what a weaker model answers to the same question, such as a smaller or less trained one (Karras et al. 2024,
    2406.02507): towards better images of the same kind, with no loss of variety and without labels.

    Only at noise levels from `least` to `most`: at much noise, where colours are decided, they would drift (docs/samplers.md).
    """

    strong: DenoiserContract
    weak: DenoiserContract
    scale: float
    least: float = 0.0
    most: float = inf

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Expected clean images, guided."""
        return _led(self.strong(noisy, sigma, condition), lambda: self.weak(noisy, sigma, condition), self, sigma)


def _led(answer: Tensor, other: Callable[[], Tensor], way: Guided | Autoguided, sigma: Tensor) -> Tensor:
    """An answer led away from another one, which is asked for only where that counts."""
    inside = (sigma >= way.least) & (sigma <= way.most)
    if way.scale == 1 or not inside.any():
        return answer
    return torch.where(inside[:, None, None, None], torch.lerp(other(), answer, way.scale), answer)


@dataclass(frozen=True)
class Tiled:
    """The same answer for an image whoever is asked about beside it: the model always sees `rows` images at once.

    A product of matrices of another shape is summed in another order, and after some steps a pixel differs by one. The last tile
    is filled up with its last image. Seen equal on CPU, wherever in its tile an image lies; GPUs were not tried.
    """

    denoiser: DenoiserContract
    rows: int

    @property
    def weaker(self) -> "Tiled | None":
        """What is kept beside the model of less training, tiled as well."""
        weaker: DenoiserContract | None = getattr(self.denoiser, "weaker", None)
        return None if weaker is None else Tiled(weaker, self.rows)

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Expected clean images."""
        answers = []
        for start in range(0, len(noisy), self.rows):
            tile = torch.arange(start, start + self.rows, device=noisy.device).clamp(max=len(noisy) - 1)
            answers.append(self.denoiser(noisy[tile], sigma[tile], condition.at(tile)))
        return torch.cat(answers)[: len(noisy)]


def preset(name: Preset, drawing: Drawing) -> Drawing:
    """The same model drawn in a hurry, as a rule or with patience; schedule and guidance stay. Why UniPC: docs/samplers.md."""
    return drawing.model_copy(update={"sampler": UniPc(kind="unipc", order=2), "steps": _PRESET_STEPS[name]})


_PRESET_STEPS: dict[Preset, int] = {"draft": 9, "default": 16, "quality": 35}


def in_words(drawing: Drawing) -> str:
    """In a few words."""
    settings = drawing.sampler.model_dump()
    details = " ".join(str(value) for value in settings.values())
    away = "" if drawing.away == 1 else f", {drawing.away:g} times away from its earlier weights"
    return f"{details}, {drawing.steps} steps, guidance {drawing.guidance:g}{away}"


class _Counting:
    """A model that only counts how often it, or the weaker one beside it, is asked."""

    def __init__(self) -> None:
        self.asked = 0

    @property
    def weaker(self) -> "_Counting":
        return self

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        self.asked += 1
        return noisy


def evaluations(drawing: Drawing) -> int:
    """How often a network is asked for each image: found by walking, with the second questions of guidance counted."""
    counting = _Counting()
    untold = Condition(torch.full((1,), -1), torch.zeros(1, 0))
    for _ in walk(_guided(counting, drawing), torch.zeros(1, 1, 1, 1), untold, drawing):
        pass
    return counting.asked


@torch.inference_mode()
def walk(denoiser: DenoiserContract, noise: Tensor, condition: Condition, drawing: Drawing) -> Iterator[tuple[Tensor, Tensor]]:
    """After each step of the sampler: the images at the next level, and the clean images expected there; all [n, 3, h, w].

    `noise` is of unit variance. The last images are the result. The noise that ancestral samplers add follows from each image's
    `noise`: no image depends on who is drawn beside it.
    """
    levels = [level for level, _ in groupby(drawing.schedule.levels(drawing.steps).tolist())]  # a short chain repeats some

    def denoise(images: Tensor, sigma: float) -> Tensor:
        return denoiser(images, images.new_full((len(images),), sigma), condition)

    yield from drawing.sampler.steps(denoise, noise * levels[0], levels, _fresh_after(noise))


def draw(
    denoiser: DenoiserContract,
    card: ModelCard,
    labels: Tensor,
    noise: Tensor,
    drawing: Drawing,
    captions: Sequence[str] | None = None,
) -> Pixels:
    """Images of the given labels [n], or captions, out of the given noise [n, 3, h, w]. uint8 [n, h, w, 3]. Raises ModelError."""
    told = told_of(card, labels, noise, captions)
    for images, _ in walk(_guided(denoiser, drawing), noise, told, drawing):
        last = images
    return _pixels(last)


def draw_forming(
    denoiser: DenoiserContract,
    card: ModelCard,
    labels: Tensor,
    noise: Tensor,
    drawing: Drawing,
    captions: Sequence[str] | None = None,
) -> Iterator[Pixels]:
    """The same images as they form: after each step what the model expects them to become; the last are those of `draw`."""
    told = told_of(card, labels, noise, captions)
    waiting = None
    for images, clean in walk(_guided(denoiser, drawing), noise, told, drawing):
        if waiting is not None:
            yield _pixels(waiting)
        waiting, last = clean, images
    yield _pixels(last)


def told_of(card: ModelCard, labels: Tensor, noise: Tensor, captions: Sequence[str] | None = None) -> Condition:
    """What a model is told of images to draw: labels [n] (-1: any), untouched by augmentation, and captions where it reads them.

    Raises ModelError where captions are given to a model that reads none.
    """
    untouched = noise.new_zeros(len(labels), card.augmentations)
    if captions is None:
        return Condition(labels, untouched)
    if not isinstance(card.network, ReadsCaptions):
        raise ModelError(
            f"the model reads no captions, only its labels {', '.join(card.labels)}; train one with network.kind `captioned`"
        )
    return Condition(labels, untouched, tokens_of(captions, card.network.length).to(labels.device))


def _guided(denoiser: DenoiserContract, drawing: Drawing) -> Guided:
    weaker: DenoiserContract | None = getattr(denoiser, "weaker", None)
    if drawing.away != 1 and weaker is None:
        raise ModelError("the model keeps no earlier weights of its own to be led away from: draw with `away: 1`")
    levels = drawing.guided_levels.least, drawing.guided_levels.most
    asked = denoiser if drawing.away == 1 or weaker is None else Autoguided(denoiser, weaker, drawing.away, *levels)
    return Guided(asked, drawing.guidance, *levels)


def _pixels(images: Tensor) -> Pixels:
    if not images.isfinite().all():
        raise ModelError("the model draws values that are not finite: it was trained to ruin; train it again")
    return to_pixels(images.permute(0, 2, 3, 1).cpu().numpy())


def _fresh_after(noise: Tensor) -> FreshNoise:
    """Unit noise, as much as is asked for, each image's a function of its row of `noise` alone."""
    streams: list[np.random.Generator] = []

    def fresh() -> Tensor:
        if not streams:  # most samplers never ask
            keys = [int.from_bytes(sha256(row.tobytes()).digest()) for row in noise.cpu().numpy()]
            streams.extend(np.random.Generator(np.random.Philox(np.random.SeedSequence(key))) for key in keys)
        drawn = [stream.standard_normal(noise.shape[1:], np.float32) for stream in streams]
        return torch.from_numpy(np.stack(drawn)).to(noise)

    return fresh


def noise_for(seed: int, images: Sequence[int], size: int | Shape) -> Tensor:
    """Unit noise [n, 3, h, w], each image's its own: an image does not depend on who is drawn beside it."""
    height, width = (size, size) if isinstance(size, int) else size
    drawn = [generator_for(seed, SAMPLES, index).standard_normal((3, height, width), np.float32) for index in images]
    return torch.from_numpy(np.stack(drawn))


def turned(noise: Tensor, other: Tensor, amount: float) -> Tensor:
    """Noise turned a part of the way towards other noise, along the sphere. [n, 3, s, s] both; 0 is `noise`, 1 is `other`.

    What lies between is as strong as they are; a plain mean would be fainter, and a model draws grey from faint noise (White
    2016, 1609.04468, section 2.1). A small amount is a variation of the image; from 0 to 1 they lead from one image to another.
    """
    if amount in (0, 1):  # exactly either end
        return other if amount else noise
    flat, towards = noise.double().flatten(1), other.double().flatten(1)
    angle = torch.cosine_similarity(flat, towards).clamp(-1 + 1e-9, 1 - 1e-9).arccos()[:, None]
    mixed = (((1 - amount) * angle).sin() * flat + (amount * angle).sin() * towards) / angle.sin()
    return mixed.view(noise.shape).to(noise.dtype)


def label_at(card: ModelCard, seed: int, index: int) -> int:
    """A label for image `index` of a seed where nobody names one: as common as in training, whoever is drawn beside it."""
    shares = np.cumsum(card.label_counts) / sum(card.label_counts)
    return int(np.searchsorted(shares, generator_for(seed, LABELS, index).random(), side="right"))


def labels_for(card: ModelCard, seed: int, count: int) -> list[int]:
    """`count` labels in the proportions of the images trained on, shuffled."""
    shares = np.cumsum(card.label_counts) / sum(card.label_counts)
    labels = np.searchsorted(shares, (np.arange(count) + 0.5) / count)
    return [int(label) for label in generator_for(seed, SAMPLES).permutation(labels)]


def shape_at(card: ModelCard, seed: int, index: int, label: int) -> Shape:
    """A shape for image `index` of a seed: as common as among the images of its label (-1: all) trained on.

    Images that follow one another are spread over the shares by the golden ratio, so that few of them are shared out fairly too.
    """
    if len(card.shapes) == 1:
        return card.shapes[0]
    counts = np.array(card.bucket_counts, np.int64)
    trained_on = np.array(card.label_counts) > 0
    of_label = counts[label] if label >= 0 and counts[label].any() else counts[trained_on].sum(0)
    place = (generator_for(seed, SHAPES).random() + index * (5**0.5 - 1) / 2) % 1
    return card.shapes[int(np.searchsorted(np.cumsum(of_label) / of_label.sum(), place, side="right"))]


def draw_rows(
    denoiser: DenoiserContract,
    card: ModelCard,
    labels: Sequence[int],
    seed: int,
    rows: Sequence[int],
    drawing: Drawing,
    captions: Sequence[str] | None = None,
    shapes: Sequence[Shape] | None = None,
    device: torch.device = CPU,
) -> Pixels:
    """The images `rows` of a seed, of the given labels [n], or captions, and shapes; those are as common as in training if None.

    uint8 [n, side, side, 3], those that are not square in white frames. Raises ModelError.
    """
    shapes = shapes or [shape_at(card, seed, row, label) for row, label in zip(rows, labels, strict=True)]
    side = canvas_of(card.shapes)
    made = np.empty((len(shapes), side, side, 3), np.uint8)
    for shape, places in by_shape(shapes).items():
        told = torch.tensor([labels[place] for place in places], device=device)
        said = None if captions is None else [captions[place] for place in places]
        noise = noise_for(seed, [rows[place] for place in places], shape).to(device)
        made[places] = framed(draw(denoiser, card, told, noise, drawing, said), side)
    return made


def generate(
    model_folder: Path,
    labels: Sequence[int] | None,
    count: int,
    seed: int,
    drawing: Drawing,
    batch: int,
    captions: Sequence[str] | None = None,
) -> Generator[Event, None, Pixels]:
    """Draw `count` images from a saved model; `labels` None takes the proportions it was trained on. `captions` [count] are for a
    model that reads them. uint8 [count, s, s, 3], as `draw_rows` gives them.

    Raises ModelError.
    """
    device = device_named("auto")
    model, card = load_model(model_folder, device)
    told = labels_for(card, seed, count) if labels is None else list(labels)
    drawn: list[Pixels] = []
    for start in range(0, count, batch):
        rows = range(start, min(start + batch, count))
        try:
            said = None if captions is None else [captions[row] for row in rows]
            drawn.append(draw_rows(model, card, [told[row] for row in rows], seed, rows, drawing, said, device=device))
        except ModelError as error:  # of several models, a person is told which
            raise ModelError(f"{model_folder}: {error}") from None
        yield Progressed(f"drawing from {model_folder.name}", rows.stop, count)
    return np.concatenate(drawn)
