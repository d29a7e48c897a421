"""What curation costs, beside decoding alone and beside a peer."""

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.turns import SETTINGS, in_turns
from darkroom.curation.curate import CurateSection
from darkroom.curation.decoding import decode
from darkroom.curation.examining import examine
from darkroom.curation.reading import list_images
from darkroom.sample_data import make_sample_data


def run() -> None:
    """Print every figure of this room."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        for _ in make_sample_data(folder, 400, seed=0, size=128, dirt=False):
            pass
        examining(folder)
    near_pairs()


def examining(folder: Path) -> None:
    """Decode, all checks and hashes, against decoding alone; on all cores."""
    section = TypeAdapter(CurateSection).validate_python(SETTINGS["curate"])
    candidates = list_images(folder).candidates
    look = partial(examine, folder, filters=section.filters, size=section.image_size, background=section.background)
    with ThreadPoolExecutor() as pool:
        ours, alone = in_turns(
            lambda: list(pool.map(look, candidates)),
            lambda: list(pool.map(lambda one: decode((folder / one.path).read_bytes()), candidates)),
        )
    count = len(candidates)
    print(
        f"curation: {count / ours:.0f} images/s, {alone / ours:.2f} of decoding alone's {count / alone:.0f} (n = {count}, 128 px)"
    )


def near_pairs() -> None:
    """All pairs of 64-bit hashes within 10 bits, a twentieth of them planted, by how many there are."""
    for count in (10_000, 100_000, 1_000_000):
        words = [sys.executable, "-c", JOIN, str(count)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=3600)
        pairs, took, peak = done.stdout.split()
        cost = f"{float(took):.1f} s, peak {float(peak):.0f} MiB"
        print(f"near pairs: {count:,} hashes at distance 10, {cost}, {pairs} pairs (seed 0)")


JOIN = """
import resource, sys, time
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
print(len(pairs), time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
