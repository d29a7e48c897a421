"""The two nearest training images of each image, exactly, by the billion pairs.

A quick search in float32 names candidates; they alone are compared exactly. The search works with lower bounds: averages over
squares of 2 x 2 pixels lie no further apart than the images do. Where every image that is no candidate is further away than
the second nearest candidate, the answer is proven; where not, the search is repeated with more detail. So the result depends
on no block, thread or rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from darkroom.evaluation.figures import Numbers
from darkroom.evaluation.neighbourhoods import Described
from darkroom.images import Pixels

MOST_SIDE = 32  # larger images are compared at this size: a copy is a copy there as well
BLOCK = 2048  # training images held at once
CANDIDATES = 8  # of each image
AT_ONCE = 256  # images compared exactly at once
TRIED = 64  # images that try a view before many others
ROUNDING = 2.0**-24  # of float32

MOST_KEPT = 4 * 2**30  # bytes of shrunk images, of 3 KiB each; of a larger set they are shrunk at each look

Some = NDArray[Any]  # images or features, one a row
Chosen = slice | NDArray[np.int64]  # rows
View = Callable[[Some], NDArray[np.float32]]  # as float32 [n, d], never further apart than they are


class Training(Protocol):
    """What is searched: an array, or what gives its rows when it is asked for them."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: Chosen, /) -> Some: ...


class Shrunk:
    """Training images [n, h, w, 3] as they are compared, at 32 pixels a side at most: shrunk when they are first asked for."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels, self.shape = pixels, pixels.shape
        kept = 0 if max(pixels.shape[1:3]) <= MOST_SIDE or len(pixels) * 3 * MOST_SIDE**2 > MOST_KEPT else len(pixels)
        self._kept, self._known = np.empty((kept, MOST_SIDE, MOST_SIDE, 3), np.uint8), np.zeros(kept, np.bool_)

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, rows: Chosen) -> Pixels:
        if not len(self._kept):
            return _shrunk(self._pixels[rows])
        if not self._known[rows].all():
            new = np.unique(np.arange(len(self))[rows][~self._known[rows]])
            self._kept[new], self._known[new] = _shrunk(self._pixels[new]), True
        return self._kept[rows]


@dataclass(frozen=True, slots=True)
class _Few:
    """The nearest, nearest first; of equals the one that stands first. Index and squared distance, [n, count] each."""

    index: NDArray[np.int64]
    squared: Numbers


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest training image of each image: index [n]; distances to it and to the second nearest [n].

    Between images: L2, in units of the full range of one colour value (0..255 counts as 1). `mirrored`: what is near is the
    training image's mirror image [n].
    """

    index: NDArray[np.int64]
    nearest: Numbers
    second: Numbers
    mirrored: NDArray[np.bool_]

    @property
    def ratio(self) -> Numbers:
        """Nearest over second nearest, in [0, 1]; 0 where the image is in the training set exactly. [n]"""
        return np.divide(self.nearest, self.second, out=np.zeros_like(self.nearest), where=self.nearest > 0)


def nearest_training(pixels: Pixels, training: Pixels | Shrunk, mirrored: bool = False) -> Neighbours:
    """The two nearest training images of each image. uint8 [n, h, w, 3], [t, h, w, 3]; t >= 2 (else ValueError).

    With `mirrored` each image is looked for as it is and mirrored, and the nearer way counts. Images of more than 32 pixels a
    side are shrunk first; whoever asks again about the same set gives it as `Shrunk`, which keeps what it shrank.
    """
    _check(pixels, training, "images")
    two, flipped = _both_ways(pixels, training, 2, mirrored)
    nearest, second = (np.sqrt(two.squared) / 255).T
    return Neighbours(two.index[:, 0], nearest, second, flipped[:, 0])


def nearest_described(described: Described, training: Described) -> Neighbours:
    """The same among features: [n, d], [t, d]; Euclidean distances."""
    _check(described, training, "features")
    two = _nearest(described, training, [np.asarray], 2)
    nearest, second = np.sqrt(two.squared).T
    return Neighbours(two.index[:, 0], nearest, second, np.zeros(len(nearest), np.bool_))


def nearest_few(
    pixels: Pixels, training: Pixels | Shrunk, count: int, mirrored: bool = False
) -> tuple[NDArray[np.int64], Numbers, NDArray[np.bool_]]:
    """The `count` nearest training images of each image, nearest first; of equals the first. Indices, distances, whether it is
    the mirror image that is near: [n, count] each; otherwise as `nearest_training`.

    Raises ValueError where there are fewer training images, or of another size.
    """
    _check(pixels, training, "images", count)
    few, flipped = _both_ways(pixels, training, count, mirrored)
    return few.index, np.sqrt(few.squared) / 255, flipped


def _both_ways(pixels: Pixels, training: Pixels | Shrunk, count: int, mirrored: bool) -> tuple[_Few, NDArray[np.bool_]]:
    """The nearest of each image as it is and, if wanted, mirrored; which of them are mirrored [n, count]."""
    shrunk, small = _shrunk(np.asarray(pixels)), training if isinstance(training, Shrunk) else Shrunk(training)
    few = _nearest(shrunk, small, _views(shrunk), count)
    if not mirrored:
        return few, np.zeros(few.index.shape, np.bool_)
    return _either(few, _nearest(shrunk[:, :, ::-1], small, _views(shrunk), count))


def _views(pixels: Pixels) -> list[View]:
    return [_halved, _flat] if pixels.shape[1] % 2 == 0 and pixels.shape[2] % 2 == 0 else [_flat]


def _check(asked: Some, training: Some | Shrunk, what: str, count: int = 2) -> None:
    if len(training) < count:
        raise ValueError(f"nearest neighbours need at least {count} training images; there are {len(training)}")
    if asked.shape[1:] != training.shape[1:]:
        raise ValueError(f"{what} of {asked.shape[1:]} cannot be compared with training {what} of {training.shape[1:]}")


def _shrunk(pixels: Pixels) -> Pixels:
    """uint8 [n, h, w, 3] at 32 pixels a side at most."""
    if max(pixels.shape[1:3]) <= MOST_SIDE:
        return pixels
    return np.stack([np.asarray(Image.fromarray(image).resize((MOST_SIDE,) * 2, Image.Resampling.BOX)) for image in pixels])


def _flat(pixels: Pixels) -> NDArray[np.float32]:
    """Colour values around 0, which keeps the rounding small. [n, h * w * 3]"""
    return pixels.reshape(len(pixels), -1).astype(np.float32) - 127.5


def _halved(pixels: Pixels) -> NDArray[np.float32]:
    """Sums over squares of 2 x 2, halved: their squared distances are at most those of the images (Cauchy-Schwarz)."""
    tall = pixels[:, ::2].astype(np.uint16) + pixels[:, 1::2]
    sums: NDArray[np.float32] = (tall[:, :, ::2] + tall[:, :, 1::2]).reshape(len(pixels), -1).astype(np.float32)
    sums /= np.float32(2)
    sums -= np.float32(255)
    return sums


def _either(straight: _Few, mirrored: _Few) -> tuple[_Few, NDArray[np.bool_]]:
    """The nearer of both ways to each training image; which are mirrored [n, count]. The nearest of each way suffice."""
    count = straight.index.shape[1]
    index, squared = np.hstack([straight.index, mirrored.index]), np.hstack([straight.squared, mirrored.squared])
    order = np.argsort(squared, axis=1, kind="stable")
    index, squared = np.take_along_axis(index, order, 1), np.take_along_axis(squared, order, 1)
    again = np.tril(index[:, :, None] == index[:, None, :], -1).any(2)  # the same image, further away
    picked = np.argsort(again, axis=1, kind="stable")[:, :count]
    few = _Few(np.take_along_axis(index, picked, 1), np.take_along_axis(squared, picked, 1))
    return few, np.take_along_axis(order, picked, 1) >= count


def _nearest(asked: Some, training: Training, views: Sequence[View], count: int) -> _Few:
    """Through views of more and more detail, until all are proven; what no view proves is compared with every one.

    A few go first: a view that does not prove most of them, as averages of noise do not, is not worth its time for the others.
    """
    found = _Few(np.zeros((len(asked), count), np.int64), np.full((len(asked), count), np.inf))
    left = np.arange(len(asked))
    for view in views:
        first = TRIED if view is not views[-1] and len(left) > 8 * TRIED else len(left)
        tried = _proven(asked, training, view, left[:first], found)
        if 2 * tried.sum() > first:
            tried = np.append(tried, _proven(asked, training, view, left[first:], found))
        left = np.append(left[: len(tried)][~tried], left[len(tried) :])
    for row in left:
        everyone = np.arange(len(training))[None]
        few = _decided(asked[row : row + 1], training, everyone, count)
        found.index[row], found.squared[row] = few.index[0], few.squared[0]
    return found


def _proven(asked: Some, training: Training, view: View, rows: NDArray[np.int64], found: _Few) -> NDArray[np.bool_]:
    """Which of the rows are proven through one view [n]; what is proven goes into `found`."""
    if not len(rows):
        return np.zeros(0, np.bool_)
    candidates, beyond = _candidates(view(asked[rows]), training, view, found.index.shape[1])
    few = _decided(asked[rows], training, candidates, found.index.shape[1])
    proven: NDArray[np.bool_] = beyond > few.squared[:, -1]
    found.index[rows[proven]], found.squared[rows[proven]] = few.index[proven], few.squared[proven]
    return proven


def _candidates(asked: NDArray[np.float32], training: Training, view: View, wanted: int) -> tuple[NDArray[np.int64], Numbers]:
    """The training images that seem nearest [n, k], and a squared distance that all the others lie beyond [n]."""
    rows, count = torch.from_numpy(asked), min(max(CANDIDATES, 2 * wanted), len(training))
    of_rows = torch.linalg.vecdot(rows, rows)
    index, best = torch.zeros(len(rows), 0, dtype=torch.int64), torch.zeros(len(rows), 0)
    largest = 0.0
    for at in range(0, len(training), BLOCK):
        block = torch.from_numpy(view(training[at : at + BLOCK]))
        of_block = torch.linalg.vecdot(block, block)
        largest = max(largest, float(of_block.max()))
        apart = (rows @ block.T).mul_(-2).add_(of_block)
        near, places = torch.topk(apart, min(count, len(block)), dim=1, largest=False, sorted=False)
        best, index = torch.cat([best, near], 1), torch.cat([index, places + at], 1)
        best, kept = torch.topk(best, min(count, best.shape[1]), dim=1, largest=False, sorted=False)
        index = torch.gather(index, 1, kept)
    if count == len(training):
        return index.numpy(), np.full(len(rows), np.inf)
    # A sum of d products in float32 is off by d roundings of |a| |b| at most, and 2 |a| |b| <= |a|^2 + |b|^2: that once for
    # the product, once for the two squares; the rest is for the sums of the three.
    off = (2 * rows.shape[1] + 16) * ROUNDING * (of_rows.double() + largest)
    beyond = best.max(1).values.double() + of_rows.double() - off
    return index.numpy(), beyond.numpy()


def _decided(asked: Some, training: Training, candidates: NDArray[np.int64], count: int) -> _Few:
    """The nearest of the candidates [n, k], compared in float64: exact for whole numbers."""
    ordered = np.sort(candidates, axis=1)
    apart = np.empty(ordered.shape)
    width = max(1, AT_ONCE * CANDIDATES // ordered.shape[1])
    for at in range(0, len(asked), width):
        some = ordered[at : at + width]
        for start in range(0, some.shape[1], BLOCK):
            which = some[:, start : start + BLOCK]
            near = training[which.ravel()].reshape(*which.shape, -1).astype(np.float64)
            near -= asked[at : at + width].reshape(len(which), 1, -1)
            apart[at : at + width, start : start + BLOCK] = np.square(near, out=near).sum(-1)
    order = np.argsort(apart, axis=1, kind="stable")[:, :count]
    return _Few(np.take_along_axis(ordered, order, 1), np.take_along_axis(apart, order, 1))
