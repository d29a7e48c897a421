"""What the command of every stage does: read its own section of params.yaml, run the step, show and keep what it tells."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from darkroom.events import (
    Event,
    HeldOutMeasured,
    ImageRejected,
    Noted,
    Progressed,
    SamplesDrawn,
    ScoreMeasured,
    SheetScored,
    SnapshotSaved,
    SpikeUndone,
    StepTaken,
    TroubleFound,
    followed,
    kept,
)
from darkroom.sections import AnySection, read_section

EVENTS = Path(".darkroom/events")
CHECKPOINTS = Path(".darkroom/checkpoints")


class StoppedOnRequest(Exception):
    """A step ended early because it was asked to, with its work so far saved. The text says where, and how it goes on."""


@contextmanager
def stop_asked() -> Iterator[Callable[[], bool]]:
    """Whether to end (Ctrl-C or a termination signal came). The first time waits for the step to save; the next does not."""
    asked = threading.Event()

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():  # only there may signals be listened to
        yield asked.is_set
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, listener in before.items():
            signal.signal(number, listener)


def sentence(event: Event) -> str:
    """An event in words."""
    match event:
        case Noted(text):
            return text
        case Progressed(doing, done, total, unit):
            rate = f", {_figure(event.per_second)} {unit}/s" if event.per_second is not None else ""
            ahead = f", {duration(event.left)} left" if event.left is not None else ""
            return f"{doing}: {done:,} of {total:,} {unit}{rate}{ahead}"
        case ImageRejected(path, reason, detail):
            return f"rejected {path}: {reason} ({detail})"
        case StepTaken():
            left = (event.images_total - event.images_seen) / max(event.images_per_second, 1e-9)
            return (
                f"{event.images_seen:,} of {event.images_total:,} images seen, loss {event.loss:.4f}, "
                f"{event.images_per_second:.0f} images/s, {duration(left)} left"
            )
        case HeldOutMeasured(images_seen, loss):
            return f"held-out loss {loss:.4f} at {images_seen:,} images seen"
        case SpikeUndone():
            return (
                f"the loss spiked to {event.loss:.4g} from {event.usual:.4g} at {event.images_seen:,} images seen: back to "
                f"{event.back_to:,}, learning rate cut to {100 * event.rate_left:.2g}%, batch left out: {', '.join(event.images)}"
            )
        case TroubleFound(_, kind, text, change):
            settings = ", ".join(f"{name}: {value}" for name, value in change.items())
            return f"{kind}: {text} (try {settings})"
        case SamplesDrawn(images_seen, path):
            return f"samples at {images_seen:,} images seen: {path}"
        case SheetScored():
            real = f"real against real {event.floor:.4g}"
            return f"{event.name} {event.value:.4g} of the sheet at {event.images_seen:,} images seen (n = {event.n}, {real})"
        case SnapshotSaved(images_seen, path):
            return f"checkpoint at {images_seen:,} images seen: {path}"
        case ScoreMeasured():
            floor = f", real against real {event.floor:.4g}" if event.floor is not None else ""
            return f"{event.name} {event.value:.4g} (n = {event.n:,}, {event.better} is better{floor})"
    return str(event)


def _figure(rate: float) -> str:
    return f"{rate:.3g}" if rate < 100 else f"{rate:,.0f}"


def duration(seconds: float) -> str:
    """Seconds in words: 41 s, 2 min 05 s, 3 h 20 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class Throttle:
    """Lets the first event of a kind through, then one every `seconds`; what is told once is never held back."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._last = seconds, dict[str, float]()

    def passes(self, event: Event) -> bool:
        """Whether to show this one."""
        if not isinstance(event, Progressed | StepTaken | ImageRejected | SnapshotSaved):
            return True
        if isinstance(event, Progressed) and event.done >= event.total:
            return True
        kind, now = type(event).__name__ + getattr(event, "doing", ""), time.monotonic()
        if now - self._last.get(kind, -self.seconds) < self.seconds:
            return False
        self._last[kind] = now
        return True


SOON = 1.0  # seconds of work that say nothing of its rate


class Pace:
    """Puts to progress the rate since its first word, and the time left at that rate, where the step tells neither."""

    def __init__(self) -> None:
        self._begun = dict[str, tuple[float, int]]()

    def of(self, event: Event) -> Event:
        """The same event, with them."""
        if not isinstance(event, Progressed) or event.per_second is not None:
            return event
        now = time.monotonic()
        began, first = self._begun.setdefault(event.doing, (now, event.done))
        if event.done < first:  # it began again
            self._begun[event.doing] = now, event.done
        if event.done <= first or now < began + SOON:
            return event
        rate = (event.done - first) / (now - began)
        return replace(event, per_second=rate, left=(event.total - event.done) / rate if event.done < event.total else None)


def teller(write: Callable[[str], object]) -> Callable[[Event], None]:
    """Writes events in words, with their pace, not too many of them: for `events.followed`."""
    throttle, pace = Throttle(2.0), Pace()

    def tell(event: Event) -> None:
        event = pace.of(event)
        if throttle.passes(event):
            write(sentence(event))

    return tell


def run_stage(
    name: str,
    kind: type[AnySection],
    step: Callable[[AnySection], Generator[Event, None, Any]],
    params: Path = Path("params.yaml"),
    tells: bool = True,
    journal: Path | None = None,
) -> int:
    """Run one stage in the current folder. Returns the exit code: 0, or 1 with one clear message on standard error.

    With `tells` false, as in the others of several processes that train together, it keeps and shows no events.
    They are kept in `journal`, or else where the workspace keeps them.
    """
    tell = teller(lambda text: print(f"[{name}] {text}", file=sys.stderr, flush=True))
    try:
        events = step(read_section(params, name, kind))
        if tells:
            followed(kept(events, journal or EVENTS / f"{name}.jsonl"), tell)
        else:
            followed(events)
    except (ValueError, OSError) as error:
        print(f"[{name}] {error}", file=sys.stderr)
        return 1
    except StoppedOnRequest as stopped:
        print(f"[{name}] {stopped}", file=sys.stderr)
        return 130
    return 0
