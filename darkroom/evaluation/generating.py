"""Act one: images drawn from a model, kept by all that they follow from. To score them in another way draws nothing."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from darkroom.evaluation.keeping import Kept, code_of, key_of
from darkroom.evaluation.subjects import Subject, check_drawn
from darkroom.events import Event, Noted
from darkroom.images import ImageSet, Pixels
from darkroom.networks.captioned import ReadsCaptions
from darkroom.networks.saved import ChosenDrawing, Drawing, ModelCard
from darkroom.refs import digest_of
from darkroom.sampling import labels_for
from darkroom.shapes import canvas_of

# What drawing can import (a test compares): images belong to this code, too.
CODE = (
    "device_memory.py",
    "events.py",
    "hub.py",
    "images.py",
    "networks",
    "noise.py",
    "randomness.py",
    "refs.py",
    "samplers.py",
    "sampling.py",
    "sections.py",
    "shapes.py",
)


class Generate(Protocol):
    """Draws images from a model folder: `darkroom.sampling.generate` or a stand-in. Returns uint8 [count, h, w, 3]."""

    def __call__(
        self,
        model_folder: Path,
        labels: Sequence[int] | None,
        count: int,
        seed: int,
        drawing: Drawing,
        batch: int,
        captions: Sequence[str] | None = None,
    ) -> Generator[Event, None, NDArray[Any]]:
        """Draw `count` images."""
        ...


@dataclass(frozen=True)
class Ask:
    """How images are drawn: `count` for each of `seeds`."""

    count: int
    seeds: tuple[int, ...]
    drawing: ChosenDrawing
    batch: int


def key_for(subject: Subject, ask: Ask, seed: int) -> str:
    """The name under which the images of one seed are kept."""
    facts = {
        "model": digest_of(subject.folder),
        "code": code_of(*CODE),
        "seed": seed,
        "count": ask.count,
        "drawing": ask.drawing.model_dump(mode="json"),
        "batch": ask.batch,
    }
    captions = captions_of(subject, seed, ask.count)
    return key_of("drawn", facts if captions is None else {**facts, "captions": captions})


def captions_of(subject: Subject, seed: int, count: int) -> list[str] | None:
    """What a model that reads is asked for: captions of held-out images, each of the label that its image is told. None where
    labels are all that is said."""
    return captions_for(subject.card, [subject.unseen], told_names(subject.card, seed, count).tolist())


def captions_for(card: ModelCard, sets: Sequence[ImageSet], names: Sequence[str]) -> list[str] | None:
    """A caption for each of these labels, of the images of that label in turn; the label itself where those have none. None for
    a model that does not read, and where no image has a caption."""
    if not isinstance(card.network, ReadsCaptions):
        return None
    said: dict[str, list[str]] = {}
    for images in sets:
        for label, caption in zip(images.labels.tolist(), images.captions, strict=True):
            if caption:
                said.setdefault(images.names[label], []).append(caption)
    turns = {name: cycle(captions) for name, captions in said.items()}
    return [next(turns[name]) if name in turns else name for name in names] if said else None


def drawn(subject: Subject, ask: Ask, kept: Kept, draw: Generate) -> Generator[Event, None, list[Pixels]]:
    """Images of each seed, labels in the proportions trained on. Raises EvaluationError for images that cannot be scored."""
    found: list[Pixels] = []
    if captions_of(subject, ask.seeds[0], 1):
        yield Noted(f"{subject.name} reads captions: its images are drawn by those of held-out images")
    for seed in ask.seeds:

        def make(seed: int = seed) -> Generator[Event, None, NDArray[Any]]:
            captions = captions_of(subject, seed, ask.count)
            return draw(subject.folder, None, ask.count, seed, ask.drawing.of(subject.card), ask.batch, captions)

        made = yield from kept.got(key_for(subject, ask, seed), f"images of {subject.name}", make)
        side = canvas_of(subject.card.shapes)
        yield from check_drawn(subject.name, made, (ask.count, side, side, 3), subject.card.shapes)
        found.append(made)
    return found


def told_names(card: ModelCard, seed: int, count: int) -> NDArray[np.str_]:
    """The label that each drawn image was told. [count]"""
    return np.array([card.labels[label] for label in labels_for(card, seed, count)])
