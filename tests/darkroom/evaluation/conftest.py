"""The place that most tests of this room start from."""

from pathlib import Path

import numpy as np
import pytest

from darkroom.images import ImageSet, write_split
from tests.darkroom.evaluation.rig import NAMES, painted, write_card


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A data set of 80 + 16 + 16 images and two model folders, the second meant for suns."""
    (tmp_path / "data").mkdir()
    for seed, (split, n) in enumerate({"train": 80, "validation": 16, "test": 16}.items()):
        labels = [index % 2 for index in range(n)]
        paths = tuple(f"{split}/{index}.png" for index in range(n))
        write_split(tmp_path / "data", split, ImageSet(painted(seed, labels), np.array(labels), NAMES, paths))
    for name, focus in {"base": [], "tuned": ["sun"]}.items():
        (tmp_path / name).mkdir()
        write_card(tmp_path / name, focus)
    return tmp_path
