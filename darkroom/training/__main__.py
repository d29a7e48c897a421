"""The command of the stage `train_base`: python -m darkroom.training"""

import sys
from pathlib import Path

from darkroom.stage import CHECKPOINTS, run_stage, stop_asked
from darkroom.training.course import Conduct
from darkroom.training.parallel import joined, leads, told
from darkroom.training.session import Places
from darkroom.training.train_base import TrainBaseSection, train_base

PLACES = Places(
    data=Path("data/curated"),
    augmented=Path("data/augmented"),
    out=Path("models/base"),
    report=Path("reports/train_base"),
    checkpoints=CHECKPOINTS / "train_base",
)


def main() -> int:
    """Train the base model of the workspace in the current folder."""
    journal, sharded = told(sys.argv[1:])
    with joined(), stop_asked() as stopping:
        conduct = Conduct(stopping, sharded=sharded)
        return run_stage(
            "train_base", TrainBaseSection, lambda section: train_base(section, PLACES, conduct), tells=leads(), journal=journal
        )


if __name__ == "__main__":
    raise SystemExit(main())
