"""Content: images described by a network, to tell outliers and images of the same content. Off unless asked for: it costs most.

Features are remembered by the digest of the file: a second run describes what is new. They are compared centred, as all images
have much in common to such a network.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from darkroom.curation.near_hashes import pairs_within
from darkroom.events import Event, Progressed
from darkroom.images import Rows
from darkroom.sections import Section

Floats = NDArray[np.float32]

WIDTH = 1280
BATCH = 64  # images described together
AT_ONCE = 2048  # images compared together
COMPARED_WITH = 8192  # images that outliers are told by: those of the smallest digests
NEAREST = 10
TABLES = 4  # of hashes, each by other planes
HASH_DISTANCE = 12  # bits of 64: of two images with a cosine of 0.9, one of the four tables brings them together 98 times of 100


class EmbeddingSettings(Section):
    """`side`: pixels that squares are resized to for EfficientNet-lite0; used where the filter `outlier` or `same_content` is."""

    side: Annotated[int, Field(ge=32, le=512, multiple_of=32)]


@dataclass(frozen=True)
class Described:
    """Features of images, rows of length 1: they stay on the disk until rows are asked for."""

    records: NDArray[np.float16]  # [m, 1280]
    place: NDArray[np.int64]  # [n] the record of each image

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, rows: NDArray[np.int64]) -> Floats:
        return self.records[self.place[rows]].astype(np.float32)

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        """The numbers of all rows, so many at once as may be held."""
        return (np.arange(at, min(at + AT_ONCE, len(self))) for at in range(0, len(self), AT_ONCE))


def described(
    digests: Sequence[str], squares: Rows, settings: EmbeddingSettings, folder: Path
) -> Generator[Event, None, Described]:
    """Describe images, uint8 [n, size, size, 3], by the digests of their files; kept in `folder`. Raises FeaturesUnavailable."""
    from darkroom.features.features import EfficientNetLite0, raw, unit  # brings torch, which few runs need

    network = EfficientNetLite0(kind="efficientnet_lite0", side=settings.side)
    kept = _Kept(folder / f"{network.name}-{network.identity()[:12]}")
    fresh = [index for digest, index in dict(zip(digests, range(len(digests)), strict=True)).items() if digest not in kept.place]
    opened = network.opened() if fresh else None
    for at in range(0, len(fresh), BATCH):
        some = fresh[at : at + BATCH]
        assert opened is not None
        kept.add([digests[index] for index in some], unit(raw(opened, squares[np.array(some)], BATCH)))
        yield Progressed("describing", at + len(some), len(fresh))
    return Described(kept.records(), np.array([kept.place[digest] for digest in digests], np.int64))


def outlier_scores(images: Described, digests: Sequence[str]) -> list[float]:
    """1 less the mean cosine of each image with its nearest, among (a part of) the others. [n], 0 to 2."""
    compared = np.array(sorted(range(len(images)), key=digests.__getitem__)[:COMPARED_WITH], np.int64)
    middle = images[compared].mean(0)
    others = _centred(images[compared], middle)
    many = min(NEAREST, len(compared) - 1)
    scores: list[float] = []
    for rows in images.blocks():
        cosines = _centred(images[rows], middle) @ others.T
        cosines[compared[None] == rows[:, None]] = -1  # itself
        scores += (1 - np.partition(cosines, -many, axis=1)[:, -many:].mean(1)).tolist() if many else [0.0] * len(rows)
    return scores


def same_content(images: Described, least: float) -> list[tuple[int, int, float]]:
    """Pairs i < j of images whose centred features have a cosine of at least `least`, and that.

    Proposed by hashes: signs of products with random planes (Charikar, STOC 2002), in which near ones differ in few bits.
    """
    if len(images) < 2:
        return []
    middle = sum(images[rows].sum(0) for rows in images.blocks()) / np.float32(len(images))
    planes = np.random.default_rng(0).standard_normal((WIDTH, 64 * TABLES), np.float32)
    bits = np.concatenate([np.packbits(_centred(images[rows], middle) @ planes > 0, axis=1) for rows in images.blocks()])
    hashes = bits.view(">u8").astype(np.uint64)
    pairs = np.unique(np.concatenate([pairs_within(hashes[:, table], HASH_DISTANCE) for table in range(TABLES)]), axis=0)
    found = []
    for at in range(0, len(pairs), AT_ONCE):
        some = pairs[at : at + AT_ONCE]
        first, second = (_centred(images[side], middle) for side in some.T)
        cosines = (first * second).sum(1)
        found += [(int(i), int(j), float(cosine)) for (i, j), cosine in zip(some, cosines, strict=True) if cosine >= least]
    return found


def _centred(features: Floats, middle: Floats) -> Floats:
    apart = features - middle
    scaled: Floats = apart / np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), np.float32(1e-6))
    return scaled


class _Kept:
    """Records of features, appended, and the digests they belong to, appended after them: what a killed run left is cut off."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._records, self._names = folder / "records", folder / "digests"
        names = self._names.read_bytes() if self._names.exists() else b""
        size = self._records.stat().st_size if self._records.exists() else 0
        count = min(size // (2 * WIDTH), len(names) // 32)
        self.place = {names[32 * at : 32 * at + 32].hex(): at for at in range(count)}
        for file, wanted in ((self._records, 2 * WIDTH * count), (self._names, 32 * count)):
            with file.open("ab") as whole:
                whole.truncate(wanted)

    def add(self, digests: Sequence[str], features: Floats) -> None:
        with self._records.open("ab") as records:
            records.write(features.astype(np.float16).tobytes())
            records.flush()
            os.fdatasync(records.fileno())
        with self._names.open("ab") as names:
            names.write(b"".join(map(bytes.fromhex, digests)))
        for digest in digests:
            self.place[digest] = len(self.place)

    def records(self) -> NDArray[np.float16]:
        if not self.place:
            return np.zeros((0, WIDTH), np.float16)
        return np.memmap(self._records, np.float16, mode="r", shape=(len(self.place), WIDTH))
