"""Maximum mean discrepancy of two sets of features with its interval."""

import numpy as np

from darkroom.evaluation.figures import Estimate, percentiles
from darkroom.evaluation.neighbourhoods import TwoSets
from darkroom.kernels import Kernel, resampled


def estimate(kernel: Kernel, sets: TwoSets, rounds: int, chance: np.random.Generator) -> Estimate:
    """The same with the 95 % percentile interval of the bootstrap over images of both sets."""
    sizes = (len(sets.real), len(sets.made))
    drawn = (np.vstack([np.ones(n), chance.multinomial(n, np.full(n, 1 / n), rounds)]) for n in sizes)
    found = resampled(kernel, sets.real, sets.made, *drawn)
    return Estimate(float(found[0]), *percentiles(found[1:]))
