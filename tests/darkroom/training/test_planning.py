"""Budgets: a folder within minutes or images, a plan that comes true, a learning rate that works."""

import json
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from darkroom.augmentation import AugmentSection
from darkroom.curation.curate import CurateSection
from darkroom.events import Event, Noted, Progressed, followed
from darkroom.networks.saved import load_model
from darkroom.refs import digest_of
from darkroom.stage import StoppedOnRequest
from darkroom.training import from_folder
from darkroom.training.beginning import begin
from darkroom.training.checkpoints import State, save_checkpoint
from darkroom.training.course import Conduct
from darkroom.training.from_folder import Request, train_folder
from darkroom.training.pace import Pace
from darkroom.training.planning import plan
from darkroom.training.rate_finding import plot, range_test
from darkroom.training.rehearsal import rehearsed
from tests.conftest import draw_images, tiny_settings
from tests.darkroom.tiny import NETWORK, base_section, finished
from tests.darkroom.training.rig import course, fresh_model

NOTHING = AugmentSection.model_validate({"seed": 0, "transforms": []})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("own"), 40)


def request_for(pictures: Path, minutes: float | None = None, **changes: Any) -> Request:
    settings = tiny_settings(pictures)
    curate, augment = CurateSection.model_validate(settings["curate"]), AugmentSection.model_validate(settings["augment"])
    return Request(pictures, curate, augment, base_section(**changes), minutes)


@pytest.mark.parametrize(("precision", "narrow"), [("bf16", True), ("auto", False)])
def test_a_plan_is_reckoned_in_the_precision_that_is_trained_in(precision: str, narrow: bool) -> None:
    section = base_section(precision=precision)
    model, materials = rehearsed(section, NOTHING, 8)
    seen = set[bool]()
    model.network.register_forward_pre_hook(lambda *given: seen.add(torch.is_autocast_enabled("cpu")))
    plan(model, section, materials, 0.01)
    assert (True in seen) == narrow


def test_an_archive_that_changes_is_another_request(tmp_path: Path, pictures: Path) -> None:
    asked, archive = request_for(pictures), tmp_path / "images.zip"
    archive.write_bytes(b"x")
    before = replace(asked, source=archive).facts()
    archive.write_bytes(b"xy")
    after = replace(asked, source=archive).facts()
    assert before["images"] != after["images"] and before | {"images": ""} == after | {"images": ""}


def test_images_in_a_linked_folder_belong_to_what_is_asked(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "all").symlink_to(pictures)
    asked = replace(request_for(pictures), source=tmp_path / "linked")
    before = asked.facts()
    next(pictures.rglob("*.png")).unlink()
    assert asked.facts()["images"] != before["images"]


def test_a_folder_becomes_a_model_folder_and_the_same_again_is_unchanged(tmp_path: Path, pictures: Path) -> None:
    out, before = tmp_path / "model", digest_of(pictures)
    asked = iter([False, False, True])
    with pytest.raises(StoppedOnRequest):
        finished(train_folder(request_for(pictures), out, Conduct(lambda: next(asked))))
    events, ref = finished(train_folder(request_for(pictures), out))
    assert any("going on from 16 images seen" in event.text for event in events if isinstance(event, Noted))
    names = {file.name for file in out.iterdir()}
    assert names >= {"model.json", "weights.safetensors", "samples.png", "film_strip.png", "loss.png", "events.jsonl"}
    assert "work" not in names
    _, card = load_model(out, torch.device("cpu"))
    assert (card.images_seen, card.labels, card.image_size) == (60, ("disc", "square"), 16)
    events, _ = finished(train_folder(request_for(pictures), out))
    assert [getattr(event, "text", "") for event in events] == [f"{out}: unchanged, the same request has been fulfilled"]
    _, other = finished(train_folder(request_for(pictures), tmp_path / "again"))
    assert other.digest == ref.digest
    assert digest_of(pictures) == before


def test_another_rate_trains_anew_on_the_images_as_they_were_curated(tmp_path: Path) -> None:
    out, pictures = tmp_path / "model", draw_images(tmp_path / "own", 40)

    def curated(**changes: Any) -> bool:
        """Whether a request, stopped after its first batches, looked at the images once more."""
        asked, told = iter([False, False, True]), list[Event]()
        with pytest.raises(StoppedOnRequest):
            followed(train_folder(request_for(pictures, **changes), out, Conduct(lambda: next(asked))), told.append)
        return any(isinstance(event, Progressed) and event.doing == "reading" for event in told)

    assert curated()
    assert not curated(learning_rate=1e-3)
    assert (out / "work/data").is_dir()
    assert not curated(seed=9)
    next(pictures.rglob("*.png")).unlink()
    assert curated(seed=9)


def test_a_course_by_minutes_goes_on_where_only_its_cadences_have_changed(tmp_path: Path, pictures: Path) -> None:
    out, asked = tmp_path / "model", iter([False, False, False, True])
    with pytest.raises(StoppedOnRequest):
        finished(train_folder(request_for(pictures, minutes=0.1), out, Conduct(lambda: next(asked))))
    speed = (out / "work/speed.json").read_text()
    told = (out / "work/events.jsonl").read_text()
    asked = iter([True])
    with pytest.raises(StoppedOnRequest):
        finished(
            train_folder(request_for(pictures, minutes=0.1, samples_every=8, data_workers=1), out, Conduct(lambda: next(asked)))
        )
    assert (out / "work/speed.json").read_text() == speed
    assert (out / "work/events.jsonl").read_text().startswith(told)
    assert "going on from 24 images seen" in (out / "work/events.jsonl").read_text()
    assert json.loads((out / "work/request.json").read_text())["train"]["samples_every"] == 8


def test_killed_while_its_files_are_moved_it_does_not_train_again(tmp_path: Path, pictures: Path) -> None:
    out, work = tmp_path / "model", tmp_path / "model" / "work"
    finished(from_folder.prepared(request_for(pictures), work))
    finished(from_folder.trained(request_for(pictures), work, Conduct()))
    (work / "request.json").write_text(json.dumps(request_for(pictures).facts()))
    (work / "events.jsonl").write_text('{"event": "Earlier"}\n')
    made = digest_of(work / "model/weights.safetensors")
    (work / "model/weights.safetensors").rename(out / "weights.safetensors")
    events, ref = finished(train_folder(request_for(pictures), out))
    assert events == []
    assert (ref.digest, ref.parameters > 0) == (made, True)
    assert {file.name for file in out.iterdir()} >= {"model.json", "weights.safetensors", "samples.png", "request.json"}
    assert "Earlier" in (out / "events.jsonl").read_text(), "what was told before the stop is lost"


def test_a_request_half_written_begins_anew(tmp_path: Path, pictures: Path) -> None:
    out = tmp_path / "model"
    (out / "work").mkdir(parents=True)
    (out / "work/request.json").write_text('{"curate": {"sou')
    finished(train_folder(request_for(pictures), out))
    assert (out / "model.json").exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="is not empty, and holds no model of `darkroom train`"):
        next(train_folder(request_for(pictures), tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


def test_what_cannot_be_is_refused_before_an_image_is_read(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    network = {"kind": "transformer", "patch": 3, "width": 32, "depth": 2, "heads": 2, "detail": 8}
    for out, changes, says in (
        (tmp_path / "letter.txt", {}, r"letter\.txt is not a folder; choose another name"),
        (pictures / "disc" / "model", {}, "whose images are only read; choose a folder outside it"),
        (tmp_path / "model", {"network": network}, r"network\.patch \(3\) does not divide curate\.image_size \(16\)"),
    ):
        with pytest.raises((OSError, ValueError), match=says):
            next(train_folder(request_for(pictures, **changes), out))
        assert not (out / "work").exists()


def test_other_settings_begin_anew_and_say_so_and_those_before_can_be_gone_back_to(tmp_path: Path, pictures: Path) -> None:
    out = tmp_path / "model"

    def stopped(**changes: Any) -> str:
        asked, told = iter([False, False, True]), list[Event]()
        with suppress(StoppedOnRequest):
            told.extend(train_folder(request_for(pictures, **changes), out, Conduct(lambda: next(asked))))
        return str(told)

    stopped()
    assert "learning_rate was 0.003, is 0.001" in stopped(learning_rate=0.001)
    assert "going on from 16 images seen" in stopped()


def test_minutes_end_with_the_schedule_at_its_end(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks a second a look: the budget is a minute whatever the machine."""
    monkeypatch.setattr(from_folder, "images_per_second", lambda *given, **named: 4.0)
    ticks = count()
    monkeypatch.setattr(Pace.__init__, "__defaults__", (lambda: float(next(ticks)),))
    finished(train_folder(request_for(pictures, minutes=1.0), tmp_path / "model"))
    rows = (tmp_path / "model/loss.csv").read_text().splitlines()[1:]
    rates = [float(row.split(",")[2]) for row in rows]
    assert rates[-1] < 0.15 * max(rates)
    seen = json.loads((tmp_path / "model/metrics.json").read_text())["images_seen"]
    assert seen > 60
    assert seen % 8 == 0, "the last batch was cut short, though the clock ends the course"
    sheets = sum(
        json.loads(line)["event"] == "SamplesDrawn" for line in (tmp_path / "model/events.jsonl").read_text().splitlines()
    )
    assert sheets <= 2, "but for the last sheet, drawing may take a twentieth of so short a time"


def test_time_is_counted_over_stops_and_not_given_back_by_going_back() -> None:
    state = begin(fresh_model(), base_section())
    now = iter([0.0, 30.0, 100.0, 120.0, 130.0])
    pace = Pace(base_section(), 1.0, state, lambda: next(now))
    pace.tick()
    state.images_seen = 500
    assert (pace.total(), pace.over()) == (1000, False)
    resumed = Pace(base_section(), 1.0, state, lambda: next(now))
    resumed.tick()
    assert state.seconds == 50.0
    resumed.tick()
    assert resumed.over()


def test_a_stretched_course_keeps_its_shares() -> None:
    short = base_section(images=1000, learning_rate_schedule={"kind": "linear_to_zero", "warmup_images": 50})
    long = short.stretched(10_000)
    assert (long.images, long.learning_rate_schedule.warmup_images, long.averaging.halflife_images) == (10_000, 500, 160)
    assert long.cadences == tuple(10 * every for every in short.cadences)
    for seen in range(0, 1000, 50):
        then, now = short.learning_rate_schedule.factor(seen, 1000), long.learning_rate_schedule.factor(10 * seen, 10_000)
        assert now == pytest.approx(then, abs=0.02)


def test_a_plan_comes_true(tmp_path: Path) -> None:
    section = base_section(images=64_000)
    model, materials = rehearsed(section, NOTHING, 8)
    clock = iter([0.0, 10.0, *[12.0] * 3, 30.0, 30.0])  # four batches from the tenth to the thirtieth second
    found = plan(model, section, materials, 15.0, lambda: next(clock))
    assert found.images_per_second == pytest.approx(4 * 8 / 20)
    assert found.hours == pytest.approx(64_000 / found.images_per_second / 3600)
    _, state = finished(course(tmp_path))
    assert isinstance(state, State)
    size = save_checkpoint(tmp_path / "one", state, keep=1).stat().st_size
    assert size == pytest.approx(found.checkpoint, rel=0.1)
    weights = sum(value.numel() for value in model.parameters())
    assert found.parameters == weights
    assert found.least_memory < found.memory


def test_the_memory_planned_is_the_memory_taken() -> None:
    """Against the allocator's own account of a forward and backward pass."""
    section = base_section(batch_size=32, network=NETWORK | {"patch": 2, "depth": 4})
    model, materials = rehearsed(section, NOTHING, 16)
    found = plan(model, section, materials, 0.0)
    from torch.profiler import ProfilerActivity, profile

    from darkroom.training.batches import Batches
    from darkroom.training.memory import Manner, gradient

    state, batches = begin(model, section), Batches(section, materials, torch.device("cpu"))
    batch = batches.at(0, 32)
    batches.close()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, record_shapes=True, with_stack=True) as account:
        finished(gradient(state.model, state.weighting, batch, Manner()))
    held, peak = 0, 0
    for _, action, _, size in account._memory_profile().timeline:
        held += {"CREATE": size, "DESTROY": -size}.get(action.name, 0)
        peak = max(peak, held)
    weights = 4 * found.parameters
    expected = found.memory - 4 * weights - 2 * batch.images.nbytes  # less what stood there before: two kinds of weights, moments
    assert 0.6 * peak < expected < 1.2 * peak


def test_a_learning_rate_is_found_that_works(tmp_path: Path) -> None:
    section = base_section(learning_rate_schedule={"kind": "constant", "warmup_images": 0})
    model, materials = rehearsed(section, NOTHING, 8)
    _, found = finished(range_test(model, section, materials, 80))
    assert 1e-4 < found.suggested < 0.2
    assert list(found.rates) == sorted(found.rates) and len(found.rates) == len(found.losses)
    plot(found, tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 5000
