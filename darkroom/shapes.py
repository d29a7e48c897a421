"""Shapes of images: one square, or buckets of about equal area, so that a wide or tall image is not cut to its middle.

Every training batch is of one bucket, as all its images share a shape. Aspect buckets became known with NovelAI (2022); they are
what keeps heads and feet in images that are cut to squares everywhere else (Podell et al. 2023, 2307.01952, section 2.3).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from darkroom.sections import Section

Shape: TypeAlias = tuple[int, int]  # height, width; pixels
GAP = 255  # grey level around an image that is shown, or compared, in a square frame


class AspectBuckets(Section):
    """`most`: 1 for squares only; 2 for images up to twice as wide as high, and as high as wide."""

    most: Annotated[float, Field(ge=1, le=4, allow_inf_nan=False, description="largest ratio of an image's sides")]
    multiple: Annotated[int, Field(ge=1, le=128, description="sides of images that are not square are multiples of it, pixels")]

    def shapes(self, size: int) -> tuple[Shape, ...]:
        """The square of `size` first, then for each side the largest shape of no more area, if not too long."""
        sides = range(self.multiple, int(size * self.most) + 1, self.multiple)
        found = {(size, size)}
        for side in sides:
            other = size * size // side // self.multiple * self.multiple
            if other and side != other and max(side, other) <= self.most * min(side, other):
                found |= {(side, other), (other, side)}
        return tuple(sorted(found, key=lambda shape: (shape != (size, size), shape)))


@lru_cache(maxsize=2**16)
def shape_for(width: int, height: int, shapes: tuple[Shape, ...]) -> Shape:
    """The shape whose ratio of sides is nearest to an image's: the one of which least is cut off. The first of equals."""

    def cut_off(shape: Shape) -> float:
        """The whole to what stays."""
        sides = width * shape[0], height * shape[1]
        return max(sides) / max(1, min(sides))

    return min(shapes, key=cut_off)


def in_words(shape: Shape) -> str:
    """As people say it: width x height."""
    return f"{shape[1]} x {shape[0]}"


def shape_named(words: str) -> Shape:
    """What a person types, such as 40x24. Raises ValueError."""
    width, _, height = words.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ValueError(f"--shape {words}: give width and height in pixels, such as 40x24")
    return int(height), int(width)


def canvas_of(shapes: Sequence[Shape]) -> int:
    """The side of the square that holds each of these shapes."""
    return max(side for shape in shapes for side in shape)


def framed(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Images [n, h, w, 3] in the middle of white squares [n, side, side, 3]."""
    count, height, width, channels = pixels.shape
    if height == width == side:
        return pixels
    squares = np.full((count, side, side, channels), GAP, np.uint8)
    inside(squares, (height, width))[:] = pixels
    return squares


def inside(squares: NDArray[np.uint8], shape: Shape) -> NDArray[np.uint8]:
    """A view of the images [..., h, w, 3] in the middle of squares [..., side, side, 3]."""
    side = squares.shape[-2]
    (height, width), top, left = shape, (side - shape[0]) // 2, (side - shape[1]) // 2
    return squares[..., top : top + height, left : left + width, :]


def core(squares: NDArray[np.uint8], shapes: Sequence[Shape]) -> NDArray[np.uint8]:
    """The middle of square frames [n, side, side, 3] that is inside an image, whichever of these shapes it has."""
    side = min(side for shape in shapes for side in shape)
    return inside(squares, (side, side))


def by_shape(shapes: Sequence[Shape]) -> dict[Shape, list[int]]:
    """Which places have which shape; shapes in the order in which they first come."""
    places: dict[Shape, list[int]] = {}
    for place, shape in enumerate(shapes):
        places.setdefault(shape, []).append(place)
    return places
