"""What a person should know before training on a data set: imbalance, too few images, labels that contradict, leaks."""

from collections import Counter
from collections.abc import Sequence

from darkroom.curation.ledger import Entry
from darkroom.curation.reading import SPLIT_NAMES
from darkroom.images import FEWEST, SPLITS
from darkroom.shapes import Shape, shape_for

FEW = 1000  # images, below which a network that starts from nothing remembers them rather than learns from them
RARE = 10  # images of a label
UNEVEN = 10  # times as many images of one label as of another
MUCH = 0.3  # share of all files that one reason rejects
SHOWN = 5  # names


def warnings_of(entries: Sequence[Entry], shapes: tuple[Shape, ...]) -> list[str]:
    """Sentences, the weightiest first; none where all is well."""
    found = [*_leaks(entries), *_contradictions(entries), *_few(entries), *_uneven(entries), *_much_rejected(entries)]
    kept = [entry for entry in entries if entry.kept]
    enlarged = 0
    for entry in kept:
        height, width = shape_for(entry.width, entry.height, shapes)
        enlarged += entry.width < width or entry.height < height
    if enlarged:
        found.append(f"{enlarged:,} kept images are smaller than {shapes[0][0]} pixels and were enlarged: raise `smallest_side`.")
    return found


def _leaks(entries: Sequence[Entry]) -> list[str]:
    """Copies between folders that are named like splits."""
    leaks = [one for one in entries if one.duplicate_of and _split_folder(one.path) != _split_folder(one.duplicate_of)]
    if not leaks:
        return []
    one = leaks[0]
    return [
        f"Files with a copy in another of the source's split folders: {len(leaks):,}, such as {one.path} and {one.duplicate_of}: "
        "figures measured on these splits were too good. The splits made here hold no image of which another holds a copy."
    ]


def _split_folder(path: str) -> str:
    first = path.partition("/")[0].lower()
    return first if first in SPLIT_NAMES else ""


def _contradictions(entries: Sequence[Entry]) -> list[str]:
    label = {entry.path: entry.label for entry in entries}
    pairs = [one for one in entries if one.duplicate_of and one.label != label[one.duplicate_of]]
    if not pairs:
        return []
    one = pairs[0]
    return [
        f"Labelled in two ways: {len(pairs):,}, such as {one.path} ({one.label or 'no label'}) and its original "
        f"{one.duplicate_of} ({label[one.duplicate_of] or 'no label'}); the label of the one that stays counts."
    ]


def _few(entries: Sequence[Entry]) -> list[str]:
    kept = [entry for entry in entries if entry.kept]
    found = []
    if len(kept) < FEW:
        found.append(
            f"{len(kept):,} images are few to train from nothing on: expect copies of them. Add images, vary them more "
            "(`augment.transforms`, such as mirror), end early (`train_base.patience: 3`)."
        )
    held_out = sum(entry.split in SPLITS[1:] for entry in kept)
    if held_out < FEWEST:
        found.append(
            f"{held_out} images are held out (validation and test), and scores need at least {FEWEST}: a model of these can be "
            "trained, but not evaluated or promoted. Add images, or hold out more (`curate.split`)."
        )
    rare = sorted((count, label) for label, count in Counter(entry.label for entry in kept).items() if count < RARE)
    if rare:
        names = ", ".join(f"{label or 'no label'} ({count})" for count, label in rare[:SHOWN])
        found.append(f"Labels with fewer than {RARE} images: {len(rare):,}: {names}{', ...' if len(rare) > SHOWN else ''}.")
    return found


def _uneven(entries: Sequence[Entry]) -> list[str]:
    counts = Counter(entry.label for entry in entries if entry.kept).most_common()
    if len(counts) < 2 or counts[0][1] < UNEVEN * counts[-1][1]:
        return []
    (most, many), (least, few) = counts[0], counts[-1]
    return [f"Labels are uneven: {many:,} images of {most or 'no label'}, {few:,} of {least or 'no label'}."]


def _much_rejected(entries: Sequence[Entry]) -> list[str]:
    counts = Counter(entry.reason for entry in entries if entry.reason)
    return [
        f"{count:,} of {len(entries):,} files were rejected as `{reason}`: is that meant?"
        for reason, count in counts.most_common()
        if count > MUCH * len(entries)
    ]
