"""The files of a folder tree: each once, whatever links there are; what cannot be looked into is noted."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from darkroom.curation import metadata
from darkroom.curation.reading import HIDDEN, Found, as_text

METADATA_BYTES = 2**30  # a metadata file larger than this is not read


def files_of(folder: Path, notes: list[str]) -> Iterator[tuple[str, list[Found]]]:
    """Folders below and including `folder`, parents first: the place, relative, with `/`, and its visible files by name."""
    inside = folder.resolve()
    seen = {inside}
    waiting = [""]
    while waiting:
        place = waiting.pop()
        found, below = [], []
        try:
            with os.scandir(folder / place) as entries:
                for entry in sorted(entries, key=lambda one: one.name):
                    name = f"{place}/{entry.name}" if place else entry.name
                    if entry.name.startswith("."):
                        continue
                    if not _is_folder(entry):
                        found.append(_found(name, entry))
                    elif entry.name not in HIDDEN and _is_new(Path(entry.path), entry.is_symlink(), inside, seen):
                        below.append(name)
        except OSError as error:
            if not place:
                raise
            notes.append(f"{as_text(place)}: a folder that cannot be read ({error.strerror}); passed over")
        waiting += reversed(below)
        yield as_text(place), found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: whoever reads it says so
        return False


def found_at(file: Path, name: str) -> Found:
    """One file."""
    status = file.stat()
    return Found(as_text(name), stamp_of(status), (name,), status.st_size)


def _found(name: str, entry: os.DirEntry[str]) -> Found:
    try:
        status = entry.stat()
    except OSError:  # a broken link, or gone already: whoever reads it says so
        return Found(as_text(name), "", (name,), 0)
    return Found(as_text(name), stamp_of(status), (name,), status.st_size)


def stamp_of(status: os.stat_result) -> str:
    """Size, times of the last change of content and of the inode, and the inode's number: equal while the bytes are."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _is_new(path: Path, is_link: bool, inside: Path, seen: set[Path]) -> bool:
    """A linked folder counts once, and not at all where the walk meets it under its own name or it holds the walk."""
    if not is_link:
        return True
    target = path.resolve()
    if target in seen or target.is_relative_to(inside) or inside.is_relative_to(target):
        return False
    seen.add(target)
    return True


def read_small(top: Path, found: Found) -> bytes | None:
    """The beginning of a file, at most its size as it was found: text, or the first bytes. None where it cannot be read."""
    most = METADATA_BYTES if os.path.basename(found.path) in metadata.FILES else metadata.MOST_BYTES  # noqa: PTH119
    try:
        handle = os.open(top / str(found.place[0]), os.O_RDONLY | os.O_NONBLOCK)  # of a pipe, opening may not wait
        with os.fdopen(handle, "rb") as file:
            return file.read(min(found.size, most)) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    except OSError:
        return None
