"""The bytes of one candidate, read without trust: pipes do not block, sizes are limited, a change while reading is noticed."""

import hashlib
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from darkroom.curation import archives, parquet
from darkroom.curation.decoding import UnreadableImage
from darkroom.curation.reading import Candidate
from darkroom.curation.walking import stamp_of

MOST_BYTES = 2**30  # of one image file: the largest picture that is decoded, uncompressed, is smaller
CLOCK_GRAIN = 2_000_000_000  # nanoseconds: the coarsest times of change that file systems keep (FAT)
CHUNK = 2**20
TRIES = 3  # to read a file that changes meanwhile


@dataclass(frozen=True, slots=True)
class Opened:
    """`content` (None where there is too much of it), its SHA-256 in hexadecimal, and the stamp by which to know it again: ""
    if the file is so new that a further change might leave its times as they are (the racy-git problem)."""

    content: bytes | None
    digest: str
    stamp: str


def bytes_of(top: Path, candidate: Candidate) -> Opened:
    """Read a candidate; `top` is the source folder, or the folder of the source file. Raises UnreadableImage."""
    try:
        if len(candidate.place) > 1:
            return _member(top, candidate)
        file = top / (candidate.place[0] if candidate.place else candidate.path)
        for _ in range(TRIES):
            opened = _file(file)
            if opened is not None:
                return opened
    except (*archives.DAMAGED, *parquet.DAMAGED) as error:
        if isinstance(error, UnreadableImage):
            raise
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreadableImage("unreadable", f"{type(error).__name__}: {what}") from None
    raise UnreadableImage("changing", f"it changed while it was read, {TRIES} times")


def _file(file: Path) -> Opened | None:
    """None if the file changed while it was read."""
    now = time.time_ns()
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # of a pipe, opening may not wait for a writer
    with os.fdopen(handle, "rb", buffering=0) as opened:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            raise UnreadableImage("unreadable", "not a regular file")
        whole = hashlib.sha256()
        kept = None if before.st_size > MOST_BYTES else bytearray()
        while chunk := opened.read(CHUNK if kept is None else max(CHUNK, before.st_size + 1)):
            whole.update(chunk)
            if kept is not None:
                kept += chunk
        after = os.fstat(handle)
    if stamp_of(before) != stamp_of(after):
        return None
    stamp = stamp_of(after) if max(after.st_mtime_ns, after.st_ctime_ns) < now - CLOCK_GRAIN else ""
    return Opened(None if kept is None else bytes(kept), whole.hexdigest(), stamp)


def _member(top: Path, candidate: Candidate) -> Opened:
    name, kind, where, size = candidate.place
    file = top / name
    status = file.stat()
    if not candidate.stamp.startswith(stamp_of(status)):
        raise UnreadableImage("changing", f"{name} changed after its members were listed; run again")
    if kind == "row":
        content = parquet.read_row(file, where, size)
    elif size > MOST_BYTES:
        raise UnreadableImage("too_large", f"a member of {size:,} bytes")
    else:
        content = archives.read_member(file, kind, where, size)
    fresh = max(status.st_mtime_ns, status.st_ctime_ns) >= time.time_ns() - CLOCK_GRAIN
    return Opened(content, hashlib.sha256(content).hexdigest(), "" if fresh else candidate.stamp)
