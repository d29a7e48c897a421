"""What curation costs, beside decoding alone and beside a peer.

    python -m benchmarks curation --peer PYTHON

`--peer`: a Python with cleanvision; without it that row is left out.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from benchmarks.turns import SETTINGS, in_turns, seconds
from darkroom.cores import cores
from darkroom.curation.curate import CurateSection
from darkroom.curation.decoding import decode
from darkroom.curation.duplicates import find_duplicates
from darkroom.curation.examining import Way
from darkroom.curation.filters import Outlier
from darkroom.curation.gathering import gather
from darkroom.curation.memory import opened
from darkroom.curation.reading import Candidate, list_images
from darkroom.curation.workers import MOST_SECONDS, Errand, examined
from darkroom.events import followed

KINDS = {"128 px": (10_000, 128, 128), "640 px": (5000, 640, 480), "4,000 px": (80, 4000, 3000)}  # count, width, height: JPEG
BOTH_HAVE = ("aspect_ratio", "sharpness", "underexposed", "overexposed", "information")  # and size, equal and similar files
PEER = """
import sys, time
if __name__ == "__main__":
    from cleanvision import Imagelab
    began = time.perf_counter()
    lab = Imagelab(data_path=sys.argv[1], verbose=False)
    lab.find_issues(n_jobs=int(sys.argv[2]), verbose=False)
    print(len(lab.issues), time.perf_counter() - began)
"""


def run(words: Sequence[str] = ()) -> None:
    """Print every figure of this room."""
    read = argparse.ArgumentParser(prog="python -m benchmarks curation")
    read.add_argument("--peer", type=Path)
    peer = read.parse_args(words).peer
    with tempfile.TemporaryDirectory() as scratch:
        for kind, (count, width, height) in KINDS.items():
            folder = Path(scratch) / kind.replace(",", "").replace(" ", "")
            folder.mkdir()
            for number in range(count):
                _photograph(number, width, height).save(folder / f"{number}.jpg", quality=90)
            examining(folder, kind)
            if peer:
                beside(folder, kind, peer)
    near_pairs()


def _decoded(folder: Path, one: Candidate) -> tuple[int, int]:
    return decode((folder / one.path).read_bytes()).size


def _photograph(seed: int, width: int, height: int) -> Image.Image:
    """Smooth colours and fine grain."""
    chance = np.random.default_rng(seed)
    smooth = Image.fromarray(chance.integers(0, 256, (12, 15, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return Image.fromarray((np.asarray(smooth) + chance.normal(0, 3, (height, width, 1))).clip(0, 255).astype(np.uint8))


def examining(folder: Path, kind: str) -> None:
    """Decode, all shipped checks and hashes, in processes started for it, against decoding alone in full, in some that run."""
    section = _section()
    candidates = list_images(folder).candidates
    filters = tuple(one for one in section.filters if not isinstance(one, Outlier))
    way = Way(filters, ((section.image_size, section.image_size),), section.background)
    errand = Errand(folder, way, None, MOST_SECONDS)
    with ProcessPoolExecutor(cores(), get_context("spawn")) as pool:
        ours, alone = in_turns(
            lambda: list(examined(errand, candidates, range(len(candidates)), cores())),
            lambda: list(pool.map(partial(_decoded, folder), candidates, chunksize=10)),
        )
    count = len(candidates)
    rate = f"{count / ours:.0f} images/s, {alone / ours:.2f} of decoding alone's {count / alone:.0f}"
    print(f"curation: {rate} (n = {count} JPEG, {kind})", flush=True)


def beside(folder: Path, kind: str, peer: Path) -> None:
    """A folder read, checked as both do, and searched for copies, in processes for all cores; once each."""
    section, found = _section(), list[int]()
    filters = tuple(one for one in section.filters if not isinstance(one, Outlier) and one.kind in BOTH_HAVE)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as scratch, opened(Path(scratch), "benchmark", section.image_size) as memory:
            candidates = list_images(folder).candidates
            way = Way(filters, ((section.image_size, section.image_size),), section.background)
            examined, _ = followed(gather(folder, candidates, way, memory))
            find_duplicates([one.fingerprint for one in examined if one.fingerprint], section.duplicates)
            found.append(len(examined))

    took = seconds(ours)
    words = [str(peer), "-c", PEER, str(folder), "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=3600).stdout.split()
    assert int(done[0]) == found[0]
    theirs = float(done[1])
    print(
        f"  the checks that both have: {found[0] / took:.0f} images/s, {theirs / took:.1f} times cleanvision's ({kind})",
        flush=True,
    )


def _section() -> CurateSection:
    return TypeAdapter(CurateSection).validate_python(SETTINGS["curate"])


def near_pairs() -> None:
    """All pairs of 64-bit hashes within 10 bits, a twentieth of them planted, by how many there are."""
    for count in (10_000, 100_000, 1_000_000):
        words = [sys.executable, "-c", JOIN, str(count)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=3600)
        pairs, took, peak = done.stdout.split()
        cost = f"{float(took):.1f} s, peak {float(peak):.0f} MiB"
        print(f"near pairs: {count:,} hashes at distance 10, {cost}, {pairs} pairs (seed 0)")


JOIN = """
import sys, time
import numpy as np
from darkroom.curation.near_hashes import pairs_within
count, chance = int(sys.argv[1]), np.random.default_rng(0)
hashes = chance.integers(0, 2**64, count, np.uint64)
planted = count // 20
hashes[planted : 2 * planted] = hashes[:planted]
for _ in range(6):
    hashes[planted : 2 * planted] ^= np.uint64(1) << chance.integers(0, 64, planted).astype(np.uint64)
began = time.perf_counter()
pairs = pairs_within(hashes, 10)
assert len(pairs) >= planted
took = time.perf_counter() - began
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(pairs), took, int(peak) / 1024)
"""
