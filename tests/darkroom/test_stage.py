"""The command of a stage: what it shows, keeps and returns; events in words and on disk."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest
import yaml

from darkroom.events import (
    Event,
    HeldOutMeasured,
    ImageRejected,
    Noted,
    Progressed,
    SamplesDrawn,
    ScoreMeasured,
    SheetScored,
    SnapshotSaved,
    SpikeUndone,
    StepTaken,
    TroubleFound,
    as_json,
    kept,
)
from darkroom.gates import RegisterSection
from darkroom.stage import Pace, Throttle, run_stage, sentence
from tests.darkroom.tiny import finished

EVENTS: dict[str, Event] = {
    "hello": Noted("hello"),
    "drawing: 1,000 of 2,000 images": Progressed("drawing", 1000, 2000),
    "drawing: 10 of 20 images, 2.5 images/s, 4 s left": Progressed("drawing", 10, 20, "images", 2.5, 4.0),
    "rejected a.png: blurred (3 < 40)": ImageRejected("a.png", "blurred", "3 < 40"),
    "1,000 of 5,000 images seen, loss 0.1235, 50 images/s, 1 min 20 s left": StepTaken(1000, 5000, 0.12345, 1e-3, 1.0, 50.0),
    "0 of 900,000 images seen, loss 1.0000, 50 images/s, 5 h 00 min left": StepTaken(0, 900_000, 1.0, 1e-3, 1.0, 50.0),
    "held-out loss 0.2000 at 1,000 images seen": HeldOutMeasured(1000, 0.2),
    "kd_x 9 of the sheet at 1,000 images seen (n = 24, real against real 1)": SheetScored(1000, "kd_x", 9.0, 1.0, 24),
    "the loss spiked to 2 from 0.5 at 90 images seen: back to 80, learning rate cut to 50%, batch left out: a.png": SpikeUndone(
        90, 2.0, 0.5, 80, 0.5, ("a.png",)
    ),
    "stall: nothing falls (try learning_rate: 0.001)": TroubleFound(1000, "stall", "nothing falls", {"learning_rate": 0.001}),
    "samples at 1,000 images seen: a.png": SamplesDrawn(1000, "a.png"),
    "checkpoint at 1,000 images seen: a": SnapshotSaved(1000, "a"),
    "recall 0.5 (n = 1,000, higher is better, real against real 0.9)": ScoreMeasured("recall", 0.5, 1000, "higher", floor=0.9),
    "recall 0.5 (n = 9, higher is better)": ScoreMeasured("recall", 0.5, 9, "higher"),
}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"register": {"name": "mine", "licence": "none"}}), encoding="utf-8")
    return tmp_path


def step(section: RegisterSection) -> Generator[Event, None, str]:
    yield Noted(f"name is {section.name}")
    yield Progressed("drawing", 1, 2)
    yield Progressed("drawing", 2, 2)
    return "done"


def failing(section: RegisterSection) -> Generator[Event, None, str]:
    yield Noted("begun")
    raise OSError(28, "No space left on device")


def test_every_event_has_its_words_and_its_line() -> None:
    assert [sentence(event) for event in EVENTS.values()] == list(EVENTS)
    for event in EVENTS.values():
        line = json.loads(as_json(event))
        assert line.pop("event") == type(event).__name__
        assert as_json(type(event)(**line)) == as_json(event)
    assert {type(event).__name__ for event in EVENTS.values()} == {kind.__name__ for kind in Event.__subclasses__()}


def test_a_stage_shows_and_keeps_what_its_step_tells(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_stage("register", RegisterSection, step) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "[register] name is mine",
        "[register] drawing: 1 of 2 images",
        "[register] drawing: 2 of 2 images",
    ]
    lines = (workspace / ".darkroom/events/register.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines == [as_json(Noted("name is mine")), as_json(Progressed("drawing", 1, 2)), as_json(Progressed("drawing", 2, 2))]


def test_a_bad_setting_is_one_line_and_a_return_code(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "params.yaml").write_text("register: {nme: mine, name: mine, licence: none}", encoding="utf-8")
    assert run_stage("register", RegisterSection, step) == 1
    shown = capsys.readouterr()
    assert shown.err == "[register] params.yaml: `register.nme` is not a setting; did you mean `name`?\n"
    assert not (workspace / ".darkroom").exists()


def test_an_error_of_the_step_is_one_line_and_what_it_told_is_kept(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_stage("register", RegisterSection, failing) == 1
    assert capsys.readouterr().err.splitlines() == ["[register] begun", "[register] [Errno 28] No space left on device"]
    assert (workspace / ".darkroom/events/register.jsonl").read_text() == as_json(Noted("begun")) + "\n"


def test_kept_events_are_on_disk_before_they_are_seen_and_the_answer_passes(tmp_path: Path) -> None:
    file = tmp_path / "deep/events.jsonl"
    events = kept(step(RegisterSection(name="mine", licence="none")), file)
    for number in range(1, 4):
        next(events)
        assert len(file.read_text().splitlines()) == number
    assert finished(kept(step(RegisterSection(name="mine", licence="none")), file))[1] == "done"
    assert len(file.read_text().splitlines()) == 3  # the journal of one run


def test_progress_is_told_with_its_rate_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("darkroom.stage.time.monotonic", lambda: now[0])
    pace, begun = Pace(), Progressed("reading", 64, 2064)
    assert pace.of(begun) is begun
    now[0] += 0.5
    soon = Progressed("reading", 80, 2064)
    assert pace.of(soon) is soon
    now[0] += 1.5
    assert sentence(pace.of(Progressed("reading", 464, 2064))) == "reading: 464 of 2,064 images, 200 images/s, 8 s left"
    now[0] += 8
    assert sentence(pace.of(Progressed("reading", 2064, 2064))) == "reading: 2,064 of 2,064 images, 200 images/s"
    known = Progressed("drawing", 1, 2, "images", 3.0, 4.0)
    assert pace.of(known) is known and pace.of(Noted("a")) == Noted("a")
    again = Progressed("reading", 0, 10)
    assert pace.of(again) is again
    now[0] += 2
    assert pace.of(Progressed("reading", 5, 10)) == Progressed("reading", 5, 10, "images", 2.5, 2.0)


def test_many_events_of_a_kind_are_shown_once_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("darkroom.stage.time.monotonic", lambda: now[0])
    throttle = Throttle(2.0)
    assert throttle.passes(Progressed("drawing", 1, 10))
    assert not throttle.passes(Progressed("drawing", 2, 10))
    assert throttle.passes(Progressed("reading", 2, 10))
    assert throttle.passes(Noted("a"))
    assert throttle.passes(Noted("b"))
    assert throttle.passes(Progressed("drawing", 10, 10))
    now[0] = 2.5
    assert throttle.passes(Progressed("drawing", 5, 10))
