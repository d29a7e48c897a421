"""Golden losses: a change of numbers shows here. Where it is meant: python -m tests.darkroom.training.test_golden"""

import json
import tempfile
from pathlib import Path

import pytest

from tests.darkroom.tiny import finished
from tests.darkroom.training.rig import course

GOLDEN = Path(__file__).parents[2] / "golden" / "tiny_training.json"


def measured(folder: Path) -> list[dict[str, float | None]]:
    """The history of a tiny course."""
    _, state = finished(course(folder, images=240, report_every=24, held_out_every=80))
    return [{"images_seen": one.images_seen, "loss": one.loss, "held_out": one.held_out} for one in state.history]


def test_the_losses_are_what_they_were(tmp_path: Path) -> None:
    golden, now = json.loads(GOLDEN.read_text(encoding="utf-8")), measured(tmp_path)
    assert [one["images_seen"] for one in now] == [one["images_seen"] for one in golden]
    for name in ("loss", "held_out"):
        then = [one[name] for one in golden if one[name] is not None]
        assert [one[name] for one in now if one[name] is not None] == pytest.approx(then, rel=1e-4)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        lines = ",\n".join(f" {json.dumps(one)}" for one in measured(Path(folder)))
    GOLDEN.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
