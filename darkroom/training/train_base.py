"""The step that trains a model from scratch."""

from collections.abc import Generator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from darkroom.augmentation import read_recipe
from darkroom.events import Event
from darkroom.images import digest_of_images, read_split
from darkroom.networks.denoiser import Denoiser, Preconditioning
from darkroom.networks.saved import Drawing, ModelCard, Network, buckets_of, build
from darkroom.randomness import WEIGHTS, torch_seed
from darkroom.refs import WeightsRef
from darkroom.training.course import UNSTEERED, Conduct, Course
from darkroom.training.session import Places, Splits, run_course
from darkroom.training.start import WEIGHTS_FOLDER, Start


class TrainBaseSection(Course):
    """Settings of the training from scratch."""

    start: Start
    network: Network
    preconditioning: Preconditioning
    drawing: Annotated[Drawing, Field(description="how images are drawn from the model")]


def train_base(section: TrainBaseSection, places: Places, conduct: Conduct = UNSTEERED) -> Generator[Event, None, WeightsRef]:
    """Train a base model on the curated training images. Raises TrainingStopped, StoppedOnRequest, ModelError, ValueError."""
    splits = splits_of(places.data)
    model, card = fresh(section, splits, places)
    card = section.start.begin(places.checkpoints.parents[1] / WEIGHTS_FOLDER, model, card)
    section = section.model_copy(update={"images": section.start.images(section.images)})
    return (yield from run_course(model, card, section, splits, places, conduct))


def splits_of(data: Path) -> Splits:
    """The images to train on, and those held out. Raises ValueError where there are none."""
    splits = Splits(read_split(data, "train"), read_split(data, "validation"))
    if not len(splits.train) or not len(splits.held_out):
        raise ValueError(
            f"{data} has {len(splits.train)} training and {len(splits.held_out)} validation images; both are needed: see "
            "curate.split"
        )
    return splits


def fresh(section: TrainBaseSection, splits: Splits, places: Places) -> tuple[Denoiser, ModelCard]:
    """An untrained model for these images, and its card. Raises ValueError where sizes do not fit."""
    images = splits.train
    card = ModelCard(
        network=section.network,
        preconditioning=section.preconditioning,
        image_size=images.size,
        labels=images.names,
        label_counts=tuple(np.bincount(images.labels, minlength=len(images.names)).tolist()),
        augmentations=read_recipe(places.augmented).length,
        drawing=section.drawing,
        focus=(),
        images_seen=0,
        data_digest=digest_of_images(places.data),
        parent_digest="",
        **buckets_of(images),
    )
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed(section.seed, WEIGHTS))
        return build(card), card
