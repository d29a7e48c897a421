"""Memorisation: is a generated image a training image? Nearest neighbours in pixels, beside those of held-out images.

Two rules, each a share with its interval. The ratio rule needs a training set without duplicates (curate removes them):
where two copies of one image are kept, a copy has two equally near neighbours and the ratio hides it. Copies that are
mirrored or shifted are not found by either rule.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.evaluation.figures import Estimate, Interval, Numbers, wilson
from darkroom.images import Pixels

MOST_SIDE = 32  # larger images are compared at this size: a copy is a copy there as well
BLOCK = 1024  # images compared at once
GAP = 1 / 3  # Yoon et al. 2023; Gu et al. 2023 (arXiv 2310.02664); Bonnaire et al. 2025
QUANTILE = 0.01


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest training image of each image: index [n]; L2 distances to it and to the second nearest [n].

    Distances are in units of the full range of one colour value (0..255 counts as 1).
    """

    index: NDArray[np.int64]
    nearest: Numbers
    second: Numbers

    @property
    def ratio(self) -> Numbers:
        """Nearest over second nearest, in [0, 1]; 0 where the image is in the training set exactly. [n]"""
        return np.divide(self.nearest, self.second, out=np.zeros_like(self.nearest), where=self.nearest > 0)


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
    copied: Share  # nearest training image at less than a third of the distance to the second nearest
    copied_held_out: Share
    too_near: Share  # nearer to the training set than the nearest hundredth of the held-out images
    too_near_held_out: Share


def nearest_training(pixels: Pixels, training: Pixels) -> Neighbours:
    """The two nearest training images of each image. uint8 [n, h, w, 3], [t, h, w, 3]; t >= 2 (else ValueError).

    Products of whole numbers in float64 are exact, so the result does not depend on blocks or threads.
    """
    index, distance = nearest_few(pixels, training, 2)
    nearest, second = (np.ascontiguousarray(column) for column in distance.T)
    return Neighbours(index[:, 0], nearest, second)


def nearest_few(pixels: Pixels, training: Pixels, count: int) -> tuple[NDArray[np.int64], Numbers]:
    """The `count` nearest training images of each image, nearest first; of equals the first. Indices and distances [n, count].

    Raises ValueError where there are fewer training images, or of another size.
    """
    if len(training) < count:
        raise ValueError(f"nearest neighbours need at least {count} training images; there are {len(training)}")
    if pixels.shape[1:] != training.shape[1:]:
        raise ValueError(f"images of {pixels.shape[1:]} cannot be compared with training images of {training.shape[1:]}")
    parts = [_nearest(_flat(pixels[at : at + BLOCK]), training, count) for at in range(0, len(pixels), BLOCK)]
    index, squared = (np.concatenate(part) for part in zip(*parts, strict=True))
    return index, np.sqrt(squared) / 255


def _nearest(rows: Numbers, training: Pixels, count: int) -> tuple[NDArray[np.int64], Numbers]:
    """Indices and squared distances of the nearest, nearest first; of equals the first. [n, count] each."""
    index, best = np.zeros((len(rows), count), np.int64), np.full((len(rows), count), np.inf)
    for at in range(0, len(training), BLOCK):
        block = _flat(training[at : at + BLOCK])
        squared = (rows**2).sum(1)[:, None] + (block**2).sum(1) - 2 * rows @ block.T
        places = np.broadcast_to(np.arange(at, at + len(block)), squared.shape)
        both, among = np.hstack([best, squared]), np.hstack([index, places])
        order = np.argsort(both, axis=1, kind="stable")[:, :count]
        index, best = np.take_along_axis(among, order, 1), np.take_along_axis(both, order, 1)
    return index, best


def _flat(pixels: Pixels) -> Numbers:
    """uint8 [n, h, w, 3] -> whole numbers as float64 [n, values], images shrunk to 32 pixels a side at most."""
    if max(pixels.shape[1:3]) > MOST_SIDE:
        shrunk = [Image.fromarray(image).resize((MOST_SIDE, MOST_SIDE), Image.Resampling.BOX) for image in pixels]
        pixels = np.stack([np.asarray(image) for image in shrunk])
    return pixels.reshape(len(pixels), -1).astype(np.float64)


def memorisation(made: Pixels, training: Pixels, held_out: Pixels) -> Memorisation:
    """Look for copies of training images among `made`, and among `held_out` for comparison. uint8 [.., h, w, 3] each.

    The second rule is calibrated on the held-out images: their own share is a hundredth at most, by construction (with
    fewer than 100 of them the bar is the nearest one). A model whose images are flat or blurred may come nearer to
    everything than real images do: look at the pairs before speaking of copies.
    """
    of_made, of_held_out = nearest_training(made, training), nearest_training(held_out, training)
    bar = np.quantile(of_held_out.nearest, QUANTILE, method="lower")
    return Memorisation(
        of_made,
        *(Share(int((found.ratio < GAP).sum()), len(found.index)) for found in (of_made, of_held_out)),
        *(Share(int((found.nearest < bar).sum()), len(found.index)) for found in (of_made, of_held_out)),
    )
