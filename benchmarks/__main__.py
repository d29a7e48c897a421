"""make bench: what the first version costs, each figure beside one to compare it with. Medians of several turns, in turns."""

import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import imagehash
import numpy as np
import torch
import yaml
from PIL import Image
from pydantic import TypeAdapter

from darkroom.augmentation import AugmentSection, Recipe
from darkroom.curation.curate import CurateSection
from darkroom.curation.duplicates import pairs_within
from darkroom.curation.examining import examine
from darkroom.curation.reading import list_images
from darkroom.images import decode
from darkroom.networks.denoiser import Condition, Denoiser
from darkroom.sample_data import make_sample_data
from darkroom.training.loop import as_batch
from darkroom.training.loss import denoising_loss
from darkroom.training.train_base import TrainBaseSection

TURNS = 5
SETTINGS = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8"))


def seconds(act: Callable[[], object]) -> float:
    """Wall clock of one call."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def in_turns(ours: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of both, taken in turns after a warm-up of each."""
    ours(), other()
    pairs = [(seconds(ours), seconds(other)) for _ in range(TURNS)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def curation(folder: Path) -> None:
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


def training() -> None:
    """Floating-point operations of the default training step, as a share of the matrix product's; and the data path's share."""
    section = TypeAdapter(TrainBaseSection).validate_python(SETTINGS["train_base"])
    size, batch = SETTINGS["curate"]["image_size"], section.batch_size
    recipe = Recipe(TypeAdapter(AugmentSection).validate_python(SETTINGS["augment"]))
    model = Denoiser(section.network.build(size, 4, recipe.length), section.preconditioning)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
    condition = Condition(torch.zeros(batch, dtype=torch.long), torch.zeros(batch, recipe.length))
    images, sigma = as_batch(pixels, torch.device("cpu")), torch.ones(batch)
    noise, optimiser = torch.randn_like(images), torch.optim.AdamW(model.parameters(), fused=True)

    def step() -> None:
        optimiser.zero_grad()
        denoising_loss(model, images, sigma, noise, condition).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    square = torch.randn(1024, 1024)
    step_time, product_time = in_turns(step, lambda: square @ square)
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
        step()
    share = (counter.get_total_flops() / step_time) / (2 * 1024**3 / product_time)
    data_time = statistics.median(seconds(lambda: recipe.apply(pixels, 0)) for _ in range(TURNS + 1))
    print(
        f"training: {batch / step_time:.0f} images/s, {share:.2f} of the matrix product's rate "
        f"({2 * 1024**3 / product_time / 1e9:.0f} GFLOP/s); the data path adds {data_time / step_time:.1%} (batch {batch})"
    )


def main() -> None:
    """Print every figure."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        for _ in make_sample_data(folder, 400, seed=0, size=128, dirt=False):
            pass
        sheet = Image.open(next(folder.rglob("*.png")))
        print(
            f"{TURNS} turns each, medians; images such as {sheet.format} of {sheet.size[0]} px; {torch.get_num_threads()} threads"
        )
        curation(folder)
    near_pairs()
    training()


if __name__ == "__main__":
    main()
