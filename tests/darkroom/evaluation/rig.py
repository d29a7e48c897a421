"""A small data set, two model folders and a generator that stands in for a model: what the tests of this room share."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.evaluation.evaluate import EvaluateSection, evaluate
from darkroom.events import Event, Progressed, followed
from darkroom.images import Pixels
from darkroom.networks.saved import Drawing
from darkroom.refs import ScoresRef
from darkroom.sections import validated
from tests.darkroom.tiny import card

SETTINGS: dict[str, Any] = {
    "images": 24,
    "drawing": {
        "sampler": {"kind": "heun"},
        "steps": 3,
        "guidance": 1.0,
        "away": 1.0,
        "guided_levels": {"least": 0.0, "most": 1000.0},
    },
    "weights": {"kind": "as_trained"},
    "seed": 5,
    "seeds": 1,
    "minutes": 10.0,
    "batch": 10,
    "features": {"kind": "pixels", "side": 4},
    "metrics": [{"kind": "kernel_distance"}, {"kind": "precision", "k": 3}, {"kind": "coverage", "k": 3}],
    "bootstrap": 100,
    "shown": 8,
}
NAMES = ("moon", "sun")
ASKED = 24


def section(**changes: Any) -> EvaluateSection:
    return validated(EvaluateSection, {**SETTINGS, **changes}, Path("params.yaml"), "evaluate")


def painted(seed: int, labels: Sequence[int]) -> Pixels:
    """A bright (sun) or dark (moon) gradient with some noise; 8 pixels a side."""
    chance = np.random.default_rng(seed)
    ramp = np.linspace(0, 60, 8)[None, :, None, None] * chance.random((len(labels), 1, 1, 3))
    level = np.where(np.asarray(labels), 150, 20)[:, None, None, None]
    return (level + ramp + chance.integers(0, 40, (len(labels), 8, 8, 3))).astype(np.uint8)


class Painter:
    """Stands in for `darkroom.sampling.generate`: paints what it is told for each model folder."""

    def __init__(self, **images: NDArray[Any]) -> None:
        self.images = images
        self.calls: list[tuple[Any, ...]] = []
        self.captions: list[Sequence[str] | None] = []

    def __call__(
        self,
        model_folder: Path,
        labels: Sequence[int] | None,
        count: int,
        seed: int,
        drawing: Drawing,
        batch: int,
        captions: Sequence[str] | None = None,
    ) -> Generator[Event, None, NDArray[np.uint8]]:
        self.captions.append(captions)
        self.calls.append((model_folder.name, labels, count, seed, drawing, batch))
        yield Progressed("generating", count, count)
        return self.images[model_folder.name][: count if count < ASKED else None]


def write_card(folder: Path, focus: Sequence[str], **changes: Any) -> None:
    made = card(labels=NAMES, focus=tuple(focus), **changes)
    (folder / "model.json").write_text(made.model_dump_json())


def good() -> Painter:
    return Painter(base=painted(10, [0, 1] * 12), tuned=painted(11, [1] * 24))


def run(place: Path, painter: Painter, **changes: Any) -> tuple[list[Event], ScoresRef]:
    models = {"base": place / "base", "tuned": place / "tuned"}
    step = evaluate(section(**changes), place / "data", models, place / "out", painter)
    events: list[Event] = []
    answer = followed(step, events.append)
    return events, answer
