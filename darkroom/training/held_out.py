"""The loss on held-out images, and on as many training images, always with the same noise: its changes are the model's alone."""

import torch

from darkroom.images import ImageSet, spread
from darkroom.networks.captioned import longest_text, text_of
from darkroom.networks.denoiser import Condition, Denoiser
from darkroom.randomness import HELD_OUT, torch_seed
from darkroom.training.batches import as_batch, spread_quantiles
from darkroom.training.course import Course, Materials
from darkroom.training.loss import denoising_loss

MOST = 256  # training images measured
MOST_HELD_OUT = 2048  # held-out images measured: of a large set more would take longer than what is trained in between
BANDS = ("little noise", "middle", "much noise")  # thirds of the levels that training sees


def held_out_loss(model: Denoiser, course: Course, materials: Materials) -> tuple[float, dict[str, float]]:
    """Mean loss, and that of each band of noise levels."""
    return _loss(model, course, _spread(materials.held_out, MOST_HELD_OUT), materials)


def training_bands(model: Denoiser, course: Course, materials: Materials) -> dict[str, float]:
    """The loss of each band on training images, evenly spread over the set, as they are: where it parts from that of held-out
    ones, the model learns them by heart."""
    count = min(MOST, len(materials.held_out), len(materials.images))
    return _loss(model, course, _spread(materials.images, count), materials)[1]


def _spread(images: ImageSet, most: int) -> ImageSet:
    """At most so many images, evenly spread over the set."""
    if len(images) <= most:
        return images
    return images.at(spread(len(images), most))


@torch.no_grad()
def _loss(model: Denoiser, course: Course, images: ImageSet, materials: Materials) -> tuple[float, dict[str, float]]:
    device = next(model.parameters()).device
    losses, bands, length = [], [], longest_text(images)
    for rows in images.runs(course.batch_size):
        pixels = images.exact(rows)
        chance = torch.Generator().manual_seed(torch_seed(course.seed, HELD_OUT, int(rows[0])))
        quantiles = spread_quantiles(len(pixels), chance)
        sigma = course.noise.sigmas(quantiles).to(device)
        clean = as_batch(pixels, device)
        noise = torch.randn(clean.shape, generator=chance).to(device)
        text = text_of(images, rows, length)
        labels = torch.from_numpy(images.labels[rows])
        condition = Condition(labels, torch.zeros(len(pixels), materials.recipe.length), text).on(device)
        losses.append(denoising_loss(model, clean, sigma, noise, condition).cpu())
        bands.append((quantiles * len(BANDS)).long())
    loss, band = torch.cat(losses).double(), torch.cat(bands)
    means = {name: round(loss[band == index].mean().item(), 6) for index, name in enumerate(BANDS) if (band == index).any()}
    return round(loss.mean().item(), 6), means
