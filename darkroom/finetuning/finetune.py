"""The step that fine-tunes: the training loop from the base's weights, with fewer images and a smaller learning rate."""

from collections.abc import Generator
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from darkroom.augmentation import read_recipe
from darkroom.events import Event
from darkroom.images import read_split
from darkroom.networks.saved import ModelError, device_named, load_model
from darkroom.refs import WeightsRef, digest_of
from darkroom.training.course import UNSTEERED, Conduct, Course
from darkroom.training.session import Places, Splits, run_course


class FinetuneSection(Course):
    """Settings of the fine-tuning."""

    focus: Annotated[list[str], Field(description="labels to fine-tune on; none means all")]


def finetune(
    section: FinetuneSection, base: Path, places: Places, conduct: Conduct = UNSTEERED
) -> Generator[Event, None, WeightsRef]:
    """Fine-tune the model in `base` on the images of its focus. Raises TrainingStopped, ModelError, ValueError."""
    model, card = load_model(base, device_named(section.device))
    images = read_split(places.data, "train").only(section.focus)
    held_out = read_split(places.data, "validation").only(section.focus)
    if images.names != card.labels or images.size != card.image_size:
        raise ModelError(
            f"{base} was trained on {card.image_size}-pixel images of {', '.join(card.labels)}; the data set now has "
            f"{images.size}-pixel images of {', '.join(images.names)}: train the base again"
        )
    if read_recipe(places.augmented).length != card.augmentations:
        raise ModelError(f"{base} was trained with another recipe of augmentations: train the base again")
    if not len(images) or not len(held_out):
        raise ValueError(
            f"finetune.focus: {', '.join(section.focus) or 'all labels'} has {len(images)} training and {len(held_out)} "
            "held-out images; both are needed"
        )
    tuned = card.model_copy(
        update={
            "focus": tuple(section.focus),
            "label_counts": tuple(np.bincount(images.labels, minlength=len(images.names)).tolist()),
            "data_digest": digest_of(places.data),
            "parent_digest": digest_of(base),
        }
    )
    return (yield from run_course(model.train().requires_grad_(True), tuned, section, Splits(images, held_out), places, conduct))
