"""Kernels on features, and the maximum mean discrepancy of two sets of them (Gretton et al. 2012), unbiased and resampled."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Rows = NDArray[np.float32]  # features, one image a row
Kernel = Callable[[Numbers], Numbers]  # of inner products of rows of length 1

BLOCK = 1024  # rows of the kernel held at once


def cubic(products: Numbers) -> Numbers:
    """(x.y + 1)^3"""
    products += 1
    cubes: Numbers = products**2
    cubes *= products
    return cubes


def gaussian(products: Numbers) -> Numbers:
    """exp(-|x - y|^2 / (2 * 10^2)); |x - y|^2 = 2 - 2 x.y"""
    kernel: Numbers = np.exp((products - 1) / 10**2)
    return kernel


def discrepancy(kernel: Kernel, real: Rows, made: Rows) -> float:
    """[n, d], [m, d] -> squared MMD x 1000. Raises ValueError for fewer than 2 rows."""
    once = (np.ones((1, len(real))), np.ones((1, len(made))))
    return float(resampled(kernel, real, made, *once)[0])


def resampled(kernel: Kernel, real: Rows, made: Rows, of_real: Numbers, of_made: Numbers) -> Numbers:
    """Squared MMD x 1000 for each row of weights: how often each image was drawn. [rounds, n], [rounds, m] -> [rounds]

    An image drawn twice is not compared with itself: such pairs would make every resampled set look too narrow. The kernel is
    made in blocks of rows, so that memory is for rounds x n numbers and not for n x n.
    """
    if min(len(real), len(made)) < 2:
        raise ValueError("a kernel distance needs at least 2 images on each side")
    first, second = real.astype(np.float64), made.astype(np.float64)

    def within(rows: Numbers, weights: Numbers) -> Numbers:
        sums = np.zeros(len(weights))
        for at, block in _blocks(rows):
            values = kernel(block @ rows.T)
            values[np.arange(len(block)), at + np.arange(len(block))] = 0
            sums += np.einsum("rn,rn->r", weights[:, at : at + len(block)] @ values, weights)
        mean: Numbers = sums / (weights.sum(1) ** 2 - (weights**2).sum(1))
        return mean

    across = np.zeros(len(of_real))
    for at, block in _blocks(first):
        across += np.einsum("rm,rm->r", of_real[:, at : at + len(block)] @ kernel(block @ second.T), of_made)
    across /= of_real.sum(1) * of_made.sum(1)
    squared: Numbers = within(first, of_real) + within(second, of_made) - 2 * across
    return 1000 * squared


def _blocks(rows: Numbers) -> Iterator[tuple[int, Numbers]]:
    for at in range(0, len(rows), BLOCK):
        yield at, rows[at : at + BLOCK]
