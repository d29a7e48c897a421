"""Weights in shares: of several processes each keeps its part of every weight, average, gradient and moment (torch's FSDP2).

A network that one device cannot hold is trained by several; a block's weights come together only while it is computed. What is
computed is the same, and a checkpoint holds whole tensors: a training goes on with or without shares, in any number of processes.
Run with gloo on processors; with NCCL on GPUs it was not run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from torch import Tensor, distributed, nn, no_grad
from torch.nn.utils.parametrize import is_parametrized


def share_out(model: nn.Module, trained: bool) -> None:
    """Let every process keep its share of the weights; the blocks of those that are `trained` part again after their use."""
    from torch.distributed.device_mesh import init_device_mesh  # these cost seconds, and few need them
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(next(model.parameters()).device.type, (distributed.get_world_size(),))
    lists = [one for one in model.modules() if isinstance(one, nn.ModuleList)]
    blocks = [block for one in lists for block in one if not isinstance(block, nn.ModuleList)]
    for part in [*reversed(blocks), model]:  # the inner ones first
        shared = fully_shard(part, mesh=mesh, reshard_after_forward=trained and part is not model)
        shared.set_force_sum_reduction_for_comms(True)  # a sum, as `parallel` makes it, and not a mean
        shared.set_gradient_divide_factor(1.0)


def is_shared(model: nn.Module) -> bool:
    """Whether processes keep shares of its weights."""
    return hasattr(model, "unshard")


@contextmanager
def whole(model: nn.Module) -> Iterator[nn.Module]:
    """The model with all of its weights, to ask it as often as each process likes. All processes enter and leave together."""
    parts = [part for part in model.modules() if is_shared(part)]
    for part in parts:
        part.unshard()  # type: ignore[operator]
    try:
        yield model
    finally:
        for part in parts:
            part.reshard()  # type: ignore[operator]


def full(value: Tensor) -> Tensor:
    """The whole of a tensor that processes keep shares of; any other as it is. All processes ask together."""
    return value.full_tensor() if is_share(value) else value  # type: ignore[attr-defined]


def full_state(module: nn.Module) -> dict[str, Tensor]:
    """The whole tensors of a module by their names, in main memory. All processes ask together."""
    return {name: full(value).cpu() for name, value in module.state_dict().items()}


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """As `full_state`, with one weight for each that is trained as a base and a part beside it; the model stays as it is."""
    state = full_state(model)
    with whole(model), no_grad():
        for place, module in model.named_modules():
            if is_parametrized(module, "weight"):
                parts = f"{place}.parametrizations.weight."
                state = {name: value for name, value in state.items() if not name.startswith(parts)}
                state[f"{place}.weight"] = full(cast(Tensor, module.weight)).detach().cpu()
    return state


def own_part(value: Tensor) -> Tensor:
    """What this process keeps of a tensor."""
    return value.to_local() if is_share(value) else value  # type: ignore[attr-defined]


def is_share(value: Tensor) -> bool:
    """Whether a tensor is kept in shares."""
    return hasattr(value, "full_tensor")


def shared_as(own: Tensor, value: Tensor) -> Tensor:
    """This process's share of a whole `value` that every process has, cut as `own` is."""
    if not is_share(own) or own.shape != value.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements, src_data_rank=None)  # type: ignore[attr-defined]
