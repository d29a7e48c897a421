"""A training to be killed: python -m tests.darkroom.training.interrupted FOLDER"""

import sys
import time
from pathlib import Path

from darkroom.training.session import Places
from darkroom.training.train_base import TrainBaseSection, train_base
from tests.darkroom.tiny import base_section


def section() -> TrainBaseSection:
    return base_section(images=320, report_every=8, held_out_every=80, samples_every=80, checkpoint_every=40)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    places = Places(*(folder / name for name in ("data", "augmented", "model", "report", "checkpoints")))
    for event in train_base(section(), places):
        print(type(event).__name__, flush=True)
        time.sleep(0.02)  # so that it is still at work when it is killed, on a fast machine too
