"""What earlier runs saw: files known by their stamps, looks known by the content of files. Lies outside a stage's outputs.

`looks.db` (SQLite) holds stamp and digest of each path and what the bytes of each digest showed; the arrays of each look lie in
files of their own (`views`, `small`, `spread`, `cut`), records of equal length, appended and memory-mapped. A record is on
the disk before the row that points to it is, so whatever ends a run, what is believed later is whole. Only what the bytes of a
file show is kept: a file that could not be read, or was too slow, is tried again.
"""

import errno
import hashlib
import os
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zipfile import BadZipFile

import numpy as np
import orjson
import PIL

import darkroom.images
import darkroom.shapes
from darkroom.curation.examining import Look
from darkroom.curation.fingerprints import Arrays, Fingerprint
from darkroom.curation.pairs import Compared, Pair
from darkroom.images import Pixels

FLEETING = frozenset({"unreadable", "changing", "too_slow", "crashed"})  # reasons that lie outside the bytes of a file
ARRAYS = {  # of one image
    "views": np.dtype((np.uint64, (7,))),
    "small": np.dtype((np.uint8, (32, 32, 3))),
    "spread": np.dtype((np.uint8, (32, 32))),
}
SHOWN = ("width", "height", "format", "note", "reason", "detail")  # of a `Look`, kept as text
TOLD = [field.name for field in fields(Fingerprint)][:-2]  # likewise; the last two say where its arrays lie
KEPT = 2  # memories: of the way to look used now, and of the one before
TABLES = """
    CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS looks (digest BLOB PRIMARY KEY, record INTEGER NOT NULL, facts BLOB NOT NULL) WITHOUT ROWID;
"""


class Recalled(NamedTuple):
    """A content's digest, the number of its record (-1 for none), and what it showed, without its pixels."""

    digest: str
    record: int
    look: Look


class Known:
    """Whether the look at a content is remembered, for a worker to ask. Nothing is, where there is no memory."""

    def __init__(self, database: Path | None) -> None:
        uri = database and f"{database.absolute().as_uri()}?mode=ro"
        self._looks = sqlite3.connect(uri, uri=True) if uri else None

    def __contains__(self, digest: str) -> bool:
        if self._looks is None:
            return False
        return self._looks.execute("SELECT 1 FROM looks WHERE digest = ?", (bytes.fromhex(digest),)).fetchone() is not None

    def close(self) -> None:
        """Let go of the database."""
        if self._looks is not None:
            self._looks.close()


class Memory:
    """In `folder`; images are cut to shapes of at most `size` times `size` pixels. Opened by one run at a time."""

    def __init__(self, folder: Path, size: int) -> None:
        self.database = folder / "looks.db"
        self.records = ARRAYS | {"cut": np.dtype((np.uint8, (size, size, 3)))}
        self._compared = folder / "compared.npz"
        self._files: dict[str, BinaryIO] = {}
        self._rows = sqlite3.connect(self.database, isolation_level=None)
        try:
            self._begin(folder)
        except BaseException:  # an interrupt too: nothing stays open, and what was raised goes on
            self._close()
            raise

    def _begin(self, folder: Path) -> None:
        self._rows.execute("PRAGMA journal_mode = WAL")
        self._rows.execute("PRAGMA synchronous = NORMAL")
        self._rows.executescript(TABLES)
        self.count: int = self._rows.execute("SELECT coalesce(max(record), -1) + 1 FROM looks").fetchone()[0]
        self._files |= {name: (folder / name).open("a+b") for name in self.records}
        lengths = {name: self.count * record.itemsize for name, record in self.records.items()}
        if any(os.fstat(file.fileno()).st_size < lengths[name] for name, file in self._files.items()):
            raise sqlite3.DatabaseError("records are missing")
        for name, file in self._files.items():
            file.truncate(lengths[name])  # what a killed run wrote and did not point to
        self._rows.execute("BEGIN")

    def close(self) -> None:
        """Keep what is not kept yet."""
        try:
            self.keep()
        finally:
            self._close()

    def _close(self) -> None:
        self._rows.close()
        for file in self._files.values():
            file.close()

    def keep(self) -> None:
        """Bring what was added to the disk. Raises OSError where there is no room."""
        for file in self._files.values():
            file.flush()
            os.fdatasync(file.fileno())
        if self._rows.in_transaction:  # a disk that was full has ended it, and was told of
            self._rows.execute("COMMIT")
        self._rows.execute("BEGIN")

    def unchanged(self, path: str, stamp: str, arrays: Arrays) -> Recalled | None:
        """Of an unchanged file whose content is known; None otherwise. `arrays`: of `pictures`."""
        if not stamp:
            return None
        query = "SELECT digest, record, facts FROM files JOIN looks USING (digest) WHERE path = ? AND stamp = ?"
        row = self._rows.execute(query, (path, stamp)).fetchone()
        return row and Recalled(row[0].hex(), row[1], _as_look(row[2], arrays, row[1]))

    def add_file(self, path: str, stamp: str, digest: str) -> None:
        """Remember what a file held."""
        self._rows.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (path, stamp, bytes.fromhex(digest)))

    def add_look(self, digest: str, look: Look) -> None:
        """Remember what a content showed. Raises OSError where there is no room."""
        record = -1
        if look.fingerprint is not None:
            for name, file in self._files.items():
                shown = look.cut if name == "cut" else getattr(look.fingerprint, name)
                file.write(np.asarray(shown, self.records[name].base).tobytes().ljust(self.records[name].itemsize, b"\0"))
            record, self.count = self.count, self.count + 1
        self._rows.execute("INSERT INTO looks VALUES (?, ?, ?)", (bytes.fromhex(digest), record, _as_text(look)))

    def has(self, digest: str) -> bool:
        """Whether the look at a content is remembered."""
        query = "SELECT 1 FROM looks WHERE digest = ?"
        return self._rows.execute(query, (bytes.fromhex(digest),)).fetchone() is not None

    def pictures(self) -> tuple[Arrays, Pixels]:
        """Of all records, memory-mapped: the arrays of fingerprints, and the pixels (where they are fewer than those of the
        square, their rows begin with them)."""
        found: dict[str, Any] = {}
        for name, file in self._files.items():
            file.flush()
            found[name] = np.zeros(0, self.records[name])
            if self.count:
                mapped = np.memmap(file, self.records[name].base, mode="r", shape=(self.count, *self.records[name].shape))
                found[name] = mapped.view(np.ndarray)
        return Arrays(*(found[name] for name in Arrays._fields)), found["cut"]

    def look(self, digest: str, arrays: Arrays) -> Recalled:
        """Of a known content. `arrays`: of `pictures`."""
        query = "SELECT record, facts FROM looks WHERE digest = ?"
        record, facts = self._rows.execute(query, (bytes.fromhex(digest),)).fetchone()
        return Recalled(digest, record, _as_look(facts, arrays, record))

    def compared(self, settings: str) -> Compared | None:
        """What was compared by these settings, if that is remembered."""
        try:
            with self._compared.open("rb") as file, np.load(file) as held:
                if str(held["settings"]) != settings:
                    return None
                sides = held["whole"].astype(str).tolist(), held["part"].astype(str).tolist()
                pairs = zip(*sides, held["score"].tolist(), held["how"].tolist(), strict=True)
                return Compared(held["digests"], tuple(Pair(*one) for one in pairs))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):  # there is none, or it is damaged: all is compared
            return None

    def remember(self, found: Compared, settings: str) -> None:
        """Remember what was compared, in place of what was before. Raises OSError where there is no room."""
        whole, part, score, how = zip(*found.pairs, strict=True) if found.pairs else ((), (), (), ())
        fresh = self._compared.with_suffix(".partial")
        with fresh.open("wb") as file:
            np.savez(
                file,
                settings=settings,
                digests=found.digests,
                whole=np.array(whole, np.bytes_),
                part=np.array(part, np.bytes_),
                score=np.array(score, np.float64),
                how=np.array(how, np.str_),
            )
        fresh.replace(self._compared)


def _as_text(look: Look) -> bytes:
    """Values in the order of the fields: a million names of fields take a quarter of the time of reading."""
    printed = look.fingerprint and [getattr(look.fingerprint, name) for name in TOLD]
    return orjson.dumps([[getattr(look, name) for name in SHOWN], list(look.scores.items()), printed])


def _as_look(facts: bytes, arrays: Arrays, record: int) -> Look:
    (width, height, form, note, reason, detail), scores, printed = orjson.loads(facts)
    named = {sys.intern(kind): score for kind, score in scores}  # the same few names a million times
    told = None if printed is None else Fingerprint(*[*printed, arrays, record])
    return Look(width, height, form, note, named, reason, detail, None, told)


@contextmanager
def opened(root: Path, key: str, size: int) -> Iterator[Memory]:
    """The memory below `root` of looks taken in one way, which `key` stands for. A damaged one is begun anew.

    Those of the two ways used last are kept. The caller holds a lock, so that no other run uses it.
    Raises OSError where it cannot be written, and then leaves it as it was.
    """
    folder = root / key
    folder.mkdir(parents=True, exist_ok=True)
    others = sorted((one for one in root.iterdir() if one.is_dir() and one != folder), key=lambda one: one.stat().st_mtime_ns)
    for other in others[: -(KEPT - 1)]:
        shutil.rmtree(other)
    with _unwritable_told(folder):
        try:
            memory = Memory(folder, size)
        except sqlite3.OperationalError:  # no room, no permission: nothing is damaged
            raise
        except sqlite3.DatabaseError:
            shutil.rmtree(folder)
            folder.mkdir()
            memory = Memory(folder, size)
        try:
            yield memory
        finally:
            memory.close()
            os.utime(folder)


@contextmanager
def _unwritable_told(folder: Path) -> Iterator[None]:
    """What SQLite says of a full disk, as files say it."""
    try:
        yield
    except sqlite3.OperationalError as error:
        number = errno.ENOSPC if error.sqlite_errorcode == sqlite3.SQLITE_FULL else errno.EIO
        raise OSError(number, f"the memory of curation could not be written: {error}", str(folder)) from None


def key_of(*settings: str) -> str:
    """What stands for a way to look: settings, the code of this room, and the versions of what decodes."""
    whole = hashlib.sha256(orjson.dumps([*settings, PIL.__version__, np.__version__]))
    shared = [Path(module.__file__ or "") for module in (darkroom.images, darkroom.shapes)]
    for file in [*sorted(Path(__file__).parent.glob("*.py")), *shared]:
        whole.update(file.read_bytes())
    return whole.hexdigest()[:16]


def first_come(root: Path | None, split: str, digests: Sequence[str]) -> tuple[list[int], list[str]]:
    """The number of each image of a split, in the order in which images first came; and that order, to remember.

    New ones are numbered by digest. Without a memory all are new.
    """
    file = root and root / f"order-{split}.txt"
    order = file.read_text(encoding="ascii").split() if file and file.exists() else []
    seen: Counter[str] = Counter()
    names = []
    for digest in digests:  # a person may keep several files of one content
        seen[digest] += 1
        names.append(digest if seen[digest] == 1 else f"{digest}#{seen[digest]}")
    order += sorted(set(names) - set(order))
    number = {name: place for place, name in enumerate(order)}
    return [number[name] for name in names], order


def remember_order(root: Path, split: str, order: Sequence[str]) -> None:
    """Keep what `first_come` gave, once the data set is in place."""
    fresh = root / f"order-{split}.partial"
    fresh.write_text("".join(f"{name}\n" for name in order), encoding="ascii")
    fresh.replace(root / f"order-{split}.txt")
