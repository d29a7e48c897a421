"""Figures: a score with its interval, its floor, and how to read one beside the other."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Better = Literal["lower", "higher"]
Interval = tuple[float, float]

NORMAL_975 = 1.959963984540054  # 97.5 % quantile of the normal distribution: all intervals are 95 %
# The same of Student's distribution, by degrees of freedom (1 to 9).
STUDENT_975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)


class Estimate(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A score of `n` made images with all that is needed to read it: `floor` is what `floor_n` held-out ones score.

    `name` is the honest one: the metric's short name and the features', such as `kd_efficientnet_lite0_64`. `beyond` says what it
    may mean if made images score better than real ones.
    """

    n: int
    floor_n: int
    made: Estimate
    floor: Estimate
    better: Better
    meaning: str
    name: str = ""
    features: str = ""
    beyond: str = "look for copies, or for little variety"

    @property
    def difference(self) -> Interval:
        """95 % interval of made less floor, from their two intervals (Zou & Donner 2008; for shares: Newcombe 1998).

        Both figures share their reference, which makes this careful rather than keen.
        """
        return difference(self.made, self.floor)

    @property
    def reading(self) -> Literal["worse", "level", "beyond"]:
        """Made against floor: `level` unless the interval of their difference leaves out 0."""
        low, high = self.difference
        if low <= 0 <= high:
            return "level"
        return "beyond" if (high < 0) == (self.better == "lower") else "worse"


def difference(first: Estimate, second: Estimate) -> Interval:
    """95 % interval of first less second, from their two intervals (Zou & Donner 2008)."""
    apart = first.value - second.value
    low = apart - math.hypot(first.value - first.low, second.high - second.value)
    return low, apart + math.hypot(first.high - first.value, second.value - second.low)


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """One estimate out of those of several seeds: means of value and ends.

    The interval is not narrowed by the number of seeds: they share the reference images, whose part no seed makes smaller.
    """
    return Estimate(*(float(np.mean(part)) for part in zip(*estimates, strict=True)))


def wilson(count: int, n: int) -> Interval:
    """95 % interval of a share of `count` in `n` (Wilson 1927), sound at 0 and at n. Raises ValueError for n = 0."""
    if n < 1:
        raise ValueError("a share of no images has no interval")
    share, z2 = count / n, NORMAL_975**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_975 / (1 + z2 / n) * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5
    return (0.0 if count == 0 else middle - half, 1.0 if count == n else middle + half)


def percentiles(values: Numbers) -> Interval:
    """The middle 95 % of bootstrapped values."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def jackknife(value: float, groups: int, without: Callable[[int], float]) -> Estimate:
    """`value` with its interval from `without(group)`, the same figure with one of 2 to 10 groups of images left out.

    For figures that a bootstrap spoils, since they mind an image that is drawn twice (Shao & Tu 1995, section 2.3).
    """
    left = np.array([without(group) for group in range(groups)])
    error = math.sqrt((groups - 1) / groups * float(((left - left.mean()) ** 2).sum()))
    half = STUDENT_975[groups - 2] * error
    return Estimate(value, value - half, value + half)
