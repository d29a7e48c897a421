"""How alike two pictures are: the close look that confirms, or refuses, what their hashes propose.

They are compared patch by patch. Of drawings the worst patch counts: two of them may differ in one feature alone. Photographs are
alike in no patch by chance; one is laid over the other (it may show a part of it), their tones are matched, and a fifth of
the patches may differ: a watermark, a blur of resampling.
"""

import numpy as np
from numpy.typing import NDArray

from darkroom.curation.aligning import laid_over

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

SIDE = 32  # pixels of the small pictures
PATCH_NOISE = 30.0**2  # variance, in squared grey levels, that says nothing: compression noise of a small image
MEAN_WEIGHT = 4.0
TO_LUMA_CHROMA = np.array(  # ITU-R BT.601; colour differences count half, as JPEG stores them at half resolution
    [[0.299, 0.587, 0.114], [-0.084, -0.166, 0.25], [0.25, -0.209, -0.041]], np.float32
)
COARSE = 8  # cells a side that are compared first
COARSE_LEAST = 0.9  # correlation of their brightness below which no closer look is taken
COARSE_LEAST_OF_DRAWINGS = 0.95
MAY_DIFFER = 0.2  # share of the patches of two photographs


def of_drawings(first: Pixels, second: Pixels) -> Floats:
    """How well pairs of small pictures [n, 32, 32, 3] agree in their worst patch; at most 1, 0 where they differ coarsely.

    Each 4 x 4 patch (in steps of 2) is scored by Lin's concordance correlation (Biometrics 45, 1989), steadied by the
    variance of compression noise.
    """
    scores = np.zeros(len(first), np.float32)
    near = np.flatnonzero(_coarse_agreement(first, second) >= COARSE_LEAST_OF_DRAWINGS)
    (one, contrast), (other, its_contrast) = _equalised(first[near]), _equalised(second[near])
    noise = (PATCH_NOISE / (contrast * its_contrast))[:, None, None]
    ways = [(one, other), (_with_tones_of(other, one), other), (one, _with_tones_of(one, other))]
    scores[near] = np.max([_patch_scores(*pair, noise)[:, 0] for pair in ways], axis=0)
    return scores


def of_photographs(whole: Pixels, part: Pixels, boxes: Floats) -> tuple[Floats, Floats]:
    """The same, of all but the worst fifth of the patches, with tones matched; and the boxes of `whole` that `part` shows.

    `boxes` [n, 4]: left, top, width, height as fractions of the whole, where the search for these begins.
    """
    scores, found = np.zeros(len(whole), np.float32), boxes.astype(np.float32)
    as_they_are = (found[:, 2:] == 1).all(1)
    near = np.flatnonzero(~as_they_are | (_coarse_agreement(whole, part) >= COARSE_LEAST))
    (first, contrast), (second, other) = _equalised(whole[near]), _equalised(part[near])
    first, found[near] = laid_over(first, second, found[near])
    first = first - first.mean((1, 2), keepdims=True)
    first /= np.maximum(_contrast(first), np.float32(1e-3))[:, None, None, None]
    noise = (PATCH_NOISE / (contrast * other))[:, None, None]
    both_ways = [
        _patch_scores(_with_tones_of(second, first), second, noise),
        _patch_scores(first, _with_tones_of(first, second), noise),
    ]
    scores[near] = np.maximum(*both_ways)[:, int(MAY_DIFFER * both_ways[0].shape[1])]
    return scores, found


def _coarse_agreement(first: Pixels, second: Pixels) -> Floats:
    """Correlation of the mean brightness of 8 x 8 cells."""
    size = SIDE // COARSE
    cells = [one.reshape(len(one), COARSE, size, COARSE, size, 3).mean((2, 4), dtype=np.float32) for one in (first, second)]
    grey = [(one @ TO_LUMA_CHROMA[0]).reshape(len(one), -1) for one in cells]
    grey = [one - one.mean(1, keepdims=True) for one in grey]
    lengths = [np.linalg.norm(one, axis=1) for one in grey]
    agreement: Floats = (grey[0] * grey[1]).sum(1) / np.maximum(lengths[0] * lengths[1], np.float32(1e-6))
    return agreement


def _equalised(small: Pixels) -> tuple[Floats, Floats]:
    """Luma and chroma with mean 0 each and a variance of 1 in all [n, 32, 32, 3]; the contrast they had [n]."""
    pictures: Floats = np.asarray(small.astype(np.float32) @ TO_LUMA_CHROMA.T, np.float32)
    pictures -= pictures.mean((1, 2), keepdims=True)
    contrasts: Floats = np.maximum(_contrast(pictures), np.float32(2))
    return np.asarray(pictures / contrasts[:, None, None, None], np.float32), contrasts


def _contrast(pictures: Floats) -> Floats:
    contrast: Floats = np.sqrt((pictures**2).sum(-1).mean((1, 2)))
    return contrast


def _with_tones_of(model: Floats, pictures: Floats) -> Floats:
    """Pictures whose brightness follows a curve such that its values are those of the model: undoes gamma, contrast, clipping."""
    count = len(model)
    flat, wanted = pictures[..., 0].reshape(count, -1), np.sort(model[..., 0].reshape(count, -1), axis=1)
    matched = np.empty_like(flat)
    np.put_along_axis(matched, np.argsort(flat, axis=1, kind="stable"), wanted, axis=1)
    toned = pictures.copy()
    toned[..., 0] = matched.reshape(pictures.shape[:-1])
    return toned


def _patch_scores(first: Floats, second: Floats, noise: Floats) -> Floats:
    """Concordances of all patches, the worst first. [n, 225]"""
    scores: Floats = np.sort(_concordances(first, second, noise).reshape(len(first), (SIDE // 2 - 1) ** 2), axis=1)
    return scores


def _concordances(first: Floats, second: Floats, noise: Floats) -> Floats:
    """Lin's 1 - E[(x - y)^2] / (var x + var y + (mean x - mean y)^2 + noise) of each patch, channels summed.

    A difference of the means counts `MEAN_WEIGHT` times more: compression disturbs single pixels, hardly the mean.
    """
    mean_first, mean_second = _patch_means(first), _patch_means(second)
    means_apart = (mean_first - mean_second) ** 2
    spread = _patch_means(first**2 + second**2) - mean_first**2 - mean_second**2 + means_apart
    apart = _patch_means((first - second) ** 2) + MEAN_WEIGHT * means_apart
    whole: Floats = 1 - apart.sum(-1) / (spread.sum(-1).clip(0) + noise)
    return whole


def _patch_means(values: Floats) -> Floats:
    """Means of 4 x 4 patches in steps of 2. [n, 2k, 2k, c] -> [n, k - 1, k - 1, c]"""
    rows = values[:, 0::2] + values[:, 1::2]
    rows = rows[:, 1:] + rows[:, :-1]
    columns = rows[:, :, 0::2] + rows[:, :, 1::2]
    means: Floats = (columns[:, :, 1:] + columns[:, :, :-1]) * np.float32(1 / 16)
    return means
