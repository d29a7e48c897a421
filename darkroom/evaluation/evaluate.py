"""Evaluate: generate images with each model, describe them, score them, and write one page that says what was found."""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from darkroom.evaluation.features import Described, Features
from darkroom.evaluation.memorisation import Memorisation, Share, memorisation
from darkroom.evaluation.metrics import Estimate, Figure, Metric
from darkroom.evaluation.report import ModelPage, pairs_of, pairs_sheet, png, report, samples_sheet
from darkroom.events import Event, Noted, Progressed, ScoreMeasured
from darkroom.images import SPLITS, ImageSet, Pixels, read_split
from darkroom.randomness import HELD_OUT, generator_for
from darkroom.refs import ScoresRef, digest_of, replaced
from darkroom.sampling import generate
from darkroom.sections import Section

FEWEST = 8  # real images on either side below which no score says anything
_REFERENCE, _UNSEEN, _RESAMPLING = range(3)  # positions in the stream of random numbers


class EvaluationError(ValueError):
    """A model cannot be evaluated. The text says why and what to do."""


class EvaluateSection(Section):
    """Settings of the step `evaluate`."""

    images: Annotated[int, Field(ge=FEWEST, description="how many images each model generates")]
    steps: Annotated[PositiveInt, Field(description="steps of the sampler")]
    guidance: Annotated[float, Field(ge=0, description="strength of guidance; 1 is none")]
    seed: NonNegativeInt
    batch: Annotated[PositiveInt, Field(description="images generated or described at once")]
    features: Features
    metrics: tuple[Metric, ...]
    bootstrap: Annotated[int, Field(ge=100, le=100_000, description="resamplings behind an interval")]
    shown: Annotated[PositiveInt, Field(description="samples, and closest pairs, in the report")]

    @field_validator("metrics")
    @classmethod
    def _named_once(cls, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        kinds = [metric.kind for metric in metrics]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ValueError(f"a metric may stand here once, and {', '.join(twice)} stands more often")
        return metrics


class Generate(Protocol):
    """Draws images from a model folder: `darkroom.sampling.generate` or a stand-in. Returns uint8 [count, h, w, 3]."""

    def __call__(
        self,
        model_folder: Path,
        labels: Sequence[int] | None,
        count: int,
        seed: int,
        steps: int,
        guidance: float,
        batch: int,
    ) -> Generator[Event, None, NDArray[np.uint8]]:
        """Draw `count` images."""
        ...


@dataclass(frozen=True)
class Compared:
    """Pixels of one comparison: the training images it refers to, as many unseen real ones, as many generated ones."""

    reference: Pixels
    unseen: Pixels
    made: Pixels


@dataclass(frozen=True)
class Subject:
    """One model with the images it is measured against."""

    name: str
    focus: tuple[str, ...]
    made: Pixels  # all that it generated
    training: Pixels  # all training images, since a model may have copied any
    held_out: Pixels  # validation and test images with a label of the focus
    compared: Compared


def evaluate(
    section: EvaluateSection, data: Path, models: Mapping[str, Path], out: Path, draw: Generate = generate
) -> Generator[Event, None, ScoresRef]:
    """Evaluate each of `models` (name -> folder) against the data set in `data`; write scores and report into `out`.

    A model is measured against images of its own focus (the labels in its model.json; none: all). Reference: n training
    images. Floor: n held-out images against the same reference. n is the least of generated, held-out and training
    images. Raises EvaluationError, FeaturesUnavailable.
    """
    splits = _splits(data)
    focuses = {name: _focus(folder) for name, folder in models.items()}
    real = {name: _real(section, name, focuses[name], splits) for name in models}
    subjects = []
    for name, folder in models.items():
        made = yield from _generated(section, name, folder, draw, splits["train"])
        subjects.append(_subject(name, focuses[name], made, real[name], splits["train"]))
    pages = []
    for subject in subjects:
        figures = yield from _scored(section, subject, (yield from _described(section, subject)))
        copies = memorisation(subject.made, subject.training, subject.held_out)
        shares = _shares(copies)
        yield from _told(subject.name, shares)
        pairs = pairs_of(subject.made, subject.training, copies, section.shown)
        samples = subject.made[: section.shown]
        pages.append(ModelPage(subject.name, subject.focus, samples, pairs, figures | shares, copies))
    with replaced(out) as folder:
        _write(folder, pages, f"{section.features.kind} at {section.features.side} pixels a side")
    scores = out / "scores.json"
    return ScoresRef(str(scores), digest_of(scores), sum(len(page.figures) for page in pages))


def _splits(data: Path) -> dict[str, ImageSet]:
    try:
        return {split: read_split(data, split) for split in SPLITS}
    except FileNotFoundError as error:
        raise EvaluationError(f"{error.filename}: there is no such file; run the step `curate` first") from None


def _focus(folder: Path) -> tuple[str, ...]:
    file = folder / "model.json"
    try:
        return tuple(json.loads(file.read_text(encoding="utf-8"))["focus"])
    except FileNotFoundError:
        raise EvaluationError(f"{file}: there is no such file; train this model first") from None
    except (json.JSONDecodeError, KeyError, TypeError):
        raise EvaluationError(f"{file}: expected a JSON object with `focus`, a list of labels; train the model again") from None


def _real(
    section: EvaluateSection, name: str, focus: tuple[str, ...], splits: Mapping[str, ImageSet]
) -> tuple[Pixels, Pixels, int]:
    """The training and the held-out images of a focus, in an order drawn from the seed, and n."""
    try:
        train, *held_out = (splits[split].only(focus).pixels for split in SPLITS)
    except ValueError as error:
        raise EvaluationError(f"model {name}: its focus does not fit the data: {error}") from None
    unseen = np.concatenate(held_out)
    for pixels, what in ((train, "training"), (unseen, "held-out (validation and test)")):
        if len(pixels) < FEWEST:
            labels = f" with a label of its focus ({', '.join(focus)})" if focus else ""
            raise EvaluationError(
                f"model {name}: {len(pixels)} {what} images{labels}, and scores need at least {FEWEST}; "
                "add images, widen the focus, or hold out a larger share in `curate`"
            )
    ordered = [
        pixels[generator_for(section.seed, HELD_OUT, position).permutation(len(pixels))]
        for pixels, position in ((train, _REFERENCE), (unseen, _UNSEEN))
    ]
    return ordered[0], ordered[1], min(section.images, len(train), len(unseen))


def _generated(
    section: EvaluateSection, name: str, folder: Path, draw: Generate, train: ImageSet
) -> Generator[Event, None, Pixels]:
    """Act one. Raises EvaluationError for images that cannot be scored."""
    made = yield from draw(folder, None, section.images, section.seed, section.steps, section.guidance, section.batch)
    expected = (section.images, *train.pixels.shape[1:])
    if not np.isfinite(made).all():
        raise EvaluationError(f"model {name}: it generated numbers that are not finite; it has diverged: train it again")
    if made.dtype != np.uint8 or made.shape != expected:
        raise EvaluationError(
            f"model {name}: it generated {made.dtype} {made.shape}, and the data set calls for uint8 {expected}; "
            "train the model on this data set"
        )
    if (made == made[:, :1, :1]).all():
        raise EvaluationError(f"model {name}: every image it generated is one flat colour; it has diverged: train it again")
    return made


def _subject(name: str, focus: tuple[str, ...], made: Pixels, real: tuple[Pixels, Pixels, int], train: ImageSet) -> Subject:
    reference, held_out, n = real
    return Subject(name, focus, made, train.pixels, held_out, Compared(reference[:n], held_out[:n], made[:n]))


def _described(section: EvaluateSection, subject: Subject) -> Generator[Event, None, tuple[Described, Described, Described]]:
    """Act two: features of the reference, of unseen real images and of generated ones."""
    sets = (subject.compared.reference, subject.compared.unseen, subject.compared.made)
    described: list[Described] = []
    total = sum(len(pixels) for pixels in sets)
    for pixels in sets:
        described.append(section.features.describe(pixels, section.batch))
        if not np.isfinite(described[-1]).all():
            raise EvaluationError(f"model {subject.name}: its images have features that are not finite; none was scored")
        yield Progressed(f"describing images for {subject.name}", sum(map(len, described)), total)
    reference, unseen, made = described
    return reference, unseen, made


def _scored(
    section: EvaluateSection, subject: Subject, described: tuple[Described, Described, Described]
) -> Generator[Event, None, dict[str, Figure]]:
    """Act three."""
    reference, unseen, made = described
    if len(made) < section.images:
        yield Noted(f"{subject.name}: scored at n = {len(made)}, the number of real images there are to compare with")
    figures: dict[str, Figure] = {}
    for metric in section.metrics:
        try:
            estimates = [_estimate(section, metric, reference, queried) for queried in (made, unseen)]
        except ValueError as error:
            raise EvaluationError(f"model {subject.name}, metric {metric.kind}: {error}") from None
        figures[metric.kind] = Figure(len(made), len(unseen), estimates[0], estimates[1], metric.better, metric.meaning)
    yield from _told(subject.name, figures)
    return figures


def _estimate(section: EvaluateSection, metric: Metric, reference: Described, queried: Described) -> Estimate:
    chance = generator_for(section.seed, HELD_OUT, _RESAMPLING)
    interval = metric.interval(reference, queried, section.bootstrap, chance)
    return _steady(metric.score(reference, queried), *interval)


def _steady(*numbers: float) -> Estimate:
    """Six digits that count: what differs with the number of threads lies far behind them."""
    return Estimate(*(float(f"{number:.6g}") for number in numbers))


def _shares(copies: Memorisation) -> dict[str, Figure]:
    def figure(share: Share, held_out: Share, meaning: str) -> Figure:
        made, floor = (_steady(it.value, *it.interval) for it in (share, held_out))
        return Figure(share.n, held_out.n, made, floor, "lower", meaning)

    return {
        "copied_share": figure(
            copies.copied,
            copies.copied_held_out,
            "share of generated images more than three times nearer to one training image than to any other",
        ),
        "too_near_share": figure(
            copies.too_near,
            copies.too_near_held_out,
            "share of generated images nearer to a training image than 99 % of unseen real images are",
        ),
    }


def _told(name: str, figures: Mapping[str, Figure]) -> Iterator[Event]:
    for metric, it in figures.items():
        made, floor = it.made, it.floor
        yield ScoreMeasured(f"{name}/{metric}", made.value, it.n, it.better, made.low, made.high, floor.value)


def _write(folder: Path, pages: Sequence[ModelPage], described_by: str) -> None:
    scores = {
        page.name: {
            metric: {**it.made._asdict(), "n": it.n, "floor": it.floor.value, "better": it.better}
            for metric, it in page.figures.items()
        }
        for page in pages
    }
    (folder / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    for page in pages:
        (folder / f"samples_{page.name}.png").write_bytes(png(samples_sheet(page)))
        (folder / f"neighbours_{page.name}.png").write_bytes(png(pairs_sheet(page)))
    (folder / "report.html").write_text(report(pages, described_by), encoding="utf-8")
