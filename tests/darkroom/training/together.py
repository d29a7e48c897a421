"""One of two processes of a course."""

from contextlib import suppress
from pathlib import Path

import torch
from torch import distributed

from darkroom.stage import StoppedOnRequest
from darkroom.training.course import Conduct
from tests.darkroom.tiny import MIRROR, finished
from tests.darkroom.training.rig import course

SETTINGS = {"images": 52, "weighting": {"kind": "learned"}, "checkpoint_every": 24, "transforms": [MIRROR]}


def stopping_after(batches: int) -> Conduct:
    looks = iter(range(10**6))
    return Conduct(stopping=lambda: next(looks) >= batches)


def take_part(folder: Path, batches: int, rank: int) -> None:
    """Train until the end, or until asked to stop after some batches."""
    torch.set_num_threads(1)
    meeting = f"file://{folder.parent.absolute()}/{folder.name} {batches} meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    with suppress(StoppedOnRequest):
        finished(course(folder, conduct=stopping_after(batches), **SETTINGS))
    distributed.destroy_process_group()
