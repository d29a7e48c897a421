"""How alike two pictures are: the close look that confirms, or refuses, what their hashes propose.

One is laid over the other (it may show a part of it), its tones are brought to those of the other, and then they are compared
patch by patch; each costs more than the one before, so that most pairs are given up on the way. Two drawings may differ in one
feature alone, so few of their patches may differ, and none by much; photographs are alike in no patch by chance, and a fifth of
theirs may differ as they will: a watermark, a blur of resampling. In flat colours a colour is what is drawn (a hand in another
skin tone is another hand). Where colours are the same in both, tones stay as they are.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.curation.aligning import laid_over, normalised, warped
from darkroom.curation.fingerprints import SIDE, Kind
from darkroom.curation.toning import with_tones_of

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

PATCH_NOISE = 30.0**2  # variance, in squared grey levels, that says nothing: compression noise; at most that of the picture
MEAN_WEIGHT = 4.0
TO_LUMA_CHROMA = np.array(  # ITU-R BT.601; colour differences count half, as JPEG stores them at half resolution
    [[0.299, 0.587, 0.114], [-0.084, -0.166, 0.25], [0.25, -0.209, -0.041]], np.float32
)
COARSE_LEAST = (0.92, 0.92, 0.6)  # agreement of 8 x 8 cells, compared first, below which no closer look is taken: by kind
ROUGH_ROUNDS, ROUNDS = 3, 4  # of laying a picture over another: at half the size, and then, where they agree so far, at the whole
ROUGH_LEAST = 0.6  # agreement of patches, levels made as frequent, below which tones are not fitted
MAY_DIFFER = (0.05, 0.05, 0.2)  # share of the patches of drawings; of what those of photographs show
SAME, CLEAR, CLIPPED = 6, 40, 8  # levels within which colours are the same; between channels of a clear one; beside 0 and 255
SAME_CLEAR, LEAST_CLEAR, SAME_FLAT = 0.2, 20, 0.1  # share of clear pixels, taken for so many at least; of all pixels
ALL = 0.98  # of a side, from which nothing is cropped
MUCH = (0.15, 0.35, 2.0)  # by how much more than the others the worst patch may differ: of photographs, as it will


class Small(NamedTuple):
    """What of pictures is compared: uint8 [n, 32, 32, 3], and the deviation of the luma in what each pixel shows [n, 32, 32]."""

    colours: Pixels
    spread: Pixels

    def mirrored(self) -> "Small":
        """Left is right."""
        return Small(self.colours[:, :, ::-1], self.spread[:, :, ::-1])


def agreements(whole: Small, part: Small, boxes: Floats, kinds: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """How well pairs of small pictures agree, at most 1, as what they are (`Kind`) [n]; and where.

    The worst patch counts of those that may not differ, and of drawings the worst of all, less strictly. A patch of a photograph
    counts by what it shows: a galaxy in a black sky is not a fifth of its picture. `boxes` [n, 4]: left,
    top, width, height as fractions of the whole, where the search for what `part` shows begins; what was found is returned.
    """
    one, other = (np.asarray(small.colours @ TO_LUMA_CHROMA[0], np.float32) for small in (whole, part))
    found = laid_over(_halved(one), _halved(other), boxes, ROUGH_ROUNDS)
    quick = _quick(warped(one[..., None], found)[..., 0], other, kinds)
    near = np.flatnonzero(quick >= ROUGH_LEAST)
    agreed = np.minimum(quick, 0)
    if len(near):
        found[near] = laid_over(one[near], other[near], found[near], ROUNDS)
        (first, its_spread), (second, spread) = _warped(whole, near, found[near]), _warped(part, near, None)
        flat, cropped = kinds[near] == Kind.FLAT, found[near, 2:].min(1) < ALL
        fitted = ~_tones_unchanged(first, second, flat)
        judged = np.where(flat & cropped, Kind.DRAWING, kinds[near])  # a crop is laid over less exactly
        there, back = first.copy(), second.copy()
        if fitted.any():
            there[fitted] = with_tones_of(second[fitted], first[fitted], its_spread[fitted])
            back[fitted] = with_tones_of(first[fitted], second[fitted], spread[fitted])
        agreed[near] = np.maximum(_closely(there, second, judged), _closely(back, first, judged))
    return agreed, found


def _tones_unchanged(first: Floats, second: Floats, flat: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether pictures [n, 32, 32, 3] have so many pixels of the same colour that tones were not changed. [n]

    A change of tones leaves white and black, grey, or one level of grey as they were: only clear colours tell. In `flat` [n]
    pictures, which have few, the ground does too.
    """
    same = abs(first - second).max(-1) < SAME
    darkest, lightest = first.min(-1), first.max(-1)
    clear = (lightest - darkest > CLEAR) & (darkest > CLIPPED) & (lightest < 255 - CLIPPED)
    many = (
        np.count_nonzero(clear & same, axis=(1, 2)) > np.maximum(np.count_nonzero(clear, axis=(1, 2)), LEAST_CLEAR) * SAME_CLEAR
    )
    return many | (flat & (same.mean((1, 2)) > SAME_FLAT))


def _closely(first: Floats, second: Floats, kinds: NDArray[np.int64]) -> Floats:
    """How well pictures from 0 to 255 [n, 32, 32, 3] agree, tones made equal. [n]"""
    one, other = (np.asarray(pictures @ TO_LUMA_CHROMA.T, np.float32) for pictures in (first, second))
    middle = _means(other)
    one, other = one - middle, other - middle
    noise = np.clip(np.einsum("nyxc,nyxc->n", other, other) / (SIDE * SIDE), 1e-3, PATCH_NOISE).astype(np.float32)
    scores, contents = _concordances(one, other, noise[:, None])
    weights = np.where(kinds[:, None] == Kind.PHOTOGRAPH, contents, 1)
    worst = _worst(scores, weights, np.array(MAY_DIFFER, np.float32)[kinds])
    return np.minimum(worst, scores.min(1) + np.array(MUCH, np.float32)[kinds])


def _worst(scores: Floats, weights: Floats, may_differ: Floats) -> Floats:
    """The worst score [n] once the worst of all [n, p], up to a share [n] of the weights [n, p], are left out."""
    order = np.argsort(scores, axis=1)
    weighed = np.cumsum(np.take_along_axis(weights, order, 1), axis=1)
    left_out = (weighed <= may_differ[:, None] * weighed[:, -1:]).sum(1, keepdims=True).clip(max=scores.shape[1] - 1)
    return np.asarray(np.take_along_axis(scores, np.take_along_axis(order, left_out, 1), 1)[:, 0], np.float32)


def _warped(small: Small, rows: NDArray[np.int64], boxes: Floats | None) -> tuple[Floats, Floats]:
    """Colours and spread of some pictures, or of boxes [n, 4] of theirs."""
    colours, spread = small.colours[rows].astype(np.float32), small.spread[rows].astype(np.float32)
    return (colours, spread) if boxes is None else (warped(colours, boxes), warped(spread[..., None], boxes)[..., 0])


def _halved(pictures: Floats) -> Floats:
    """[n, 2k, 2k, ...] -> [n, k, k, ...]"""
    rows = pictures[:, 0::2] + pictures[:, 1::2]
    half: Floats = (rows[:, :, 0::2] + rows[:, :, 1::2]) * np.float32(1 / 4)
    return half


def _quick(first: Floats, second: Floats, kinds: NDArray[np.int64]) -> Floats:
    """How well the luma [n, 32, 32] of pictures agrees in all but few of its patches, tones made equal. [n]"""
    quick = _evenly(first, second, kinds)
    rows = np.flatnonzero(quick < ROUGH_LEAST)
    if len(rows):
        one, other, theirs = first[rows], second[rows], kinds[rows]
        there, back = _evenly(_as_often(one, other), other, theirs), _evenly(one, _as_often(other, one), theirs)
        quick[rows] = np.maximum(there, back)
    return quick


def _as_often(grey: Floats, model: Floats) -> Floats:
    """Luma [n, k, k] whose levels are as frequent as the model's: whatever was done to tones is undone, but where it clipped."""
    flat = grey.reshape(len(grey), -1)
    made = np.empty_like(flat)
    np.put_along_axis(made, np.argsort(flat, axis=1), np.sort(model.reshape(len(model), -1), axis=1), axis=1)
    return made.reshape(grey.shape)


def _evenly(first: Floats, second: Floats, kinds: NDArray[np.int64]) -> Floats:
    """How well luma agrees in all but few of its patches, contrasts made equal. [n]"""
    usual = np.float32(PATCH_NOISE**0.5)  # such that a contrast of 1 is one of 30 grey levels
    first, second = (normalised(grey) * usual for grey in (first, second))
    scores, _ = _concordances(first[..., None], second[..., None], np.full((len(first), 1), PATCH_NOISE, np.float32))
    places = np.array([int(share * scores.shape[1]) for share in MAY_DIFFER])
    worst = np.partition(scores, np.unique(places), axis=1)[np.arange(len(scores)), places[kinds]]
    return np.asarray(worst, np.float32)


def coarse(small: Pixels | Floats) -> NDArray[np.float16]:
    """Small pictures [n, 32, 32, 3] in 8 x 8 cells, such that a product of two is how far they agree. [n, 8, 8, 3]"""
    cells = _halved(_halved(_equalised(small)))
    cells /= np.maximum(np.sqrt(np.einsum("nyxc,nyxc->n", cells, cells)), np.float32(1e-6))[:, None, None, None]
    return cells.astype(np.float16)


def _equalised(small: Pixels | Floats) -> Floats:
    """Luma and chroma with mean 0 each and a variance of 1 in all. [n, 32, 32, 3]"""
    pictures: Floats = np.asarray(small.astype(np.float32) @ TO_LUMA_CHROMA.T, np.float32)
    pictures -= _means(pictures)
    contrasts = np.sqrt(np.einsum("nyxc,nyxc->n", pictures, pictures) / (SIDE * SIDE))
    return np.asarray(pictures / np.maximum(contrasts, np.float32(2))[:, None, None, None], np.float32)


def _concordances(first: Floats, second: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Lin's 1 - E[(x - y)^2] / (var x + var y + (mean x - mean y)^2 + noise) of each patch, channels summed; and its content.

    His concordance correlation (Biometrics 45, 1989), steadied by the variance of compression noise. A difference of the means
    counts `MEAN_WEIGHT` times more: compression disturbs single pixels, hardly the mean. Content is the share of the variance in
    that sum that is no noise: 0 of a plain patch. [n, k, k, c] and [n, 1] -> twice [n, patches]
    """
    mean_first, mean_second = _patch_means(first), _patch_means(second)
    means_apart = (mean_first - mean_second) ** 2
    spread = _patch_means(first**2 + second**2) - mean_first**2 - mean_second**2 + means_apart
    apart = _patch_means((first - second) ** 2) + MEAN_WEIGHT * means_apart
    channels = np.ones(first.shape[-1], np.float32)
    different, varied = ((one @ channels).reshape(len(first), -1) for one in (apart, spread))
    varied = varied.clip(0)
    return np.asarray(1 - different / (varied + noise), np.float32), varied / (varied + noise)


def _means(pictures: Floats) -> Floats:
    """Of each channel; as a product, which is many times faster than numpy's mean. [n, k, k, c] -> [n, 1, 1, c]"""
    pixels = pictures.reshape(len(pictures), -1, pictures.shape[-1])
    means: Floats = np.full(pixels.shape[1], 1 / pixels.shape[1], np.float32) @ pixels
    return means[:, None, None]


def _patch_means(values: Floats) -> Floats:
    """Means of 4 x 4 patches in steps of 2. [n, 2k, 2k, c] -> [n, k - 1, k - 1, c]"""
    rows = values[:, 0::2] + values[:, 1::2]
    rows = rows[:, 1:] + rows[:, :-1]
    columns = rows[:, :, 0::2] + rows[:, :, 1::2]
    means: Floats = (columns[:, :, 1:] + columns[:, :, :-1]) * np.float32(1 / 16)
    return means
