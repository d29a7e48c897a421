"""The step that fine-tunes: the training loop from the base's weights, with fewer images and a smaller learning rate."""

from collections.abc import Generator
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, NonNegativeInt

from darkroom.augmentation import read_recipe
from darkroom.events import Event, Noted
from darkroom.finetuning.low_rank import Method
from darkroom.images import ImageSet, contact_sheet, digest_of_images, read_split
from darkroom.networks.saved import ModelCard, ModelError, buckets_of, build, check_sides, device_named, encoder_of, load_model
from darkroom.randomness import ORDER, generator_for
from darkroom.refs import WeightsRef, digest_of
from darkroom.sampling import draw_rows, shape_at
from darkroom.training.course import UNSTEERED, Conduct, Course
from darkroom.training.parallel import leads
from darkroom.training.session import Places, Splits, run_course
from darkroom.training.start import with_labels

ACROSS = 8  # images in a row of the comparison


class FinetuneSection(Course):
    """Settings of the fine-tuning."""

    images: Annotated[
        NonNegativeInt, Field(description="budget: images seen; 0 leaves the base as it is, and it is what is registered")
    ]
    focus: Annotated[list[str], Field(description="labels to fine-tune on; none means all")]
    method: Method
    preserve: Annotated[float, Field(ge=0, lt=1, description="share of images with other labels, against forgetting them")]


def finetune(
    section: FinetuneSection, base: Path, places: Places, conduct: Conduct = UNSTEERED
) -> Generator[Event, None, WeightsRef]:
    """Fine-tune the model in `base` on its focus. Raises TrainingStopped, StoppedOnRequest, ModelError, ValueError."""
    model, card = load_model(base, device_named(section.device))
    everything = read_split(places.data, "train")
    images, held_out = everything.only(section.focus), read_split(places.data, "validation").only(section.focus)
    _check(base, card, images, places)
    if not len(images) or not len(held_out):
        raise ValueError(
            f"finetune.focus: {', '.join(section.focus) or 'all labels'} has {len(images)} training and {len(held_out)} "
            "held-out images; both are needed"
        )
    changes = {
        "labels": images.names,
        "focus": tuple(section.focus),
        "label_counts": tuple(np.bincount(images.labels, minlength=len(images.names)).tolist()),
        "data_digest": digest_of_images(places.data),
        "parent_digest": digest_of(base),
        **buckets_of(everything),
    }
    tuned = card.model_copy(update=changes)
    if images.names != card.labels:
        yield Noted(f"new labels: {', '.join(name for name in images.names if name not in card.labels)}")
        model = with_labels(model, card.labels, tuned)
    mixed = preserving(images, everything, section.preserve, section.seed)
    if len(mixed) > len(images):
        yield Noted(f"{len(mixed) - len(images):,} images of other labels are mixed in, against forgetting them")
    if section.images:
        model = section.method.prepare(model.train(), section.seed)
    else:
        yield Noted("finetune.images is 0: the base stays as it is")
    ref = yield from run_course(model, tuned, section, Splits(mixed, held_out), places, conduct)
    if leads():
        _compare(base, places, section.seed)
    return WeightsRef(ref.path, ref.digest, sum(value.numel() for value in build(tuned, encoder_of(model)).parameters()))


def _check(base: Path, card: ModelCard, images: ImageSet, places: Places) -> None:
    if not set(card.labels) <= set(images.names) or images.size != card.image_size:
        raise ModelError(
            f"{base} was trained on {card.image_size}-pixel images of {', '.join(card.labels)}; the data set now has "
            f"{images.size}-pixel images of {', '.join(images.names)}: train the base again"
        )
    check_sides(card.network, images.buckets)
    if read_recipe(places.augmented).length != card.augmentations:
        raise ModelError(f"{base} was trained with another recipe of augmentations: train the base again")


def preserving(focus: ImageSet, everything: ImageSet, share: float, seed: int) -> ImageSet:
    """The focus, and so many other images that they make up `share` of the whole (each several times, where they are few)."""
    others = np.flatnonzero(~np.isin(everything.labels, np.unique(focus.labels)))
    wanted = round(len(focus) * share / (1 - share))
    if not wanted or not len(others):
        return focus
    chosen = np.resize(generator_for(seed, ORDER).permutation(others), wanted)
    return everything.at(np.concatenate([np.flatnonzero(np.isin(everything.labels, np.unique(focus.labels))), chosen]))


def _compare(base: Path, places: Places, seed: int) -> None:
    """comparison.png: rows of base and tuned from the same noise, first of the focus, then of the labels beside it."""
    rows = []
    device = device_named("auto")
    tuned, card = load_model(places.out, device)
    before, old = load_model(base, device)
    shapes = [shape_at(card, seed, row, -1) for row in range(ACROSS)]
    for names in (card.focus or card.labels, [name for name in card.labels if name not in card.focus and card.focus]):
        known = [name for name in names if name in old.labels]
        for model, about, shown in ((before, old, known), (tuned, card, names)):
            if shown:
                labels = [about.labels.index(shown[index % len(shown)]) for index in range(ACROSS)]
                about = about.model_copy(update={"buckets": card.buckets})
                rows.append(draw_rows(model, about, labels, seed, range(ACROSS), about.drawing, shapes=shapes, device=device))
    contact_sheet(np.concatenate(rows), ACROSS, max(1, 96 // card.image_size)).save(places.report / "comparison.png")
