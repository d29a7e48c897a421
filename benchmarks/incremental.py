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
SIMULATED = 100_000
SIDE = 64


def run() -> None:
    """Print every figure of this room."""
    with tempfile.TemporaryDirectory() as scratch:
        second_run(Path(scratch))
    large_source()
    with tempfile.TemporaryDirectory() as scratch:
        pushed(Path(scratch))


def second_run(scratch: Path) -> None:
    """The same source again, unchanged and with 0.1 % changed: whole runs, duplicates, shards and report included."""
    source = scratch / "images"
    source.mkdir()
    for number in range(FILES):
        photograph(number).save(source / f"{number:05d}.jpg", quality=90)
    aged(source)
    section = CurateSection.model_validate(SETTINGS["curate"] | {"source": str(source), "filters": []})

    def once() -> float:
        started = time.perf_counter()
        for _ in curate(section, source, scratch / "out", scratch / "report", scratch / "memory"):
            pass
        return time.perf_counter() - started

    time.sleep(3)  # younger files would be read again: their times say too little
    first, unchanged = once(), once()
    for number in range(0, FILES, FILES // CHANGED):
        photograph(FILES + number).save(source / f"{number:05d}.jpg", quality=90)
    changed = once()
    print(
        f"second run: {unchanged / first:.1%} of the first run's {first:.0f} s where nothing changed, "
        f"{changed / first:.1%} with {CHANGED} files changed (n = {FILES}, 640 x 480 px JPEG)"
    )


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
import resource, sys, tempfile, time
from pathlib import Path
import numpy as np
from darkroom.curation import gathering, ledger
from darkroom.curation.duplicates import Fingerprint
from darkroom.curation.examining import Look, Way
from darkroom.curation.memory import opened
from darkroom.curation.reading import Candidate
from darkroom.curation.splitting import SplitSettings
from darkroom.curation.workers import Answer
from darkroom.events import followed

def played(errand, candidates, chosen, workers):
    for index in chosen:
        digest = f"{{index:064x}}"
        small, square = np.full((32, 32, 3), index % 256, np.uint8), np.zeros(({SIDE}, {SIDE}, 3), np.uint8)
        hashes = np.full(7, index, np.uint64)
        fingerprint = Fingerprint("", digest, digest, index * 7919, index * 104729, hashes, small, True, 10**6, 300.0, 10**5)
        scores = {{"sharpness": 300.0, "contrast": 40.0}}
        look = Look(1000, 1000, "JPEG", "", scores, "", "", square, fingerprint)
        yield index, Answer(digest, candidates[index].stamp, look)

gathering.examined = played
count = int(sys.argv[1])
names = [f"folder-{{number // 1000:04d}}/image-{{number:07d}}.jpg" for number in range(count)]
candidates = tuple(Candidate(name, "cat", None, f"1000 1 1 {{number}}", (name,)) for number, name in enumerate(names))
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with tempfile.TemporaryDirectory() as scratch:
    for turn in range(2):
        examined = squares = entries = None
        with opened(Path(scratch), "key", {SIDE}) as memory:
            began = time.perf_counter()
            steps = gathering.gather(Path(scratch), candidates, Way((), {SIDE}, (0, 0, 0)), memory)
            examined, squares = followed(steps)
            seconds = time.perf_counter() - began
            del steps
            entries = ledger.entries_of(examined, [], SplitSettings(validation=0.05, test=0.05))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seconds, peak / 1024, start / 1024, len(entries))
"""


def large_source() -> None:
    """A source of many files whose looks are played, not taken: what remembering them costs in time and memory."""
    peaks = {}
    for count in (SIMULATED // 10, SIMULATED):
        words = [sys.executable, "-c", SIMULATION, str(count)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=900)
        seconds, peaks[count], start, entries = map(float, done.stdout.split())
        assert entries == count
    per_file = (peaks[SIMULATED] - peaks[SIMULATED // 10]) / (0.9 * SIMULATED) * 1024
    print(
        f"remembered: {SIMULATED:,} files taken from memory in {seconds:.1f} s; peak {peaks[SIMULATED]:.0f} MiB, "
        f"{per_file:.2f} KiB a file, so about {(start + per_file * 1e6 / 1024) / 1024:.2f} GiB for a million "
        "(listing, looks and manifest rows; without the comparison for duplicates)"
    )


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
