"""What need not be made twice: arrays in a folder, each named after all that it follows from. Deleting it costs time only.

A file is the SHA-256 of what comes after it, then the bytes of an .npy file: one that was cut short or changed is noticed. It
takes its name when it is whole.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Generator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import darkroom
from darkroom.events import Event, Noted

MOST_BYTES = 4 * 2**30  # in the folder; what was not used for longest goes first
_DIGEST = 32  # bytes


class Kept:
    """A folder of arrays, or none (`folder` None): then nothing is kept and nothing found."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.trouble = ""

    def holds(self, key: str) -> bool:
        """Whether there is an array of this key; it may turn out to be damaged."""
        return self.folder is not None and (self.folder / key).is_file()

    def got(
        self, key: str, what: str, make: Callable[[], Generator[Event, None, NDArray[Any]]]
    ) -> Generator[Event, None, NDArray[Any]]:
        """The array of this key: found, or made and kept. Says where a file was damaged, or could not be written."""
        if self.folder is None:
            return (yield from make())
        if self.holds(key):
            found = self._read(self.folder / key)
            if found is not None:
                return found
            yield Noted(f"{self.folder / key}: damaged ({what}); made again")
        made = yield from make()
        self._write(self.folder / key, made)
        if self.trouble:
            yield Noted(self.trouble)
            self.trouble = ""
        return made

    def _read(self, file: Path) -> NDArray[Any] | None:
        """None where the file is not what was written."""
        content = file.read_bytes()
        if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
            return None
        os.utime(file)
        found: NDArray[Any] = np.load(BytesIO(content[_DIGEST:]), allow_pickle=False)
        return found

    def _write(self, file: Path, array: NDArray[Any]) -> None:
        """Whole or not at all; a full disk stops no evaluation."""
        whole = BytesIO()
        np.save(whole, np.ascontiguousarray(array), allow_pickle=False)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as fresh:
                fresh.write(hashlib.sha256(whole.getbuffer()).digest() + whole.getbuffer())
            Path(fresh.name).replace(file)
            _trimmed(file.parent)
        except OSError as error:
            self.trouble = f"{file}: could not be kept ({error.strerror or error}); the evaluation goes on"


def _trimmed(folder: Path) -> None:
    files = sorted((one.stat().st_mtime, one.stat().st_size, one) for one in folder.iterdir() if one.is_file())
    whole = sum(size for _, size, _ in files)
    for _, size, file in files:
        if whole <= MOST_BYTES:
            return
        file.unlink(missing_ok=True)
        whole -= size


def key_of(kind: str, facts: Mapping[str, Any], content: NDArray[Any] | None = None) -> str:
    """The name of an array: `kind` and a digest of the facts (as JSON) and the content that it follows from."""
    whole = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    if content is not None:
        whole.update(f"{content.dtype} {content.shape}".encode())
        whole.update(np.ascontiguousarray(content).data)
    return f"{kind}-{whole.hexdigest()[:40]}"


def code_of(*names: str) -> str:
    """Digest of some of the library's files and folders, named below `darkroom/`: what code made belongs to that code."""
    top, whole = Path(darkroom.__file__).parent, hashlib.sha256()
    for name in names:
        path = top / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            whole.update(file.relative_to(top).as_posix().encode() + file.read_bytes())
    return whole.hexdigest()
