"""Memory of a device, or of this machine, that does not suffice: how an error tells of it, and what is given back."""

import re

import torch

SAID = r"can't allocate memory|not enough memory|out of memory|CU(DNN|BLAS)_STATUS_ALLOC_FAILED"
SAID_ON_A_GPU = r"unable to find an engine to execute this computation|unable to find a valid cudnn algorithm"


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is of an allocation that failed, on a GPU or in main memory.

    cuDNN, where its work space does not fit, says that it finds no way to compute (PyTorch, issue 108645).
    """
    told = SAID if not torch.cuda.is_available() else f"{SAID}|{SAID_ON_A_GPU}"
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or re.search(told, str(error), re.IGNORECASE) is not None


def give_back() -> None:
    """Let go of what the allocator of a GPU holds and nobody uses."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
