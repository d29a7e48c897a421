"""One of two processes of a course."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from darkroom.stage import StoppedOnRequest
from darkroom.training.course import Conduct
from darkroom.training.sharding import own_part
from tests.darkroom.tiny import MIRROR, finished
from tests.darkroom.training.rig import course

SETTINGS = {"images": 49, "weighting": {"kind": "learned"}, "checkpoint_every": 24, "transforms": [MIRROR]}
MUON = {"optimiser": {"kind": "muon", "weight_decay": 0.01, "momentum": 0.95}}


def stopping_after(batches: int, sharded: bool = False) -> Conduct:
    looks = iter(range(10**6))
    return Conduct(stopping=lambda: next(looks) >= batches, sharded=sharded)


def take_part(folder: Path, batches: int, sharded: bool, changes: dict[str, Any], rank: int) -> None:
    """Train until the end, or until asked to stop after some batches."""
    torch.set_num_threads(1)
    meeting = f"file://{folder.parent.absolute()}/{folder.name} {batches} meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    with suppress(StoppedOnRequest):
        _, state = finished(course(folder, conduct=stopping_after(batches, sharded), **SETTINGS, **changes))
        kept = sum(own_part(value).numel() for value in state.model.parameters())
        there = sum(value.numel() for value in state.model.parameters())
        assert kept < 0.6 * there if sharded else kept == there
    distributed.destroy_process_group()
