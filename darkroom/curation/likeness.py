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
COARSE_LEAST = {False: 0.95, True: 0.85}  # agreement below which no closer look is taken; of drawings, of photographs
WORTH_MATCHING = 0.7  # mean agreement of the patches of drawings, below which tones are not matched
MAY_DIFFER = 0.2  # share of the patches of two photographs


def of_drawings(first: Pixels, second: Pixels) -> Floats:
    """How well pairs of small pictures [n, 32, 32, 3] agree in their worst patch; at most 1.

    Each 4 x 4 patch (in steps of 2) is scored by Lin's concordance correlation (Biometrics 45, 1989), steadied by the
    variance of compression noise.
    """
    (one, contrast), (other, its_contrast) = _equalised(first), _equalised(second)
    noise = (PATCH_NOISE / (contrast * its_contrast))[:, None, None]
    patches = _patch_scores(one, other, noise)
    scores: Floats = patches[:, 0].copy()
    near = np.flatnonzero(patches.mean(1) >= WORTH_MATCHING)
    one, other, noise = one[near], other[near], noise[near]
    for pair in ((_with_tones_of(other, one), other), (one, _with_tones_of(one, other))):
        scores[near] = np.maximum(scores[near], _patch_scores(*pair, noise)[:, 0])
    return scores


def of_photographs(whole: Pixels, part: Pixels, boxes: Floats) -> tuple[Floats, Floats]:
    """The same, of all but the worst fifth of the patches, with tones matched; and the boxes of `whole` that `part` shows.

    `boxes` [n, 4]: left, top, width, height as fractions of the whole, where the search for these begins.
    """
    (first, contrast), (second, other) = _equalised(whole), _equalised(part)
    first, found = laid_over(first, second, boxes)
    first = first - first.mean((1, 2), keepdims=True)
    first /= np.maximum(_contrast(first), np.float32(1e-3))[:, None, None, None]
    noise = (PATCH_NOISE / (contrast * other))[:, None, None]
    both_ways = [
        _patch_scores(_with_tones_of(second, first), second, noise),
        _patch_scores(first, _with_tones_of(first, second), noise),
    ]
    scores: Floats = np.maximum(*both_ways)[:, int(MAY_DIFFER * both_ways[0].shape[1])]
    return scores, found


def coarse(small: Pixels) -> NDArray[np.float16]:
    """Small pictures [n, 32, 32, 3] in 8 x 8 cells, such that a product of two is how far they agree. [n, 8, 8, 3]"""
    size = SIDE // COARSE
    cells = _equalised(small)[0].reshape(len(small), COARSE, size, COARSE, size, 3).mean((2, 4))
    cells /= np.maximum(np.sqrt((cells**2).sum((1, 2, 3), keepdims=True)), np.float32(1e-6))
    return cells.astype(np.float16)


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
    flat, wanted = (values[..., 0].reshape(len(values), SIDE**2) for values in (pictures, model))
    matched = np.empty_like(flat)
    np.put_along_axis(matched, np.argsort(flat, axis=1, kind="stable"), np.sort(wanted, axis=1), axis=1)
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
