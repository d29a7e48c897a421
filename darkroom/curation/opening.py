"""The bytes of one candidate, read without trust: pipes do not block, sizes are limited, a change while reading is noticed."""

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.curation.archives import DAMAGED, Archive
from darkroom.curation.decoding import UnreadableImage
from darkroom.curation.reading import Candidate
from darkroom.curation.walking import stamp_of

if TYPE_CHECKING:
    from darkroom.curation.parquet import Group

MOST_BYTES = 2**30  # of one image file: the largest picture that is decoded, uncompressed, is smaller
CHUNK = 2**20
TRIES = 3  # to read a file that changes meanwhile


@dataclass(frozen=True, slots=True)
class Opened:
    """`content` (None where there is too much of it), its SHA-256 in hexadecimal, and the stamp by which to know it again."""

    content: bytes | None
    digest: str
    stamp: str


class Reader:
    """Reads candidates; `top` is the source folder, or the folder of the source file. The archive read last stays open.

    `tick` is called now and then while a member of an archive is looked for.
    """

    def __init__(self, top: Path, tick: Callable[[], None] = lambda: None) -> None:
        self.top, self._tick = top, tick
        self._key: tuple[object, ...] = ()
        self._held: Archive | Group | None = None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._held.close()
        self._held, self._key = None, ()

    def read(self, candidate: Candidate) -> Opened:
        """The bytes of a candidate. Raises UnreadableImage."""
        try:
            if len(candidate.place) > 1:
                return self._member(candidate)
            file = self.top / (candidate.place[0] if candidate.place else candidate.path)
            for _ in range(TRIES):
                opened = _file(file)
                if opened is not None:
                    return opened
        except UnreadableImage:
            raise
        except DAMAGED as error:
            what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UnreadableImage("unreadable", f"{type(error).__name__}: {what}") from None
        raise UnreadableImage("changing", f"it changed while it was read, {TRIES} times")

    def _member(self, candidate: Candidate) -> Opened:
        name, kind, where, size = candidate.place
        file = self.top / name
        stamp = stamp_of(file.stat())
        if not candidate.stamp.startswith(stamp):
            raise UnreadableImage("changing", f"{candidate.path}: its archive changed after its members were listed; run again")
        if kind != "row" and size > MOST_BYTES:
            raise UnreadableImage("too_large", f"a member of {size:,} bytes")
        key = (name, stamp, where if kind == "row" else -1)
        if key != self._key or self._held is None:
            self.__exit__()
            self._held = _group(file, where) if kind == "row" else Archive(file, kind, self._tick)
            self._key = key
        content = self._held.read(*((size, 0) if kind == "row" else (where, size)))
        return Opened(content, hashlib.sha256(content).hexdigest(), candidate.stamp)


def _group(file: Path, number: int) -> "Group":
    from darkroom.curation.parquet import Group  # a third of a second to import, and seldom needed

    return Group(file, number)


def _file(file: Path) -> Opened | None:
    """None if the file changed while it was read."""
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
    return Opened(None if kept is None else bytes(kept), whole.hexdigest(), stamp_of(after))
