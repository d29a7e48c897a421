"""Trace an image: which training images is it nearest to, and is that nearer than chance brings images of this kind?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from darkroom.curation.decoding import Colour
from darkroom.curation.examining import examine
from darkroom.curation.reading import Candidate
from darkroom.evaluation.nearest import Shrunk, nearest_few, nearest_training
from darkroom.images import ImageSet, Pixels, contact_sheet
from darkroom.shapes import Shape, canvas_of, framed

SCALED = 192  # pixels of each image in the picture
SUSPECT = 0.99  # share of held-out images that lie further away, from which an image looks like a copy


class Untraceable(ValueError):
    """An image that cannot be traced. The text says why."""


@dataclass(frozen=True, slots=True)
class Near:
    """A training image near the one that is traced.

    `distance`: L2 in units of the full range of a colour value; `nearer_than`: share of held-out images whose own nearest
    training image is further away.
    """

    path: str
    label: str
    distance: float
    nearer_than: float
    mirrored: bool
    pixels: Pixels  # [s, s, 3], as it was trained on


@dataclass(frozen=True)
class Trace:
    """An image in the size of the data set, and the training images near it, nearest first."""

    pixels: Pixels
    near: tuple[Near, ...]
    held_out: int  # images behind `nearer_than`

    @property
    def suspect(self) -> bool:
        """Whether it is nearer to a training image than all but a hundredth of held-out images are."""
        return self.near[0].nearer_than >= SUSPECT

    def picture(self) -> Image.Image:
        """The image, and those near it, side by side; a mirrored one is shown mirrored."""
        shown = [self.pixels, *(one.pixels[:, ::-1] if one.mirrored else one.pixels for one in self.near)]
        scale = max(1, SCALED // len(self.pixels))
        return contact_sheet(np.stack(shown), len(shown), scale, gap=1)


def read_image(file: Path, shapes: Sequence[Shape], background: Colour) -> Pixels:
    """An image file, read as curation reads it, in a square frame. uint8 [side, side, 3]. Raises Untraceable."""
    if not file.exists():
        raise Untraceable(f"{file}: there is no such file")
    seen = examine(file.parent, Candidate(file.name, "", None), (), shapes, background)
    if seen.cut is None:
        raise Untraceable(f"{file}: cannot be read as an image: {seen.detail}")
    return framed(seen.cut[None], canvas_of(shapes))[0]


def trace(pixels: Pixels, training: ImageSet, held_out: Pixels, count: int) -> Trace:
    """The `count` training images nearest to one image [s, s, 3]. `held_out` [n, s, s, 3] make the distances readable.

    Mirrored ones are found too. Raises Untraceable where there is too little to compare with.
    """
    if len(training) < 2 or not len(held_out):
        raise Untraceable(f"{len(training)} training and {len(held_out)} held-out images: too few to trace an image among them")
    small = Shrunk(training.pixels)
    usual = nearest_training(held_out, small, mirrored=True).nearest
    index, distance, mirrored = nearest_few(pixels[None], small, min(count, len(training)), mirrored=True)
    near = [
        Near(
            path=training.paths[row],
            label=training.names[training.labels[row]],
            distance=far,
            nearer_than=float((usual > far).mean()),
            mirrored=flipped,
            pixels=np.asarray(training.pixels[np.array([row])])[0],
        )
        for row, far, flipped in zip(index[0].tolist(), distance[0].tolist(), mirrored[0].tolist(), strict=True)
    ]
    return Trace(pixels, tuple(near), len(held_out))
