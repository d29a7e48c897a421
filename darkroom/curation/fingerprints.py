"""What is remembered of an image to find its copies: digests, 64-bit hashes of the whole and of crops, a small picture."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.curation.filters import reduced, sharpness, view_of

HASH_SIDE = 128  # longest side, in pixels, of the copy that is made smaller still
SIDE = 32  # pixels of the small picture that pairs are compared on
CROPS = np.array(  # left, top, width, height as fractions: what copies may show of a picture, within the reach of a hash
    [
        (0.025, 0.025, 0.95, 0.95),
        *((left, top, 0.9, 0.9) for left, top in ((0.05, 0.05), (0, 0), (0.1, 0), (0, 0.1), (0.1, 0.1))),
    ],
    np.float32,
)
MIRRORING = np.array([1, -1] * 4, np.float64)  # what a mirror does to the waves along a row
MIRRORED = len(CROPS)  # the place of the mirrored picture's hash, after those of the crops
WAVED = 32  # pixels a side of the grey picture whose waves make a perceptual hash
PLAIN, PLAIN_BESIDE = 0.35, 0.15  # shares of pixels that equal their neighbour, of all and beside the background's: see below
FLAT_BESIDE = 0.5  # the same share beside the background's, from which a drawing is of flat colours


class Kind(IntEnum):
    """What an image looks like; of two that are compared the greater counts."""

    FLAT = 0  # a drawing of flat colours: an icon, a flag, an emoji
    DRAWING = 1
    PHOTOGRAPH = 2


class Arrays(NamedTuple):
    """Of n images, in memory or on disk."""

    views: NDArray[np.uint64]  # [n, 7] perceptual hashes of crops, and of the mirror image
    small: NDArray[np.uint8]  # [n, 32, 32, 3]
    spread: NDArray[np.uint8]  # [n, 32, 32] deviation of the luma in what each pixel of `small` shows


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is remembered of an image to find its copies, and to choose the best of them."""

    path: str
    file_digest: str
    pixel_digest: str
    perceptual_hash: int
    difference_hash: int
    kind: int  # of `Kind`
    resolution: int  # pixels
    sharpness: float
    bytes: int
    arrays: Arrays  # a million views of arrays would take more memory than all else: they are made when asked for
    row: int

    @property
    def views(self) -> NDArray[np.uint64]:
        """[7]"""
        return self.arrays.views[self.row]

    @property
    def small(self) -> NDArray[np.uint8]:
        """[32, 32, 3]"""
        return self.arrays.small[self.row]

    @property
    def spread(self) -> NDArray[np.uint8]:
        """[32, 32]"""
        return self.arrays.spread[self.row]

    def named(self, path: str, file_digest: str) -> "Fingerprint":
        """The same of a file of this name and digest; ten times as fast as `dataclasses.replace`."""
        return Fingerprint(
            path,
            file_digest,
            self.pixel_digest,
            self.perceptual_hash,
            self.difference_hash,
            self.kind,
            self.resolution,
            self.sharpness,
            self.bytes,
            self.arrays,
            self.row,
        )


def together(name: str, prints: Sequence[Fingerprint]) -> NDArray[Any]:
    """Of each of n images, one of its `Arrays`, by name. [n, ...]"""
    held = defaultdict[int, list[int]](list)
    for place, one in enumerate(prints):
        held[id(one.arrays)].append(place)
    found = np.empty((len(prints), *getattr(prints[0].arrays, name).shape[1:]), getattr(prints[0].arrays, name).dtype)
    for places in held.values():  # where they are remembered, of all at once
        found[places] = getattr(prints[places[0]].arrays, name)[[prints[place].row for place in places]]
    return found


def fingerprint(image: Image.Image, width: int, height: int, content: bytes, digest: str) -> Fingerprint:
    """Of a decoded image, whose file has this many pixels, these bytes, and their digest. Its path is to be named yet.

    The pixel digest is of the image as it is here: of a large JPEG, at the reduced size that the settings call for.
    Equal pixels have equal digests if they came from files of one kind; a large JPEG saved anew as PNG is told by its hashes.
    """
    view = view_of(image)
    grey, less = view.convert("L"), reduced(view, HASH_SIDE)
    perceptual, difference = hashes(grey if less is view else less.convert("L"))
    return Fingerprint(
        path="",
        file_digest=digest,
        pixel_digest=hashlib.sha256(f"{width} {height} ".encode() + image.tobytes()).hexdigest(),
        perceptual_hash=int(perceptual[0]),
        difference_hash=difference,
        kind=kind_of(grey),
        resolution=width * height,
        sharpness=sharpness(image),
        bytes=len(content),
        arrays=Arrays(perceptual[None, 1:], small_picture(less)[None], small_spread(grey)[None]),
        row=0,
    )


def _luma(image: Image.Image) -> Image.Image:
    return image if image.mode == "L" else image.convert("L")  # to convert what is grey copies it


def hashes(image: Image.Image) -> tuple[NDArray[np.uint64], int]:
    """64-bit hashes: pHash of the whole, of the crops and of the mirror image, uint64 [8]; dHash of the whole.

    pHash: the signs, against their median, of the 8 x 8 lowest frequencies (DCT-II, unnormalised) of a 32 x 32 grey picture
    (Zauner 2010). dHash: whether each of 8 x 8 grey cells is brighter than its left neighbour. As in the package ImageHash,
    but that a small picture is not rounded to whole levels on the way: all come from two products of matrices.
    """
    grey = np.asarray(_luma(image), np.float64)
    waves, columns = _columns(grey.shape[1])
    lines = (_rows(grey.shape[0]) @ grey).reshape(-1, 8, grey.shape[1])
    low = (lines[:-1] @ waves).round()  # what is nothing but rounding is 0 in a copy of any size
    cells = (lines[-1] @ columns).round()
    mirrored = low[:1] * MIRRORING
    return _signs(np.concatenate([low, mirrored])), _packed(cells[:, 1:] > cells[:, :-1])


@lru_cache(1024)
def _rows(height: int) -> NDArray[np.float64]:
    """From a column of a picture: the lowest waves of the whole and of each crop, then the cells of dHash. [8 * 8, height]"""
    boxes = np.concatenate([[(0, 0, 1, 1)], CROPS])
    return np.concatenate([*(_waves(height, top, part) for _, top, _, part in boxes), _weights(height, 8)])


@lru_cache(1024)
def _columns(width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same from a row: of the whole and of each crop [7, width, 8], and the cells [width, 9]."""
    boxes = np.concatenate([[(0, 0, 1, 1)], CROPS])
    return np.stack([_waves(width, left, part).T for left, _, part, _ in boxes]), _weights(width, 9).T


def _waves(length: int, start: float, part: float) -> NDArray[np.float64]:
    """The lowest waves of a part of a line, resampled to 32 pixels. [8, length]"""
    return _cosines(WAVED)[:8] @ _weights(length, WAVED, start, part)


def _weights(
    length: int, to: int, start: float = 0, part: float = 1, way: Image.Resampling = Image.Resampling.LANCZOS
) -> NDArray[np.float64]:
    """How Pillow makes `to` pixels from a part of a line of `length`: what each gives to each. [to, length]"""
    impulses = Image.fromarray(np.eye(length, dtype=np.float32))
    box = (start * length, 0, (start + part) * length, length)
    return np.asarray(impulses.resize((to, length), way, box), np.float64).T


def kind_of(image: Image.Image) -> Kind:
    """By how many pixels are as bright as their neighbour; the background, the most frequent level, may be so: a cut-out.

    In photographs a tenth of the pixels equal their neighbour, in shaded drawings a third, in icons nine of ten.
    """
    grey = np.asarray(_luma(image))
    other = grey != np.argmax(np.bincount(grey.ravel(), minlength=256))
    sides = (grey[1:] == grey[:-1], other[1:]), (grey[:, 1:] == grey[:, :-1], other[:, 1:])
    pixels, equal = sum(same.size for same, _ in sides), sum(np.count_nonzero(same) for same, _ in sides)
    besides = sum(np.count_nonzero(beside) for _, beside in sides)
    equal_beside = sum(np.count_nonzero(same & beside) for same, beside in sides)
    if besides and (equal < PLAIN * pixels or equal_beside < PLAIN_BESIDE * besides):
        return Kind.PHOTOGRAPH
    return Kind.FLAT if equal_beside >= FLAT_BESIDE * besides else Kind.DRAWING


def _signs(low: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Which of the lowest frequencies [n, 8, 8] lie above their median. [n]"""
    low = low.reshape(len(low), 64)
    median = np.sort(low, axis=1)[:, 31:33].mean(1, keepdims=True)
    return np.packbits(low > median, axis=1).view(">u8")[:, 0].astype(np.uint64)


def small_picture(image: Image.Image) -> NDArray[np.uint8]:
    """What pairs are compared on. uint8 [32, 32, 3]."""
    colours = np.asarray(image if image.mode == "RGB" else image.convert("RGB"), np.float32)
    height, width, _ = colours.shape
    rows, columns = (_single(length, Image.Resampling.LANCZOS) for length in (height, width))
    lines = (rows @ colours.reshape(height, -1)).clip(0, 255)  # where an edge rings, as Pillow does: rings move with a crop
    lines = lines.reshape(SIDE, width, 3).transpose(0, 2, 1).reshape(-1, width)
    return (lines @ columns.T).reshape(SIDE, 3, SIDE).transpose(0, 2, 1).round().clip(0, 255).astype(np.uint8)


def small_spread(image: Image.Image) -> NDArray[np.uint8]:
    """Standard deviation of the luma in what each pixel of the small picture shows. uint8 [32, 32]"""
    grey = np.asarray(_luma(image), np.float32)
    rows, columns = (_single(length, Image.Resampling.BOX) for length in grey.shape)
    mean, square = (rows @ one @ columns.T for one in (grey, grey**2))
    return np.sqrt((square - mean**2).clip(0)).round().astype(np.uint8)


@lru_cache(1024)
def _single(length: int, way: Image.Resampling) -> NDArray[np.float32]:
    """How a line becomes one of the small picture, in single precision. [32, length]"""
    return _weights(length, SIDE, way=way).astype(np.float32)


@cache
def _cosines(count: int) -> NDArray[np.float64]:
    """Rows are the waves of the unnormalised DCT-II: 2 cos(pi k (2 n + 1) / 2 N)."""
    place = np.arange(count)
    return np.asarray(2 * np.cos(np.pi * place[:, None] * (2 * place[None, :] + 1) / (2 * count)))


def _packed(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
