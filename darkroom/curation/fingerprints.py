"""What is remembered of an image to find its copies: digests, 64-bit hashes of the whole and of crops, a small picture."""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.curation.filters import sharpness

VIEW_SIDE = 256  # longest side, in pixels, of the copy that texture is measured on
HASH_SIDE = 128  # the same, of what is made smaller still
SIDE = 32  # pixels of the small picture that pairs are compared on
CROPS = np.array(  # left, top, width, height as fractions: what copies may show of a picture, within the reach of a hash
    [
        (0.025, 0.025, 0.95, 0.95),
        *((left, top, 0.9, 0.9) for left, top in ((0.05, 0.05), (0, 0), (0.1, 0), (0, 0.1), (0.1, 0.1))),
    ],
    np.float32,
)
MIRRORED = len(CROPS)  # the place of the mirrored picture's hash, after those of the crops
BEFORE = 64  # pixels a side of the grey picture that crops are cut from, before they are shrunk to 32
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


def fingerprint(image: Image.Image, width: int, height: int, content: bytes, digest: str) -> Fingerprint:
    """Of a decoded image, whose file has this many pixels, these bytes, and their digest. Its path is to be named yet.

    The pixel digest is of the image as it is here: of a large JPEG, at the reduced size that the settings call for.
    Equal pixels have equal digests if they came from files of one kind; a large JPEG saved anew as PNG is told by its hashes.
    """
    view = _reduced(image, VIEW_SIDE)
    grey, less = view.convert("L"), _reduced(view, HASH_SIDE)
    less_grey = grey if less is view else less.convert("L")
    return Fingerprint(
        path="",
        file_digest=digest,
        pixel_digest=hashlib.sha256(f"{width} {height} ".encode() + image.tobytes()).hexdigest(),
        perceptual_hash=perceptual_hash(less_grey),
        difference_hash=difference_hash(less_grey),
        kind=kind_of(grey),
        resolution=width * height,
        sharpness=sharpness(image),
        bytes=len(content),
        arrays=Arrays(view_hashes(less_grey)[None], small_picture(less)[None], small_spread(grey)[None]),
        row=0,
    )


def _reduced(image: Image.Image, most: int) -> Image.Image:
    """By a whole number, such that no side is longer than `most` pixels: means of squares, which is fast."""
    return image.reduce(-(-max(image.size) // most)) if max(image.size) > most else image


def _luma(image: Image.Image) -> Image.Image:
    return image if image.mode == "L" else image.convert("L")  # to convert what is grey copies it


def view_hashes(image: Image.Image) -> NDArray[np.uint64]:
    """Perceptual hashes of the crops, and of the mirror image. uint64 [7]"""
    grey = np.asarray(_luma(image).resize((BEFORE, BEFORE), Image.Resampling.LANCZOS), np.float64)
    rows, columns = _waves_of_views()
    return _hashes((rows.reshape(-1, BEFORE) @ grey).reshape(rows.shape) @ columns)  # one product of matrices, not seven


@cache
def _waves_of_views() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What gives the lowest frequencies of each view of a picture of `BEFORE` pixels a side. [7, 8, BEFORE], [7, BEFORE, 8]"""
    boxes = np.concatenate([CROPS, [(0, 0, 1, 1)]]) * BEFORE
    rows, columns = (np.stack([_waves(start, length) for start, length in boxes[:, axes]]) for axes in ([1, 3], [0, 2]))
    columns[MIRRORED] = columns[MIRRORED, :, ::-1]
    return rows, columns.transpose(0, 2, 1)


def _waves(start: float, length: float) -> NDArray[np.float64]:
    """The lowest waves over a span of `BEFORE` pixels that is resampled, as Pillow does it, to 32. [8, BEFORE]"""
    impulses = Image.fromarray(np.eye(BEFORE, dtype=np.float32))
    resampled = impulses.resize((32, BEFORE), Image.Resampling.LANCZOS, (start, 0, start + length, BEFORE))
    return _cosines(32)[:8] @ np.asarray(resampled, np.float64).T


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


def perceptual_hash(image: Image.Image) -> int:
    """64-bit pHash: the signs, against their median, of the 8 x 8 lowest frequencies of a 32 x 32 grey picture.

    Zauner 2010; bit for bit what the package ImageHash computes (its DCT is the unnormalised DCT-II).
    """
    grey = np.asarray(_luma(image).resize((32, 32), Image.Resampling.LANCZOS), np.float64)
    waves = _cosines(32)[:8]
    return int(_hashes((waves @ grey @ waves.T)[None])[0])


def _hashes(low: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Which of the lowest frequencies [n, 8, 8] lie above their median. [n]"""
    low = low.reshape(len(low), 64)
    median = np.sort(low, axis=1)[:, 31:33].mean(1, keepdims=True)
    return np.packbits(low > median, axis=1).view(">u8")[:, 0].astype(np.uint64)


def difference_hash(image: Image.Image) -> int:
    """64-bit dHash: whether each of 8 x 8 grey cells is brighter than its left neighbour. As in ImageHash."""
    grey = np.asarray(_luma(image).resize((9, 8), Image.Resampling.LANCZOS))
    return _packed(grey[:, 1:] > grey[:, :-1])


def small_picture(image: Image.Image) -> NDArray[np.uint8]:
    """What pairs are compared on. uint8 [32, 32, 3]."""
    colours = image if image.mode == "RGB" else image.convert("RGB")
    return np.asarray(colours.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def small_spread(image: Image.Image) -> NDArray[np.uint8]:
    """Standard deviation of the luma in what each pixel of the small picture shows. uint8 [32, 32]"""
    grey = np.asarray(_luma(image), np.float32)
    mean, square = (np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BOX)) for one in (grey, grey**2))
    return np.sqrt((square - mean**2).clip(0)).round().astype(np.uint8)


@cache
def _cosines(count: int) -> NDArray[np.float64]:
    """Rows are the waves of the unnormalised DCT-II: 2 cos(pi k (2 n + 1) / 2 N)."""
    place = np.arange(count)
    return np.asarray(2 * np.cos(np.pi * place[:, None] * (2 * place[None, :] + 1) / (2 * count)))


def _packed(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
