"""Act three: figures out of features, over all images, label by label, and as they settle with more images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from darkroom.evaluation.figures import Estimate, Figure, mean_of
from darkroom.evaluation.metrics import Metric
from darkroom.evaluation.neighbourhoods import Described, TwoSets
from darkroom.features.features import Features
from darkroom.randomness import HELD_OUT, generator_for

FEWEST_OF_LABEL = 20  # images on each side below which a label gets no figures of its own
SHARES = (0.125, 0.25, 0.5, 1.0)  # of n, at which the course of a figure is taken
COURSE_ROUNDS = 200
_RESAMPLING = 2  # position in the stream of random numbers; 0 and 1 order the real images


@dataclass(frozen=True)
class DescribedSets:
    """Raw features of real images to compare with, of unseen real ones, and of made ones for each seed; all of n images.

    The labels that each was given, or told, beside them.
    """

    features: Features
    reference: Described
    unseen: Described
    made: tuple[Described, ...]
    reference_labels: NDArray[np.str_]
    unseen_labels: NDArray[np.str_]
    made_labels: tuple[NDArray[np.str_], ...]

    @property
    def n(self) -> int:
        """Images on each side."""
        return len(self.reference)

    def first(self, n: int) -> "DescribedSets":
        """The first n images on each side."""
        return replace(
            self,
            reference=self.reference[:n],
            unseen=self.unseen[:n],
            made=tuple(one[:n] for one in self.made),
            reference_labels=self.reference_labels[:n],
            unseen_labels=self.unseen_labels[:n],
            made_labels=tuple(one[:n] for one in self.made_labels),
        )

    def of_label(self, label: str) -> "DescribedSets":
        """Images with this label, as many of each set as there are in the smallest."""
        wanted = [self.reference_labels == label, self.unseen_labels == label, *(one == label for one in self.made_labels)]
        n = min(int(mask.sum()) for mask in wanted)
        rows = [np.flatnonzero(mask)[:n] for mask in wanted]
        sets = [one[at] for one, at in zip((self.reference, self.unseen, *self.made), rows, strict=True)]
        names = np.full(n, label)
        return replace(
            self,
            reference=sets[0],
            unseen=sets[1],
            made=tuple(sets[2:]),
            reference_labels=names,
            unseen_labels=names,
            made_labels=(names,) * len(self.made),
        )


@dataclass(frozen=True)
class Scored:
    """Figures by metric, and why others were refused."""

    figures: dict[str, Figure]
    refused: dict[str, str]


class ScoringError(ValueError):
    """A metric cannot be taken of these features at all."""


def scored(metrics: Sequence[Metric], sets: DescribedSets, rounds: int, seed: int) -> Scored:
    """Every metric's figure of made images, beside that of unseen real ones against the same reference."""
    figures: dict[str, Figure] = {}
    refused: dict[str, str] = {}
    pairs = {own: _pairs(sets, own) for own in {metric.own_lengths for metric in metrics}}
    for metric in metrics:
        fewest = max(metric.fewest, sets.reference.shape[1] + 1 if metric.own_lengths else 0)
        if sets.n < fewest:
            refused[metric.kind] = _refusal(metric, fewest, sets)
            continue
        found = [metric.estimate(pair, rounds, generator_for(seed, HELD_OUT, _RESAMPLING)) for pair in pairs[metric.own_lengths]]
        made, floor = _steady(mean_of(found[1:])), _steady(found[0])
        name = sets.features.name
        figures[metric.kind] = Figure(
            sets.n, sets.n, made, floor, metric.better, metric.meaning, f"{metric.short}_{name}", name, metric.beyond
        )
    return Scored(figures, refused)


def _pairs(sets: DescribedSets, own_lengths: bool) -> list[TwoSets]:
    """Unseen real images, then those made from each seed, each beside the reference."""
    prepared = [one if own_lengths else sets.features.scaled(one) for one in (sets.reference, sets.unseen, *sets.made)]
    return [TwoSets(prepared[0], one) for one in prepared[1:]]


def _refusal(metric: Metric, fewest: int, sets: DescribedSets) -> str:
    width, name = sets.reference.shape[1], f"{metric.short}_{sets.features.name}"
    if metric.own_lengths:
        return (
            f"{name} is not given at n = {sets.n:,}: below {fewest:,} images it says more of n than of the images (the features "
            f"are {width:,} numbers); kernel_distance means something at this n"
        )
    return f"{name} is not given at n = {sets.n:,}: it needs at least {fewest:,} images on each side; kernel_distance needs 8"


def by_label(metrics: Sequence[Metric], sets: DescribedSets, rounds: int, seed: int) -> dict[str, Scored]:
    """The same for each label; where there are too few images of one, the refusal says so under the name `all`."""
    found = {}
    for label in sorted(set(sets.reference_labels.tolist()) | set(sets.made_labels[0].tolist())):
        one = sets.of_label(label)
        if one.n >= FEWEST_OF_LABEL:
            found[label] = scored([metric for metric in metrics if not metric.own_lengths], one, rounds, seed)
        else:
            found[label] = Scored({}, {"all": f"n = {one.n} images of it on each side; figures need {FEWEST_OF_LABEL}"})
    return found


def course(metric: Metric, sets: DescribedSets, seed: int) -> list[tuple[int, Estimate, Estimate]]:
    """How a figure settles: (n, made, floor) at an eighth of the images, a quarter, half, all. Empty where there are too few."""
    found = []
    for n in sorted({round(share * sets.n) for share in SHARES}):
        figure = scored([metric], sets.first(n), COURSE_ROUNDS, seed).figures.get(metric.kind)
        if figure is not None:
            found.append((n, figure.made, figure.floor))
    return found


def _steady(it: Estimate) -> Estimate:
    """Six digits that count: what differs with the number of threads lies far behind them."""
    return Estimate(*(float(f"{number:.6g}") for number in it))
