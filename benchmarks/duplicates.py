"""Recall and precision of near-duplicates on planted copies of photographs, beside imagededup's pHash; and on distinct pictures.

    python -m benchmarks duplicates --photos FOLDER --distinct FOLDER... --peer PYTHON

`--photos`: distinct photographs. `--distinct`: pictures of which none is a copy of another (icons, line art). `--peer`: a Python
with imagededup; without it the peer's columns are left out.
"""

import argparse
import io
import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from benchmarks.turns import SETTINGS
from darkroom.curation.duplicates import find_duplicates
from darkroom.curation.examining import examine
from darkroom.curation.fingerprints import Fingerprint
from darkroom.curation.pairs import DuplicateSettings
from darkroom.curation.reading import list_images
from darkroom.sample_data import make_sample_data

SEED = 0
PEER = """
import json, sys
from unittest.mock import MagicMock
for name in ("", ".transforms", ".models", ".models.vision_transformer"):  # for its CNN alone, and may not load
    sys.modules["torchvision" + name] = MagicMock()
from imagededup.methods import PHash
print(json.dumps([PHash(verbose=False).encode_images(one, recursive=True, num_enc_workers=0) for one in sys.argv[1:]]))
"""
Chance = np.random.Generator


def run(words: Sequence[str] = ()) -> None:
    """Print the table."""
    read = argparse.ArgumentParser(prog="python -m benchmarks duplicates")
    read.add_argument("--photos", type=Path)
    read.add_argument("--distinct", type=Path, nargs="*", default=[])
    read.add_argument("--peer", type=Path)
    given = read.parse_args(words)
    with tempfile.TemporaryDirectory() as scratch:
        if given.photos:
            table(given.photos, given.peer, Path(scratch))
        else:
            print("planted copies of photographs: name a folder of distinct photographs with --photos")
        art = Path(scratch) / "art"
        for _ in make_sample_data(art, 400, seed=11, size=128, dirt=False):
            pass
        for folder in [art, *given.distinct]:
            distinct(folder, given.peer)


def table(photos: Path, peer: Path | None, scratch: Path) -> None:
    """A row for each way to change a copy: every original beside one copy of it."""
    originals = {path: picture for path, picture in pictures(photos).items() if np.asarray(picture).std() > 6}
    print(f"planted copies: n = {len(originals)} photographs and one copy of each, seed {SEED}; recall / precision")
    print(f"{'':18}darkroom      " + ("pHash at 10   pHash at its best" if peer else ""))
    folders = {name: scratch / name.replace(" ", "-") for name in CHANGES}
    for name, change in CHANGES.items():
        chance = np.random.default_rng(SEED)
        folders[name].mkdir()
        for number, picture in enumerate(originals.values()):
            picture.save(folders[name] / f"{number:04d}-a.png", compress_level=1)
            change(picture, chance).save(folders[name] / f"{number:04d}-b.png", compress_level=1)
    theirs = _peer_hashes(peer, list(folders.values())) if peer else []
    for row, (name, folder) in enumerate(folders.items()):
        settings = DuplicateSettings.model_validate(SETTINGS["curate"]["duplicates"] | {"mirrored": name == "mirrored"})
        found = [(one.path, one.of) for one in find_duplicates(prints(folder), settings)]
        right = sum(one[:4] == other[:4] for one, other in found)
        line = f"{name:18}{right / len(originals):.3f} / {right / max(1, len(found)):.3f}"
        print(line + (f" {_of_peer(theirs[row], len(originals))}" if peer else ""), flush=True)


def distinct(folder: Path, peer: Path | None) -> None:
    """How many distinct pictures are taken for copies."""
    found_in = prints(folder)
    found = find_duplicates(found_in, DuplicateSettings.model_validate(SETTINGS["curate"]["duplicates"]))
    line = (
        f"distinct pictures, {folder.name}: {len(found)} of {len(found_in)} rejected ({1 - len(found) / len(found_in):.4f} stay)"
    )
    if peer:
        (hashes,) = _peer_hashes(peer, [folder])
        near = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= 10
        np.fill_diagonal(near, False)
        line += f"; imagededup's pHash at 10 takes {int(near.any(1).sum())} for copies"
    print(line)
    for one in found[:10]:
        print(f"    {one.path}: {one.detail}")


def prints(folder: Path) -> list[Fingerprint]:
    """What curation remembers of each picture."""
    looks = [examine(folder, one, (), [(32, 32)], (255, 255, 255)) for one in list_images(folder).candidates]
    return [one.fingerprint for one in looks if one.fingerprint is not None]


def pictures(folder: Path) -> dict[str, Image.Image]:
    """All pictures of a folder, by path, of at most 384 pixels."""
    found = {}
    for one in list_images(folder).candidates:
        picture = Image.open(folder / one.path).convert("RGB")
        picture.thumbnail((384, 384))
        found[one.path] = picture
    return found


def _peer_hashes(peer: Path, folders: Sequence[Path]) -> list[np.ndarray]:
    """imagededup's pHashes of the pictures of each folder, by name; from a process without this project on its path."""
    words = ["env", "-u", "PYTHONPATH", peer, "-c", PEER, *(folder.absolute() for folder in folders)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=folders[0])
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return [np.array([int(hashes[name], 16) for name in sorted(hashes)], np.uint64) for hashes in found]


def _of_peer(hashes: np.ndarray, count: int) -> str:
    """Recall and precision of pairs at imagededup's default distance, and at the one of the best harmonic mean of both.

    `hashes` are sorted by name: original, copy, original, copy, ...
    """
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None])[np.triu_indices(len(hashes), 1)]
    origin = np.arange(len(hashes)) // 2
    same = (origin[:, None] == origin[None])[np.triu_indices(len(hashes), 1)]
    rows = []
    for distance in range(33):
        near = apart <= distance
        right = int((near & same).sum())
        recall, precision = right / count, right / max(1, int(near.sum()))
        rows.append((2 * recall * precision / max(1e-9, recall + precision), recall, precision, distance))
    best = max(rows)
    return f"{rows[10][1]:.3f} / {rows[10][2]:.3f} {best[1]:.3f} / {best[2]:.3f} at {best[3]}"


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=quality)
    return Image.open(content).convert("RGB")


def _resized(picture: Image.Image, factor: float) -> Image.Image:
    width, height = (max(16, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _cropped(picture: Image.Image, share: float, chance: Chance) -> Image.Image:
    """Without `share` of each side's length, anywhere."""
    width, height = (round(side * (1 - share)) for side in picture.size)
    left, top = int(chance.integers(picture.width - width + 1)), int(chance.integers(picture.height - height + 1))
    return picture.crop((left, top, left + width, top + height))


def _gamma(picture: Image.Image, power: float) -> Image.Image:
    return picture.point([round(255 * (value / 255) ** power) for value in range(256)] * 3)


def _marked(picture: Image.Image, chance: Chance) -> Image.Image:
    """White letters, three quarters opaque, a twelfth of the height, along the upper or the lower edge."""
    size = max(8, picture.height // 12)
    layer = Image.new("L", picture.size, 0)
    left, top = int(chance.integers(max(1, picture.width // 2))), (4, picture.height - size - 4)[int(chance.integers(2))]
    ImageDraw.Draw(layer).text((left, top), "(c) Ada Example", fill=190, font_size=size)
    return Image.composite(Image.new("RGB", picture.size, (255, 255, 255)), picture, layer)


CHANGES: dict[str, Callable[[Image.Image, Chance], Image.Image]] = {
    "JPEG quality 90": lambda picture, chance: _jpeg(picture, 90),
    "JPEG quality 60": lambda picture, chance: _jpeg(picture, 60),
    "JPEG quality 30": lambda picture, chance: _jpeg(picture, 30),
    "resized to 0.6": lambda picture, chance: _resized(picture, 0.6),
    "resized to 0.3": lambda picture, chance: _resized(picture, 0.3),
    "cropped by 2 %": lambda picture, chance: _cropped(picture, 0.02, chance),
    "cropped by 5 %": lambda picture, chance: _cropped(picture, 0.05, chance),
    "cropped by 10 %": lambda picture, chance: _cropped(picture, 0.10, chance),
    "brightness 0.7": lambda picture, chance: ImageEnhance.Brightness(picture).enhance(0.7),
    "brightness 1.3": lambda picture, chance: ImageEnhance.Brightness(picture).enhance(1.3),
    "contrast 0.7": lambda picture, chance: ImageEnhance.Contrast(picture).enhance(0.7),
    "contrast 1.4": lambda picture, chance: ImageEnhance.Contrast(picture).enhance(1.4),
    "gamma 0.7": lambda picture, chance: _gamma(picture, 0.7),
    "gamma 1.4": lambda picture, chance: _gamma(picture, 1.4),
    "colour 0.6": lambda picture, chance: ImageEnhance.Color(picture).enhance(0.6),
    "watermark": _marked,
    "mirrored": lambda picture, chance: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}
