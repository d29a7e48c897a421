"""What curation costs, beside decoding alone and beside a peer."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import imagehash
import numpy as np
from pydantic import TypeAdapter

from benchmarks.turns import SETTINGS, in_turns
from darkroom.curation.curate import CurateSection
from darkroom.curation.decoding import decode
from darkroom.curation.duplicates import pairs_within
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
    """All pairs of 64-bit hashes within 8 bits, against ImageHash's own difference of all pairs."""
    chance = np.random.default_rng(0)
    hashes = chance.integers(0, 2**63, 1500, np.uint64)
    theirs = [imagehash.ImageHash(np.unpackbits(np.array([one]).view(np.uint8)).reshape(8, 8).astype(bool)) for one in hashes]

    def all_pairs() -> int:
        return sum(theirs[i] - theirs[j] <= 8 for i in range(300) for j in range(i + 1, 300))

    ours, other = in_turns(lambda: pairs_within(hashes, 8), all_pairs)
    per_pair = (ours / (1500 * 1499 / 2)) / (other / (300 * 299 / 2))
    print(f"near pairs: {1 / per_pair:.0f} times ImageHash's comparisons per second (n = 1,500 and 300, seed 0)")
