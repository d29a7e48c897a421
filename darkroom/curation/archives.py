"""Members of .zip and .tar archives (plain or compressed): listed and read where they lie, never unpacked to a path."""

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from posixpath import basename, splitext
from typing import IO, Any

from darkroom.curation import metadata
from darkroom.curation.decoding import HEAD, IMAGE_SUFFIXES
from darkroom.curation.reading import HIDDEN, Found, as_text
from darkroom.curation.walking import METADATA_BYTES

ZIPS, TARS = (".zip",), (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
OPENERS: dict[str, Callable[..., Any]] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
STEP = 4 * 2**20  # bytes of a tar that are passed over at once
MOST_RATIO, LEAST_LIMIT = 200, 2**30  # an archive may unpack to 200 times its size, or 1 GiB: beyond it is a bomb
# What the readers of archives raise on damaged ones; RuntimeError where a member is encrypted, NotImplementedError where zipfile
# does not know its compression. Each becomes a note or a quarantined member, none is passed over.
DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(OSError, EOFError, NotImplementedError, RuntimeError, ValueError),
)


def is_archive(name: str) -> bool:
    """Whether a file's name says so."""
    return name.lower().endswith((*ZIPS, *TARS))


def members(top: Path, archive: Found, inside: str, notes: list[str]) -> Iterator[Found]:
    """Regular, visible members; their paths are `inside` and the member's name. A damaged archive ends early, with a note."""
    file = top / str(archive.place[0])
    try:
        yield from (_zipped if archive.path.lower().endswith(ZIPS) else _tarred)(file, archive, inside, notes)
    except DAMAGED as error:
        notes.append(f"{archive.path}: a damaged archive ({type(error).__name__}: {error}); what lies beyond is left out")


def _zipped(file: Path, archive: Found, inside: str, notes: list[str]) -> Iterator[Found]:
    with zipfile.ZipFile(file) as opened:
        for index, info in enumerate(opened.infolist()):
            name = _name(info.filename)
            if info.is_dir() or not name:
                continue
            most = _bytes_to_read(name)
            content = None
            if most and not info.flag_bits & 1:  # 1: encrypted
                content = _text(opened, info, most, archive, notes)
            place = (str(archive.place[0]), "zip", index, info.file_size)
            yield Found(inside + name, f"{archive.stamp} {index}", place, info.file_size, content)


def _text(opened: zipfile.ZipFile, info: zipfile.ZipInfo, most: int, archive: Found, notes: list[str]) -> bytes | None:
    """The beginning of a member; a damaged one is noted and costs no other, as the directory of a zip names them all."""
    try:
        with opened.open(info) as member:
            return member.read(most)
    except DAMAGED as error:
        notes.append(f"{archive.path}: {as_text(info.filename)} is damaged ({type(error).__name__}: {error}); passed over")
        return None


def _tarred(file: Path, archive: Found, inside: str, notes: list[str]) -> Iterator[Found]:
    limit = max(LEAST_LIMIT, MOST_RATIO * archive.size)
    with _stream(file) as stream, tarfile.open(fileobj=stream, mode="r:", errorlevel=0) as opened:
        for member in opened:
            opened.members = []  # type: ignore[attr-defined]  # else tarfile remembers each: there may be a million
            if member.offset_data + member.size > limit:
                notes.append(f"{archive.path}: unpacks to more than {MOST_RATIO} times its size; what lies beyond is left out")
                return
            name = _name(member.name)
            if not name or not member.isreg() or member.issparse():
                if member.issparse() or member.islnk() or member.issym():
                    notes.append(f"{archive.path}: {as_text(member.name)} is a link or sparse; passed over")
                continue
            most = _bytes_to_read(name)
            content = None
            if most:
                stream.seek(member.offset_data)
                content = stream.read(min(most, member.size))
            place = (str(archive.place[0]), "tar", member.offset_data, member.size)
            yield Found(inside + name, f"{archive.stamp} {member.offset_data}", place, member.size, content)
        stream.seek(opened.offset)
        block = stream.read(tarfile.BLOCKSIZE)
        if any(block):  # tarfile takes a damaged header for the end, and says nothing
            raise tarfile.ReadError("a header that cannot be read")
        if len(block) < tarfile.BLOCKSIZE:
            notes.append(f"{archive.path}: it ends without the mark of an archive's end; members may be missing")


def _name(name: str) -> str:
    """A member's name as a path below the archive, though nothing is written there; "" for what is hidden."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    hidden = any(part.startswith(".") or part in HIDDEN for part in parts)
    return "" if hidden else as_text("/".join(parts))


def _bytes_to_read(name: str) -> int:
    """How much of a member is read while listing: of text all that may be, of an unknown file what tells its kind."""
    if basename(name) in metadata.FILES:
        return METADATA_BYTES
    suffix = splitext(name)[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return 0
    return metadata.MOST_BYTES if suffix in metadata.SIDECARS else HEAD


def _stream(file: Path) -> IO[bytes]:
    """The plain bytes of a tar, compressed or not: by its first bytes, as its name may be wrong."""
    with file.open("rb") as plain:
        head = plain.read(6)
    magic = {b"\x1f\x8b": "gz", b"BZ": "bz2", b"\xfd7": "xz"}.get(head[:2])
    opened: Any = OPENERS[magic](file, "rb") if magic else file.open("rb")
    return opened


class Archive:
    """An archive held open, to read one member after the other. A compressed tar is read onwards: go through it in order.

    `tick` is called now and then on the way to a member.
    """

    def __init__(self, file: Path, kind: str, tick: Callable[[], None] = lambda: None) -> None:
        self._tick = tick
        self._zip = zipfile.ZipFile(file) if kind == "zip" else None
        self._members = self._zip.infolist() if self._zip else []
        self._stream = None if self._zip else _stream(file)

    def close(self) -> None:
        """Let go of the file."""
        if self._zip:
            self._zip.close()
        if self._stream:
            self._stream.close()

    def read(self, where: int, size: int) -> bytes:
        """Bytes of a member, as `members` placed it. Raises DAMAGED."""
        if self._zip:
            with self._zip.open(self._members[where]) as member:
                return member.read(size)
        assert self._stream
        if where < self._stream.tell():
            self._stream.seek(0)
        while (at := self._stream.tell()) + STEP < where:  # what is compressed is unpacked up to there, which may take minutes
            if self._stream.seek(STEP, os.SEEK_CUR) == at:  # its end
                break
            self._tick()
        self._stream.seek(where)
        content = self._stream.read(size)
        if len(content) < size:
            raise EOFError("the archive ends within this file")
        return content
