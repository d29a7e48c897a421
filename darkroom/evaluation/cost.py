"""What an evaluation will take, known before it starts: each act is tried on a few images, and counted up.

A time budget is kept by drawing fewer images, and the reason is told.
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from darkroom.evaluation.describing import Describer
from darkroom.evaluation.generating import Ask, Generate, key_for
from darkroom.evaluation.metrics import GROUPS, Metric
from darkroom.evaluation.nearest import nearest_training
from darkroom.evaluation.scoring import COURSE_ROUNDS, SHARES
from darkroom.evaluation.signs import BANDS, MOST, MUCH_NOISE
from darkroom.evaluation.subjects import Data, Subject, first
from darkroom.events import Event, Noted, Progressed, followed
from darkroom.features.features import raw
from darkroom.images import FEWEST
from darkroom.networks.saved import Drawing
from darkroom.sampling import evaluations
from darkroom.stage import duration

TRIED = 16  # images described, or looked up in the training set, to see how long one takes
TRIED_STEPS = 2  # of the sampler
FIXED = 1.5  # seconds: pictures, tables and the page
SIGNS = 1.5  # seconds: of a diagnosis, beside the losses
WIDTH = 1280  # numbers in a description, about
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Rates:
    """Seconds that things take on this machine, now."""

    loading: float  # a model
    asking: dict[str, float]  # its network once for one image, by model
    describing: float  # an image
    reading: float  # all training images, to look others up among them
    looking_up: float  # an image, among all training images, one way
    operation: float  # of double precision, in a product of matrices


@dataclass(frozen=True)
class Act:
    """A part of the work, named as its progress is, and the seconds it will take."""

    doing: str
    seconds: float


@dataclass(frozen=True)
class Job:
    """All that the cost of an evaluation follows from."""

    data: Data
    subjects: tuple[Subject, ...]
    ask: Ask
    metrics: tuple[Metric, ...]
    rounds: int
    describer: Describer
    draw: Generate
    examined: bool = False  # whether models are diagnosed, too
    mirrored: bool = False  # whether mirrored copies are looked for
    whole: bool = True  # whether copies are looked for in features, which describes all training images

    def with_images(self, count: int) -> "Job":
        """The same with another number of images."""
        return replace(self, ask=replace(self.ask, count=count))

    def to_draw(self, subject: Subject) -> int:
        """Images that are not kept already."""
        kept = self.describer.kept
        return self.ask.count * sum(not kept.holds(key_for(subject, self.ask, seed)) for seed in self.ask.seeds)

    def all_described(self) -> bool:
        """Whether no image is new to the features."""
        if any(self.to_draw(subject) for subject in self.subjects):
            return False
        real = [first(images, one.n(self.ask.count)) for one in self.subjects for images in (one.reference, one.unseen)]
        return not any(self.describer.missing(pixels) for pixels in real)


def measured(job: Job) -> Rates:
    """Try each act on a few images; where all images are kept already, nothing is drawn."""
    asking, loading = {}, 0.0
    for subject in job.subjects:
        asking[subject.name] = 0.0
        if job.to_draw(subject) or job.examined:
            loading, asking[subject.name] = _tried(job, subject)
    some, describing = first(job.subjects[0].reference, TRIED), 0.0
    if not job.all_described():
        raw(job.describer.network, some[:2], job.describer.batch)  # the first call of a network takes longer
        describing = _seconds(lambda: raw(job.describer.network, some, job.describer.batch)) / len(some)
    reading, looking_up = _looking(job)
    return Rates(loading, asking, describing, reading, looking_up, _operation())


def _looking(job: Job) -> tuple[float, float]:
    """Seconds to read the training images, and to look one image up among them: the line through a few and more."""
    few, more = (first(job.subjects[0].reference, count) for count in (TRIED // 4, 4 * TRIED))
    nearest_training(few, job.data.small)  # the first time reads them from the disk
    short = _seconds(lambda: nearest_training(few, job.data.small))
    long = _seconds(lambda: nearest_training(more, job.data.small))
    each = max(long - short, 0.0) / max(len(more) - len(few), 1)
    return max(short - each * len(few), 0.0), each


def _tried(job: Job, subject: Subject) -> tuple[float, float]:
    """Seconds to load a model, and to ask its network for an image of a full batch: it is asked alike at each step."""
    ask, batch = job.ask, min(job.ask.batch, job.ask.count)
    whole = ask.drawing.of(subject.card)
    once, few = (whole.model_copy(update={"steps": steps}) for steps in (1, min(TRIED_STEPS, whole.steps)))

    def act(count: int, drawing: Drawing) -> float:
        return _seconds(lambda: followed(job.draw(subject.folder, None, count, ask.seeds[0], drawing, ask.batch)))

    act(1, once)  # a device's first work takes seconds that no other does
    loading = act(1, once)
    some = max(act(batch, few) - loading, 1e-6)
    return loading, some / batch / evaluations(few)


def _seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _operation() -> float:
    """Seconds for a multiplication and an addition in a product of matrices."""
    square = np.ones((768, 768))
    return min(_seconds(lambda: square @ square) for _ in range(3)) / 768**3


def acts(job: Job, rates: Rates) -> list[Act]:
    """What there is to do, in order, with the seconds that it will take."""
    found = [
        Act(f"drawing from {subject.folder.name}", rates.loading + job.to_draw(subject) * _drawing(job, subject, rates))
        for subject in job.subjects
        if job.to_draw(subject)
    ]
    all_missing = job.describer.missing(job.data.training.pixels) if job.whole else 0
    for subject in job.subjects:
        n, new = subject.n(job.ask.count), job.to_draw(subject)
        for images, what in ((subject.reference, "training"), (subject.unseen, "unseen")):
            missing = job.describer.missing(first(images, n))
            new += missing
            found.append(Act(f"describing {what} images for {subject.name}", missing * rates.describing))
        made = len(job.ask.seeds) * (job.ask.count if job.whole else n) if new else 0
        found.append(Act(f"describing images of {subject.name}", made * rates.describing))
        found.append(Act(f"scoring {subject.name}", _scoring(job, n, rates)))
        looked_up, ways = len(job.ask.seeds) * job.ask.count + len(subject.beside), 2 if job.mirrored else 1
        seconds = ways * (looked_up * rates.looking_up + 2 * rates.reading)
        if job.whole:
            held_out = job.describer.missing(subject.beside)
            if all_missing:
                found.append(Act("describing all training images", all_missing * rates.describing))
            found.append(Act(f"describing held-out images for {subject.name}", held_out * rates.describing))
            seconds += looked_up * len(job.data.training) * WIDTH * rates.operation
            all_missing = 0  # for the next model they are kept
        found.append(Act(f"looking for copies in {subject.name}", seconds))
    found += [Act(f"examining {subject.name}", _examining(job, subject, rates)) for subject in job.subjects if job.examined]
    return [*found, Act("writing the report", FIXED)]


def _drawing(job: Job, subject: Subject, rates: Rates) -> float:
    """Seconds to draw an image."""
    return rates.asking[subject.name] * evaluations(job.ask.drawing.of(subject.card))


def _examining(job: Job, subject: Subject, rates: Rates) -> float:
    """Seconds: the network asked at each band of noise for training and held-out images; the other signs are alike for all."""
    training, unseen = (min(MOST, len(one)) for one in (subject.reference, subject.unseen))
    asked = len(BANDS) * (training + unseen) + 2 * len(MUCH_NOISE) * unseen
    return 2 * rates.loading + asked * rates.asking[subject.name] + SIGNS


def _scoring(job: Job, n: int, rates: Rates) -> float:
    """Seconds: multiplications and additions counted, for made images of each seed and for unseen ones."""
    width = WIDTH
    rounds = job.rounds + sum(share**2 for share in SHARES) * COURSE_ROUNDS
    kernel = 3 * n * n * (width + rounds)
    near = 4 * n * n * width
    moments, solved = n * width**2, 6 * width**3
    each = {
        "kernel_distance": kernel,
        "cmmd": kernel,
        "frechet_distance": 2 * moments + (GROUPS + 1) * solved,
        "frechet_infinite": 2 * moments + (GROUPS + 1) * (GROUPS // 2 + 1) * solved,
        "vendi": GROUPS * (n * min(n, width) * width + 4 * min(n, width) ** 3),
    }
    counted = sum(each.get(metric.kind, 0) for metric in job.metrics if n >= metric.fewest)
    counted += near * len({getattr(metric, "k", None) for metric in job.metrics} - {None})
    return 2 * counted * (1 + len(job.ask.seeds)) * rates.operation


def fitted(job: Job, minutes: float) -> Generator[Event, None, tuple[Job, list[Act], str]]:
    """The job as it fits into `minutes`: first the search for copies in features is given up, where it would describe images
    anew, then images; what there is to do; and the reason.

    Says how long it will take.
    """
    yield Noted("trying each act on a few images, to know what this evaluation will take")
    rates = measured(job)
    chosen, plan, reasons = job, acts(job, rates), list[str]()
    if _total(plan) > 60 * minutes and job.whole and job.describer.missing(job.data.training.pixels):
        chosen = replace(job, whole=False)
        plan = acts(chosen, rates)
        reasons.append(
            f"copies are looked for in pixels only: to describe {len(job.data.training):,} training images takes more than "
            f"evaluate.minutes ({minutes:g}) leaves"
        )
    while _total(plan) > 60 * minutes and chosen.ask.count > FEWEST:
        chosen = chosen.with_images(max(FEWEST, int(chosen.ask.count * 0.95)))
        plan = acts(chosen, rates)
    if chosen.ask.count < job.ask.count:
        reasons.append(
            f"{chosen.ask.count} images are drawn with each model instead of {job.ask.count}, to keep within "
            f"evaluate.minutes ({minutes:g}) on this machine"
        )
    reason = "; ".join(reasons)
    if reason:
        yield Noted(f"{reason}: {job.ask.count} would take about {duration(_total(acts(job, rates)))}")
    yield Noted(f"this will take about {duration(_total(plan))}: {_parts(plan)}")
    return chosen, plan, reason


def _total(plan: Sequence[Act]) -> float:
    return sum(act.seconds for act in plan)


def _parts(plan: Sequence[Act]) -> str:
    """Seconds by the first word of what is done."""
    by: dict[str, float] = {}
    for act in plan:
        word = act.doing.split()[0]
        by[word] = by.get(word, 0.0) + act.seconds
    return ", ".join(f"{word} {duration(seconds)}" for word, seconds in by.items() if seconds >= 0.5)


def paced(events: Generator[Event, None, Answer], plan: Sequence[Act]) -> Generator[Event, None, Answer]:
    """The same events; progress with its rate, and with the time left: of this act as it goes, of later ones as planned."""
    later = {act.doing: _total(plan[at + 1 :]) for at, act in enumerate(plan)}
    begun: dict[str, float] = {}
    started = last = time.perf_counter()
    while True:
        try:
            event: Event = next(events)
        except StopIteration as end:
            yield Noted(f"took {duration(time.perf_counter() - started)}; {duration(_total(plan))} were expected")
            answer: Answer = end.value
            return answer
        now = time.perf_counter()
        if isinstance(event, Progressed):
            begun.setdefault(event.doing, now if event.done == 0 else last)
            if event.done > 0:
                rate = event.done / max(now - begun[event.doing], 1e-9)
                event = replace(event, per_second=rate, left=(event.total - event.done) / rate + later.get(event.doing, 0.0))
        last = now
        yield event
