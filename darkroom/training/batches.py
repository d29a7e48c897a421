"""Batches with their noise: pure functions of (seed, images seen). To stop, go on or share out the work changes nothing."""

import sys
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from darkroom.cores import cores
from darkroom.images import ImageSet, Pixels, to_model
from darkroom.networks.captioned import longest_text, text_of
from darkroom.networks.denoiser import Condition
from darkroom.randomness import NOISE, BucketOrder, DataOrder, torch_seed
from darkroom.training.batch import Batch
from darkroom.training.course import Course, Materials, TrainingStopped
from darkroom.training.parallel import bounds, place

FORKS = sys.platform == "linux"  # elsewhere each process that makes batches would need a copy of all images
MOST_WORKERS = 8
AHEAD = 2  # batches that each of them makes before they are asked for
SILENT = 60  # seconds without a batch after which processes are looked after: have they ended, are they stuck?
Place = tuple[int, int]  # images seen before a batch, and how many it has


class Batches:
    """The batches of a course in any order. Those that most likely come next are made ahead, in processes or a thread.

    A processor that trains makes each when it is asked for: a thread beside it would hold up its products of matrices.
    """

    def __init__(self, course: Course, materials: Materials, device: torch.device) -> None:
        self._maker, self._device = Maker(course, materials), device
        self._workers = workers_for(course.data_workers, device)
        self._coming: Generator[Batch, None, None] | None = None
        self._place = (0, 0)

    @property
    def ahead(self) -> int:
        """How many batches are made before they are asked for, at most."""
        return AHEAD * self._workers or int(self._device.type != "cpu")

    def at(self, seen: int, count: int) -> Batch:
        """The `count` images that come after `seen` others. Raises TrainingStopped where a process that makes them has ended."""
        if self._coming is None or self._place != (seen, count):  # the first, a short last one, or the course went back
            self.close()
            self._coming = self._ahead((seen, count))
        batch, self._place = next(self._coming), (seen + count, count)
        return batch.on(self._device)

    def close(self) -> None:
        """End the thread and the processes."""
        if self._coming is not None:
            self._coming.close()
        self._coming = None

    def _ahead(self, first: Place) -> Generator[Batch, None, None]:
        """All from one on. A thread makes the next one, or waits for the processes that do, and for signals that they ended."""
        source = self._by_processes(first) if self._workers else map(self._maker.__getitem__, _from(first))
        if not self.ahead:
            yield from source
            return
        with ThreadPoolExecutor(1, thread_name_prefix="next batch") as thread:
            coming = thread.submit(self._next, source)
            while True:
                batch = coming.result()
                coming = thread.submit(self._next, source)
                yield batch

    def _next(self, source: Iterator[Batch]) -> Batch:
        batch = next(source)
        return batch.pinned() if self._device.type == "cuda" else batch

    def _by_processes(self, first: Place) -> Iterator[Batch]:
        """torch's workers; they end when this process does, however it does."""
        self._maker.get_ready()
        loader = DataLoader(
            _Sent(self._maker),
            batch_size=None,
            sampler=_from(first),
            num_workers=self._workers,
            prefetch_factor=AHEAD,
            timeout=SILENT,
            multiprocessing_context="fork" if FORKS else None,
            generator=torch.Generator(),  # it would draw from everybody's, otherwise
        )
        try:
            yield from (batch.with_tensors() for batch in loader)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader "):
                raise
            raise TrainingStopped(
                f"a process that makes batches has ended, or is stuck ({' '.join(str(error).split())}): set `data_workers` to "
                "fewer, or to 0; the same command then goes on"
            ) from error


class Maker(Dataset[Batch]):
    """Makes any batch, named by its place: `maker[seen, count]`."""

    def __init__(self, course: Course, materials: Materials) -> None:
        self._course, self._images, self._recipe = course, materials.images, materials.recipe
        self._order = order_of(materials.images, course.seed, course.batch_size)
        self._length = longest_text(materials.images)
        self._place = place()  # in a process of its own, it could not be asked

    def get_ready(self) -> None:
        """Before there are processes that would each have to."""
        self._recipe.get_ready()

    def __getitem__(self, at: Place) -> Batch:
        """What is random is drawn for the whole batch; of several trainers, each has its share of it."""
        seen, count = at
        course, images = self._course, self._images
        rows = self._order.take(seen, count)
        start, stop = bounds(count, *self._place)
        share = slice(start, max(stop, start + 1))
        varied, done = self._recipe.apply(images.exact(rows[share]), seen + start)
        clean = as_batch(varied, torch.device("cpu"))
        labels = torch.from_numpy(images.labels[rows[share]])
        chance = torch.Generator().manual_seed(torch_seed(course.seed, NOISE, seen))
        sigma = course.noise.sigmas(spread_quantiles(count, chance))[share]
        noise = torch.randn((count, *clean.shape[1:]), generator=chance)[share]
        told = (torch.rand(count, generator=chance) >= course.label_dropout)[share]
        text = None
        if self._length:
            by_name = (torch.rand(count, generator=chance) < course.labels_for_captions)[share]
            text = text_of(images, rows[share], self._length, by_name.numpy())
            text = None if text is None else text * told[:, None]
        condition = Condition(torch.where(told, labels, -1), torch.from_numpy(done), text)
        return Batch(rows, clean, sigma, noise, condition, start)


class _Sent(Dataset[Batch]):
    """The same, as they travel between processes: by a pipe. Shared memory is scarce in containers, and waits without a word."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker

    def __getitem__(self, at: Place) -> Batch:
        return self._maker[at].with_arrays()


def workers_for(wanted: int | Literal["auto"], device: torch.device) -> int:
    """Processes that make batches; 0 for none, which is enough for a processor's training."""
    if wanted != "auto":
        return wanted
    if device.type != "cuda" or not FORKS:
        return 0
    trainers = max(1, min(place()[1], torch.cuda.device_count()))  # on this machine: one for each GPU
    return min(MOST_WORKERS, max(1, cores() // trainers - 1))


def _from(at: Place) -> Iterator[Place]:
    """The places of all batches from this one on."""
    while True:
        yield at
        at = (sum(at), at[1])


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
