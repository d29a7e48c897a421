"""What each default of the training buys, at a small budget: `python -m benchmarks.ablation --out FILE`, where data/curated is.

One setting at a time is changed; all else, the images, the noise and the budget stay. Two figures: the loss on held-out images in
one space for all (the squared error of the flow's velocity, whatever the network answers), and the kernel distance of drawn
images from training images. Each training appends a line to FILE, so that what is done is not done again; `--table` prints it as
the table of docs/ablation.md.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from benchmarks.turns import SETTINGS
from darkroom.augmentation import AugmentSection
from darkroom.evaluation.metrics import KernelDistance
from darkroom.events import followed
from darkroom.features.features import Described, EfficientNetLite0
from darkroom.images import ImageSet
from darkroom.networks.denoiser import Condition, Denoiser, FlowPreconditioning
from darkroom.networks.saved import Drawing, ModelCard
from darkroom.networks.sizes import SIZES
from darkroom.noise import LogNormal
from darkroom.randomness import HELD_OUT, generator_for, torch_seed
from darkroom.sampling import draw, labels_for, noise_for, preset
from darkroom.training.batches import as_batch, spread_quantiles
from darkroom.training.course import Sheet
from darkroom.training.loop import train
from darkroom.training.rehearsal import materials_of
from darkroom.training.session import Places, Splits
from darkroom.training.train_base import TrainBaseSection, fresh, splits_of

DATA = Path("data/curated")
IMAGES, SEEDS, DRAWN, SIDE = 2400, 2, 256, 64
WEIGHTS, RAW = "the shipped settings", "averaging: none"
CHANGES: dict[str, dict[str, Any]] = {
    WEIGHTS: {},
    "target: noise": {"preconditioning": {"kind": "noise"}},
    "target: edm": {"preconditioning": {"kind": "edm", "data_deviation": 0.5}},
    "weighting: min_snr": {"weighting": {"kind": "min_snr", "gamma": 5.0}},
    "weighting: learned": {"weighting": {"kind": "learned"}},
    "augmentation: none": {"transforms": []},
    "optimiser: muon": {"optimiser": {"kind": "muon", "weight_decay": 0.01, "momentum": 0.95}},
    "network: transformer XS": {"network": SIZES["transformer"]["XS"].model_dump()},
    "batch: 16": {"batch_size": 16},
    "attention: none": {"network": SIZES["unet"]["XS"].model_dump() | {"attention": 0}},
}


def main() -> int:
    """Train what is asked for and not yet in the file, or print the table of the file."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words.add_argument("--out", type=Path, required=True, metavar="FILE", help="a line for each training")
    words.add_argument("--seeds", type=int, nargs="+", default=list(range(SEEDS)))
    words.add_argument("--rows", nargs="+", choices=CHANGES, default=list(CHANGES))
    words.add_argument("--images", type=int, default=IMAGES, help="seen in each training")
    words.add_argument("--table", action="store_true", help="train nothing, print the table")
    given = words.parse_args()
    if given.table:
        print(table(read(given.out)))
        return 0
    done = {(line["row"], line["seed"], line["images"]) for line in read(given.out)}
    for seed in given.seeds:
        for row in given.rows:
            if (row, seed, given.images) not in done:
                for line in trained(row, seed, given.images):
                    with given.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
                    print(line, flush=True)
    return 0


def read(file: Path) -> list[dict[str, Any]]:
    """The lines there are."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def trained(row: str, seed: int, images: int) -> Iterator[dict[str, Any]]:
    """The figures of one training; those of its weights without an average, too, where it is the shipped settings'."""
    changes = dict(CHANGES[row])
    recipe = SETTINGS["augment"] | {"transforms": changes.pop("transforms", SETTINGS["augment"]["transforms"])}
    settings = SETTINGS["train_base"] | {"seed": seed} | changes
    section = TypeAdapter(TrainBaseSection).validate_python(settings).stretched(images)
    section = section.model_copy(update={"report_every": images, "held_out_every": images, "samples_every": 10**9})
    augmenting = AugmentSection.model_validate(recipe)
    splits = splits_of(DATA)
    with tempfile.TemporaryDirectory() as scratch:
        at = Path(scratch)
        (at / "recipe.json").write_text(augmenting.model_dump_json(), encoding="utf-8")
        model, card = fresh(section, splits, Places(DATA, at, at, at, at))
        sheet = Sheet(at, splits.train.pixels[:2])  # nothing is drawn on the way
        materials = replace(materials_of(splits, augmenting, at / "checkpoints"), draw=lambda *given: sheet)
        started = time.perf_counter()
        state = followed(train(model, section, materials, torch.device("cpu")))
        seconds = time.perf_counter() - started
    scored: dict[str, Denoiser] = {row: state.averaged}
    if row == WEIGHTS:
        scored[RAW] = state.model.eval().requires_grad_(False)
    for name, one in scored.items():
        figures = {"held_out": held_out(one, splits.held_out, card), "kernel_distance": distance(one, card, splits)}
        yield {"row": name, "seed": seed, "images": images, "seconds": round(seconds), **figures}


@torch.no_grad()
def held_out(model: Denoiser, images: ImageSet, card: ModelCard) -> float:
    """Mean squared error of the flow's velocity on held-out images, always with the same noise."""
    chance = torch.Generator().manual_seed(torch_seed(0, HELD_OUT))
    sigma = LogNormal(kind="log_normal", mean=0.0, deviation=1.2).sigmas(spread_quantiles(len(images), chance))
    clean = as_batch(images.pixels, torch.device("cpu"))
    noisy = clean + sigma[:, None, None, None] * torch.randn(clean.shape, generator=chance)
    _, answer, _ = FlowPreconditioning(kind="flow").scales(sigma)
    told = Condition(torch.from_numpy(images.labels), torch.zeros(len(images), card.augmentations))
    error = (model(noisy, sigma, told) - clean).square().flatten(1).mean(1)
    return round((error / answer.square()).mean().item(), 5)


def distance(model: Denoiser, card: ModelCard, splits: Splits) -> float:
    """Kernel distance of drawn images from as many training images, less that of training images from others of them."""
    drawing: Drawing = preset("draft", card.drawing.alone).model_copy(update={"guidance": 1.0})
    labels, noise = torch.tensor(labels_for(card, 0, DRAWN)), noise_for(0, range(DRAWN), card.image_size)
    made = [draw(model, card, labels[at : at + 64], noise[at : at + 64], drawing) for at in range(0, DRAWN, 64)]
    order = generator_for(0, HELD_OUT).permutation(len(splits.train))
    first, second = (described(splits.train.pixels[order[part]]) for part in (slice(DRAWN), slice(DRAWN, 2 * DRAWN)))
    score = KernelDistance(kind="kernel_distance").score
    return round(score(first, described(np.concatenate(made))) - score(first, second), 1)


def described(pixels: Any) -> Described:
    """Features of images."""
    return EfficientNetLite0(kind="efficientnet_lite0", side=SIDE).describe(pixels, 64)


def table(lines: list[dict[str, Any]]) -> str:
    """Mean and, in brackets, each seed's figure."""
    rows = dict.fromkeys([WEIGHTS, RAW, *CHANGES])
    text = ["| changed | held-out loss | kernel distance | seconds |", "|---|---|---|---|"]
    for row in rows:
        found = sorted((line for line in lines if line["row"] == row), key=lambda line: line["seed"])
        if found:
            cells = (_cell(found, "held_out", ".4f"), _cell(found, "kernel_distance", ".0f"), _cell(found, "seconds", ".0f"))
            text.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(text)


def _cell(found: Sequence[Mapping[str, Any]], name: str, form: str) -> str:
    values = [line[name] for line in found]
    return f"{statistics.mean(values):{form}} ({', '.join(f'{value:{form}}' for value in values)})"


if __name__ == "__main__":
    raise SystemExit(main())
