"""Damaged files by the thousand: `python -m tests.darkroom.curation.fuzz --count 5000 --seed 1`.

Real files of every format are cut, flipped, spliced and stretched. Curation must end, with every file in the manifest once, the
good ones kept, and the source as it was.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from darkroom.curation.curate import curate
from darkroom.refs import digest_of
from tests.darkroom.curation.made_pictures import encoded, photograph, picture, section_with

GOOD = 20
Mutation = Callable[[bytes, np.random.Generator], bytes]


def seeds() -> dict[str, bytes]:
    """A file of each format and some of their variants."""
    image, small = photograph(1, 96, 80), photograph(2, 40, 40)
    frames = {"save_all": True, "append_images": [small.resize((96, 80))]}
    return {
        "a.jpg": encoded(image, "JPEG"),
        "b.jpg": encoded(image, "JPEG", progressive=True, quality=60),
        "c.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "d.png": encoded(image),
        "e.png": encoded(image.quantize(32), transparency=3),
        "f.png": encoded(image, **frames),
        "g.webp": encoded(image, "WEBP"),
        "h.webp": encoded(image.convert("RGBA"), "WEBP", lossless=True),
        "i.avif": encoded(image, "AVIF", speed=9),
        "j.gif": encoded(image, "GIF", **frames),
        "k.bmp": encoded(small, "BMP"),
        "l.tif": encoded(small, "TIFF"),
        "m.tif": encoded(image, "TIFF", compression="tiff_lzw"),
        "n.tif": encoded(image, "TIFF", compression="jpeg"),
    }


def _cut(content: bytes, chance: np.random.Generator) -> bytes:
    return content[: chance.integers(0, len(content))]


def _flipped(content: bytes, chance: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.integers(1, 20)):
        changed[chance.integers(len(changed))] ^= 1 << int(chance.integers(8))
    return bytes(changed)


def _damaged_head(content: bytes, chance: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.integers(1, 6)):
        changed[chance.integers(min(200, len(changed)))] = int(chance.choice([0, 1, 127, 128, 255]))
    return bytes(changed)


def _spliced(content: bytes, chance: np.random.Generator) -> bytes:
    start, end = sorted(chance.integers(0, len(content), 2))
    return content[:start] + chance.bytes(int(chance.integers(0, 300))) + content[end:]


def _repeated(content: bytes, chance: np.random.Generator) -> bytes:
    start, end = sorted(chance.integers(0, len(content), 2))
    return content[:end] + content[start:end] * int(chance.integers(1, 5)) + content[end:]


MUTATIONS: tuple[Mutation, ...] = (_cut, _flipped, _damaged_head, _spliced, _repeated)


def plant(folder: Path, count: int, seed: int) -> None:
    """Fill a folder with good files and `count` damaged ones."""
    folder.mkdir(parents=True)
    for number in range(GOOD):
        (folder / f"good-{number}.png").write_bytes(encoded(picture(number)))
    chance, originals = np.random.default_rng(seed), list(seeds().items())
    for number in range(count):
        name, content = originals[number % len(originals)]
        mutation = MUTATIONS[int(chance.integers(len(MUTATIONS)))]
        (folder / f"{number:05d}-{name}").write_bytes(mutation(content, chance))


def check(folder: Path, count: int, seed: int) -> Counter[str]:
    """Curate damaged files and look at what came of them. Returns how many there were of each reason."""
    source = folder / "source"
    plant(source, count, seed)
    before = digest_of(source)
    for _ in curate(section_with(filters=[]), source, folder / "out", folder / "report"):
        pass
    rows = pq.read_table(folder / "out/manifest.parquet").to_pylist()
    assert sorted(row["path"] for row in rows) == sorted(file.name for file in source.iterdir())
    assert all(row["sha256"] for row in rows)
    assert all(row["kept"] or row["duplicate_of"] for row in rows if row["path"].startswith("good-"))
    assert all(row["detail"] for row in rows if not row["kept"])
    assert digest_of(source) == before
    return Counter(row["reason"] or "kept" for row in rows)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--count", type=int, default=5000)
    words.add_argument("--seed", type=int, default=0)
    given = words.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        reasons = check(Path(folder), given.count, given.seed)
    print(f"{given.count} damaged files, seed {given.seed}, {time.perf_counter() - started:.0f} s: {dict(reasons.most_common())}")


if __name__ == "__main__":
    main()
