"""Quality per minute against two other projects' own trainings: `python -m benchmarks.quality --peers PYTHON`.

The same images, the same wall clock of training, one after the other; the kernel distance of as many drawn images from training
images, less that of training images from others of them. PYTHON is the interpreter of an environment made for them:

    uv venv PEERS && uv pip install --python PEERS/bin/python torch diffusers accelerate denoising-diffusion-pytorch
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers import RECIPES
from benchmarks.turns import SETTINGS
from darkroom.augmentation import AugmentSection
from darkroom.curation.curate import CurateSection
from darkroom.evaluation.metrics import KernelDistance
from darkroom.events import followed
from darkroom.features.features import EfficientNetLite0
from darkroom.images import Pixels, contact_sheet, read_split
from darkroom.networks.saved import load_model
from darkroom.randomness import HELD_OUT, generator_for
from darkroom.sample_data import make_sample_data
from darkroom.sampling import draw, labels_for, noise_for
from darkroom.training.course import Conduct
from darkroom.training.from_folder import Request, prepared, trained
from darkroom.training.train_base import TrainBaseSection

IMAGES, OURS = 3000, "darkroom"


def main() -> int:
    """Train everyone, print a line for each training and the ratios of the medians."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words.add_argument("--peers", type=Path, metavar="PYTHON", help="their environment; without it, Darkroom alone")
    words.add_argument("--minutes", type=float, default=10.0, help="of wall clock, for each training")
    words.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one training of each for every seed")
    words.add_argument("--out", type=Path, metavar="FILE", help="a line for each training; those already in it are not repeated")
    words.add_argument("--count", type=int, default=500, help="images drawn and scored")
    words.add_argument("--data", type=Path, metavar="FOLDER", help="images to train on; without it, 3,000 sample images are made")
    words.add_argument("--pictures", type=Path, metavar="FOLDER", help="where to leave a sheet of each training's images")
    given = words.parse_args()
    asked = {"minutes": given.minutes, "count": given.count, "data": str(given.data or "")}
    told_before = given.out.read_text(encoding="utf-8").splitlines() if given.out and given.out.exists() else []
    before = [line for line in map(json.loads, told_before) if asked.items() <= line.items()]
    found = {(line["name"], line["seed"]): line["kernel_distance"] for line in before}
    with tempfile.TemporaryDirectory() as scratch:
        at = Path(scratch)
        request = request_in(at, given.data, given.minutes)
        followed(prepared(request, at / "work"))
        training = read_split(at / "work" / "data", "train").pixels
        np.save(at / "images.npy", training)
        print(f"{len(training)} images, {given.minutes:g} minutes each, n = {given.count}, {torch.get_num_threads()} threads")
        for seed, name in itertools.product(given.seeds, (OURS, *RECIPES) if given.peers else (OURS,)):
            if (name, seed) not in found:
                made, told = ours(request, at, seed, given.count) if name == OURS else theirs(name, given, at, seed)
                distance = scored(training, made)
                found[name, seed] = distance
                print(f"{name}, seed {seed}: kernel distance {distance:.0f}; {told}", flush=True)
                if given.out:
                    with given.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({"name": name, "seed": seed, "kernel_distance": distance, **asked, **told}) + "\n")
                if given.pictures:
                    given.pictures.mkdir(parents=True, exist_ok=True)
                    contact_sheet(made[:32], columns=8, scale=3).save(given.pictures / f"{name}-{seed}.png")
    for name in sorted({name for name, _ in found} - {OURS}):
        mine, its = ([value for (one, _), value in found.items() if one == of] for of in (OURS, name))
        ratio = statistics.median(mine) / statistics.median(its)
        print(f"darkroom's median (n = {len(mine)}) is {ratio:.2f} of {name}'s (n = {len(its)})")
    return 0


def request_in(at: Path, data: Path | None, minutes: float) -> Request:
    """The shipped settings on the images in `data`, or on sample images."""
    source = data or at / "source"
    if data is None:
        followed(make_sample_data(source, IMAGES, seed=0, size=128, dirt=False))
    curating = CurateSection.model_validate(SETTINGS["curate"] | {"source": str(source)})
    augmenting, base = AugmentSection.model_validate(SETTINGS["augment"]), TrainBaseSection.model_validate(SETTINGS["train_base"])
    return Request(source, curating, augmenting, base, minutes)


def ours(request: Request, at: Path, seed: int, count: int) -> tuple[Pixels, dict[str, Any]]:
    """Images of the shipped settings, drawn as they say, and what was done."""
    seeded = replace(request, train=request.train.model_copy(update={"seed": seed}))
    used = time.process_time()
    followed(trained(seeded, at / "work", Conduct()))
    cpu = time.process_time() - used
    model, card = load_model(at / "work" / "model", torch.device("cpu"))
    labels, noise = torch.tensor(labels_for(card, seed, count)), noise_for(seed, range(count), card.image_size)
    parts = [slice(start, start + 64) for start in range(0, count, 64)]
    made = np.concatenate([draw(model, card, labels[part], noise[part], card.drawing) for part in parts])
    parameters = sum(value.numel() for value in model.parameters())
    return made, {"images_seen": card.images_seen, "cpu": round(cpu), "parameters": parameters}


def theirs(name: str, given: argparse.Namespace, at: Path, seed: int) -> tuple[Pixels, dict[str, Any]]:
    """Images of another project's training, and what was done."""
    command = [given.peers, Path(__file__).parent / "peers.py", name, "--images", at / "images.npy", "--out", at / "theirs.npy"]
    numbers = ["--minutes", given.minutes, "--seed", seed, "--count", given.count]
    done = subprocess.run([str(word) for word in [*command, *numbers]], capture_output=True, text=True)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        raise SystemExit(f"{name}: its training failed; is it installed in the environment of {given.peers}?")
    return np.load(at / "theirs.npy"), json.loads(done.stdout.strip().splitlines()[-1])


def scored(training: Pixels, made: Pixels) -> float:
    """Kernel distance x 1000 from as many training images, less that between two halves of training images."""
    features = EfficientNetLite0(kind="efficientnet_lite0", side=64)
    order, n = generator_for(0, HELD_OUT).permutation(len(training)), len(made)
    first, second = (features.describe(training[order[part]], 64) for part in (slice(n), slice(n, 2 * n)))
    score = KernelDistance(kind="kernel_distance").score
    return score(first, features.describe(made, 64)) - score(first, second)


if __name__ == "__main__":
    raise SystemExit(main())
