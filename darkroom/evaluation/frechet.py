"""Frechet distance between two sets of features, each taken for a normal distribution; its value for infinitely many images.

By eigenvalues of one symmetric matrix, never by a matrix square root.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.evaluation.figures import Numbers
from darkroom.evaluation.neighbourhoods import Described, wide


@dataclass(frozen=True, slots=True)
class Moments:
    """Of `n` rows: their sum [d] and the sum of their outer products [d, d]. Moments of two groups add up."""

    n: int
    total: Numbers
    products: Numbers

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.n + other.n, self.total + other.total, self.products + other.products)

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(self.n - other.n, self.total - other.total, self.products - other.products)

    @property
    def mean(self) -> Numbers:
        """[d]"""
        return self.total / self.n

    @property
    def covariance(self) -> Numbers:
        """Unbiased. [d, d]"""
        return (self.products - np.outer(self.total, self.mean)) / (self.n - 1)


def moments(described: Described, centre: Numbers) -> Moments:
    """Of rows less `centre`: near the middle of the data, few digits cancel. [n, d], [d]"""
    rows = wide(described) - centre
    return Moments(len(rows), rows.sum(0), rows.T @ rows)


def in_groups(real: Described, made: Described, groups: int) -> tuple[list[Moments], list[Moments]]:
    """Moments of both sets in `groups` parts of equal size (they may differ by one image), images in the order given."""
    centre = wide(real).mean(0)
    first, second = ([moments(part, centre) for part in np.array_split(rows, groups)] for rows in (real, made))
    return first, second


def distance(first: Moments, second: Moments) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson & Landau 1982; Heusel et al. 2017, arXiv 1706.08500, equation 6)."""
    apart = first.mean - second.mean
    one, two = first.covariance, second.covariance
    return float(apart @ apart + np.trace(one) + np.trace(two) - 2 * _root_of_product(one, two))


def _root_of_product(one: Numbers, two: Numbers) -> float:
    """tr((C1 C2)^(1/2)): with C1 = F F', the products C1 C2 and F' C2 F have the same eigenvalues, the second is symmetric."""
    try:
        factor = np.linalg.cholesky(one)
    except np.linalg.LinAlgError:  # fewer images than dimensions, or a feature that never changes
        values, vectors = np.linalg.eigh(one)
        factor = vectors * np.sqrt(values.clip(0))
    eigenvalues = np.linalg.eigvalsh(factor.T @ two @ factor)
    return float(np.sqrt(eigenvalues.clip(0)).sum())


def infinite(first: Sequence[Moments], second: Sequence[Moments]) -> float:
    """Frechet distance for infinitely many images: the straight line in 1 / n through its values at half of the groups up
    to all of them, at 1 / n = 0 (Chong & Forsyth 2020, arXiv 1911.07023; both sets grow together here, so neither's bias stays).
    """
    ones, twos = _running(first), _running(second)
    chosen = range((len(first) - 1) // 2, len(first))
    values = [distance(ones[at], twos[at]) for at in chosen]
    _, value = np.polyfit([1 / ones[at].n for at in chosen], values, 1)
    return float(value)


def _running(parts: Sequence[Moments]) -> list[Moments]:
    """Moments of the first part, of the first two, of the first three..."""
    found = [parts[0]]
    for part in parts[1:]:
        found.append(found[-1] + part)
    return found
