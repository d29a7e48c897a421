"""A data set and a course of training that take a second: what the tests of several rooms train, sample and fine-tune."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from darkroom.augmentation import AugmentSection
from darkroom.events import Event, followed
from darkroom.images import ImageSet, read_split, write_split
from darkroom.networks.saved import ModelCard
from darkroom.training.session import Places
from darkroom.training.train_base import TrainBaseSection

torch.set_num_threads(1)  # so small that more threads cost more than they bring

NAMES = ("dark", "light")
NETWORK = {"kind": "transformer", "patch": 4, "width": 32, "depth": 2, "heads": 2, "detail": 8}
DRAWING = {
    "sampler": {"kind": "euler"},
    "schedule": {"kind": "karras", "least": 0.02, "most": 80.0, "rho": 7.0},
    "steps": 2,
    "guidance": 1.0,
    "away": 1.0,
    "guided_levels": {"least": 0.0, "most": 1000.0},
}
SETTINGS: dict[str, Any] = {
    "start": {"kind": "scratch"},
    "seed": 3,
    "device": "cpu",
    "precision": "fp32",
    "compile": False,
    "data_workers": 0,
    "network": NETWORK,
    "preconditioning": {"kind": "flow"},
    "noise": {"kind": "log_normal", "mean": 0.0, "deviation": 1.2},
    "weighting": {"kind": "constant"},
    "drawing": DRAWING,
    "images": 60,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "learning_rate_schedule": {"kind": "linear_to_zero", "warmup_images": 16},
    "optimiser": {"kind": "adamw", "weight_decay": 0.01},
    "gradient_norm": 1.0,
    "label_dropout": 0.1,
    "labels_for_captions": 0.25,
    "averaging": {"halflife_images": 16, "rampup": 0.5, "snapshots": 0, "weaker": 0.25},
    "patience": 0,
    "report_every": 16,
    "held_out_every": 32,
    "samples_every": 40,
    "checkpoint_every": 24,  # no multiple of the others: a stop falls between two reports
}
MIRROR = {"kind": "mirror", "probability": 0.5}


def painted(count: int, seed: int, size: int = 8) -> ImageSet:
    """Dark and light ramps with some noise, labels in turn."""
    chance = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    ramp = np.linspace(0, 60, size)[None, None, :, None] * chance.random((count, 1, 1, 3))
    level = np.where(labels, 170, 10)[:, None, None, None]
    pixels = (level + ramp + chance.integers(0, 20, (count, size, size, 3))).astype(np.uint8)
    paths = tuple(f"{NAMES[label]}/{seed}-{row:02d}.png" for row, label in enumerate(labels))
    return ImageSet(pixels, labels.astype(np.int64), NAMES, paths)


def prepare(folder: Path, transforms: list[dict[str, Any]] | None = None) -> Places:
    """A curated data set and a recipe below `folder`, and where a course leaves what it makes."""
    (folder / "data").mkdir(parents=True)
    for split, count in (("train", 20), ("validation", 6), ("test", 6)):
        write_split(folder / "data", split, painted(count, seed=count))
    write_recipe(folder / "augmented", transforms or [])
    return Places(folder / "data", folder / "augmented", folder / "model", folder / "report", folder / "checkpoints")


def write_captions(places: Places, captions: dict[str, tuple[str, str]]) -> None:
    """Say of dark and of light images, in each split, what is given."""
    for split, (dark, light) in captions.items():
        images = read_split(places.data, split)
        said = tuple(dark if images.names[label] == "dark" else light for label in images.labels)
        plain = ImageSet(np.asarray(images.pixels), np.zeros_like(images.labels), ("thing",), images.paths, said)
        write_split(places.data, split, plain)


def write_recipe(folder: Path, transforms: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    section = AugmentSection.model_validate({"seed": 0, "transforms": transforms})
    (folder / "recipe.json").write_text(section.model_dump_json(indent=1), encoding="utf-8")


def base_section(**changes: Any) -> TrainBaseSection:
    return TrainBaseSection.model_validate(SETTINGS | changes)


def card(**changes: Any) -> ModelCard:
    settings: dict[str, Any] = {
        "network": NETWORK,
        "preconditioning": {"kind": "flow"},
        "image_size": 8,
        "labels": NAMES,
        "label_counts": (10, 10),
        "augmentations": 0,
        "drawing": DRAWING,
        "focus": (),
        "images_seen": 0,
        "data_digest": "",
        "parent_digest": "",
    }
    return ModelCard.model_validate(settings | changes)


def stirred(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with every weight moved away from its start, so that nothing is zero or the same by chance."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=chance))
    return model


def finished(steps: Generator[Event, None, Any]) -> tuple[list[Event], Any]:
    """Every event of a step, and its answer."""
    events: list[Event] = []
    answer = followed(steps, events.append)
    return events, answer


def stopped_after(steps: Generator[Event, None, Any], count: int) -> None:
    """Take `count` events, then close the step as a stopped run does."""
    for _ in range(count):
        next(steps)
    steps.close()
