"""One of several processes of a course: python -m torch.distributed.run ... -m tests.darkroom.training.together FOLDER BATCHES"""

import sys
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


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    with suppress(StoppedOnRequest):
        finished(course(Path(sys.argv[1]), conduct=stopping_after(int(sys.argv[2])), **SETTINGS))
    distributed.destroy_process_group()
