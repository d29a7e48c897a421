"""Samplers: (denoiser, noise, levels) -> images, and the wrappers that steer them.

To add a sampler: write the function, name it in `SAMPLERS` at the end of this file.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from darkroom.events import Event, Progressed
from darkroom.images import Pixels, to_pixels
from darkroom.networks.denoiser import Condition, DenoiserContract
from darkroom.networks.saved import Drawing, ModelCard, ModelError, SamplerName, device_named, load_model
from darkroom.randomness import SAMPLES, generator_for


@dataclass(frozen=True)
class Guided:
    """Classifier-free guidance (Ho & Salimans 2022): away from what the model answers when the class is not told."""

    denoiser: DenoiserContract
    scale: float

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Expected clean images, guided."""
        told = self.denoiser(noisy, sigma, condition)
        if self.scale == 1:
            return told
        return torch.lerp(self.denoiser(noisy, sigma, condition.without_label()), told, self.scale)


def euler(denoiser: DenoiserContract, noise: Tensor, levels: Tensor, condition: Condition) -> Tensor:
    """One evaluation a step, first order; the same as DDIM (Song et al. 2021; EDM, section 3)."""
    images = noise * levels[0]
    for sigma, next_sigma in pairwise(levels):
        slope = (images - denoiser(images, sigma.expand(len(images)), condition)) / sigma
        images = images + (next_sigma - sigma) * slope
    return images


def heun(denoiser: DenoiserContract, noise: Tensor, levels: Tensor, condition: Condition) -> Tensor:
    """Two evaluations a step (one in the last), second order (EDM, algorithm 1)."""
    images = noise * levels[0]
    for sigma, next_sigma in pairwise(levels):
        slope = (images - denoiser(images, sigma.expand(len(images)), condition)) / sigma
        ahead = images + (next_sigma - sigma) * slope
        if next_sigma > 0:
            slope_ahead = (ahead - denoiser(ahead, next_sigma.expand(len(images)), condition)) / next_sigma
            ahead = images + (next_sigma - sigma) * (slope + slope_ahead) / 2
        images = ahead
    return images


def draw(denoiser: DenoiserContract, card: ModelCard, labels: Tensor, noise: Tensor, drawing: Drawing) -> Pixels:
    """Images of the given labels [n] out of the given noise [n, 3, s, s]. uint8 [n, s, s, 3]. Raises ModelError."""
    told = Condition(labels, noise.new_zeros(len(labels), card.augmentations))
    levels = drawing.schedule.levels(drawing.steps).to(noise.device)
    with torch.inference_mode():
        images = SAMPLERS[drawing.sampler](Guided(denoiser, drawing.guidance), noise, levels, told)
    if not images.isfinite().all():
        raise ModelError("the model draws values that are not finite: it was trained to ruin; train it again")
    return to_pixels(images.permute(0, 2, 3, 1).cpu().numpy())


def noise_for(seed: int, images: Sequence[int], size: int) -> Tensor:
    """Unit noise [n, 3, size, size], each image's its own: an image does not depend on who is drawn beside it."""
    drawn = [generator_for(seed, SAMPLES, index).standard_normal((3, size, size), np.float32) for index in images]
    return torch.from_numpy(np.stack(drawn))


def labels_for(card: ModelCard, seed: int, count: int) -> list[int]:
    """`count` labels in the proportions of the images trained on, shuffled."""
    shares = np.cumsum(card.label_counts) / sum(card.label_counts)
    labels = np.searchsorted(shares, (np.arange(count) + 0.5) / count)
    return [int(label) for label in generator_for(seed, SAMPLES).permutation(labels)]


def generate(
    model_folder: Path, labels: Sequence[int] | None, count: int, seed: int, steps: int, guidance: float, batch: int
) -> Generator[Event, None, Pixels]:
    """Draw `count` images from a saved model; `labels` None takes the proportions it was trained on. uint8 [count, s, s, 3]."""
    device = device_named("auto")
    model, card = load_model(model_folder, device)
    told = labels_for(card, seed, count) if labels is None else list(labels)
    drawing = card.drawing.model_copy(update={"steps": steps, "guidance": guidance})
    drawn: list[Pixels] = []
    for start in range(0, count, batch):
        rows = range(start, min(start + batch, count))
        noise = noise_for(seed, rows, card.image_size).to(device)
        drawn.append(draw(model, card, torch.tensor([told[row] for row in rows], device=device), noise, drawing))
        yield Progressed(f"drawing from {model_folder.name}", rows.stop, count)
    return np.concatenate(drawn)


Sampler = Callable[[DenoiserContract, Tensor, Tensor, Condition], Tensor]
SAMPLERS: dict[SamplerName, Sampler] = {"euler": euler, "heun": heun}
