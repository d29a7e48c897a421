"""Duplicates: equal files, equal pixels, and near-duplicates (re-encoded, resized, recoloured, marked, slightly cropped copies).

Near-duplicates are found in two stages. 64-bit hashes propose pairs within a Hamming radius (an exact join); hashes of
some crops of each picture are asked for as well, as a crop of a tenth changes a hash beyond recognition. Then the pictures
themselves are compared (`likeness`), because pictures that differ in one small feature have equal hashes. Nothing is chained:
whatever is rejected was itself verified against the image that stays.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from darkroom.curation.aligning import warped
from darkroom.curation.fingerprints import CROPS, MIRRORED, Fingerprint
from darkroom.curation.likeness import COARSE_LEAST, Floats, Small, agreements, coarse
from darkroom.curation.near_hashes import pairs_between, pairs_within
from darkroom.sections import Section

AT_ONCE = 1024  # pairs
Sliced = TypeVar("Sliced", NDArray[np.int64], NDArray[np.bool_], Sequence["Fingerprint"])


class DuplicateSettings(Section):
    """`hash_distance`: bits of 64 in which the hashes of a pair may differ; `least_correlation`: of its patches;
    `mirrored`: whether mirrored copies are duplicates too; `same_content`: cosine of features from which two images show the same
    (0.9 and more; null: not looked for)."""

    hash_distance: int = Field(ge=0, le=16)
    least_correlation: float = Field(gt=0, le=1)
    mirrored: bool
    same_content: float | None = Field(gt=0, le=1)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A rejected image, the kept one that it was verified against, and how."""

    path: str
    of: str
    reason: str  # "exact_copy" | "same_pixels" | "near_duplicate" | "same_content"
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
    better: defaultdict[int, list[tuple[float, int, str]]] = defaultdict(list)
    for whole, part, score, how in _verified(best_first, settings):
        better[max(whole, part)].append((-score, min(whole, part), how))
    return _rejected(best_first, better, "near_duplicate")


def find_same_content(prints: Sequence[Fingerprint], pairs: Sequence[tuple[int, int, float]]) -> list[Duplicate]:
    """Of images that stayed so far, those to reject since a better one shows the same. `pairs`: their indexes, and how alike."""
    order = sorted(range(len(prints)), key=lambda index: _rank(prints[index]))
    place = {index: number for number, index in enumerate(order)}
    better: defaultdict[int, list[tuple[float, int, str]]] = defaultdict(list)
    for first, second, score in pairs:
        ahead, behind = sorted((place[first], place[second]))
        better[behind].append((-score, ahead, " in content"))
    return _rejected([prints[index] for index in order], better, "same_content")


def _rejected(
    best_first: Sequence[Fingerprint], better: Mapping[int, Sequence[tuple[float, int, str]]], reason: str
) -> list[Duplicate]:
    """`better`: of an image, those that it was verified against and that come before it: less the score, index, how."""
    rejected: dict[int, Duplicate] = {}
    for worse in sorted(better):
        staying = [one for one in better[worse] if one[1] not in rejected]
        if staying:
            score, index, how = min(staying)
            path, of = best_first[worse].path, best_first[index].path
            rejected[worse] = Duplicate(path, of, reason, f"agrees to {-score:.3f} with {of}{how}")
    return list(rejected.values())


def _verified(prints: Sequence[Fingerprint], settings: DuplicateSettings) -> Iterator[tuple[int, int, float, str]]:
    """Pairs that the close look confirms: index of the one that shows all, of the one that may show a part, score, how."""
    cells, photographs = _cells(prints, None), np.array([one.photograph for one in prints])
    looked = np.empty(0, np.int64)
    for view, pairs in _proposed(prints, settings):
        if not len(pairs):
            continue
        either = photographs[pairs[:, 0]] | photographs[pairs[:, 1]]
        asked, places = np.unique(pairs[:, 0], return_inverse=True)
        seen = cells[asked] if view is None else _cells([prints[row] for row in asked], view)
        near = _agreement(seen, cells, np.stack([places, pairs[:, 1]], axis=1)) >= np.where(
            either, COARSE_LEAST[1], COARSE_LEAST[0]
        )
        if view is None:
            looked = _codes(pairs[near], len(prints))
        elif view != MIRRORED:  # a crop is found from the whole too, where that is near; of photographs none is left out
            near = either | (near & ~np.isin(_codes(pairs, len(prints)), looked))
        pairs, either = pairs[near], either[near]
        for rows, photos in zip(_slices(pairs), _slices(either), strict=True):
            yield from _confirmed(prints, rows, view, photos, settings.least_correlation)


def _confirmed(
    prints: Sequence[Fingerprint], rows: NDArray[np.int64], view: int | None, either: NDArray[np.bool_], least: float
) -> Iterator[tuple[int, int, float, str]]:
    """`either` [n]: whether one of a pair is a photograph. That is enough: what all its patches show, no drawing has so."""
    whole, part = (_small([prints[row] for row in side]) for side in rows.T)
    whole = whole.mirrored() if view == MIRRORED else whole
    scores, boxes = agreements(whole, part, np.tile(_box(view), (len(rows), 1)), either)
    for index in np.flatnonzero(scores >= least):
        how = ", mirrored" if view == MIRRORED else _cropped(boxes[index])
        yield int(rows[index, 0]), int(rows[index, 1]), float(scores[index]), how


def _small(prints: Sequence[Fingerprint]) -> Small:
    return Small(np.stack([one.small for one in prints]), np.stack([one.spread for one in prints]))


def _slices(rows: Sliced) -> Iterator[Sliced]:
    return (rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE))


def _cells(prints: Sequence[Fingerprint], view: int | None) -> NDArray[np.float16]:
    """What each picture shows in a view, coarsely. [n, 8, 8, 3]"""
    return np.concatenate([coarse(_seen(np.stack([one.small for one in part]), view)) for part in _slices(prints)])


def _seen(small: NDArray[np.uint8], view: int | None) -> NDArray[np.uint8] | Floats:
    if view == MIRRORED:
        return small[:, :, ::-1]
    return small if view is None else warped(small.astype(np.float32), np.tile(CROPS[view], (len(small), 1)))


def _agreement(first: NDArray[np.float16], second: NDArray[np.float16], pairs: NDArray[np.int64]) -> Floats:
    """Of the cells of the one with those of the other. [n]"""
    agreement = np.empty(len(pairs), np.float32)
    for at, rows in zip(range(0, len(pairs), AT_ONCE), _slices(pairs), strict=True):
        one, other = first[rows[:, 0]].astype(np.float32), second[rows[:, 1]].astype(np.float32)
        agreement[at : at + AT_ONCE] = np.einsum("nyxc,nyxc->n", one, other)
    return agreement


def _codes(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """A number for each pair, whichever comes first."""
    codes: NDArray[np.int64] = np.minimum(pairs[:, 0], pairs[:, 1]) * count + np.maximum(pairs[:, 0], pairs[:, 1])
    return codes


def _box(view: int | None) -> Floats:
    """The part of a picture that a view shows, as fractions."""
    return np.array([0, 0, 1, 1] if view in (None, MIRRORED) else CROPS[view], np.float32)


def _cropped(box: NDArray[np.float32]) -> str:
    width, height = box[2:]
    return f" or with {width:.0%} x {height:.0%} of it" if min(width, height) < 0.98 else ""


def _proposed(prints: Sequence[Fingerprint], settings: DuplicateSettings) -> Iterator[tuple[int | None, NDArray[np.int64]]]:
    """Pairs whose hashes are near: of whole pictures (None), of each crop and of the mirror image with whole pictures."""
    distance = settings.hash_distance
    perceptual = np.array([one.perceptual_hash for one in prints], np.uint64)
    difference = np.array([one.difference_hash for one in prints], np.uint64)
    yield None, np.unique(np.concatenate([pairs_within(hashes, distance) for hashes in (perceptual, difference)]), axis=0)
    views = np.stack([one.views for one in prints])
    for view in range(len(CROPS)):
        pairs = pairs_between(views[:, view], perceptual, distance)
        yield view, pairs[pairs[:, 0] != pairs[:, 1]]
    if settings.mirrored:
        pairs = pairs_between(views[:, MIRRORED], perceptual, distance)
        yield MIRRORED, pairs[pairs[:, 0] < pairs[:, 1]]
