"""Memorisation: is a generated image a training image? Nearest neighbours, beside those of held-out images.

In pixels and, where they are described, in features: pixels find exact copies, features those that were moved or recoloured.
Two rules, each a share with its interval. The ratio rule needs a training set without duplicates (curate removes them): where
two copies of one image are kept, a copy has two equally near neighbours and the ratio hides it. Mirrored copies are found where
they are asked for.
"""

from dataclasses import dataclass

import numpy as np

from darkroom.evaluation.figures import Estimate, Interval, wilson
from darkroom.evaluation.nearest import Neighbours, Shrunk, nearest_described, nearest_training
from darkroom.evaluation.neighbourhoods import Described
from darkroom.images import Pixels

GAP = 1 / 3  # Yoon et al. 2023; Gu et al. 2023 (arXiv 2310.02664); Bonnaire et al. 2025
QUANTILE = 0.01


@dataclass(frozen=True, slots=True)
class Share:
    """`count` images of `n`."""

    count: int
    n: int

    @property
    def value(self) -> float:
        """The share, in [0, 1]."""
        return self.count / self.n

    @property
    def interval(self) -> Interval:
        """Its 95 % interval (Wilson)."""
        return wilson(self.count, self.n)

    @property
    def estimate(self) -> Estimate:
        """Both."""
        return Estimate(*(float(f"{number:.6g}") for number in (self.value, *self.interval)))


@dataclass(frozen=True, slots=True)
class Memorisation:
    """What was found for generated images, and the same for held-out images, which are no copies of anything."""

    neighbours: Neighbours
    held_out: Neighbours  # of the held-out images
    copied: Share  # nearest training image at less than a third of the distance to the second nearest
    copied_held_out: Share
    too_near: Share  # nearer to the training set than the nearest hundredth of the held-out images
    too_near_held_out: Share


def memorisation(made: Pixels, training: Pixels | Shrunk, held_out: Pixels, mirrored: bool = False) -> Memorisation:
    """Look for copies of training images among `made`, and among `held_out` for comparison. uint8 [.., h, w, 3] each.

    `mirrored`: for mirrored copies too, at twice the time; right where training mirrors images. The second rule is calibrated
    on the held-out images: their own share is a hundredth at most, by construction (with fewer than 100 of them the bar is the
    nearest one). A model whose images are flat or blurred may come nearer to everything than real images do: look at the pairs
    before speaking of copies.
    """
    small = training if isinstance(training, Shrunk) else Shrunk(training)
    return _judged(*(nearest_training(pixels, small, mirrored) for pixels in (made, held_out)))


def memorisation_in_features(made: Described, training: Described, held_out: Described) -> Memorisation:
    """The same by features: [.., d] each."""
    return _judged(*(nearest_described(described, training) for described in (made, held_out)))


def nearer_than(distance: float, held_out: Neighbours) -> float:
    """Share of held-out images that lie further from every training image than `distance`: what makes a distance readable."""
    return float((held_out.nearest > distance).mean())


def _judged(made: Neighbours, held_out: Neighbours) -> Memorisation:
    bar = np.quantile(held_out.nearest, QUANTILE, method="lower")
    return Memorisation(
        made,
        held_out,
        *(Share(int((found.ratio < GAP).sum()), len(found.index)) for found in (made, held_out)),
        *(Share(int((found.nearest < bar).sum()), len(found.index)) for found in (made, held_out)),
    )
