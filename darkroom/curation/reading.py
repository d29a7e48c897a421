"""What a source holds: candidate images with label, caption and where their bytes lie. Images themselves are not opened.

A source is a folder tree, an archive (.zip, .tar, .tar.gz, ...), a Parquet file, or a folder that holds such files: shards of
WebDataset, a Hugging Face imagefolder, a download. Nothing is unpacked: members are read where they lie.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from posixpath import basename, dirname, splitext
from typing import Any

from darkroom.curation import metadata
from darkroom.curation.decoding import HEAD, IMAGE_SUFFIXES, kind_of

KNOWN = frozenset({"CREDITS.txt", "planted.json", "sample.json", "README.md", "Thumbs.db", "desktop.ini", *metadata.FILES})
HIDDEN = frozenset({"__MACOSX", "__pycache__"})
SPLIT_NAMES = frozenset({"train", "training", "test", "testing", "validation", "valid", "val", "dev"})  # as on Hugging Face
MOST_NOTES = 20  # of one kind of oddity, such as broken lines: a source of a million has a million


@dataclass(frozen=True, slots=True)
class Found:
    """A file in a folder or an archive. `path` is relative to the source, with `/`, and always text; `place` is what
    `opening.bytes_of` finds the bytes by. `content`: all of a text, the first bytes of what may be an image; None if not read.
    """

    path: str
    stamp: str
    place: tuple[str, ...] | tuple[str, str, int, int]
    size: int
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that is taken for an image. `stamp` is equal only while its bytes are surely the same ("" for never)."""

    path: str
    label: str
    caption: str | None
    stamp: str = ""
    place: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """Candidates sorted by path; how many other files there are, by suffix; what was odd in captions and metadata."""

    candidates: tuple[Candidate, ...]
    others: dict[str, int]
    notes: tuple[str, ...]


@dataclass
class Findings:
    """What is gathered while a source is walked."""

    candidates: list[Candidate] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # of metadata, by path
    named: dict[str, set[str]] = field(default_factory=dict)  # metadata file -> paths it names, that were not met so far
    splits: set[str] = field(default_factory=set)  # split names passed over


def list_images(source: Path) -> Listing:
    """Everything that is taken for an image, by its name or, where that says nothing, by its first bytes.

    Label: from metadata (`metadata.jsonl`, `metadata.csv`, a sidecar, a column), else the first sub-folder ("" at the top),
    where a first folder named like a split (train, test, ...) does not count. Caption: from metadata, else a text file of the
    same stem. Hidden files are passed over; links to folders are followed once. Raises OSError for a source that is not there.
    """
    from darkroom.curation.archives import is_archive, members
    from darkroom.curation.parquet import is_table, rows
    from darkroom.curation.walking import files_of, found_at, read_small

    findings = Findings()
    if source.is_dir():
        batches: Iterable[tuple[str, list[Found]]] = files_of(source, findings.notes)
    else:
        batches = [("", [found_at(source, source.name)])]
    top = source if source.is_dir() else source.parent
    for place, files in batches:
        packed = [one for one in files if is_archive(one.path) or is_table(one.path)]
        names = {one.path for one in packed}
        _take(findings, place, [one for one in files if one.path not in names], lambda one: read_small(top, one))
        for one in packed:
            if is_table(one.path):
                findings.candidates += rows(top, one, label_of(place, findings.splits), findings.notes)
            else:
                inside = "" if not source.is_dir() else one.path + "/"
                _take_members(findings, place, inside, members(top, one, inside, findings.notes))
    return _listing(findings)


def _take_members(findings: Findings, place: str, inside: str, files: Iterable[Found]) -> None:
    """Members of one archive, by folder, parents first. A folder that merely wraps sub-folders does not count as a label."""
    folders: defaultdict[str, list[Found]] = defaultdict(list)
    for one in files:
        folders[dirname(one.path.removeprefix(inside))].append(one)
    with_images = [name for name, found in folders.items() if any(_looks_like_image(one) for one in found)]
    tops = {name.split("/")[0] for name in with_images}
    wrapped = len(tops) == 1 and all("/" in name for name in with_images)
    if len(tops) == 1 and not wrapped and len({name.split("/")[1] for name in with_images if "/" in name}) > 1:
        (top,) = tops  # several folders in one, and some images beside them: these tell no label
        wrapped = True
        findings.notes.append(f"{inside}{top}: a folder around folders of images; those beside the folders get no label")
    for name in sorted(folders):
        below = name.partition("/")[2] if wrapped else name
        where = "/".join(part for part in (place, below) if part)
        _take(findings, where, folders[name], lambda one: one.content)


def _looks_like_image(one: Found) -> bool:
    return splitext(one.path)[1].lower() in IMAGE_SUFFIXES or bool(one.content and kind_of(one.content[:HEAD]))


def _take(findings: Findings, place: str, files: Sequence[Found], read: Any) -> None:
    """The files of one folder: images become candidates, texts are read for what they say, the rest is counted."""
    for one in files:
        if basename(one.path) in metadata.FILES:
            above = dirname(one.path)
            found = metadata.rows_of(one.path, read(one) or b"", findings.notes)
            by_path = {f"{above}/{name}" if above else name: row for name, row in found.items()}
            for path, row in by_path.items():  # two metadata files may each tell something of an image
                findings.rows[path] = {**findings.rows.get(path, {}), **metadata.told_in(row)}
            findings.named[one.path] = set(by_path)
    images = [one for one in files if splitext(one.path)[1].lower() in IMAGE_SUFFIXES]
    stems = {splitext(one.path)[0] for one in images}
    texts: defaultdict[str, dict[str, Found]] = defaultdict(dict)
    for one in files:
        stem, suffix = splitext(one.path)
        if suffix.lower() in IMAGE_SUFFIXES or basename(one.path) in KNOWN:
            continue
        if suffix.lower() in metadata.SIDECARS and stem in stems:
            texts[stem][one.path] = one
        elif kind_of((read(replace(one, size=HEAD)) or b"")[:HEAD]):  # no name of an image, but the bytes of one
            images.append(one)
        else:
            findings.others[suffix.lower() or "no suffix"] += 1
    label = label_of(place, findings.splits) if images else ""
    for one in images:
        beside = {name: read(text) or b"" for name, text in texts.get(splitext(one.path)[0], {}).items()} if texts else {}
        told_by = findings.rows.get(one.path), metadata.from_sidecars(beside, findings.notes) if beside else None
        rows = [row for row in told_by if row]  # of most images, none
        labels, captions = map(metadata.label_in, rows), map(metadata.caption_in, rows)  # the first that tells one counts
        findings.candidates.append(
            Candidate(
                path=one.path,
                label=next((told for told in labels if told is not None), label),
                caption=next((told for told in captions if told is not None), None),
                stamp=one.stamp,
                place=one.place,
            )
        )


def label_of(place: str, splits: set[str]) -> str:
    """The first folder of a place; a first one named like a split is passed over and put into `splits`."""
    first, _, rest = place.partition("/")
    if first.lower() not in SPLIT_NAMES:
        return first
    splits.add(first)
    return rest.partition("/")[0]


def _listing(findings: Findings) -> Listing:
    candidates = _named_once(sorted(findings.candidates, key=lambda one: one.path))
    paths = {one.path for one in candidates} if findings.named else set()
    notes = findings.notes[:MOST_NOTES]
    if len(findings.notes) > MOST_NOTES:
        notes.append(f"{len(findings.notes) - MOST_NOTES:,} more notes like these")
    for name, named in sorted(findings.named.items()):
        missing = sorted(named - paths)
        if missing:
            notes.append(f"{name}: names {len(missing)} files that are not there: {missing[0]}, ...")
    if findings.splits:
        found = ", ".join(sorted(findings.splits))
        notes.append(f"top folders named like splits are no labels, and Darkroom splits by itself: {found}")
    return Listing(tuple(candidates), dict(sorted(findings.others.items())), tuple(notes))


def _named_once(candidates: list[Candidate]) -> list[Candidate]:
    """Sorted by path; of several of one name, as an archive may hold them, the second is called `name#2`, and so on."""
    if all(one.path != other.path for one, other in pairwise(candidates)):
        return candidates
    taken, found, number, before = {one.path for one in candidates}, list[Candidate](), 1, ""
    for one in candidates:
        number = number + 1 if one.path == before else 1
        before = one.path
        while number > 1 and f"{before}#{number}" in taken:
            number += 1
        found.append(replace(one, path=f"{before}#{number}") if number > 1 else one)
    return sorted(found, key=lambda one: one.path)


def as_text(name: str) -> str:
    """A file name that may not be UTF-8 (Python holds its bytes as lone surrogates) as text that can be written anywhere."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", errors="backslashreplace")
    return name
