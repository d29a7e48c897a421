"""A batch with its noise."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.networks.denoiser import Condition


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

    def pinned(self) -> "Batch":
        """The same in memory that a GPU reads by itself, while the processor goes on."""
        return self._each(Tensor.pin_memory, self.rows)

    def with_arrays(self) -> "Batch":
        """The same with arrays for tensors, which pickle without shared memory; to be sent, and nothing else."""
        return self._each(lambda value: value.numpy(), self.rows)  # type: ignore[arg-type, return-value]

    def with_tensors(self) -> "Batch":
        """One that was sent, with tensors again."""
        return self._each(torch.from_numpy, self.rows)

    def _each(self, act: Callable[[Tensor], Tensor], rows: NDArray[np.int64]) -> "Batch":
        return Batch(rows, act(self.images), act(self.sigma), act(self.noise), self.condition.each(act))
