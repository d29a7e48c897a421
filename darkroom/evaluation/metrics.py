"""Metrics: pure functions of two sets of features, real [n, d] and made [m, d]. Nothing here knows a model or a file.

Every figure is read beside its floor: what real images that no model has seen score against the same reference, at the
same n. To add a metric: write the class, name it in the union at the end of this file.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from darkroom.evaluation.features import Described
from darkroom.sections import Section

Numbers = NDArray[np.float64]
Hits = NDArray[np.bool_]
Better = Literal["lower", "higher"]
Interval = tuple[float, float]

NORMAL_975 = 1.959963984540054  # 97.5 % quantile of the normal distribution: all intervals are 95 %


class Estimate(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A score of `n` made images with all that is needed to read it: `floor` is what `floor_n` held-out ones score."""

    n: int
    floor_n: int
    made: Estimate
    floor: Estimate
    better: Better
    meaning: str

    @property
    def difference(self) -> Interval:
        """95 % interval of made less floor, from their two intervals (Zou & Donner 2008; for shares: Newcombe 1998).

        Both figures share their reference, which makes this careful rather than keen.
        """
        (made, made_low, made_high), (floor, floor_low, floor_high) = self.made, self.floor
        low = made - floor - math.hypot(made - made_low, floor_high - floor)
        return low, made - floor + math.hypot(made_high - made, floor - floor_low)

    @property
    def reading(self) -> Literal["worse", "level", "beyond"]:
        """Made against floor: `level` unless the interval of their difference leaves out 0."""
        low, high = self.difference
        if low <= 0 <= high:
            return "level"
        return "beyond" if (high < 0) == (self.better == "lower") else "worse"


def wilson(count: int, n: int) -> Interval:
    """95 % interval of a share of `count` in `n` (Wilson 1927), sound at 0 and at n. Raises ValueError for n = 0."""
    if n < 1:
        raise ValueError("a share of no images has no interval")
    share, z2 = count / n, NORMAL_975**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_975 / (1 + z2 / n) * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5
    return (0.0 if count == 0 else middle - half, 1.0 if count == n else middle + half)


def _percentiles(values: Numbers) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _wide(described: Described) -> Numbers:
    return described.astype(np.float64)


class KernelDistance(Section):
    """Kernel distance (KID): unbiased squared MMD with a cubic kernel (Binkowski et al. 2018, arXiv 1801.01401) x 1000.

    Their kernel (x.y / d + 1)^3 is meant for features whose d coordinates are of size 1. Ours have length 1, which is
    theirs divided by the root of d: x.y takes the place of x.y / d. (Divided by d once more, the cube would be a
    straight line and the figure a few millionths.) Unbiased: its mean is 0 where both sets come from one distribution,
    at any n; so single figures may lie below 0.
    """

    kind: Literal["kernel_distance"]
    better: ClassVar[Better] = "lower"
    meaning: ClassVar[str] = "how far the generated images are from the training images as a whole (0: not at all)"

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> squared MMD x 1000."""
        return float(self._resampled(real, made, np.ones((1, len(real))), np.ones((1, len(made))))[0])

    def interval(self, real: Described, made: Described, rounds: int, chance: np.random.Generator) -> Interval:
        """95 % percentile interval of the bootstrap over images of both sets.

        Near 0 it is up to 1.7 times as wide as need be (there the statistic is degenerate: Arcones & Gine 1992), so
        it errs towards seeing no difference; away from 0 it has the right width.
        """
        weights = [chance.multinomial(n, np.full(n, 1 / n), rounds).astype(np.float64) for n in (len(real), len(made))]
        return _percentiles(self._resampled(real, made, *weights))

    @staticmethod
    def _resampled(real: Described, made: Described, of_real: Numbers, of_made: Numbers) -> Numbers:
        """The figure for each row of weights: how often each image was drawn. [rounds, n], [rounds, m] -> [rounds]

        An image drawn twice is not compared with itself: such pairs would make every resampled set look too narrow.
        """
        if min(len(real), len(made)) < 2:
            raise ValueError("kernel_distance needs at least 2 images on each side")

        def within(rows: Numbers, weights: Numbers) -> Numbers:
            kernel = (rows @ rows.T + 1) ** 3
            np.fill_diagonal(kernel, 0)
            pairs = weights.sum(1) ** 2 - (weights**2).sum(1)
            mean: Numbers = np.einsum("rn,rn->r", weights @ kernel, weights) / pairs
            return mean

        first, second = _wide(real), _wide(made)
        across = np.einsum("rm,rm->r", of_real @ (first @ second.T + 1) ** 3, of_made)
        across /= of_real.sum(1) * of_made.sum(1)
        squared: Numbers = within(first, of_real) + within(second, of_made) - 2 * across
        return 1000 * squared


def distances(first: Described, second: Described) -> Numbers:
    """Euclidean distances. [n, d], [m, d] -> [n, m]"""
    one, two = _wide(first), _wide(second)
    squared: Numbers = (one**2).sum(1)[:, None] + (two**2).sum(1) - 2 * one @ two.T
    apart: Numbers = np.sqrt(squared.clip(0))
    return apart


def radii(described: Described, k: int) -> Numbers:
    """Distance of each row to its k-th nearest other row. [n, d] -> [n]. Raises ValueError unless k < n."""
    if k >= len(described):
        raise ValueError(f"k = {k} nearest neighbours need more than {k} images; there are {len(described)}")
    among = distances(described, described)
    np.fill_diagonal(among, np.inf)
    nearest: Numbers = np.partition(among, k - 1, axis=1)
    return nearest[:, k - 1]


def _share_interval(hits: Hits) -> Interval:
    """Interval over the images counted, with the neighbourhoods held as they are."""
    return wilson(int(hits.sum()), len(hits))


class Precision(Section):
    """Share of made images in the k-neighbourhood of a real one (Kynkaanniemi et al. 2019, arXiv 1904.06991)."""

    kind: Literal["precision"]
    k: PositiveInt
    better: ClassVar[Better] = "higher"
    meaning: ClassVar[str] = "share of generated images that look like some training image"

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> share."""
        return float(self._hits(real, made).mean())

    def interval(self, real: Described, made: Described, rounds: int, chance: np.random.Generator) -> Interval:
        """Wilson interval over the made images."""
        return _share_interval(self._hits(real, made))

    def _hits(self, real: Described, made: Described) -> Hits:
        hits: Hits = np.any(distances(real, made) <= radii(real, self.k)[:, None], axis=0)
        return hits


class Recall(Section):
    """Share of real images in the k-neighbourhood of a made one (Kynkaanniemi et al. 2019, arXiv 1904.06991)."""

    kind: Literal["recall"]
    k: PositiveInt
    better: ClassVar[Better] = "higher"
    meaning: ClassVar[str] = "share of training images that look like some generated image"

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> share."""
        return float(self._hits(real, made).mean())

    def interval(self, real: Described, made: Described, rounds: int, chance: np.random.Generator) -> Interval:
        """Wilson interval over the real images."""
        return _share_interval(self._hits(real, made))

    def _hits(self, real: Described, made: Described) -> Hits:
        hits: Hits = np.any(distances(real, made) <= radii(made, self.k), axis=1)
        return hits


class Density(Section):
    """In how many k-neighbourhoods of real images a made image lies, over k (Naeem et al. 2020, arXiv 2002.09797).

    About 1 for real images; more than 1 where the made images crowd where the real ones are dense.
    """

    kind: Literal["density"]
    k: PositiveInt
    better: ClassVar[Better] = "higher"
    meaning: ClassVar[str] = "how densely training images lie around the generated ones (1: as among themselves)"

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> mean count over k."""
        return float(self._counts(real, made).mean())

    def interval(self, real: Described, made: Described, rounds: int, chance: np.random.Generator) -> Interval:
        """95 % percentile interval of the bootstrap over the made images, with the neighbourhoods held as they are."""
        counts = self._counts(real, made)
        return _percentiles(counts[chance.integers(0, len(counts), (rounds, len(counts)))].mean(1))

    def _counts(self, real: Described, made: Described) -> Numbers:
        counts: Numbers = (distances(real, made) <= radii(real, self.k)[:, None]).sum(0) / self.k
        return counts


class Coverage(Section):
    """Share of real images with a made one in their k-neighbourhood (Naeem et al. 2020, arXiv 2002.09797)."""

    kind: Literal["coverage"]
    k: PositiveInt
    better: ClassVar[Better] = "higher"
    meaning: ClassVar[str] = "share of training images that have a generated image close by: is anything left out?"

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> share."""
        return float(self._hits(real, made).mean())

    def interval(self, real: Described, made: Described, rounds: int, chance: np.random.Generator) -> Interval:
        """Wilson interval over the real images."""
        return _share_interval(self._hits(real, made))

    def _hits(self, real: Described, made: Described) -> Hits:
        hits: Hits = distances(real, made).min(1) <= radii(real, self.k)
        return hits


Metric = Annotated[KernelDistance | Precision | Recall | Density | Coverage, Field(discriminator="kind")]
