"""The gradient of a batch: in which precision, and what is done where memory does not suffice.

The ladder: smaller pieces, then less kept, then a message. No rung loses a step or changes the result beyond rounding: what is
random was drawn for the whole batch before. A network that cannot be compiled is computed as it is: a rung as well. Where several
processes train together, each finds the gradient of its share.
"""

from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from darkroom.device_memory import give_back, out_of_memory
from darkroom.events import Event, Noted
from darkroom.networks.denoiser import Denoiser
from darkroom.training import parallel
from darkroom.training.batch import Batch
from darkroom.training.compiling import compiling, failed_to_compile, set_compiled
from darkroom.training.course import TrainingStopped
from darkroom.training.loss import denoising_loss
from darkroom.training.sharding import is_shared, own_part

Precision = Literal["fp32", "bf16", "fp16"]
NARROW = {"bf16": torch.bfloat16, "fp16": torch.float16}
FIRST_SCALE, CLEAN = 65536.0, 2000  # of fp16's loss; batches without overflow after which it is doubled (torch's GradScaler)


@dataclass(frozen=True)
class Manner:
    """How gradients are found. A batch is summed over `pieces`; with `recompute`, blocks keep only what enters them.

    Batches of `compiled` images have kernels that torch.compile made; where it is 0, none.
    In fp16 the loss is multiplied by `scale`, so that small gradients do not vanish; `clean` counts batches since it was changed.
    """

    pieces: int = 1
    recompute: bool = False
    precision: Precision = "fp32"
    scale: float = 1.0
    clean: int = 0
    compiled: int = 0

    def thriftier(self, images: int) -> "Manner | None":
        """The next rung down for a batch of `images`; None at the end of the ladder."""
        if self.pieces < images:
            return replace(self, pieces=min(2 * self.pieces, images))
        return None if self.recompute else replace(self, recompute=True)

    def after(self) -> "Manner":
        """The manner of the next batch, after one without overflow."""
        if self.precision != "fp16":
            return self
        grown = self.clean + 1 >= CLEAN
        return replace(self, scale=self.scale * 2 if grown else self.scale, clean=0 if grown else self.clean + 1)

    def __str__(self) -> str:
        again = ", computing inner values again in place of keeping them" if self.recompute else ""
        return f"each batch in {self.pieces} pieces{again}"


def in_precision(precision: Precision | Literal["auto"]) -> Manner:
    """How gradients are found in a precision, to begin with; `auto` is fp32 until it is measured."""
    return Manner(precision="fp32" if precision == "auto" else precision, scale=FIRST_SCALE if precision == "fp16" else 1.0)


def gradient(
    model: Denoiser, weighting: nn.Module, batch: Batch, manner: Manner
) -> Generator[Event, None, tuple[Tensor, Manner]]:
    """Set the gradient of the mean weighted loss over `batch`, of the model and of the weighting.

    Of several processes, each computes its share and all end up with the sum.

    Returns the unweighted loss of each image [n], and the manner for the batches after.
    Raises TrainingStopped where memory does not suffice for one image.
    """
    trainable = [value for value in [*model.parameters(), *weighting.parameters()] if value.requires_grad]
    while True:
        set_recompute(model, manner.recompute)
        set_compiled(model, manner.compiled > 0)
        for value in trainable:
            value.grad = None
        try:
            own = _summed(model, weighting, batch, manner)
        except (RuntimeError, MemoryError) as error:
            reason = str(error).strip().partition("\n")[0]
            if manner.compiled and failed_to_compile(error):
                manner = replace(manner, compiled=0)
                yield Noted(f"torch.compile fails here: from here on without it; the result stays the same ({reason})")
                continue
            if not out_of_memory(error):
                raise
            if is_shared(model):  # the others wait for this one's share of a weight: they cannot begin again together
                raise TrainingStopped(
                    f"out of memory with the weights in shares: lower `batch_size`, or take more processes ({reason})"
                ) from None
        else:
            losses = parallel.gathered(own, batch)
            parallel.sum_gradients(trainable)
            if _overflowed(trainable, manner):
                manner = replace(manner, scale=manner.scale / 2, clean=0)  # the same batch again: no step is lost
                continue
            return losses, manner.after()
        # Outside of `except`, so that the error no longer holds what was computed.
        manner = _lower(manner, len(batch), reason)
        yield Noted(f"out of memory: from here on {manner}; the result stays the same ({reason})")


def _summed(model: Denoiser, weighting: nn.Module, batch: Batch, manner: Manner) -> Tensor:
    (own, largest), losses = parallel.shares(batch), [batch.sigma.new_zeros(0)]
    size, device = -(-largest // manner.pieces), batch.images.device
    for start in range(0, largest, size):
        part = batch.part(start, min(start + size, own))
        if not len(part):
            if not is_shared(model):
                break
            part = batch.part(0, 1)  # weights in shares are asked by all processes equally often: an image that does not count
        narrow = torch.autocast(device.type, NARROW.get(manner.precision), enabled=manner.precision in NARROW)
        usual = len(batch) == manner.compiled and len(part) == size
        with narrow, compiling(usual) if manner.compiled else nullcontext():
            loss = denoising_loss(model, part.images, part.sigma, part.noise, part.condition)
        counts = float(start < own)
        (weighting(loss, part.sigma).sum() * (counts * manner.scale / len(batch))).backward()
        if counts:
            losses.append(loss.detach())
    return torch.cat(losses)


def _overflowed(trainable: list[nn.Parameter], manner: Manner) -> bool:
    """Undo the scale. Whether it was too high: what is not finite without one is for the loop to judge."""
    if manner.scale == 1:
        return False
    gradients = [value.grad for value in trainable if value.grad is not None]
    own = [own_part(one) for one in gradients]
    torch._foreach_mul_(own, 1 / manner.scale)
    largest = torch.stack(torch._foreach_norm(own, float("inf")))  # asked once: a GPU is waited for at each question
    return parallel.agreed(not bool(largest.isfinite().all()))


def _lower(manner: Manner, images: int, reason: str) -> Manner:
    lower = manner.thriftier(images)
    if lower is None:
        raise TrainingStopped(
            f"memory does not suffice for one image at a time ({reason}); take a smaller network (less `depth` or `width`), "
            "a smaller curate.image_size, or a machine with more memory"
        )
    give_back()
    return lower


def set_recompute(model: nn.Module, recompute: bool) -> None:
    """Have every block that can do so keep only its input for the backward pass, and compute the rest again."""
    for module in model.modules():
        if hasattr(module, "recompute"):
            module.recompute = recompute  # type: ignore[assignment]
