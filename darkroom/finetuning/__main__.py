"""The command of the stage `finetune`: python -m darkroom.finetuning"""

import sys
from pathlib import Path

from darkroom.finetuning.finetune import FinetuneSection, finetune
from darkroom.stage import CHECKPOINTS, run_stage, stop_asked
from darkroom.training.course import Conduct
from darkroom.training.parallel import joined, leads, told
from darkroom.training.session import Places

BASE = Path("models/base")
PLACES = Places(
    data=Path("data/curated"),
    augmented=Path("data/augmented"),
    out=Path("models/tuned"),
    report=Path("reports/finetune"),
    checkpoints=CHECKPOINTS / "finetune",
)


def main() -> int:
    """Fine-tune the base model of the workspace in the current folder."""
    journal, sharded = told(sys.argv[1:])
    with joined(), stop_asked() as stopping:
        conduct = Conduct(stopping, sharded=sharded)
        return run_stage(
            "finetune", FinetuneSection, lambda section: finetune(section, BASE, PLACES, conduct), tells=leads(), journal=journal
        )


if __name__ == "__main__":
    raise SystemExit(main())
