"""Batches with their noise: pure functions of (seed, images seen). To stop, go on or share out the work changes nothing."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.images import ImageSet, Pixels, to_model
from darkroom.networks.captioned import longest_text, text_of
from darkroom.networks.denoiser import Condition
from darkroom.randomness import NOISE, BucketOrder, DataOrder, torch_seed
from darkroom.training.course import Course, Materials

BY_NAME = 0.25  # of the images with a caption, the share that is told by the label's name: a model is asked by either


@dataclass(frozen=True)
class Batch:
    """`images` and `noise` float32 [n, 3, h, w], of one shape, `sigma` [n], what the network is told, which `rows` of the set."""

    rows: NDArray[np.int64]
    images: Tensor
    sigma: Tensor
    noise: Tensor
    condition: Condition

    def __len__(self) -> int:
        return len(self.images)

    def part(self, start: int, stop: int) -> "Batch":
        """The images from `start` up to `stop`, each with the noise it has in the whole."""
        return self._each(lambda value: value[start:stop], self.rows[start:stop])

    def on(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return self._each(lambda value: value.to(device, non_blocking=True), self.rows)

    def _each(self, act: Callable[[Tensor], Tensor], rows: NDArray[np.int64]) -> "Batch":
        return Batch(rows, act(self.images), act(self.sigma), act(self.noise), self.condition.each(act))


class Batches:
    """The batches of a course in any order; the one that most likely comes next is made ahead, in a thread."""

    def __init__(self, course: Course, materials: Materials, device: torch.device) -> None:
        self._course, self._materials, self._device = course, materials, device
        self._order = order_of(materials.images, course.seed, course.batch_size)
        self._length = longest_text(materials.images)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="next batch")
        self._ahead: tuple[tuple[int, int], Future[Batch]] | None = None

    def at(self, seen: int, count: int) -> Batch:
        """The `count` images that come after `seen` others."""
        place, coming = self._ahead or (None, None)
        if coming is None or place != (seen, count):  # the first, a short last one, or the course went back
            coming = self._thread.submit(self._made, seen, count)
        batch, following = coming.result(), (seen + count, count)
        self._ahead = (following, self._thread.submit(self._made, *following))
        return batch.on(self._device)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _made(self, seen: int, count: int) -> Batch:
        course, images = self._course, self._materials.images
        rows = self._order.take(seen, count)
        pixels, done = self._materials.recipe.apply(images.exact(rows), seen)
        clean, labels = as_batch(pixels, torch.device("cpu")), torch.from_numpy(images.labels[rows])
        chance = torch.Generator().manual_seed(torch_seed(course.seed, NOISE, seen))
        sigma = course.noise.sigmas(spread_quantiles(count, chance))
        noise = torch.randn(clean.shape, generator=chance)
        told = torch.rand(count, generator=chance) >= course.label_dropout
        text = None
        if self._length:
            by_name = torch.rand(count, generator=chance) < BY_NAME
            text = text_of(images, rows, self._length, by_name.numpy())
            text = None if text is None else text * told[:, None]
        condition = Condition(torch.where(told, labels, -1), torch.from_numpy(done), text)
        return Batch(rows, clean, sigma, noise, condition)


def order_of(images: ImageSet, seed: int, batch_size: int) -> DataOrder | BucketOrder:
    """In which order images are trained on: in batches of one shape."""
    shapes = images.shapes
    if not len(shapes) or (shapes == shapes[0]).all():
        return DataOrder(len(images), seed)
    return BucketOrder(np.unique(shapes, axis=0, return_inverse=True)[1].reshape(-1), seed, batch_size)


def as_batch(pixels: Pixels, device: torch.device) -> Tensor:
    """uint8 [n, h, w, 3] -> float32 [n, 3, h, w] in [-1, 1]"""
    return to_model(torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2).float()).contiguous()


def spread_quantiles(count: int, chance: torch.Generator) -> Tensor:
    """Random quantiles in (0, 1), one from each of `count` equal parts, shuffled: less variance (Kingma et al. 2021, I.1)."""
    parts = torch.randperm(count, generator=chance) + torch.rand(count, generator=chance)
    return (parts / count).clamp(1e-5, 1 - 1e-5)
