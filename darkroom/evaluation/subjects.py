"""What is measured against what: each model, its real images to be compared with, and the checks before anything is drawn."""

import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from darkroom.evaluation.nearest import Shrunk
from darkroom.events import Event, Noted
from darkroom.images import FEWEST, SPLITS, ImageSet, Pixels, Rows, read_split
from darkroom.networks.saved import ModelCard, ModelError, read_card
from darkroom.randomness import HELD_OUT, generator_for
from darkroom.shapes import Shape, core, in_words

MOST_BESIDE = 5000  # held-out images beside which copies are told: a hundredth of them sets the bar
NAMED = 5  # images named in a warning
_REFERENCE, _UNSEEN = range(2)  # positions in the stream of random numbers


class EvaluationError(ValueError):
    """A model cannot be evaluated. The text says why and what to do."""


@dataclass(frozen=True)
class Data:
    """The data set: `training`, since a model may have copied any of it, and `held_out`, validation and test images."""

    training: ImageSet
    held_out: ImageSet
    left_out: str = ""  # held-out images that the training set holds too, in a sentence

    @property
    def names(self) -> tuple[str, ...]:
        """The labels."""
        return self.training.names

    @cached_property
    def small(self) -> Shrunk:
        """All training images as copies are looked for among them."""
        return Shrunk(self.training.pixels)


@dataclass(frozen=True)
class Subject:
    """One model, and real images of its focus in an order drawn from the seed: the first n of either are compared."""

    name: str
    folder: Path
    card: ModelCard
    reference: ImageSet  # training images
    unseen: ImageSet  # held-out images

    @property
    def beside(self) -> Pixels:
        """Held-out images beside which copies are told: how near real ones lie that were not trained on. [n, h, w, 3]"""
        return first(self.unseen, MOST_BESIDE)

    def n(self, images: int) -> int:
        """How many images are compared on each side, of `images` drawn."""
        return min(images, len(self.reference), len(self.unseen))


def read_data(folder: Path) -> Generator[Event, None, Data]:
    """The data set, with a warning where held-out images are in the training set too: they are left out.

    Raises EvaluationError.
    """
    try:
        train, *others = (read_split(folder, split) for split in SPLITS)
    except FileNotFoundError as error:
        raise EvaluationError(f"{error.filename}: there is no such file; run the step `curate` first") from None
    held_out = _together(others)
    seen = dict(zip(_digests(train), train.paths, strict=True))
    known = [seen.get(digest) for digest in _digests(held_out)]
    twice = [f"{path} (= {copy})" for path, copy in zip(held_out.paths, known, strict=True) if copy is not None]
    left_out = ""
    if twice:
        more = f" and {len(twice) - NAMED} more" if len(twice) > NAMED else ""
        left_out = (
            f"{len(twice)} held-out images are in the training set too, pixel for pixel, and are left out of what generated "
            f"images are measured against: {', '.join(twice[:NAMED])}{more}; `curate` would have kept one of each"
        )
        yield Noted(left_out)
    once = np.array([row for row, copy in enumerate(known) if copy is None], np.int64)
    return Data(train, held_out.at(once), left_out)


def _together(sets: Sequence[ImageSet]) -> ImageSet:
    return ImageSet(
        pixels=cast(Pixels, Rows.joined([cast(Rows, one.pixels) for one in sets])),
        labels=np.concatenate([one.labels for one in sets]),
        names=sets[0].names,
        paths=tuple(path for one in sets for path in one.paths),
        captions=tuple(caption for one in sets for caption in one.captions),
    )


def _digests(images: ImageSet) -> list[bytes]:
    return [hashlib.sha256(np.ascontiguousarray(images.pixels[row]).data).digest() for row in range(len(images))]


def subjects_of(data: Data, models: Mapping[str, Path], seed: int) -> list[Subject]:
    """One for each model (name -> folder). Raises EvaluationError where one does not fit the data, before anything is drawn."""
    return [_subject(data, name, folder, seed) for name, folder in models.items()]


def _subject(data: Data, name: str, folder: Path, seed: int) -> Subject:
    try:
        card = read_card(folder)
    except ModelError as error:
        raise EvaluationError(f"model {name}: {error}") from None
    if card.shapes != data.training.buckets:
        drawn, there = (" or ".join(map(in_words, shapes)) for shapes in (card.shapes, data.training.buckets))
        raise EvaluationError(
            f"model {name}: it draws images of {drawn} pixels, and the images of the data set have "
            f"{there}; scores of different sizes do not compare: "
            "evaluate it on data curated at its own size (`curate.image_size`, `curate.aspect_buckets`)"
        )
    try:
        reference, unseen = (one.only(card.focus) for one in (data.training, data.held_out))
    except ValueError as error:
        raise EvaluationError(f"model {name}: its focus does not fit the data: {error}") from None
    for images, what in ((reference, "training"), (unseen, "held-out (validation and test)")):
        if len(images) < FEWEST:
            labels = f" with a label of its focus ({', '.join(card.focus)})" if card.focus else ""
            raise EvaluationError(
                f"model {name}: {len(images)} {what} images{labels}, and scores need at least {FEWEST}; "
                "add images, widen the focus, or hold out a larger share in `curate`"
            )
    return Subject(name, folder, card, _ordered(reference, seed, _REFERENCE), _ordered(unseen, seed, _UNSEEN))


def _ordered(images: ImageSet, seed: int, position: int) -> ImageSet:
    return images.at(generator_for(seed, HELD_OUT, position).permutation(len(images)))


def check_drawn(name: str, made: NDArray[Any], expected: tuple[int, ...], shapes: Sequence[Shape]) -> Iterator[Event]:
    """Tell of images of one flat colour. Raises EvaluationError for images that cannot be scored."""
    if not np.isfinite(made).all():
        raise EvaluationError(f"model {name}: it generated numbers that are not finite; it has diverged: train it again")
    if made.dtype != np.uint8 or made.shape != expected:
        raise EvaluationError(
            f"model {name}: it generated {made.dtype} {made.shape}, and the data set calls for uint8 {expected}; "
            "train the model on this data set"
        )
    made = core(made, shapes)
    flat = int((made == made[:, :1, :1]).all(axis=(1, 2, 3)).sum())
    if flat == len(made):
        raise EvaluationError(f"model {name}: every image it generated is one flat colour; it has diverged: train it again")
    if flat:
        yield Noted(f"{name}: {flat} of {len(made)} generated images are one flat colour")
    if len(made) > 1 and (made == made[:1]).all():
        yield Noted(f"{name}: all generated images are the same one: the model has collapsed, and variety scores say so")


def first(images: ImageSet, n: int) -> Pixels:
    """Pixels of the first n images. uint8 [n, h, w, 3]"""
    return np.asarray(images.pixels[:n])
