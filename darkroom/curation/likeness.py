"""How alike two pictures are: the close look that confirms, or refuses, what their hashes propose.

One is laid over the other (it may show a part of it), its tones are brought to those of the other, and then they are compared
patch by patch. Two drawings may differ in one feature alone, so few of their patches may differ, and none by much; photographs
are alike in no patch by chance, and a fifth of theirs may differ as they will: a watermark, a blur of resampling.
"""

import numpy as np
from numpy.typing import NDArray

from darkroom.curation.aligning import laid_over, warped
from darkroom.curation.toning import with_tones_of

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

SIDE = 32  # pixels of the small pictures
PATCH_NOISE = 30.0**2  # variance, in squared grey levels, that says nothing: compression noise; at most that of the picture
MEAN_WEIGHT = 4.0
TO_LUMA_CHROMA = np.array(  # ITU-R BT.601; colour differences count half, as JPEG stores them at half resolution
    [[0.299, 0.587, 0.114], [-0.084, -0.166, 0.25], [0.25, -0.209, -0.041]], np.float32
)
COARSE = 8  # cells a side that are compared first
COARSE_LEAST = 0.85  # agreement below which no closer look is taken
MAY_DIFFER = (0.05, 0.2)  # share of the patches; of drawings, of photographs
MUCH = 0.35  # by how much more than the others the worst patch of drawings may differ


def agreements(whole: Pixels, part: Pixels, boxes: Floats) -> tuple[Floats, Floats]:
    """How well pairs of small pictures [n, 32, 32, 3] agree, as drawings and as photographs [n, 2], at most 1; and where.

    The worst patch counts of those that may not differ, and of drawings the worst of all, less strictly. `boxes` [n, 4]: left,
    top, width, height as fractions of the whole, where the search for what `part` shows begins; what was found is returned.
    """
    found = laid_over(_equalised(whole), _equalised(part), boxes)
    first, second = warped(whole.astype(np.float32), found), part.astype(np.float32)
    both_ways = _patch_scores(with_tones_of(second, first), second), _patch_scores(with_tones_of(first, second), first)
    scores = np.maximum(*both_ways)
    agreed = scores[:, [int(share * scores.shape[1]) for share in MAY_DIFFER]]
    agreed[:, 0] = np.minimum(agreed[:, 0], scores[:, 0] + MUCH)
    return agreed, found


def coarse(small: Pixels) -> NDArray[np.float16]:
    """Small pictures [n, 32, 32, 3] in 8 x 8 cells, such that a product of two is how far they agree. [n, 8, 8, 3]"""
    size = SIDE // COARSE
    cells = _equalised(small).reshape(len(small), COARSE, size, COARSE, size, 3).mean((2, 4))
    cells /= np.maximum(np.sqrt((cells**2).sum((1, 2, 3), keepdims=True)), np.float32(1e-6))
    return cells.astype(np.float16)


def _equalised(small: Pixels) -> Floats:
    """Luma and chroma with mean 0 each and a variance of 1 in all. [n, 32, 32, 3]"""
    pictures: Floats = np.asarray(small.astype(np.float32) @ TO_LUMA_CHROMA.T, np.float32)
    pictures -= pictures.mean((1, 2), keepdims=True)
    contrasts = np.sqrt((pictures**2).sum(-1).mean((1, 2)))
    return np.asarray(pictures / np.maximum(contrasts, np.float32(2))[:, None, None, None], np.float32)


def _patch_scores(first: Floats, second: Floats) -> Floats:
    """Concordances of all patches of pictures from 0 to 255 [n, 32, 32, 3], the worst first. [n, 225]"""
    one, other = (np.asarray(pictures @ TO_LUMA_CHROMA.T, np.float32) for pictures in (first, second))
    middle = other.mean((1, 2), keepdims=True)
    one, other = one - middle, other - middle
    noise = np.clip((other**2).sum(-1).mean((1, 2)), 1e-3, PATCH_NOISE).astype(np.float32)
    scores: Floats = np.sort(_concordances(one, other, noise[:, None, None]).reshape(len(one), (SIDE // 2 - 1) ** 2), axis=1)
    return scores


def _concordances(first: Floats, second: Floats, noise: Floats) -> Floats:
    """Lin's 1 - E[(x - y)^2] / (var x + var y + (mean x - mean y)^2 + noise) of each patch, channels summed.

    His concordance correlation (Biometrics 45, 1989), steadied by the variance of compression noise.
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
