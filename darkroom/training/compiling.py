"""torch.compile: the network's operations fused into kernels of this device, made once for whole batches.

The first batch waits for them, a minute or two; what is not a whole batch (the last of a course) is computed as ever.
"""

from contextlib import AbstractContextManager, nullcontext

import torch

from darkroom.networks.denoiser import Denoiser


def set_compiled(model: Denoiser, compiled: bool) -> None:
    """Have the network computed by its compiled kernels, or not. Copies of the model and its weights' names stay as they are."""
    network = model.network
    if compiled and network._compiled_call_impl is None:
        network.compile(dynamic=False)
    elif not compiled:
        network._compiled_call_impl = None


def compiling(wanted: bool) -> AbstractContextManager[object]:
    """Within it, compiled kernels are used, and made where there are none for this shape, only if `wanted`."""
    return nullcontext() if wanted else torch.compiler.set_stance("force_eager")


def failed_to_compile(error: BaseException) -> bool:
    """Whether an error says that no kernels could be made: no C++ compiler, an operation that torch cannot compile."""
    from torch._dynamo.exc import TorchDynamoException  # loaded already where anything was compiled; costs seconds elsewhere

    return isinstance(error, TorchDynamoException)
