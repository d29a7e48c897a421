"""Metrics: pure functions of two sets of features, real [n, d] and made [m, d]. Nothing here knows a model or a file.

Every figure is read beside its floor: what real images that no model has seen score against the same reference, at the
same n. To add a metric: write the class, name it in the union at the end of this file.
"""

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveInt

from darkroom import kernels
from darkroom.evaluation import discrepancy, frechet
from darkroom.evaluation.figures import Better, Estimate, jackknife, percentiles, wilson
from darkroom.evaluation.neighbourhoods import Described, Hits, TwoSets, wide
from darkroom.sections import Section

GROUPS = 10  # of images, for figures whose interval comes from leaving one out
COPIES = "nearer to the training images than unseen real ones are: look for copies, or for little variety"


class KernelDistance(Section):
    """Kernel distance (KID): unbiased squared MMD with a cubic kernel (Binkowski et al. 2018, arXiv 1801.01401) x 1000.

    Their kernel (x.y / d + 1)^3 is meant for features whose d coordinates are of size 1. Ours have length 1, which is
    theirs divided by the root of d: x.y takes the place of x.y / d. (Divided by d once more, the cube would be a
    straight line and the figure a few millionths.) Unbiased: its mean is 0 where both sets come from one distribution,
    at any n; so single figures may lie below 0.
    """

    kind: Literal["kernel_distance"]
    short: ClassVar[str] = "kd"
    better: ClassVar[Better] = "lower"
    fewest: ClassVar[int] = 8
    own_lengths: ClassVar[bool] = False
    meaning: ClassVar[str] = "how far the generated images are from the training images as a whole (0: not at all)"
    beyond: ClassVar[str] = COPIES

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> squared MMD x 1000."""
        return kernels.discrepancy(kernels.cubic, real, made)

    def estimate(self, sets: TwoSets, rounds: int, chance: np.random.Generator) -> Estimate:
        """With the 95 % percentile interval of the bootstrap over images of both sets.

        Near 0 it is up to 1.7 times as wide as need be (there the statistic is degenerate: Arcones & Gine 1992), so
        it errs towards seeing no difference; away from 0 it has the right width.
        """
        return discrepancy.estimate(kernels.cubic, sets, rounds, chance)


class Cmmd(Section):
    """CMMD (Jayasumana et al. 2024, arXiv 2401.09603): squared MMD with a Gaussian kernel of width 10 on CLIP's features, x 1000.

    Unbiased here; the paper's adds each image's likeness to itself, which lies above ours by a few hundredths at n = 100.
    """

    kind: Literal["cmmd"]
    short: ClassVar[str] = "cmmd"
    better: ClassVar[Better] = "lower"
    fewest: ClassVar[int] = 8
    own_lengths: ClassVar[bool] = False
    meaning: ClassVar[str] = "how far the generated images are from the training images, as CLIP sees them (0: not at all)"
    beyond: ClassVar[str] = COPIES

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> squared MMD x 1000."""
        return kernels.discrepancy(kernels.gaussian, real, made)

    def estimate(self, sets: TwoSets, rounds: int, chance: np.random.Generator) -> Estimate:
        """With its interval, as that of the kernel distance."""
        return discrepancy.estimate(kernels.gaussian, sets, rounds, chance)


class FrechetDistance(Section):
    """Frechet distance of the network's own features (FID where they are Inception's). Mostly bias below 5,000 images."""

    kind: Literal["frechet_distance"]
    short: ClassVar[str] = "fd"
    better: ClassVar[Better] = "lower"
    fewest: ClassVar[int] = 5000
    own_lengths: ClassVar[bool] = True
    meaning: ClassVar[str] = "distance from the training images, both taken for normal distributions; depends on n"
    beyond: ClassVar[str] = COPIES

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> distance."""
        first, second = frechet.in_groups(real, made, 1)
        return frechet.distance(first[0], second[0])

    def estimate(self, sets: TwoSets, rounds: int, chance: np.random.Generator) -> Estimate:
        """With the interval of leaving out each tenth of both sets: a bootstrap would add bias, and take a thousand distances."""
        first, second = frechet.in_groups(sets.real, sets.made, GROUPS)
        one, two = sum(first[1:], first[0]), sum(second[1:], second[0])
        return jackknife(
            frechet.distance(one, two), GROUPS, lambda group: frechet.distance(one - first[group], two - second[group])
        )


class FrechetInfinite(Section):
    """Frechet distance for infinitely many images (Chong & Forsyth 2020, arXiv 1911.07023): free of most of the bias in n."""

    kind: Literal["frechet_infinite"]
    short: ClassVar[str] = "fd_infinite"
    better: ClassVar[Better] = "lower"
    fewest: ClassVar[int] = 5000
    own_lengths: ClassVar[bool] = True
    meaning: ClassVar[str] = "the Frechet distance that infinitely many images would have; may lie a little below 0"
    beyond: ClassVar[str] = COPIES

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> distance."""
        return frechet.infinite(*frechet.in_groups(real, made, GROUPS))

    def estimate(self, sets: TwoSets, rounds: int, chance: np.random.Generator) -> Estimate:
        """With the interval of leaving out each tenth of both sets."""
        first, second = frechet.in_groups(sets.real, sets.made, GROUPS)

        def without(group: int) -> float:
            return frechet.infinite(first[:group] + first[group + 1 :], second[:group] + second[group + 1 :])

        return jackknife(frechet.infinite(first, second), GROUPS, without)


def _of_share(hits: Hits) -> Estimate:
    """A share, with its interval over the images counted, the neighbourhoods held as they are."""
    return Estimate(float(hits.mean()), *wilson(int(hits.sum()), len(hits)))


class Precision(Section):
    """Share of made images in the k-neighbourhood of a real one (Kynkaanniemi et al. 2019, arXiv 1904.06991)."""

    kind: Literal["precision"]
    k: PositiveInt
    short: ClassVar[str] = "precision"
    better: ClassVar[Better] = "higher"
    own_lengths: ClassVar[bool] = False
    meaning: ClassVar[str] = "share of generated images that look like some training image"
    beyond: ClassVar[str] = COPIES

    @property
    def fewest(self) -> int:
        """Images on each side."""
        return self.k + 1

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> share."""
        return self.estimate(TwoSets(real, made)).value

    def estimate(self, sets: TwoSets, rounds: int = 0, chance: np.random.Generator | None = None) -> Estimate:
        """With its Wilson interval over the made images."""
        return _of_share(sets.neighbourhoods(self.k).made_near_real > 0)


class Recall(Section):
    """Share of real images in the k-neighbourhood of a made one (Kynkaanniemi et al. 2019, arXiv 1904.06991)."""

    kind: Literal["recall"]
    k: PositiveInt
    short: ClassVar[str] = "recall"
    better: ClassVar[Better] = "higher"
    own_lengths: ClassVar[bool] = False
    meaning: ClassVar[str] = "share of training images that look like some generated image"
    beyond: ClassVar[str] = COPIES

    @property
    def fewest(self) -> int:
        """Images on each side."""
        return self.k + 1

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> share."""
        return self.estimate(TwoSets(real, made)).value

    def estimate(self, sets: TwoSets, rounds: int = 0, chance: np.random.Generator | None = None) -> Estimate:
        """With its Wilson interval over the real images."""
        return _of_share(sets.neighbourhoods(self.k).real_near_made)


class Density(Section):
    """In how many k-neighbourhoods of real images a made image lies, over k (Naeem et al. 2020, arXiv 2002.09797).

    About 1 for real images; more than 1 where the made images crowd where the real ones are dense.
    """

    kind: Literal["density"]
    k: PositiveInt
    short: ClassVar[str] = "density"
    better: ClassVar[Better] = "higher"
    own_lengths: ClassVar[bool] = False
    meaning: ClassVar[str] = "how densely training images lie around the generated ones (1: as among themselves)"
    beyond: ClassVar[str] = COPIES

    @property
    def fewest(self) -> int:
        """Images on each side."""
        return self.k + 1

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> mean count over k."""
        return float(TwoSets(real, made).neighbourhoods(self.k).made_near_real.mean() / self.k)

    def estimate(self, sets: TwoSets, rounds: int, chance: np.random.Generator) -> Estimate:
        """With the 95 % percentile interval of the bootstrap over the made images, the neighbourhoods held as they are."""
        counts = sets.neighbourhoods(self.k).made_near_real / self.k
        means = [counts[chance.integers(0, len(counts), len(counts))].mean() for _ in range(rounds)]
        return Estimate(float(counts.mean()), *percentiles(np.array(means)))


class Coverage(Section):
    """Share of real images with a made one in their k-neighbourhood (Naeem et al. 2020, arXiv 2002.09797)."""

    kind: Literal["coverage"]
    k: PositiveInt
    short: ClassVar[str] = "coverage"
    better: ClassVar[Better] = "higher"
    own_lengths: ClassVar[bool] = False
    meaning: ClassVar[str] = "share of training images that have a generated image close by: is anything left out?"
    beyond: ClassVar[str] = COPIES

    @property
    def fewest(self) -> int:
        """Images on each side."""
        return self.k + 1

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> share."""
        return self.estimate(TwoSets(real, made)).value

    def estimate(self, sets: TwoSets, rounds: int = 0, chance: np.random.Generator | None = None) -> Estimate:
        """With its Wilson interval over the real images."""
        return _of_share(sets.neighbourhoods(self.k).real_with_made)


class Vendi(Section):
    """Vendi score: how many wholly different images the made ones amount to (Friedman & Dieng 2023, arXiv 2210.02410).

    The exponential of the entropy of the eigenvalues of X X' / n, whose entries are cosines. Knows no reference; grows with n.
    """

    kind: Literal["vendi"]
    short: ClassVar[str] = "vendi"
    better: ClassVar[Better] = "higher"
    fewest: ClassVar[int] = 8
    own_lengths: ClassVar[bool] = False
    meaning: ClassVar[str] = "how varied the generated images are: as varied as this many wholly different ones"
    beyond: ClassVar[str] = "more varied than real images: noise, or mixtures of what real images keep apart"

    def score(self, real: Described, made: Described) -> float:
        """[n, d], [m, d] -> number of images, from 1 to m."""
        return _vendi(made)

    def estimate(self, sets: TwoSets, rounds: int, chance: np.random.Generator) -> Estimate:
        """With the interval of leaving out each tenth: an image drawn twice would count as little variety."""
        places = np.array_split(chance.permutation(len(sets.made)), min(GROUPS, len(sets.made)))
        return jackknife(_vendi(sets.made), len(places), lambda group: _vendi(np.delete(sets.made, places[group], axis=0)))


def _vendi(made: Described) -> float:
    rows = wide(made)
    smaller = rows.T @ rows if rows.shape[1] < len(rows) else rows @ rows.T  # the same eigenvalues but for zeros
    eigenvalues = np.linalg.eigvalsh(smaller / len(rows)).clip(0)
    shares = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
    return math.exp(-float((shares * np.log(shares)).sum()))


Metric = Annotated[
    KernelDistance | Cmmd | FrechetDistance | FrechetInfinite | Precision | Recall | Density | Coverage | Vendi,
    Field(discriminator="kind"),
]
