"""Pairs of near-duplicates: re-encoded, resized, recoloured, marked, slightly cropped copies.

They are found in two stages. 64-bit hashes propose pairs within a Hamming radius (an exact join); hashes of
some crops of each picture are asked for as well, as a crop of a tenth changes a hash beyond recognition. Then the pictures
themselves are compared (`likeness`), because pictures that differ in one small feature have equal hashes. Whether two
pictures are a pair depends on them alone, so that of pictures compared before, the pairs are remembered.
"""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import log
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from darkroom.cores import cores
from darkroom.curation.aligning import warped
from darkroom.curation.fingerprints import CROPS, MIRRORED, Fingerprint, Kind, together
from darkroom.curation.likeness import ALL, COARSE_LEAST, Floats, Small, agreements, coarse
from darkroom.curation.near_hashes import MOST_ALIKE, pairs_between, pairs_within
from darkroom.events import Event, Progressed
from darkroom.sections import Section

AT_ONCE = 256  # pairs that a thread compares at once, in some 50 MiB
MOST_THREADS = 8
TOLD = 32 * AT_ONCE  # pairs compared between two words of progress, some seconds' work; of fewer none is said
Sliced = TypeVar("Sliced", NDArray[np.int64], Sequence["Fingerprint"])
Confirmed = tuple[int, int, float, str]  # index of the picture that shows all, of the one that may show a part, score, how


class DuplicateSettings(Section):
    """`hash_distance`: bits of 64 in which the hashes of a pair may differ; `least_correlation`: of its patches;
    `mirrored`: whether mirrored copies are duplicates too; `same_content`: cosine of features from which two images show the same
    (0.9 and more; null: not looked for)."""

    hash_distance: int = Field(ge=0, le=16)
    least_correlation: float = Field(gt=0, le=1)
    mirrored: bool
    same_content: float | None = Field(gt=0, le=1)


class Pair(NamedTuple):
    """Pixel digests of two pictures, of which the second may show a part of the first; how well they agree, and how laid over."""

    whole: str
    part: str
    score: float
    how: str


@dataclass(frozen=True)
class Compared:
    """Pictures that were compared, by their pixel digests (bytes, [n]), and the pairs among them.

    Not `complete` where so many hashes are equal that only the first of them met others: nothing may rest on that later.
    """

    digests: NDArray[np.bytes_]
    pairs: tuple[Pair, ...]
    complete: bool = True


def compared(
    prints: Sequence[Fingerprint], settings: DuplicateSettings, before: Compared | None = None
) -> Generator[Event, None, Compared]:
    """All pairs among pictures. Of those that were compared `before`, by these settings, only the new are looked at."""
    apart = sorted({one.pixel_digest: one for one in prints}.values(), key=_rank)
    digests = np.array([one.pixel_digest for one in apart], np.bytes_)
    fresh, pairs, complete = np.ones(len(apart), bool), list[Pair](), not _many_alike(apart)
    if before is not None and before.complete and complete:
        known, stay = set(before.digests.tolist()), {one.pixel_digest for one in apart}
        fresh = np.array([digest not in known for digest in digests.tolist()], bool)
        pairs += [pair for pair in before.pairs if pair.whole in stay and pair.part in stay]
    if len(apart) > 1 and fresh.any():
        for whole, part, score, how in (yield from _verified(apart, settings, fresh)):
            pairs.append(Pair(apart[whole].pixel_digest, apart[part].pixel_digest, score, how))
    return Compared(digests, tuple(sorted(pairs)), complete)


def _rank(one: Fingerprint) -> tuple[int, int, str]:
    """The one with more pixels, or the sharper one, is taken for the whole."""
    return -one.resolution, -sharpness_step(one), one.pixel_digest


def sharpness_step(one: Fingerprint) -> int:
    """Sharpness in steps of a half: compression adds false edges."""
    return round(log(1 + one.sharpness) / log(1.5))


def _many_alike(prints: Sequence[Fingerprint]) -> bool:
    """Whether more hashes are equal than `near_hashes` lets meet others: which these are then depends on who else is there."""
    if len(prints) <= MOST_ALIKE:
        return False
    whole = np.array([(one.perceptual_hash, one.difference_hash) for one in prints], np.uint64)
    hashes = np.concatenate([whole, together("views", prints)], axis=1)
    return any(np.unique(some, return_counts=True)[1].max() > MOST_ALIKE for some in hashes.T)


def _verified(
    prints: Sequence[Fingerprint], settings: DuplicateSettings, fresh: NDArray[np.bool_]
) -> Generator[Event, None, list[Confirmed]]:
    """Pairs that the close look confirms."""
    kinds = np.array([one.kind for one in prints])
    looked, found = np.empty(0, np.int64), list[Confirmed]()
    for view, pairs in _proposed(prints, settings, fresh):
        if not len(pairs):
            continue
        kind = kinds[pairs].max(1)
        near = _agreement(prints, pairs, view) >= np.array(COARSE_LEAST)[kind]
        if view is None:
            looked = _codes(pairs[near], len(prints))
        elif view != MIRRORED:  # a crop is found from the whole too, where that is near; of photographs none is left out
            near = (kind == Kind.PHOTOGRAPH) | (near & ~np.isin(_codes(pairs, len(prints)), looked))
        found += yield from _looked_at(prints, pairs[near], view, kind[near], settings.least_correlation)
    return found


def _looked_at(
    prints: Sequence[Fingerprint], pairs: NDArray[np.int64], view: int | None, kinds: NDArray[np.int64], least: float
) -> Generator[Event, None, list[Confirmed]]:
    """All pairs of a view, closely, on several processors: arrays are computed outside the interpreter's lock."""
    look, found, done = partial(_confirmed, prints, view=view, least=least), list[Confirmed](), 0
    what = "whole images" if view is None else "mirror images" if view == MIRRORED else f"crop {view + 1} of {len(CROPS)}"
    if len(pairs) > TOLD:
        yield Progressed(f"comparing {what}", 0, len(pairs), "pairs")
    with ThreadPoolExecutor(min(MOST_THREADS, cores())) as threads:
        for some, theirs in zip(_slices(pairs, TOLD), _slices(kinds, TOLD), strict=True):
            for confirmed in threads.map(look, _slices(some), _slices(theirs)):
                found += confirmed
            done += len(some)
            if len(pairs) > TOLD:
                yield Progressed(f"comparing {what}", done, len(pairs), "pairs")
    return found


def _confirmed(
    prints: Sequence[Fingerprint], rows: NDArray[np.int64], kinds: NDArray[np.int64], view: int | None, least: float
) -> list[Confirmed]:
    """`kinds` [n]: the greater of a pair's. One photograph is enough: what all its patches show, no drawing has so."""
    whole, part = (_small([prints[row] for row in side]) for side in rows.T)
    whole = whole.mirrored() if view == MIRRORED else whole
    scores, boxes = agreements(whole, part, np.tile(_box(view), (len(rows), 1)), kinds)
    hows = {index: ", mirrored" if view == MIRRORED else _cropped(boxes[index]) for index in np.flatnonzero(scores >= least)}
    return [(int(rows[at, 0]), int(rows[at, 1]), float(scores[at]), how) for at, how in hows.items()]


def _small(prints: Sequence[Fingerprint]) -> Small:
    return Small(together("small", prints), together("spread", prints))


def _slices(rows: Sliced, at_once: int | None = None) -> Iterator[Sliced]:
    at_once = at_once or AT_ONCE
    return (rows[at : at + at_once] for at in range(0, len(rows), at_once))


def _cells(prints: Sequence[Fingerprint], view: int | None) -> NDArray[np.float16]:
    """What each picture shows in a view, coarsely. [n, 8, 8, 3]"""
    return np.concatenate([coarse(_seen(together("small", part), view)) for part in _slices(prints)])


def _seen(small: NDArray[np.uint8], view: int | None) -> NDArray[np.uint8] | Floats:
    if view == MIRRORED:
        return small[:, :, ::-1]
    return small if view is None else warped(small.astype(np.float32), np.tile(CROPS[view], (len(small), 1)))


def _agreement(prints: Sequence[Fingerprint], pairs: NDArray[np.int64], view: int | None) -> Floats:
    """Of the cells of a view of the one with those of the other. [n]"""
    sides = [np.unique(side, return_inverse=True) for side in pairs.T]
    first, second = (_cells([prints[row] for row in rows], of) for (rows, _), of in zip(sides, (view, None), strict=True))
    places, agreement = np.stack([place for _, place in sides], axis=1), np.empty(len(pairs), np.float32)
    for at, rows in zip(range(0, len(pairs), AT_ONCE), _slices(places), strict=True):
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
    return f" or with {width:.0%} x {height:.0%} of it" if min(width, height) < ALL else ""


def _proposed(
    prints: Sequence[Fingerprint], settings: DuplicateSettings, fresh: NDArray[np.bool_]
) -> Iterator[tuple[int | None, NDArray[np.int64]]]:
    """Pairs with a fresh picture whose hashes are near: of whole pictures (None), of each crop and of the mirror image with
    whole pictures."""
    distance = settings.hash_distance
    perceptual = np.array([one.perceptual_hash for one in prints], np.uint64)
    difference = np.array([one.difference_hash for one in prints], np.uint64)
    whole = [_within(hashes, fresh, distance) for hashes in (perceptual, difference)]
    yield None, np.unique(np.concatenate(whole), axis=0)
    views = together("views", prints)
    for view in range(len(CROPS)):
        pairs = _between(views[:, view], perceptual, fresh, distance)
        yield view, pairs[pairs[:, 0] != pairs[:, 1]]
    if settings.mirrored:
        pairs = _between(views[:, MIRRORED], perceptual, fresh, distance)
        yield MIRRORED, pairs[pairs[:, 0] < pairs[:, 1]]


def _within(hashes: NDArray[np.uint64], fresh: NDArray[np.bool_], distance: int) -> NDArray[np.int64]:
    """Near pairs i < j of which one is fresh."""
    if fresh.all():
        return pairs_within(hashes, distance)
    pairs = np.sort(_from(np.flatnonzero(fresh), pairs_between(hashes[fresh], hashes, distance)), axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def _between(
    hashes: NDArray[np.uint64], others: NDArray[np.uint64], fresh: NDArray[np.bool_], distance: int
) -> NDArray[np.int64]:
    """Near pairs (i, j) of `hashes[i]` and `others[j]` of which one is fresh."""
    if fresh.all():
        return pairs_between(hashes, others, distance)
    rows, old = np.flatnonzero(fresh), np.flatnonzero(~fresh)
    there = _from(rows, pairs_between(hashes[rows], others, distance))
    back = pairs_between(others[rows], hashes[old], distance)
    return np.concatenate([there, np.stack([old[back[:, 1]], rows[back[:, 0]]], axis=1)])


def _from(rows: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs whose first number is a place in `rows`, with what stands there."""
    return np.stack([rows[pairs[:, 0]], pairs[:, 1]], axis=1)
