"""What happened: the frozen records that a step yields. The library tells; the caller shows, stores or sends."""

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar


@dataclass(frozen=True, slots=True)
class Event:
    """Anything that a step tells."""


@dataclass(frozen=True, slots=True)
class Noted(Event):
    """A sentence for the person who watches."""

    text: str


@dataclass(frozen=True, slots=True)
class Progressed(Event):
    """Work done of work to do, in `unit` (such as "images"); how fast, and the seconds left for all of it, where known."""

    doing: str
    done: int
    total: int
    unit: str = "images"
    per_second: float | None = None
    left: float | None = None


@dataclass(frozen=True, slots=True)
class ImageRejected(Event):
    """An input file that did not enter the data set, and why."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class StepTaken(Event):
    """The weights changed. Losses are means since the last such event; `images_per_second` is wall clock."""

    images_seen: int
    images_total: int
    loss: float
    learning_rate: float
    gradient_norm: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class HeldOutMeasured(Event):
    """Loss of the averaged weights on held-out images with fixed noise; `bands` by how much noise there was, `training_bands`
    the same on training images."""

    images_seen: int
    loss: float
    bands: Mapping[str, float] = field(default_factory=dict)
    training_bands: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpikeUndone(Event):
    """A batch's `loss` was far above the `usual`: training went back, cut its learning rate, and leaves out these `images`."""

    images_seen: int
    loss: float
    usual: float
    back_to: int  # images seen
    rate_left: float  # share of the learning rate that is left
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TroubleFound(Event):
    """The history of a training shows a `kind` of trouble; `change` is the remedy, ready for its section of params.yaml."""

    images_seen: int
    kind: str
    text: str
    change: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SamplesDrawn(Event):
    """A grid of images from fixed seeds was written to `path`."""

    images_seen: int
    path: str


@dataclass(frozen=True, slots=True)
class SheetScored(Event):
    """A quick score of the `n` images of a sample sheet (lower is better), and of as many held-out ones."""

    images_seen: int
    name: str
    value: float
    floor: float
    n: int


@dataclass(frozen=True, slots=True)
class SnapshotSaved(Event):
    """A checkpoint from which the same command goes on was written to `path`."""

    images_seen: int
    path: str


@dataclass(frozen=True, slots=True)
class ScoreMeasured(Event):
    """A figure, with all that is needed to read it: n, its interval, and what real images score against real images."""

    name: str
    value: float
    n: int
    better: str  # "lower" | "higher"
    low: float | None = None
    high: float | None = None
    floor: float | None = None


AnyEvent = TypeVar("AnyEvent", bound=Event)
Answer = TypeVar("Answer")


def as_json(event: Event) -> str:
    """One line of events.jsonl."""
    return json.dumps({"event": type(event).__name__, **asdict(event)}, ensure_ascii=False)


def from_json(line: str) -> Event:
    """The event of one line of events.jsonl. Raises ValueError for a line that is none."""
    told = json.loads(line)
    kind = {one.__name__: one for one in Event.__subclasses__()}.get(told.pop("event", ""))
    if kind is None:
        raise ValueError(f"no event of this version of Darkroom: {line.strip()}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in told.items()})


def kept(events: Generator[AnyEvent, None, Answer], file: Path, anew: bool = True) -> Generator[AnyEvent, None, Answer]:
    """The same events and answer, each event first appended to `file`: a tracker that is away later loses nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w" if anew else "a", encoding="utf-8") as journal:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            journal.write(as_json(event) + "\n")
            journal.flush()
            yield event


def followed(events: Generator[AnyEvent, None, Answer], *tell: Callable[[AnyEvent], object]) -> Answer:
    """Run a step to its end, telling everyone what it tells. Returns what the step returns."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
        for one in tell:
            one(event)
