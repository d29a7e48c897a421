"""Times taken fairly: two things in turns, medians; and the shipped settings."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import yaml

TURNS = 5
SETTINGS = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8"))


def seconds(act: Callable[[], object]) -> float:
    """Wall clock of one call."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def in_turns(*acts: Callable[[], object], turns: int = TURNS) -> list[float]:
    """Median seconds of each, taken in turns after a warm-up of each."""
    for act in acts:
        act()
    taken = [[seconds(act) for act in acts] for _ in range(turns)]
    return [statistics.median(times) for times in zip(*taken, strict=True)]
