"""A network and its materials without a data set: for what can be told before there is one."""

from pathlib import Path

import numpy as np
import torch

from darkroom.augmentation import AugmentSection, Recipe
from darkroom.images import ImageSet
from darkroom.networks.captioned import ReadsCaptions
from darkroom.networks.denoiser import Denoiser
from darkroom.networks.saved import device_named
from darkroom.randomness import WEIGHTS, generator_for
from darkroom.training.course import Materials, Sheet
from darkroom.training.session import Splits
from darkroom.training.train_base import TrainBaseSection


def rehearsed(section: TrainBaseSection, recipe: AugmentSection, size: int) -> tuple[Denoiser, Materials]:
    """An untrained network, and two batches of grain to train it on. Raises ValueError where sizes do not fit."""
    count = 2 * section.batch_size
    grain = generator_for(section.seed, WEIGHTS).integers(0, 256, (count, size, size, 3)).astype(np.uint8)
    captions = (
        tuple(f"picture {number} of something" for number in range(count)) if isinstance(section.network, ReadsCaptions) else ()
    )
    images = ImageSet(grain, np.zeros(count, np.int64), ("any",), tuple(map(str, range(count))), captions)
    materials = materials_of(Splits(images, images), recipe, Path())
    with torch.random.fork_rng():
        network = section.network.build(size, 1, materials.recipe.length)
    return Denoiser(network, section.preconditioning).to(device_named(section.device)), materials


def materials_of(splits: Splits, recipe: AugmentSection, checkpoints: Path) -> Materials:
    """What a course works on that is tried and not run: it draws nothing."""
    return Materials(splits.train, splits.held_out, Recipe(recipe), checkpoints, _no_sheet)


def _no_sheet(averaged: Denoiser, images_seen: int) -> Sheet:
    return Sheet(Path(), np.zeros((0, 1, 1, 3), np.uint8))
