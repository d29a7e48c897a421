"""A training to be killed."""

import time
from pathlib import Path

from darkroom.training.session import Places
from darkroom.training.train_base import TrainBaseSection, train_base
from tests.darkroom.tiny import base_section


def section(workers: int = 0) -> TrainBaseSection:
    return base_section(
        data_workers=workers, images=320, report_every=8, held_out_every=80, samples_every=80, checkpoint_every=40
    )


def train_slowly(folder: Path, workers: int) -> None:
    """Train in `folder`, and leave the names of the events in a file."""
    places = Places(*(folder / name for name in ("data", "augmented", "model", "report", "checkpoints")))
    with (folder / "told.txt").open("w", encoding="utf-8", buffering=1) as told:
        for event in train_base(section(workers), places):
            print(type(event).__name__, file=told)
            time.sleep(0.02)  # so that it is still at work when it is killed, on a fast machine too
