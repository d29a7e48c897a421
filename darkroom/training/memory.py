"""The gradient of a batch, and what is done where memory does not suffice: smaller pieces, then less kept, then a message."""

import re
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darkroom.events import Event, Noted
from darkroom.networks.denoiser import Denoiser
from darkroom.training.batches import Batch
from darkroom.training.course import TrainingStopped
from darkroom.training.loss import denoising_loss


@dataclass(frozen=True)
class Thrift:
    """How memory is spared: the gradient of a batch is summed over `pieces`; with `recompute`, blocks keep only what enters them.

    Neither changes the result beyond rounding: what is random was drawn for the whole batch before.
    """

    pieces: int = 1
    recompute: bool = False

    def more(self, images: int) -> "Thrift | None":
        """The next rung down for a batch of `images`; None at the end of the ladder."""
        if self.pieces < images:
            return Thrift(min(2 * self.pieces, images), self.recompute)
        return None if self.recompute else Thrift(self.pieces, recompute=True)

    def __str__(self) -> str:
        again = ", computing inner values again in place of keeping them" if self.recompute else ""
        return f"each batch in {self.pieces} pieces{again}"


def gradient(
    model: Denoiser, weighting: nn.Module, batch: Batch, thrift: Thrift
) -> Generator[Event, None, tuple[Tensor, Thrift]]:
    """Add the gradient of the mean weighted loss over `batch` to the model's and the weighting's.

    Returns the unweighted loss of each image [n], and the thrift it took: to be kept for the batches after.
    Raises TrainingStopped where memory does not suffice for one image.
    """
    trainable = [value for value in [*model.parameters(), *weighting.parameters()] if value.requires_grad]
    while True:
        set_recompute(model, thrift.recompute)
        for value in trainable:
            value.grad = None
        try:
            return _summed(model, weighting, batch, thrift.pieces), thrift
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            reason = str(error).strip().partition("\n")[0]
        # Outside of `except`, so that the error no longer holds what was computed.
        lower = thrift.more(len(batch))
        if lower is None:
            raise TrainingStopped(
                f"memory does not suffice for one image at a time ({reason}); take a smaller network (fewer `depth` or `width`), "
                "a smaller curate.image_size, or a machine with more memory"
            )
        thrift = lower
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        yield Noted(f"out of memory: from here on {thrift}; the result stays the same ({reason})")


def _summed(model: Denoiser, weighting: nn.Module, batch: Batch, pieces: int) -> Tensor:
    losses, size = [], -(-len(batch) // pieces)
    for start in range(0, len(batch), size):
        part = batch.part(start, start + size)
        loss = denoising_loss(model, part.images, part.sigma, part.noise, part.condition)
        (weighting(loss, part.sigma).sum() / len(batch)).backward()
        losses.append(loss.detach())
    return torch.cat(losses)


def set_recompute(model: nn.Module, recompute: bool) -> None:
    """Have every block that can do so keep only its input for the backward pass, and compute the rest again."""
    for module in model.modules():
        if hasattr(module, "recompute"):
            module.recompute = recompute  # type: ignore[assignment]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is of an allocation that failed, on a GPU or in main memory."""
    known = re.search(r"can't allocate memory|not enough memory|out of memory", str(error), re.IGNORECASE)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or known is not None
