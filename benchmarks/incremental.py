"""What a second run costs after a small change, what memory a large source takes, and what `dvc push` sends after adding 1 %."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from adapters import machine
from benchmarks.turns import SETTINGS
from darkroom.curation.curate import CurateSection, curate
from darkroom.images import ImageSet, write_split

FILES, CHANGED = 2000, 2  # 0.1 %
SIMULATED = 1_000_000
SIDE = 64


def run() -> None:
    """Print every figure of this room."""
    with tempfile.TemporaryDirectory() as scratch:
        image_seconds = second_run(Path(scratch))
    large_source(image_seconds)
    with tempfile.TemporaryDirectory() as scratch:
        pushed(Path(scratch))


def second_run(scratch: Path) -> float:
    """The same source again, unchanged and with 0.1 % changed: whole runs, duplicates, shards and report included.

    Returns seconds that an image more takes in a first run.
    """
    few, many = FILES // 4, FILES
    of_few = curated(photographs(scratch / "few", few), scratch / "few out")
    source = photographs(scratch / "images", many)
    first, unchanged = curated(source, scratch / "out"), curated(source, scratch / "out")
    for number in range(0, FILES, FILES // CHANGED):
        photograph(FILES + number).save(source / f"{number:05d}.jpg", quality=90)
    changed = curated(source, scratch / "out")
    print(
        f"second run: {unchanged / first:.1%} of the first run's {first:.0f} s where nothing changed, "
        f"{changed / first:.1%} with {CHANGED} files changed (n = {FILES}, 640 x 480 px JPEG)"
    )
    return (first - of_few) / (many - few)


def photographs(folder: Path, count: int) -> Path:
    """A folder of them, old enough not to be read again for their age alone."""
    folder.mkdir()
    for number in range(count):
        photograph(number).save(folder / f"{number:05d}.jpg", quality=90)
    aged(folder)
    time.sleep(3)
    return folder


def curated(source: Path, out: Path) -> float:
    """Seconds that a curation takes; what it remembers lies beside `out`."""
    section = CurateSection.model_validate(SETTINGS["curate"] | {"source": str(source), "filters": []})
    started = time.perf_counter()
    for _ in curate(section, source, out, out.with_name(f"{out.name} report"), out.with_name(f"{out.name} memory")):
        pass
    return time.perf_counter() - started


def photograph(seed: int) -> Image.Image:
    """Smooth colours with grain, 640 x 480 pixels."""
    chance = np.random.default_rng(seed)
    smooth = Image.fromarray(chance.integers(0, 256, (12, 16, 3), np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)
    grain = chance.integers(-8, 8, (480, 640, 1))
    return Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8))


def aged(folder: Path) -> None:
    """Let files seem to be of last week."""
    for file in folder.iterdir():
        os.utime(file, (time.time() - 600_000,) * 2)


SIMULATION = f"""
import gc, sys, threading, time
from pathlib import Path
import numpy as np
from darkroom.curation import gathering, ledger
from darkroom.curation.duplicates import find_duplicates
from darkroom.curation.examining import Look, Way
from darkroom.curation.fingerprints import Arrays, Fingerprint, Kind
from darkroom.curation.memory import opened
from darkroom.curation.pairs import DuplicateSettings, compared
from darkroom.curation.reading import Candidate
from darkroom.curation.splitting import SplitSettings
from darkroom.curation.workers import Answer
from darkroom.events import followed

def played(errand, candidates, chosen, workers):
    for index in chosen:
        content = int(candidates[index].stamp.split()[-1])
        digest, chance = f"{{content:064x}}", np.random.default_rng(content)
        hashes = chance.integers(0, 2**64, 9, np.uint64)
        fingerprint = Fingerprint(
            path="", file_digest=digest, pixel_digest=digest, perceptual_hash=int(hashes[0]), difference_hash=int(hashes[1]),
            kind=Kind.PHOTOGRAPH, resolution=10**6, sharpness=300.0, bytes=10**5, row=0, arrays=Arrays(
                hashes[None, 2:], chance.integers(0, 256, (1, 32, 32, 3), np.uint8), np.zeros((1, 32, 32), np.uint8)
            ),
        )
        square = np.zeros(({SIDE}, {SIDE}, 3), np.uint8)
        scores = {{"sharpness": 300.0, "contrast": 40.0}}
        look = Look(1000, 1000, "JPEG", "", scores, "", "", square, fingerprint)
        yield index, Answer(digest, candidates[index].stamp, look)

def listed(count, turn):
    for number in range(count):
        content = number + (count if turn and number % 1000 == 0 else 0)
        path = f"folder-{{number // 1000:04d}}/image-{{number:07d}}.jpg"
        yield Candidate(path, "cat", None, f"1000 1 1 {{content}}", (path,))

def watch():
    global peak
    while True:
        with open("/proc/self/status") as status:  # pages of mapped files are the system's to take back
            peak = max(peak, next(int(line.split()[1]) for line in status if line.startswith("RssAnon")))
        time.sleep(0.05)

gathering.examined = played
gc.disable()  # as `curate` does
folder, count, turn, peak = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), 0
settings = DuplicateSettings(hash_distance=10, least_correlation=0.85, mirrored=False, same_content=None)
threading.Thread(target=watch, daemon=True).start()
candidates = tuple(listed(count, turn))
with opened(folder, "key", {SIDE}) as memory:
    began = time.perf_counter()
    steps = gathering.gather(folder, candidates, Way((), (({SIDE}, {SIDE}),), (0, 0, 0)), memory)
    examined, squares = followed(steps)
    del steps, candidates
    gathered = time.perf_counter()
    prints = [one.fingerprint for one in examined]
    known = followed(compared(prints, settings, memory.compared("settings")))
    memory.remember(known, "settings")
    copies = find_duplicates(prints, settings, known=known)
    done = time.perf_counter()
    entries = ledger.entries_of(examined, copies, SplitSettings(validation=0.05, test=0.05))
    ledger.write_manifest(folder / "manifest.parquet", entries, ["sharpness", "contrast"])
print(gathered - began, done - gathered, time.perf_counter() - done, peak / 1024, len(entries))
"""


def large_source(image_seconds: float) -> None:
    """A source of many files whose looks are played, not taken: what remembering them costs in time and memory.

    `image_seconds`: what a first run takes for an image more.
    """
    with tempfile.TemporaryDirectory() as scratch:
        first, again = (_simulated(scratch, turn) for turn in range(2))
    assert first[4] == again[4] == SIMULATED
    whole = SIMULATED * image_seconds + first[1]
    print(
        f"simulated: {SIMULATED:,} files, then 0.1 % of them new: remembered in {again[0]:.0f} s, compared in {again[1]:.0f} s "
        f"({first[1]:.0f} s the first time), manifest in {again[2]:.0f} s: {sum(again[:3]) / whole:.1%} of a first run's "
        f"{whole:,.0f} s, at {1000 * image_seconds:.1f} ms an image; peak memory {first[3] / 1024:.2f} and "
        f"{again[3] / 1024:.2f} GiB (without listing and shards)"
    )


def _simulated(folder: str, turn: int) -> list[float]:
    words = [sys.executable, "-c", SIMULATION, folder, str(SIMULATED), str(turn)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=3600)
    return [float(word) for word in done.stdout.split()]


def pushed(scratch: Path) -> None:
    """Bytes that a real `dvc push` adds to a remote after 1 % more images, by how many there were."""
    for count in (1000, 10_000, 40_000):
        folder = scratch / str(count)
        (folder / "data").mkdir(parents=True)
        remote = scratch / f"remote-{count}"
        dvc(folder, "init", "--no-scm", "--quiet")
        dvc(folder, "remote", "add", "--default", "here", str(remote))
        sizes = []
        for total in (count, count + count // 100):
            write(folder / "data", total)
            dvc(folder, "add", "--quiet", "data")
            dvc(folder, "push", "--quiet")
            sizes.append(sum(file.stat().st_size for file in remote.rglob("*") if file.is_file()))
        shards = len(list((folder / "data/shards").glob("*.npy")))
        print(
            f"dvc push after adding 1 %: {(sizes[1] - sizes[0]) / sizes[0]:.2%} of what lay there "
            f"({sizes[0] / 2**20:.0f} MiB in {shards} shards; n = {count:,}, {SIDE} px)"
        )


def write(folder: Path, count: int) -> None:
    """A split of `count` images of noise, numbered as they came; old shards are gone, as after `dvc repro`."""
    for file in folder.rglob("*.*"):
        file.unlink()
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    paths = tuple(f"{number * 7919 % 1_000_003:07d}.jpg" for number in range(count))
    write_split(folder, "train", ImageSet(pixels, np.zeros(count, np.int64), ("",), paths), range(count))


def dvc(folder: Path, *words: str) -> None:
    """The real command, in a folder."""
    environment = machine.environment_with({})
    subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, check=True, env=environment, timeout=600)
