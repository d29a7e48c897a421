"""The training loop, on one page. It tells what happens; whoever runs it shows, stores and stops."""

import copy
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from darkroom.augmentation import Recipe
from darkroom.events import Event, HeldOutMeasured, Noted, SamplesDrawn, SnapshotSaved, StepTaken
from darkroom.images import ImageSet, Pixels, to_model
from darkroom.networks.denoiser import Condition, Denoiser
from darkroom.noise import Density
from darkroom.randomness import HELD_OUT, NOISE, DataOrder, torch_seed
from darkroom.sections import Section
from darkroom.training.averaging import Averaging, average_into
from darkroom.training.checkpoints import Moment, State, restore_newest, save_checkpoint
from darkroom.training.learning_rate import LearningRate
from darkroom.training.loss import Weighting, denoising_loss


class TrainingStopped(ValueError):
    """The training cannot go on. The text says at which image, why, and what to change."""


class Course(Section):
    """Settings of a course of training; all cadences count images seen."""

    seed: Annotated[int, Field(ge=0, description="of weights, noise and data order")]
    device: Annotated[str, Field(pattern="^(auto|cpu|cuda)$", description="auto, cpu or cuda")]
    images: Annotated[PositiveInt, Field(description="budget: images seen in all")]
    batch_size: PositiveInt
    learning_rate: Annotated[PositiveFloat, Field(le=1)]
    learning_rate_schedule: LearningRate
    weight_decay: Annotated[float, Field(ge=0)]
    gradient_norm: Annotated[PositiveFloat, Field(description="longer gradients are shortened to this norm")]
    label_dropout: Annotated[float, Field(ge=0, le=1, description="share of images whose label is not told")]
    noise: Annotated[Density, Field(description="the noise levels that training sees")]
    weighting: Annotated[Weighting, Field(description="how much each noise level counts")]
    averaging: Averaging
    report_every: PositiveInt
    held_out_every: PositiveInt
    samples_every: PositiveInt
    checkpoint_every: PositiveInt


@dataclass(frozen=True)
class Materials:
    """What a course of training works on."""

    images: ImageSet
    held_out: ImageSet
    recipe: Recipe
    checkpoints: Path  # folder: the same course goes on from what lies here
    draw: Callable[[Denoiser, int], Path]  # draws the sample grid of a model at an image count


def train(model: Denoiser, course: Course, materials: Materials, device: torch.device) -> Generator[Event, None, State]:
    """Train `model` on `materials` over a `course`; the averaged weights are in the state returned. Raises TrainingStopped."""
    # Initialise, or go on from the newest good checkpoint.
    model = model.to(device)
    averaged = copy.deepcopy(model).requires_grad_(False)
    weighting = course.weighting.build(model.preconditioning).to(device)
    optimiser = torch.optim.AdamW(_groups(model, weighting, course), lr=course.learning_rate, betas=(0.9, 0.99), fused=True)
    state = State(model, averaged, weighting, optimiser, images_seen=0, history=[], losses=[])
    for sentence in restore_newest(materials.checkpoints, state):
        yield Noted(sentence)
    if state.images_seen:
        yield Noted(f"going on from {state.images_seen:,} images seen")

    order = DataOrder(len(materials.images), course.seed)
    since, started = state.images_seen, time.perf_counter()
    while state.images_seen < course.images:
        # Load a batch; draw its noise. Both are known from the seed and the images seen.
        seen = state.images_seen
        count = min(course.batch_size, course.images - seen)
        rows = order.take(seen, count)
        pixels, done = materials.recipe.apply(materials.images.pixels[rows], seen)
        images, labels = as_batch(pixels, device), torch.from_numpy(materials.images.labels[rows]).to(device)
        chance = torch.Generator().manual_seed(torch_seed(course.seed, NOISE, seen))
        sigma = course.noise.sigmas(spread_quantiles(count, chance)).to(device)
        noise = torch.randn(images.shape, generator=chance).to(device)
        told = torch.rand(count, generator=chance).to(device) >= course.label_dropout
        condition = Condition(torch.where(told, labels, -1), torch.from_numpy(done).to(device))

        # Find the gradient; a number that is not finite stops the run before the weights change.
        optimiser.zero_grad(set_to_none=True)
        losses = denoising_loss(model, images, sigma, noise, condition)
        loss = losses.mean()
        weighting(losses, sigma).mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), course.gradient_norm)
        if not (loss.isfinite() and norm.isfinite()):
            raise TrainingStopped(_not_finite(seen, loss, norm, [materials.images.paths[row] for row in rows], course))

        # Update the weights and their average.
        rate = course.learning_rate * course.learning_rate_schedule.factor(seen, course.images)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        state.images_seen = seen + count
        average_into(averaged, model, course.averaging.share(state.images_seen, count))
        state.losses.append(loss.item())

        # Tell.
        last = state.images_seen >= course.images
        due = [seen // every < state.images_seen // every or last for every in _cadences(course)]
        if due[0] or due[1]:
            speed = (state.images_seen - since) / (time.perf_counter() - started)
            mean = round(float(np.mean(state.losses)), 6)
            held_out = held_out_loss(averaged, course, materials, device) if due[1] else None
            state.history.append(Moment(state.images_seen, mean, rate, held_out))
            state.losses = []
            yield StepTaken(state.images_seen, course.images, mean, rate, float(norm), speed)
            if held_out is not None:
                yield HeldOutMeasured(state.images_seen, held_out)
        if due[2]:
            yield SamplesDrawn(state.images_seen, str(materials.draw(averaged, state.images_seen)))
        if due[3]:
            yield SnapshotSaved(state.images_seen, str(save_checkpoint(materials.checkpoints, state, keep=2)))
        if any(due):
            since, started = state.images_seen, time.perf_counter()
    return state


@torch.no_grad()
def held_out_loss(model: Denoiser, course: Course, materials: Materials, device: torch.device) -> float:
    """Mean loss on held-out images, always with the same noise: its changes are the model's alone."""
    total, images = 0.0, materials.held_out
    for start in range(0, len(images), course.batch_size):
        pixels = images.pixels[start : start + course.batch_size]
        chance = torch.Generator().manual_seed(torch_seed(course.seed, HELD_OUT, start))
        sigma = course.noise.sigmas(spread_quantiles(len(pixels), chance)).to(device)
        clean = as_batch(pixels, device)
        noise = torch.randn(clean.shape, generator=chance).to(device)
        labels = torch.from_numpy(images.labels[start : start + len(pixels)]).to(device)
        condition = Condition(labels, clean.new_zeros(len(pixels), materials.recipe.length))
        total += float(denoising_loss(model, clean, sigma, noise, condition).sum())
    return round(total / len(images), 6)


def as_batch(pixels: Pixels, device: torch.device) -> Tensor:
    """uint8 [n, s, s, 3] -> float32 [n, 3, s, s] in [-1, 1]"""
    return to_model(torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2).float()).contiguous()


def spread_quantiles(count: int, chance: torch.Generator) -> Tensor:
    """Random quantiles in (0, 1), one from each of `count` equal parts, shuffled: less variance (Kingma et al. 2021, I.1)."""
    parts = torch.randperm(count, generator=chance) + torch.rand(count, generator=chance)
    return (parts / count).clamp(1e-5, 1 - 1e-5)


def _groups(model: Denoiser, weighting: nn.Module, course: Course) -> list[dict[str, object]]:
    """Matrices decay; gains, biases, tables of positions and the loss's weighting do not."""
    matrices = [value for name, value in model.named_parameters() if value.ndim == 2 and "label" not in name]
    others = [value for name, value in model.named_parameters() if value.ndim != 2 or "label" in name]
    others += weighting.parameters()
    return [{"params": matrices, "weight_decay": course.weight_decay}, {"params": others, "weight_decay": 0.0}]


def _cadences(course: Course) -> tuple[int, int, int, int]:
    return course.report_every, course.held_out_every, course.samples_every, course.checkpoint_every


def _not_finite(seen: int, loss: Tensor, norm: Tensor, paths: list[str], course: Course) -> str:
    return (
        f"at {seen:,} images seen the loss was {loss.item():.3g} and the gradient's norm {norm.item():.3g}; the weights were "
        f"left as they were. Lower the learning rate (it is {course.learning_rate:g}; try {course.learning_rate / 3:.2g}) or "
        f"lengthen the warm-up. The batch held: {', '.join(paths[:4])}{' ...' if len(paths) > 4 else ''}"
    )
