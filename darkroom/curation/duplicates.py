"""Duplicates: equal files, equal pixels, and near-duplicates (re-encoded, resized, slightly changed copies).

Near-duplicates are found in two stages. Two 64-bit hashes propose pairs within a Hamming radius (an exact join, no
approximation); then the pictures themselves are compared patch by patch, because pictures that differ in one small
feature have equal hashes. Nothing is chained: whatever is rejected was itself verified against the image that stays.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import log

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from darkroom.sections import Section

Hashes = NDArray[np.uint64]
Floats = NDArray[np.float32]

SIDE = 32  # pixels of the small picture that is compared
PATCH_NOISE = 30.0**2  # variance, in squared grey levels, that says nothing: compression noise of a small image
MEAN_WEIGHT = 4.0
TO_LUMA_CHROMA = np.array(  # ITU-R BT.601; colour differences count half, as JPEG stores them at half resolution
    [[0.299, 0.587, 0.114], [-0.084, -0.166, 0.25], [0.25, -0.209, -0.041]], np.float32
)
COARSE_LEAST = 0.96  # correlation of 8 x 8 block means below which no closer look is taken


class DuplicateSettings(Section):
    """`hash_distance`: bits of 64 in which the hashes of a pair may differ; `least_correlation`: of its worst patch."""

    hash_distance: int = Field(ge=0, le=24)
    least_correlation: float = Field(gt=0, le=1)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is remembered of an image to find its copies, and to choose the best of them."""

    path: str
    file_digest: str
    pixel_digest: str
    perceptual_hash: int
    difference_hash: int
    small: NDArray[np.uint8]  # [32, 32, 3]
    resolution: int  # pixels
    sharpness: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A rejected image, the kept one that it was verified against, and how."""

    path: str
    of: str
    reason: str  # "exact_copy" | "same_pixels" | "near_duplicate"
    detail: str


def find_duplicates(prints: Sequence[Fingerprint], settings: DuplicateSettings) -> list[Duplicate]:
    """The images to reject, sorted by path; each is verified against the better image named in `of`, which stays."""
    best_first = sorted(prints, key=_rank)
    first_with: dict[str, Fingerprint] = {}
    twins = [one for one in best_first if first_with.setdefault(one.pixel_digest, one) is not one]
    apart = list(first_with.values())
    found = {duplicate.path: duplicate for duplicate in _near_duplicates(apart, settings)}
    for twin in twins:
        original = first_with[twin.pixel_digest]
        same = "exact_copy" if twin.file_digest == original.file_digest else "same_pixels"
        words = "the same bytes" if same == "exact_copy" else "the same pixels"
        if original.path in found:  # it goes as well: both are verified against the one that stays
            stays = found[original.path]
            found[twin.path] = Duplicate(twin.path, stays.of, stays.reason, f"{words} as {original.path}; {stays.detail}")
        else:
            found[twin.path] = Duplicate(twin.path, original.path, same, f"{words} as {original.path}")
    return [found[path] for path in sorted(found)]


def _rank(one: Fingerprint) -> tuple[int, int, int, str]:
    """Best first: most pixels, then sharpest (in steps of a half: compression adds false edges), largest file, path."""
    return -one.resolution, -round(log(1 + one.sharpness) / log(1.5)), -one.bytes, one.path


def _near_duplicates(best_first: Sequence[Fingerprint], settings: DuplicateSettings) -> list[Duplicate]:
    """From best to worst, an image stays unless it is verified against one that stays: no chains."""
    if len(best_first) < 2:
        return []
    perceptual = np.array([one.perceptual_hash for one in best_first], np.uint64)
    difference = np.array([one.difference_hash for one in best_first], np.uint64)
    proposed = [pairs_within(hashes, settings.hash_distance) for hashes in (perceptual, difference)]
    pairs = np.unique(np.concatenate(proposed), axis=0)
    scores = worst_patch_correlations(np.stack([one.small for one in best_first]), pairs)
    better: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
    for row in np.flatnonzero(scores >= settings.least_correlation):
        better[int(pairs[row, 1])].append((float(scores[row]), int(pairs[row, 0])))
    rejected: dict[int, Duplicate] = {}
    for worse in sorted(better):
        staying = [(-score, index) for score, index in better[worse] if index not in rejected]
        if staying:
            score, index = min(staying)
            path, of = best_first[worse].path, best_first[index].path
            rejected[worse] = Duplicate(path, of, "near_duplicate", f"agrees with {of} to {-score:.3f} in its worst patch")
    return list(rejected.values())


def perceptual_hash(image: Image.Image) -> int:
    """64-bit pHash: the signs, against their median, of the 8 x 8 lowest frequencies of a 32 x 32 grey picture.

    Zauner 2010; bit for bit what the package ImageHash computes (its DCT is the unnormalised DCT-II).
    """
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), np.float64)
    waves = _cosines(32)[:8]
    low = waves @ grey @ waves.T
    return _packed(low > np.median(low))


def difference_hash(image: Image.Image) -> int:
    """64-bit dHash: whether each of 8 x 8 grey cells is brighter than its left neighbour. As in ImageHash."""
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    return _packed(grey[:, 1:] > grey[:, :-1])


def small_picture(image: Image.Image) -> NDArray[np.uint8]:
    """What pairs are compared on. uint8 [32, 32, 3]."""
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


@cache
def _cosines(count: int) -> NDArray[np.float64]:
    """Rows are the waves of the unnormalised DCT-II: 2 cos(pi k (2 n + 1) / 2 N)."""
    place = np.arange(count)
    return np.asarray(2 * np.cos(np.pi * place[:, None] * (2 * place[None, :] + 1) / (2 * count)))


def _packed(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def pairs_within(hashes: Hashes, distance: int, block: int = 2048) -> NDArray[np.int64]:
    """All pairs i < j whose 64-bit hashes differ in at most `distance` bits. int64 [pairs, 2], sorted. Exact."""
    found = []
    for top in range(0, len(hashes), block):
        rows = hashes[top : top + block]
        for left in range(top, len(hashes), block):
            near = np.bitwise_count(rows[:, None] ^ hashes[None, left : left + block]) <= distance
            row, column = np.nonzero(near)
            pairs = np.stack([row + top, column + left], axis=1)
            found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    joined = np.concatenate(found) if found else np.empty((0, 2), np.int64)
    return joined[np.lexsort((joined[:, 1], joined[:, 0]))]


def worst_patch_correlations(small: NDArray[np.uint8], pairs: NDArray[np.int64], block: int = 256) -> Floats:
    """For each pair, how well its two small pictures agree where they agree least. float32 [pairs], at most 1.

    Each 4 x 4 patch (in steps of 2) is scored by Lin's concordance correlation (Biometrics 45, 1989), steadied by the
    variance of compression noise; the lowest score counts. Brightness and contrast of the whole picture are equalised
    first. Pairs that already differ coarsely score 0.
    """
    pictures, contrasts = _equalised(small)
    coarse = pictures.reshape(-1, 8, SIDE // 8, 8, SIDE // 8, 3).mean((2, 4)).reshape(len(small), -1)
    coarse /= np.maximum(np.linalg.norm(coarse, axis=1, keepdims=True), 1e-6)
    scores = np.zeros(len(pairs), np.float32)
    for start in range(0, len(pairs), 16 * block):
        first, second = pairs[start : start + 16 * block].T
        close = start + np.flatnonzero((coarse[first] * coarse[second]).sum(1) >= COARSE_LEAST)
        for rows in (close[at : at + block] for at in range(0, len(close), block)):
            first, second = pairs[rows].T
            noise = PATCH_NOISE / (contrasts[first] * contrasts[second])
            scores[rows] = _concordances(pictures[first], pictures[second], noise[:, None, None]).min((1, 2))
    return scores


def _equalised(small: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Luma and chroma with mean 0 each and a variance of 1 in all [n, 32, 32, 3]; the contrast they had [n]."""
    pictures = small.astype(np.float32) @ TO_LUMA_CHROMA.T
    pictures -= pictures.mean((1, 2), keepdims=True)
    contrasts: Floats = np.maximum(np.sqrt((pictures**2).sum(-1).mean((1, 2))), np.float32(2))
    equalised: Floats = pictures / contrasts[:, None, None, None]
    return equalised, contrasts


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
