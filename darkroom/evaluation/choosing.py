"""Choose how images are drawn: among weights, samplers, steps and guidance, in a given time.

Successive halving: every candidate draws a few images from the same noise, the better and the quicker half of them twice as many,
and so on while time is left. What was measured is kept in a folder as it is measured: a search that was stopped goes on there.
"""

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.evaluation.comparing import SURE, kernel_contest
from darkroom.evaluation.figures import Estimate
from darkroom.evaluation.generating import captions_for
from darkroom.evaluation.metrics import KernelDistance
from darkroom.evaluation.neighbourhoods import Described, TwoSets
from darkroom.events import Event, Noted, Progressed
from darkroom.features.features import Features
from darkroom.images import ImageSet
from darkroom.networks.denoiser import Denoiser
from darkroom.networks.saved import Drawing, ModelCard
from darkroom.networks.weights import AsTrained, Average
from darkroom.randomness import HELD_OUT, generator_for
from darkroom.sampling import draw_rows, evaluations, in_words, labels_for

FIRST = 64  # images of every candidate
LEAST = 3  # candidates that are never dropped
BATCH = 64
_REFERENCE, _RESAMPLING = 40, 41  # positions in the stream of random numbers

Loaded = Callable[[AsTrained | Average], tuple[Denoiser, ModelCard]]


@dataclass(frozen=True)
class Candidate:
    """Which weights of the model, and how images are drawn from them."""

    weights: AsTrained | Average
    drawing: Drawing

    @property
    def key(self) -> str:
        """What it is told apart by."""
        facts = json.dumps([self.weights.words, self.drawing.model_dump(mode="json")], sort_keys=True)
        return sha256(facts.encode()).hexdigest()[:16]

    @property
    def words(self) -> str:
        """In a few words."""
        drawn = in_words(self.drawing)
        return drawn if isinstance(self.weights, AsTrained) else f"{self.weights.words}, {drawn}"


@dataclass(frozen=True)
class Measured:
    """A candidate's score at n images (kernel distance; lower is better), and how fast it draws."""

    candidate: Candidate
    n: int
    score: Estimate
    images_per_second: float
    evaluations: int  # of the network, an image


@dataclass(frozen=True)
class Choice:
    """All that was measured, best first of those at the most images; what could not be told from the best, quickest first."""

    measured: tuple[Measured, ...]
    best: Measured
    level: tuple[Measured, ...]
    waiting: int  # candidates that time did not suffice for
    n: int

    @property
    def quickest(self) -> Measured:
        """The quickest that is as good as the best, as far as can be told."""
        return self.level[0]

    @property
    def front(self) -> tuple[Measured, ...]:
        """Those that none is both quicker and better than, quickest first."""
        return tuple(one for one in sorted(self.measured, key=_speed) if not any(_beats(other, one) for other in self.measured))


@dataclass(frozen=True)
class Search:
    """What is searched, by what, in which time. `real`: images of the model's focus, in the model's size; `held_out`: images that
    a model which reads is asked for by their captions."""

    candidates: tuple[Candidate, ...]
    real: ImageSet
    held_out: tuple[ImageSet, ...]
    features: Features
    seed: int
    minutes: float
    most: int  # images of a candidate
    rounds: int = 500  # resamplings behind an interval
    clock: Callable[[], float] = time.monotonic


def grid(
    drawing: Drawing,
    weights: Sequence[AsTrained | Average],
    samplers: Sequence[Any],
    steps: Sequence[int],
    scales: Sequence[float],
    aways: Sequence[float],
) -> Iterator[Candidate]:
    """Every combination, the present drawing first; the schedule of noise levels stays."""
    yield Candidate(weights[0], drawing)
    for name in weights:
        for sampler in samplers:
            for count in steps:
                for scale, away in product(scales, aways):
                    made = drawing.model_copy(update={"sampler": sampler, "steps": count, "guidance": scale, "away": away})
                    if (name, made) != (weights[0], drawing):
                        yield Candidate(name, made)


def choose(search: Search, loaded: Loaded, folder: Path) -> Generator[Event, None, Choice]:
    """Search for as long as the budget lasts; the present drawing, which is the first candidate, is always measured.

    `folder` keeps what is measured. Raises ModelError, FeaturesUnavailable; ValueError where there is nothing to search.
    """
    if len(search.candidates) < 2:
        raise ValueError("there is one way to draw and nothing to choose: give more samplers, step counts or guidance")
    folder.mkdir(parents=True, exist_ok=True)
    ends = search.clock() + 60 * search.minutes
    bench = _Bench(search, loaded, folder, _reference(search))
    chance = generator_for(search.seed, HELD_OUT, _REFERENCE)
    first, *others = search.candidates
    field = [first, *(others[place] for place in chance.permutation(len(others)))]
    n, found = min(FIRST, search.most), dict[Candidate, Measured]()
    while True:
        for place, candidate in enumerate(field):
            if found and search.clock() >= ends and not bench.holds(candidate, n):
                break
            found[candidate] = bench.measured(candidate, n)
            score = found[candidate].score
            yield Progressed(
                f"round of {n} images, now {candidate.words}: {score.value:.4g}", place + 1, len(field), "candidates"
            )
        done = [found[one] for one in field if one in found and found[one].n == n]
        if len(done) < len(field) or n >= search.most or search.clock() >= ends:
            break
        field, n = _ahead(done), min(2 * n, search.most)
    waiting = len(search.candidates) - len(found)
    if waiting:
        yield Noted(
            f"the time was not enough for {waiting} of {len(search.candidates)} candidates; more --minutes goes on from here"
        )
    return _chosen(bench, list(found.values()), waiting)


def _ahead(done: Sequence[Measured]) -> list[Candidate]:
    """Half of them: first those that none is both quicker and better than, then the better ones."""
    front = [one for one in done if not any(_beats(other, one) for other in done)]
    rest = [one for one in sorted(done, key=_score) if one not in front]
    kept = max(min(LEAST, len(done)), len(done) // 2)
    return [one.candidate for one in [*sorted(front, key=_score), *rest][:kept]]


def _chosen(bench: "_Bench", found: list[Measured], waiting: int) -> Choice:
    """The best of those measured at the most images, as soon as there are two of them."""
    sizes = sorted({one.n for one in found}, reverse=True)
    n = next((size for size in sizes if sum(one.n >= size for one in found) > 1), sizes[-1])
    finalists = [one for one in found if one.n >= n]
    best = min(finalists, key=_score)
    level = [one for one in finalists if one is best or bench.sure(best, one) < SURE]
    ordered = sorted(found, key=lambda one: (-one.n, one.score.value))
    return Choice(tuple(ordered), best, tuple(sorted(level, key=_speed)), waiting, n)


def _score(one: Measured) -> float:
    return one.score.value


def _speed(one: Measured) -> float:
    return -one.images_per_second


def _beats(one: Measured, other: Measured) -> bool:
    return one.images_per_second > other.images_per_second and one.score.value < other.score.value


def _reference(search: Search) -> Described:
    count = min(len(search.real), search.most)
    rows = generator_for(search.seed, HELD_OUT, _REFERENCE).permutation(len(search.real))[:count]
    return search.features.describe(np.asarray(search.real.pixels[rows]), BATCH)


@dataclass(frozen=True)
class _Bench:
    """Draws, describes, scores, and keeps."""

    search: Search
    loaded: Loaded
    folder: Path
    real: Described

    def measured(self, candidate: Candidate, n: int) -> Measured:
        """The candidate at n images; those it drew before are not drawn again."""
        described, seconds = self._kept(candidate)
        if len(described) < n:
            fresh, took = self._drawn(candidate, range(len(described), n))
            described = np.concatenate([described, fresh]) if len(described) else fresh
            seconds += took
            self._keep(candidate, described, seconds)
        speed = len(described) / max(seconds, 1e-9)
        return Measured(candidate, n, self._scored(described[:n]), speed, evaluations(candidate.drawing))

    def holds(self, candidate: Candidate, n: int) -> bool:
        """Whether nothing would have to be drawn."""
        return len(self._kept(candidate)[0]) >= n

    def sure(self, one: Measured, other: Measured) -> float:
        """Probability that `one` is better, by the images that both drew from the same noise."""
        n = min(one.n, other.n)
        first, second = (self._kept(it.candidate)[0][:n] for it in (one, other))
        return kernel_contest(self.real, first, second, self.search.rounds, self.search.seed).first_better

    def _drawn(self, candidate: Candidate, rows: range) -> tuple[Described, float]:
        model, card = self.loaded(candidate.weights)
        device, told = next(model.parameters()).device, labels_for(card, self.search.seed, self.search.most)
        said = captions_for(card, self.search.held_out, [card.labels[label] for label in told])
        pixels, seconds = [], 0.0
        for at in range(rows.start, rows.stop, BATCH):
            some = range(at, min(at + BATCH, rows.stop))
            labels, captions = [told[row] for row in some], None if said is None else [said[row] for row in some]
            began = self.search.clock()
            drawn = draw_rows(model, card, labels, self.search.seed, some, candidate.drawing, captions, device=device)
            pixels.append(drawn)
            seconds += self.search.clock() - began
        return self.search.features.describe(np.concatenate(pixels), BATCH), seconds

    def _scored(self, described: Described) -> Estimate:
        chance = generator_for(self.search.seed, HELD_OUT, _RESAMPLING)
        sets = TwoSets(self.real, described)
        return KernelDistance(kind="kernel_distance").estimate(sets, self.search.rounds, chance)

    def _kept(self, candidate: Candidate) -> tuple[NDArray[np.float32], float]:
        file = self.folder / f"{candidate.key}.npz"
        if not file.exists():
            return np.empty((0, 0), np.float32), 0.0
        with np.load(file, allow_pickle=False) as content:
            return content["described"], float(content["seconds"])

    def _keep(self, candidate: Candidate, described: Described, seconds: float) -> None:
        file = self.folder / f"{candidate.key}.npz"
        with file.with_suffix(".partial").open("wb") as partial:
            np.savez(partial, described=described, seconds=np.float64(seconds))
        file.with_suffix(".partial").replace(file)


def identity(facts: Mapping[str, Any]) -> str:
    """A name for the folder of a search: measurements with other weights, images, features or seeds do not mix."""
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def write_choice(choice: Choice, weights_digest: str, folder: Path) -> None:
    """choice.json with all that was measured of the model with these weights, and curve.png: speed against quality."""
    told = [
        {
            "drawing": one.candidate.drawing.model_dump(mode="json"),
            "weights": one.candidate.weights.model_dump(mode="json"),
            "n": one.n,
            "kernel_distance": one.score._asdict(),
            "images_per_second": round(one.images_per_second, 3),
            "evaluations": one.evaluations,
            "front": one in choice.front,
            "level_with_best": one in choice.level,
        }
        for one in choice.measured
    ]
    content = {
        "weights_digest": weights_digest,
        "best": choice.best.candidate.words,
        "quickest_level": choice.quickest.candidate.words,
        "measured": told,
    }
    (folder / "choice.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    _plot(choice, folder / "curve.png")


def _plot(choice: Choice, file: Path) -> None:
    from matplotlib.figure import Figure  # imported here: it takes a second, and only the end of a search needs it

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for one in choice.measured:
        last = one.n >= choice.n
        below, above = one.score.value - one.score.low, one.score.high - one.score.value
        errors = [[max(below, 0)], [max(above, 0)]]
        tone = "#357" if last else "#bcc5cf"
        axes.errorbar(one.images_per_second, one.score.value, errors, fmt="o", color=tone, ms=6 if last else 4, lw=1, zorder=2)
    front = choice.front
    axes.plot([one.images_per_second for one in front], [one.score.value for one in front], "-", color="#c40", lw=1.5, zorder=1)
    rates = [one.images_per_second for one in choice.measured]
    least, most = min(rates) / 1.5, max(rates) * 1.5
    for one, word in {choice.quickest: "as good, quickest", choice.best: "best"}.items():
        right = one.images_per_second > (least * most) ** 0.5
        axes.annotate(
            f"{word}: {one.candidate.words}",
            (one.images_per_second, one.score.value),
            xytext=(-8 if right else 8, -14 if word == "best" else 10),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=8,
        )
    axes.set(
        xlabel="images per second (drawing alone)",
        ylabel=f"kernel distance (lower is better; n up to {choice.measured[0].n})",
        xscale="log",
        xlim=(least, most),
    )
    steps = (1, 1.5, 2, 3, 5, 7) if most < 40 * least else (1, 3)
    ticks = (step * 10.0**power for power in range(floor(log10(least)), ceil(log10(most))) for step in steps)
    axes.set_xticks([tick for tick in ticks if least < tick < most])
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_title("Every way of drawing; the line joins those that none is both quicker and better than", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=110, metadata={"Software": None})
