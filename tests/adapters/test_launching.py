"""Two real processes that a flow starts: what they tell, what they make, and how they end when asked to."""

import json
from pathlib import Path

import pytest
import yaml

from adapters.launching import trained_together
from darkroom.events import Event, Noted, SnapshotSaved, SpikeUndone, as_json, followed, from_json
from darkroom.stage import StoppedOnRequest
from darkroom.training.train_base import TrainBaseSection, train_base
from tests.darkroom.tiny import SETTINGS, finished, prepare

LONGER = SETTINGS | {"images": 1200, "report_every": 200, "held_out_every": 400, "samples_every": 1200}


def workspace(folder: Path) -> Path:
    places = prepare(folder / "made")
    (folder / "data").mkdir()
    places.data.rename(folder / "data/curated")
    places.augmented.rename(folder / "data/augmented")
    (folder / "params.yaml").write_text(yaml.safe_dump({"train_base": LONGER}), encoding="utf-8")
    return folder


@pytest.mark.long
def test_stopped_in_two_processes_it_goes_on_in_two_and_ends_as_in_one(tmp_path: Path) -> None:
    alone = prepare(tmp_path / "alone")
    finished(train_base(TrainBaseSection.model_validate(LONGER), alone))
    here, told = workspace(tmp_path / "here"), list[Event]()
    asked = trained_together(2, "darkroom.training", "train_base", here, lambda: any(isinstance(e, SnapshotSaved) for e in told))
    with pytest.raises(StoppedOnRequest, match=r"stopped at [\d,]+ images seen; the same command goes on"):
        followed(asked, told.append)
    assert not (here / "models/base").exists()
    told = list(trained_together(2, "darkroom.training", "train_base", here, lambda: False))
    assert "going on from" in next(event.text for event in told[1:] if isinstance(event, Noted))
    last, ours = (read_losses(report)[-1] for report in (alone.report, here / "reports/train_base"))
    assert last[0] == ours[0] == 1200
    assert ours[1] == pytest.approx(last[1], rel=0.02)


def read_losses(report: Path) -> list[tuple[int, float]]:
    rows = [row.split(",") for row in (report / "loss.csv").read_text().splitlines()[1:]]
    return [(int(row[0]), float(row[1])) for row in rows]


def test_what_the_stage_complains_of_is_what_is_raised(tmp_path: Path) -> None:
    here = workspace(tmp_path)
    (here / "params.yaml").write_text("train_base: {seed: 1}", encoding="utf-8")
    with pytest.raises(ValueError, match="train_base"):
        list(trained_together(1, "darkroom.training", "train_base", here, lambda: False))


def test_an_event_comes_back_from_its_line() -> None:
    for event in (Noted("ü"), SpikeUndone(8, 2.0, 1.0, 0, 0.5, ("a.png", "b.png"))):
        assert from_json(as_json(event)) == event
    with pytest.raises(ValueError, match="no event"):
        from_json(json.dumps({"event": "Event"}))
