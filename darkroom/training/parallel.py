"""Several processes that train one model together (torch.distributed): each takes its share of every batch.

What is random is drawn for the whole batch and then shared out, and gradients are summed with each image's own weight: the
result is one process's with the same batch, but for the order of summation. A checkpoint says nothing of how many there were: two
go on where one stopped. Alone, all of this does nothing. Gradients travel after the backward pass, not during it.
torch's launcher starts them: `darkroom train --processes 2`, or `torchrun ... -m darkroom.training` in a workspace, on one
machine or several that share its folder. Run with gloo on processors; with NCCL on GPUs it was not run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from darkroom.training.batch import Batch
from darkroom.training.sharding import is_share

SHARDED = "--sharded"  # each process keeps its share of the weights
PATIENCE = timedelta(hours=12)  # for each other: the first of them may curate for long


def launched() -> bool:
    """Whether torch's launcher started this process, as one of several or the only one."""
    return distributed.is_torchelastic_launched()


@contextmanager
def joined() -> Iterator[None]:
    """Take part in the training of all processes that torch's launcher started; alone where it did not start this one."""
    if distributed.is_initialized() or not launched():
        yield
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu and (own := distributed.get_node_local_rank()) < torch.cuda.device_count():
        torch.cuda.set_device(own)
    # Both where there are GPUs: a course may be set to the processor, and what is agreed on lies there.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def check_enough(device: torch.device) -> None:
    """Raises ValueError where several processes would have to share a GPU, which NCCL refuses."""
    if device.type != "cuda" or not distributed.is_initialized():
        return
    own, there = distributed.get_node_local_rank(), torch.cuda.device_count()
    if own >= there:
        raise ValueError(
            f"this is process {own + 1} of the training here, with {there} GPU{'s' if there > 1 else ''}: each takes "
            f"one of its own. Start {there} (`--processes {there}`), or set `device: cpu`"
        )


def told(words: Sequence[str]) -> tuple[Path | None, bool]:
    """What a stage's command is told by whoever starts several of it: [FILE for its events] [--sharded]"""
    return next((Path(word) for word in words if word != SHARDED), None), SHARDED in words


def place() -> tuple[int, int]:
    """This process's number, and how many there are."""
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def leads() -> bool:
    """Whether this process is the one that writes files."""
    return place()[0] == 0


def shares(batch: Batch) -> tuple[int, int]:
    """How many images of a batch are this process's, and how many are at most one process's."""
    start, stop = bounds(len(batch), *place())
    return stop - start, -(-len(batch) // place()[1])


def gathered(own: Tensor, batch: Batch) -> Tensor:
    """Every image's value [n], out of each process's own."""
    if place()[1] == 1:
        return own
    start, stop = bounds(len(batch), *place())
    whole = own.new_zeros(len(batch))
    whole[start:stop] = own
    distributed.all_reduce(whole)
    return whole


def sum_gradients(weights: Sequence[nn.Parameter]) -> None:
    """Give every process the sum of all gradients. Those of weights in shares are sums already."""
    weights = [value for value in weights if not is_share(value)]
    if place()[1] == 1 or not weights:
        return
    gradients = [torch.zeros_like(value) if value.grad is None else value.grad for value in weights]
    flat = torch.cat([one.flatten() for one in gradients])
    distributed.all_reduce(flat)
    for value, summed in zip(weights, torch.split(flat, [one.numel() for one in gradients]), strict=True):
        value.grad = summed.view_as(value).clone()


def agreed(asked: bool) -> bool:
    """Whether any process was asked."""
    return bool(_reduced(float(asked), distributed.ReduceOp.MAX))


def slowest(seconds: float) -> float:
    """The longest of every process's times, so that all end together."""
    return _reduced(seconds, distributed.ReduceOp.MAX)


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if place()[1] > 1:
        distributed.barrier()


def _reduced(value: float, how: "distributed.ReduceOp.RedOpType") -> float:
    if place()[1] == 1:
        return value
    told = torch.tensor([value], dtype=torch.float64)
    distributed.all_reduce(told, op=how)
    return told.item()


def bounds(count: int, rank: int, size: int) -> tuple[int, int]:
    """The first of `count` images that is process `rank`'s of `size`, and the first after them that is not."""
    return count * rank // size, count * (rank + 1) // size
