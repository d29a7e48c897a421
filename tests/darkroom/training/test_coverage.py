"""Times seen as reckoned, against times seen as counted while training."""

import csv
from collections import Counter
from pathlib import Path

from darkroom.randomness import DataOrder
from darkroom.training.coverage import times_seen
from darkroom.training.train_base import train_base
from tests.darkroom.tiny import base_section, finished, prepare


def test_what_is_reckoned_is_what_happened() -> None:
    for images, seen, batch, skipped in ((20, 60, 8, []), (20, 63, 8, [8, 56]), (7, 30, 9, [0, 27]), (50, 20, 6, [18])):
        order, counts = DataOrder(images, 3), Counter[int]()
        for start in range(0, seen, batch):
            if start not in skipped:
                counts.update(order.take(start, min(batch, seen - start)).tolist())
        assert times_seen(order, seen, batch, skipped).tolist() == [counts[row] for row in range(images)]


def test_the_table(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    finished(train_base(base_section(), places))
    rows = list(csv.DictReader((places.report / "coverage.csv").read_text().splitlines()))
    assert len(rows) == 20
    assert {row["times_seen"] for row in rows} == {"3"}
