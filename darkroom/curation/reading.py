"""What a folder of images holds: candidate files with label and caption. Only captions and metadata are opened."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.images import SUFFIXES

METADATA = "metadata.jsonl"
KNOWN = frozenset({"CREDITS.txt", "planted.json", "sample.json", METADATA, "README.md", "Thumbs.db", "desktop.ini"})
SKIPPED_FOLDERS = frozenset({"__MACOSX", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file whose name says it is an image. `path` is relative to the folder, with `/`."""

    path: str
    label: str
    caption: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """Candidates sorted by path; how many other files there are, by suffix; what was odd in captions and metadata."""

    candidates: tuple[Candidate, ...]
    others: dict[str, int]
    notes: tuple[str, ...]


def list_images(folder: Path) -> Listing:
    """Walk a folder. Each first-level sub-folder is a label ("" for files at the top), however deep a file lies in it.

    Captions come from a `metadata.jsonl` in the file's folder (Hugging Face ImageFolder: `file_name`, and `text` or
    `caption`, and `label`, which goes before the folder's name), otherwise from a text file of the same stem. Hidden
    files are passed over; links to folders are followed once.
    """
    candidates: list[Candidate] = []
    others: Counter[str] = Counter()
    notes: list[str] = []
    for place, names in _folders(folder):
        images = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
        rows = _metadata(folder, place, notes) if METADATA in names else {}
        missing = sorted(set(rows) - set(images))
        if missing:
            notes.append(f"{(place / METADATA).as_posix()}: names {len(missing)} files that are not there: {missing[0]}, ...")
        stems = {Path(name).stem for name in images}
        captions = {Path(name).stem: name for name in names if name.lower().endswith(".txt") and Path(name).stem in stems}
        for name in images:
            row = rows.get(name, {})
            label = str(row["label"]) if row.get("label") is not None else (place.parts[0] if place.parts else "")
            caption = row.get("text", row.get("caption"))
            if caption is None and Path(name).stem in captions:
                caption = _caption(folder, place / captions[Path(name).stem], notes)
            candidates.append(Candidate((place / name).as_posix(), label, None if caption is None else str(caption)))
        rest = set(names) - set(images) - set(captions.values()) - KNOWN
        others.update(Path(name).suffix.lower() or "no suffix" for name in rest)
    return Listing(tuple(sorted(candidates, key=lambda one: one.path)), dict(sorted(others.items())), tuple(notes))


def _folders(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders below and including `folder`, relative to it, with their visible files. Links back up are left."""
    inside = folder.resolve()
    seen = {inside}
    waiting = [Path()]
    while waiting:
        place = waiting.pop()
        names = []
        with os.scandir(folder / place) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    names.append(entry.name)
                elif entry.name not in SKIPPED_FOLDERS and _is_new(Path(entry.path), entry.is_symlink(), inside, seen):
                    waiting.append(place / entry.name)
        yield place, names


def _is_new(path: Path, is_link: bool, inside: Path, seen: set[Path]) -> bool:
    """A linked folder counts once, and not at all where the walk meets it under its own name or it holds the walk."""
    if not is_link:
        return True
    target = path.resolve()
    if target in seen or target.is_relative_to(inside) or inside.is_relative_to(target):
        return False
    seen.add(target)
    return True


def _metadata(folder: Path, place: Path, notes: list[str]) -> dict[str, dict[str, Any]]:
    """Rows of a metadata.jsonl by file name. A line that is not such a row is noted and passed over."""
    rows: dict[str, dict[str, Any]] = {}
    content = (folder / place / METADATA).read_bytes().decode("utf-8", errors="replace")
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows[row["file_name"]] = row
        except (ValueError, TypeError, KeyError):
            notes.append(f"{(place / METADATA).as_posix()}, line {number}: no JSON object with `file_name`; passed over")
    return rows


def _caption(folder: Path, file: Path, notes: list[str]) -> str | None:
    try:
        return (folder / file).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        notes.append(f"{file.as_posix()}: not a readable caption ({type(error).__name__}); passed over")
        return None
