"""A batch with its noise, of which each process has its share."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.networks.denoiser import Condition


@dataclass(frozen=True)
class Batch:
    """A process's share of a batch: `images` and `noise` float32 [n, 3, h, w], of one shape, `sigma` [n], what is told of them.

    `rows` of the set are those of the whole batch; this process's begin at `first`. Alone, a process has all. A share of none
    holds an image of another's, for its shape.
    """

    rows: NDArray[np.int64]
    images: Tensor
    sigma: Tensor
    noise: Tensor
    condition: Condition
    first: int = 0

    def __len__(self) -> int:
        """How many images the whole batch has."""
        return len(self.rows)

    def part(self, start: int, stop: int) -> "Batch":
        """Of the images here those from `start` up to `stop`, each with its noise: a batch by itself."""
        rows = self.rows[self.first :][: len(self.images)][start:stop]
        return replace(self._each(lambda value: value[start:stop]), rows=rows, first=0)

    def on(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return self._each(lambda value: value.to(device, non_blocking=True))

    def pinned(self) -> "Batch":
        """The same in memory that a GPU reads by itself, while the processor goes on."""
        return self._each(Tensor.pin_memory)

    def with_arrays(self) -> "Batch":
        """The same with arrays for tensors, which pickle without shared memory; to be sent, and nothing else."""
        return self._each(lambda value: value.numpy())  # type: ignore[arg-type, return-value]

    def with_tensors(self) -> "Batch":
        """One that was sent, with tensors again."""
        return self._each(torch.from_numpy)

    def _each(self, act: Callable[[Tensor], Tensor]) -> "Batch":
        images, sigma, noise = act(self.images), act(self.sigma), act(self.noise)
        return replace(self, images=images, sigma=sigma, noise=noise, condition=self.condition.each(act))
