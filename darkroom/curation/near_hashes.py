"""Pairs of 64-bit hashes that lie close together, found without comparing all with all.

Multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012): of two hashes that differ in few bits, some 16-bit part differs in
very few. So only hashes are compared whose parts are equal but for one or two bits. Exact.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from darkroom.cores import cores

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]

PARTS, BITS = 4, 16
AT_ONCE = 2**19  # comparisons
FEW = 2**25  # comparisons of all with all that cost less than to look cleverly
MOST_ALIKE = 256  # of hashes that are all equal, only the first so many meet the others


def pairs_within(hashes: Hashes, distance: int) -> Numbers:
    """All pairs i < j whose hashes differ in at most `distance` bits, sorted. int64 [pairs, 2].

    Of more than `MOST_ALIKE` equal hashes, each is paired with the first `MOST_ALIKE` of them, and only these with other hashes:
    a hundred thousand blank scans would be five thousand million pairs.
    """
    groups = _grouped(hashes)
    several = np.flatnonzero(groups.sizes > 1)
    same = _members(np.stack([several, several], axis=1), groups, groups, groups.sizes)
    apart = _members(_near(groups.hashes, None, distance), groups, groups, groups.sizes.clip(max=MOST_ALIKE))
    pairs = np.sort(np.concatenate([same, apart]), axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def pairs_between(hashes: Hashes, others: Hashes, distance: int) -> Numbers:
    """All (i, j) where `hashes[i]` and `others[j]` differ in at most `distance` bits, int64 [pairs, 2]; of equals as above."""
    left, right = _grouped(hashes), _grouped(others)
    return _members(_near(left.hashes, right.hashes, distance), left, right, left.sizes.clip(max=MOST_ALIKE))


@dataclass(frozen=True)
class _Groups:
    """Different hashes, and the indexes of all that are equal to each: `members[starts[g] : starts[g] + sizes[g]]`."""

    hashes: Hashes
    members: Numbers
    starts: Numbers
    sizes: Numbers


def _grouped(hashes: Hashes) -> _Groups:
    unique, group = np.unique(hashes, return_inverse=True)
    sizes = np.bincount(group, minlength=len(unique))
    return _Groups(unique, np.argsort(group, kind="stable"), np.cumsum(sizes) - sizes, sizes)


def _members(pairs: Numbers, left: _Groups, right: _Groups, lefts: Numbers) -> Numbers:
    """Pairs of groups as pairs of their members; of a left group the first `lefts`, of a right one the first `MOST_ALIKE`."""
    first, second = pairs.T
    over = right.sizes[second].clip(max=MOST_ALIKE)
    counts = lefts[first] * over
    pair = np.repeat(np.arange(len(pairs)), counts)
    place = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    down, along = np.divmod(place, over[pair])
    return np.stack([left.members[left.starts[first[pair]] + down], right.members[right.starts[second[pair]] + along]], axis=1)


def _near(hashes: Hashes, others: Hashes | None, distance: int) -> Numbers:
    """Pairs of a hash and one of the others (of two hashes, once, where there are no others). Each side differs in itself."""
    if len(hashes) * len(hashes if others is None else others) <= FEW:
        return _near_of_few(hashes, others, distance)
    radii = [(distance + 1 + part) // PARTS - 1 for part in range(PARTS)]  # if every part differs by more, so does the whole
    found = [np.empty((0, 2), np.int64)]
    with ThreadPoolExecutor(cores()) as pool:
        for part in (one for one in range(PARTS) if radii[one] >= 0):
            left = _sorted(hashes, part)
            search = _Search(left, left if others is None else _sorted(others, part), others is None, distance, radii, part)
            masks = [sum(1 << bit for bit in bits) for few in range(radii[part] + 1) for bits in combinations(range(BITS), few)]
            for pairs in pool.map(search.near, masks):
                found.append(np.stack([search.left.order[pairs[:, 0]], search.right.order[pairs[:, 1]]], axis=1))
    return np.concatenate(found)


def _near_of_few(hashes: Hashes, others: Hashes | None, distance: int) -> Numbers:
    """The same, all compared with all."""
    right, found = hashes if others is None else others, [np.empty((0, 2), np.int64)]
    rows = max(1, AT_ONCE // max(1, len(right)))
    for start in range(0, len(hashes), rows):
        near = np.argwhere(np.bitwise_count(hashes[start : start + rows, None] ^ right) <= distance)
        near[:, 0] += start
        found.append(near if others is not None else near[near[:, 0] < near[:, 1]])
    return np.concatenate(found)


@dataclass(frozen=True)
class _Sorted:
    """Hashes in the order of one part of theirs (`keys`); those with a key lie from `starts[key]` to `ends[key]`."""

    order: Numbers
    hashes: Hashes
    keys: Numbers
    starts: Numbers
    ends: Numbers


def _sorted(hashes: Hashes, part: int) -> _Sorted:
    keys = _part(hashes, part)
    order = np.argsort(keys, kind="stable")
    sizes = np.bincount(keys, minlength=2**BITS)
    ends = np.cumsum(sizes)
    return _Sorted(order, hashes[order], keys[order].astype(np.int64), ends - sizes, ends)


def _part(hashes: Hashes, part: int) -> NDArray[np.uint16]:
    return (hashes >> np.uint64(BITS * part)).astype(np.uint16)


@dataclass(frozen=True)
class _Search:
    """Looks for near pairs by one part; with `same`, both sides are one, and each pair is found once."""

    left: _Sorted
    right: _Sorted
    same: bool
    distance: int
    radii: list[int]
    part: int

    def near(self, mask: int) -> Numbers:
        """Pairs whose keys differ in just the bits of `mask`, and which no earlier part finds."""
        others = self.left.keys ^ mask
        chosen = np.flatnonzero(self.left.keys < others) if self.same and mask else np.arange(len(others))
        begins = chosen + 1 if self.same and not mask else self.right.starts[others[chosen]]
        counts = self.right.ends[others[chosen]] - begins
        compared = np.cumsum(counts)
        at_once = min(int(counts.max(initial=0)) + AT_ONCE, int(counts.sum()))
        steps = np.arange(at_once, dtype=np.int32)
        found, start = [np.empty((0, 2), np.int64)], 0
        while start < len(counts):  # in runs of about AT_ONCE comparisons
            before = int(compared[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(compared, before + AT_ONCE, side="right")))
            some = slice(start, stop)
            second = np.repeat((begins[some] + before - compared[some] + counts[some]).astype(np.int32), counts[some])
            second += steps[: len(second)]
            apart = np.repeat(self.left.hashes[chosen[some]], counts[some])
            apart ^= self.right.hashes[second]
            near = np.flatnonzero(np.bitwise_count(apart) <= self.distance)
            near = near[self._not_yet(apart[near])]
            first = chosen[start + np.searchsorted(compared[some] - before, near, side="right")]
            found.append(np.stack([first, second[near]], axis=1))
            start = stop
        return np.concatenate(found)

    def _not_yet(self, apart: Hashes) -> NDArray[np.bool_]:
        fresh = np.ones(len(apart), bool)
        for earlier in range(self.part):
            fresh &= np.bitwise_count(_part(apart, earlier)) > self.radii[earlier]
        return fresh
