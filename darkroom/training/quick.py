"""A quick score of a sample sheet, while training goes on: no image is drawn for it, no random number, no network asked."""

import numpy as np
import torch
from torch.nn.functional import interpolate

from darkroom.images import ImageSet, Pixels, spread
from darkroom.kernels import Rows, cubic, discrepancy

SIDE = 16  # pixels a side at which images are compared
NAME = f"kd_pixels_{SIDE}"
REAL = 256  # training images, evenly spread over the set


def quick_scores(sheet: Pixels, training: ImageSet, held_out: ImageSet) -> tuple[float, float] | None:
    """Kernel distance in small pixels of a sheet's images [n, s, s, 3] to training images, and that of as many held-out ones.

    It sees colours and layout, not content, and n is small: the sheet's noise is always the same, so its course over the
    training means more than its value. Six digits that count. None where there are too few images of either kind.
    """
    if min(len(sheet), len(training), len(held_out)) < 2:
        return None
    real = _described(_spread(training, REAL))
    scores = (discrepancy(cubic, real, _described(pixels)) for pixels in (sheet, _spread(held_out, len(sheet))))
    made, floor = (float(f"{score:.6g}") for score in scores)
    return made, floor


def _spread(images: ImageSet, count: int) -> Pixels:
    rows = spread(len(images), count)
    return np.asarray(images.pixels[rows])


def _described(pixels: Pixels) -> Rows:
    """Values from -1 to 1 over the root of their count: a product of two rows is a mean. [n, SIDE * SIDE * 3]"""
    images = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
    small = interpolate(images, size=(SIDE, SIDE), mode="bilinear", antialias=True) / 127.5 - 1
    return np.asarray(small.flatten(1).numpy() / (3 * SIDE * SIDE) ** 0.5, np.float32)
