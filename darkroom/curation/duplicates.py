"""Duplicates: equal files, equal pixels, and near-duplicates; of several images that are one, the best stays.

Nothing is chained: whatever is rejected was itself verified (`pairs`) against the image that stays.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from darkroom.curation.fingerprints import Fingerprint
from darkroom.curation.pairs import Compared, DuplicateSettings, compared, sharpness_step
from darkroom.events import followed


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A rejected image, the kept one that it was verified against, and how."""

    path: str
    of: str
    reason: str  # "exact_copy" | "same_pixels" | "near_duplicate" | "same_content"
    detail: str


def find_duplicates(
    prints: Sequence[Fingerprint],
    settings: DuplicateSettings,
    first: Collection[str] = (),
    known: Compared | None = None,
) -> list[Duplicate]:
    """The images to reject, sorted by path; each is verified against the better image named in `of`, which stays.

    `first`: paths of images that come before all others, and stay; `known`: what comparing these images gave, if that was done.
    """
    best_first = sorted(prints, key=lambda one: _rank(one, first))
    first_with: dict[str, Fingerprint] = {}
    twins = [one for one in best_first if first_with.setdefault(one.pixel_digest, one) is not one]
    apart = list(first_with.values())
    found = {
        duplicate.path: duplicate for duplicate in _near_duplicates(apart, known or followed(compared(apart, settings)), first)
    }
    for twin in twins:
        if twin.path in first:
            continue
        original = first_with[twin.pixel_digest]
        same = "exact_copy" if twin.file_digest == original.file_digest else "same_pixels"
        words = "the same bytes" if same == "exact_copy" else "the same pixels"
        if original.path in found:  # it goes as well: both are verified against the one that stays
            stays = found[original.path]
            found[twin.path] = Duplicate(twin.path, stays.of, stays.reason, f"{words} as {original.path}; {stays.detail}")
        else:
            found[twin.path] = Duplicate(twin.path, original.path, same, f"{words} as {original.path}")
    return [found[path] for path in sorted(found)]


def _rank(one: Fingerprint, first: Collection[str]) -> tuple[bool, int, int, int, str]:
    """Best first: most pixels, then sharpest, largest file, path."""
    return one.path not in first, -one.resolution, -sharpness_step(one), -one.bytes, one.path


def _near_duplicates(best_first: Sequence[Fingerprint], known: Compared, first: Collection[str]) -> list[Duplicate]:
    """From best to worst, an image stays unless it is verified against one that stays: no chains."""
    named = {digest for pair in known.pairs for digest in (pair.whole, pair.part)}
    place = {one.pixel_digest: number for number, one in enumerate(best_first) if one.pixel_digest in named}
    better: defaultdict[int, list[tuple[float, int, str]]] = defaultdict(list)
    for pair in known.pairs:
        ahead, behind = sorted((place[pair.whole], place[pair.part]))
        better[behind].append((-pair.score, ahead, pair.how))
    return _rejected(best_first, better, first, "near_duplicate")


def find_same_content(
    prints: Sequence[Fingerprint], pairs: Sequence[tuple[int, int, float]], first: Collection[str] = ()
) -> list[Duplicate]:
    """Of images that stayed so far, those to reject since a better one shows the same. `pairs`: their indexes, and how alike."""
    order = sorted(range(len(prints)), key=lambda index: _rank(prints[index], first))
    place = {index: number for number, index in enumerate(order)}
    better: defaultdict[int, list[tuple[float, int, str]]] = defaultdict(list)
    for one, other, score in pairs:
        ahead, behind = sorted((place[one], place[other]))
        better[behind].append((-score, ahead, " in content"))
    return _rejected([prints[index] for index in order], better, first, "same_content")


def _rejected(
    best_first: Sequence[Fingerprint],
    better: Mapping[int, Sequence[tuple[float, int, str]]],
    first: Collection[str],
    reason: str,
) -> list[Duplicate]:
    """`better`: of an image, those that it was verified against and that come before it: less the score, index, how."""
    rejected: dict[int, Duplicate] = {}
    for worse in sorted(better):
        staying = [one for one in better[worse] if one[1] not in rejected]
        if staying and best_first[worse].path not in first:
            score, index, how = min(staying)
            path, of = best_first[worse].path, best_first[index].path
            rejected[worse] = Duplicate(path, of, reason, f"agrees to {-score:.3f} with {of}{how}")
    return list(rejected.values())
