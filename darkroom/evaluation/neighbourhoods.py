"""Who lies near whom in two sets of features, block by block: no more than `BLOCK` rows of distances are held at once."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from darkroom.evaluation.figures import Numbers

Described = NDArray[np.float32]
Hits = NDArray[np.bool_]

BLOCK = 1024  # rows of distances held at once


@dataclass(frozen=True, slots=True)
class Neighbourhoods:
    """What the k-neighbourhoods of real and of made images hold. A neighbourhood reaches to the k-th nearest of its own set."""

    made_near_real: NDArray[np.int64]  # [m] in how many neighbourhoods of real images each made one lies
    real_near_made: Hits  # [n] whether each real image lies in one of a made image
    real_with_made: Hits  # [n] whether a made image lies in the neighbourhood of each real one


@dataclass(frozen=True)
class TwoSets:
    """Features of real [n, d] and of made images [m, d]; neighbourhoods are found once for all metrics that ask."""

    real: Described
    made: Described
    _found: dict[int, Neighbourhoods] = field(default_factory=dict)

    def neighbourhoods(self, k: int) -> Neighbourhoods:
        """Raises ValueError unless there are more than k images in either set."""
        if k not in self._found:
            self._found[k] = neighbourhoods(self.real, self.made, k)
        return self._found[k]


def neighbourhoods(real: Described, made: Described, k: int) -> Neighbourhoods:
    """[n, d], [m, d] -> who lies in whose neighbourhood. Raises ValueError."""
    of_real, of_made = radii(real, k), radii(made, k)
    counts = np.zeros(len(made), np.int64)
    near_made, with_made = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for at in range(0, len(real), BLOCK):
        rows = slice(at, at + BLOCK)
        apart = distances(real[rows], made)
        within = apart <= of_real[rows, None]
        counts += within.sum(0)
        with_made[rows] = within.any(1)
        near_made[rows] = (apart <= of_made).any(1)
    return Neighbourhoods(counts, near_made, with_made)


def distances(first: Described, second: Described) -> Numbers:
    """Euclidean distances. [n, d], [m, d] -> [n, m]"""
    one, two = wide(first), wide(second)
    squared: Numbers = one @ two.T
    squared *= -2
    squared += (one**2).sum(1)[:, None]
    squared += (two**2).sum(1)
    apart: Numbers = np.sqrt(squared.clip(0, out=squared), out=squared)
    return apart


def radii(described: Described, k: int) -> Numbers:
    """Distance of each row to its k-th nearest other row. [n, d] -> [n]. Raises ValueError unless k < n."""
    if k >= len(described):
        raise ValueError(f"k = {k} nearest neighbours need more than {k} images; there are {len(described)}")
    found = np.empty(len(described))
    for at in range(0, len(described), BLOCK):
        among = distances(described[at : at + BLOCK], described)
        own = np.arange(len(among))
        among[own, at + own] = np.inf
        found[at : at + BLOCK] = np.partition(among, k - 1, axis=1)[:, k - 1]
    return found


def wide(described: Described) -> Numbers:
    """The same in double precision."""
    return described.astype(np.float64)
