"""A course of training from its materials to a model folder and a report. Base training and fine-tuning are both this."""

import shutil
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from darkroom.augmentation import read_recipe
from darkroom.events import Event, HeldOutMeasured, Noted
from darkroom.images import ImageSet, contact_sheet
from darkroom.networks.captioned import ReadsCaptions
from darkroom.networks.denoiser import Denoiser
from darkroom.networks.pretrained_text import digests_of
from darkroom.networks.profiles import FOLDER as AVERAGES
from darkroom.networks.saved import ModelCard, device_named, encoder_of, save_model
from darkroom.networks.unet import UnetSettings
from darkroom.refs import WeightsRef, digest_of, replaced
from darkroom.sampling import draw_rows
from darkroom.training.beginning import begin
from darkroom.training.checkpoints import Moment, State, forget_checkpoints
from darkroom.training.course import WATCHING, Conduct, Course, Materials, Sheet
from darkroom.training.course_folders import entered
from darkroom.training.held_out import held_out_loss
from darkroom.training.loop import train
from darkroom.training.parallel import check_enough, leads, wait_for_all
from darkroom.training.report import film_strip, write_report
from darkroom.training.sharding import merged_state
from darkroom.training.telling import sampled

SHEET = 24  # images on a sample sheet


@dataclass(frozen=True)
class Places:
    """Where a course finds and leaves things: data and recipe in, model and report out, checkpoints in between."""

    data: Path
    augmented: Path
    out: Path
    report: Path
    checkpoints: Path


class Splits(NamedTuple):
    """The images trained on, and those held out."""

    train: ImageSet
    held_out: ImageSet


def run_course(
    model: Denoiser, card: ModelCard, course: Course, splits: Splits, places: Places, conduct: Conduct
) -> Generator[Event, None, WeightsRef]:
    """Train, then write the averaged weights to `places.out` and the curves and samples to `places.report`.

    Raises TrainingStopped, StoppedOnRequest, ModelError, ValueError (more processes than GPUs).
    """
    device = device_named(course.device)
    check_enough(device)
    parameters = sum(value.numel() for value in model.parameters())
    learning = sum(value.numel() for value in model.parameters() if value.requires_grad)
    counts = f"{len(splits.train):,} images, {len(splits.held_out):,} held out"
    yield Noted(f"{parameters / 1e6:.1f} million parameters, {counts}, on {device}")
    if learning < parameters:
        yield Noted(f"{learning / parameters:.1%} of the parameters learn")
    yield from _said_of_captions(splits.train, card)
    yield from _said_of_attention(card)
    checkpoints = yield from entered(places.checkpoints, facts_of(model, card, course, places))

    def draw_sheet(averaged: Denoiser, images_seen: int) -> Sheet:
        path = checkpoints / "samples" / f"{images_seen:012d}.png"
        return _draw_sheet(averaged, card, course.seed, path, device, sheet_captions(splits.held_out, card))

    inherited = model.weaker
    if inherited:  # whoever goes on from a model keeps what that was led away from
        model.keep_weaker(None)
        course = course.model_copy(update={"averaging": course.averaging.model_copy(update={"weaker": 0.0})})
    materials = Materials(splits.train, splits.held_out, read_recipe(places.augmented), checkpoints, draw_sheet, conduct)
    wait_for_all()
    state = yield from (train if course.images else as_they_are)(model, course, materials, device)
    done = card.model_copy(update={"images_seen": card.images_seen + (state.taken_at or state.images_seen)})
    weights = merged_state(state.averaged)
    weaker = inherited.state_dict() if inherited else merged_state(state.weaker[0]) if state.weaker_at else None
    if weaker is None and card.drawing.away != 1:
        yield Noted("no earlier weights were kept (averaging.weaker): the model is drawn without drawing.away")
    if leads():
        with replaced(places.report) as report, replaced(places.out) as out:
            save_model(out, weights, done, encoder_of(model), weaker)
            if (checkpoints / AVERAGES).exists():
                shutil.copytree(checkpoints / AVERAGES, out / AVERAGES)
            write_report(report, state, parameters, course, splits.train)
            if captions := sheet_captions(splits.held_out, card):
                (report / "samples.txt").write_text("\n".join(" ".join(one.split()) for one in captions) + "\n", encoding="utf-8")
            film_strip(sorted((checkpoints / "samples").glob("*.png")), report)
        forget_checkpoints(checkpoints)
    wait_for_all()
    made = WeightsRef(str(places.out), digest_of(places.out), parameters)
    wait_for_all()  # the first may move the model as soon as it returns
    return made


def facts_of(model: Denoiser, card: ModelCard, course: Course, places: Places) -> dict[str, Any]:
    """All that decides what a course learns: where this is the same, it goes on from its checkpoints."""
    facts = course.model_dump(mode="json", exclude=WATCHING | {"drawing"})
    facts |= {"model": card.model_dump(mode="json", exclude={"drawing"}), "recipe": digest_of(places.augmented)}
    if encoder := encoder_of(model):
        facts["encoder"] = digests_of(encoder)
    return facts


def as_they_are(model: Denoiser, course: Course, materials: Materials, device: torch.device) -> Generator[Event, None, State]:
    """A course of no images: the weights are measured and drawn from, and stay."""
    state = begin(model.to(device), course)
    loss, bands = held_out_loss(state.averaged, course, materials)
    state.history.append(Moment(0, loss, 0.0, loss, bands))
    yield HeldOutMeasured(0, loss, bands)
    yield from sampled(state, course, materials, 0)
    return state


def _said_of_captions(images: ImageSet, card: ModelCard) -> Iterator[Event]:
    """That captions are there and not read, or not to their end, where it is so."""
    captions, network = [caption.encode(errors="replace") for caption in images.captions if caption], card.network
    if captions and not isinstance(network, ReadsCaptions):
        yield Noted(f"{len(captions):,} images have captions, which this network does not read; `network.kind: captioned` does")
    elif isinstance(network, ReadsCaptions) and (longer := sum(len(caption) > network.length for caption in captions)):
        yield Noted(
            f"{longer:,} of {len(captions):,} captions are longer than network.length ({network.length} bytes): the rest of them "
            f"is not read; the longest has {max(map(len, captions))}"
        )


def _said_of_attention(card: ModelCard) -> Iterator[Event]:
    """That a U-Net sees no image as a whole, where it is so."""
    network = card.network.image if isinstance(card.network, ReadsCaptions) else card.network
    if isinstance(network, UnetSettings) and 0 < network.attention < network.smallest_side(card.image_size):
        side = network.smallest_side(card.image_size)
        yield Noted(
            f"network.attention is {network.attention}, and no level of network.widening has so small a side (the smallest has "
            f"{side} pixels): nothing sees an image as a whole. One more level halves it; `--size` fits a network to a size"
        )


def sheet_captions(held_out: ImageSet, card: ModelCard) -> list[str] | None:
    """What a sheet is drawn of: captions of held-out images, evenly spread; None where labels are told."""
    captions = [caption for caption in held_out.captions if caption]
    if not captions or not isinstance(card.network, ReadsCaptions):
        return None
    return [captions[index * len(captions) // SHEET] for index in range(SHEET)]


def _draw_sheet(
    model: Denoiser, card: ModelCard, seed: int, path: Path, device: torch.device, captions: Sequence[str] | None = None
) -> Sheet:
    """A sheet from fixed noise, of captions, or of each label in turn: differences between two sheets are the model's."""
    names = [card.labels.index(name) for name in card.focus] or list(range(len(card.labels)))
    labels = sorted(names[index % len(names)] for index in range(SHEET))
    pixels = draw_rows(model, card, labels, seed, range(SHEET), card.drawing.alone, captions, device=device)
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(pixels, columns=8, scale=max(1, 96 // card.image_size)).save(path)
    return Sheet(path, pixels)
