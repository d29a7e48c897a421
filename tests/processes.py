"""Processes of their own for tests: real to the last signal, but torch, whose import takes seconds, is there when they start."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["torch._dynamo", "albumentations", "darkroom.training.train_base"])


def process_of(act: Callable[..., None], *given: Any, parent: bool = False) -> BaseProcess:
    """A started process that calls `act`, a function of a module, and does not outlive this one, unless it has children."""
    process = FORKED.Process(target=act, args=given, daemon=not parent)
    process.start()
    return process
