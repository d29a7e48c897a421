"""What one step hands the next: a path, a digest of what lies there, and a count, never tensors; and files that are whole."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DatasetRef:
    """A curated (or augmented) data set: `digest` stands for what is trained on, `images` is how many it keeps."""

    path: str
    digest: str
    images: int


@dataclass(frozen=True, slots=True)
class WeightsRef:
    """A model folder (safetensors and JSON): `parameters` is how many numbers the network has."""

    path: str
    digest: str
    parameters: int


@dataclass(frozen=True, slots=True)
class ScoresRef:
    """A file of scores: `scores` is how many figures it holds."""

    path: str
    digest: str
    scores: int


def digest_of(path: Path) -> str:
    """SHA-256 over a file, or over every file below a folder (names and contents, in sorted order), in hexadecimal.

    Raises FileNotFoundError where there is nothing.
    """
    whole = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    for file_path in sorted(item for item in path.rglob("*") if item.is_file()):
        whole.update(file_path.relative_to(path).as_posix().encode() + b"\0")
        whole.update(digest_of(file_path).encode())
    return whole.hexdigest()


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A fresh folder to write into; it takes the place of `folder` only when the block ends without an error."""
    folder = folder.resolve()  # a link to where there is room stays a link
    fresh = folder.with_name(folder.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
    except BaseException:  # an interrupt too: nothing half-written stays, and what was raised goes on
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def write_whole(file: Path, content: bytes) -> None:
    """A file that is whole or not there. Raises OSError."""
    fresh = file.with_name(file.name + ".partial")
    try:
        fresh.write_bytes(content)
        fresh.replace(file)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
