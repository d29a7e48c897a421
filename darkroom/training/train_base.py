"""The step that trains a model from scratch."""

from collections.abc import Generator
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from darkroom.augmentation import read_recipe
from darkroom.events import Event
from darkroom.images import read_split
from darkroom.networks.denoiser import Preconditioning
from darkroom.networks.saved import Drawing, ModelCard, Network, build
from darkroom.randomness import WEIGHTS, torch_seed
from darkroom.refs import WeightsRef, digest_of
from darkroom.training.loop import Course
from darkroom.training.session import Places, run_course
from darkroom.training.start import WEIGHTS_FOLDER, Start


class TrainBaseSection(Course):
    """Settings of the training from scratch."""

    start: Start
    network: Network
    preconditioning: Preconditioning
    drawing: Annotated[Drawing, Field(description="how images are drawn from the model")]


def train_base(section: TrainBaseSection, places: Places) -> Generator[Event, None, WeightsRef]:
    """Train a base model on the curated training images. Raises TrainingStopped, ModelError, ValueError."""
    images, held_out = read_split(places.data, "train"), read_split(places.data, "validation")
    if not len(images) or not len(held_out):
        raise ValueError(
            f"{places.data} has {len(images)} training and {len(held_out)} validation images; both are needed: see curate.split"
        )
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
        data_digest=digest_of(places.data),
        parent_digest="",
    )
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed(section.seed, WEIGHTS))
        model = build(card)
    card = section.start.begin(places.checkpoints.parents[1] / WEIGHTS_FOLDER, model, card)
    section = section.model_copy(update={"images": section.start.images(section.images)})
    return (yield from run_course(model, card, section, images, held_out, places))
