"""To resume, run the same command: bit for bit what a run gives that was never stopped, whatever stopped it."""

import gc
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from shutil import copytree

import psutil
import pytest
import torch

from darkroom.events import Event, Noted, SnapshotSaved
from darkroom.networks.saved import read_card
from darkroom.refs import digest_of
from darkroom.stage import StoppedOnRequest
from darkroom.training import batches, checkpoints
from darkroom.training.checkpoints import State
from darkroom.training.course import Conduct, TrainingStopped
from darkroom.training.train_base import train_base
from tests.darkroom.tiny import MIRROR, SETTINGS, base_section, finished, prepare, stopped_after, write_recipe
from tests.darkroom.training import interrupted
from tests.darkroom.training.rig import course, differing
from tests.processes import process_of

TOP = Path(__file__).parents[3]
Finished = tuple[list[Event], State]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A course that was never stopped."""
    return finished(course(tmp_path_factory.mktemp("straight"), transforms=[MIRROR]))


@pytest.mark.parametrize("count", range(1, 14))
def test_stopped_after_any_event_it_ends_the_same(tmp_path: Path, straight: Finished, count: int) -> None:
    assert len(straight[0]) == 13
    stopped_after(course(tmp_path, transforms=[MIRROR]), count)
    events, resumed = finished(course(tmp_path, transforms=[MIRROR]))
    saved = {2: 24, 8: 48, 13: 60}  # images seen at the checkpoint that comes as this event
    seen = max((images for after, images in saved.items() if after <= count), default=0)
    assert (events[:1] == [Noted(f"going on from {seen} images seen")]) == (seen > 0)
    assert differing(straight[1], resumed) == []
    assert resumed.history == straight[1].history
    assert resumed.scores == straight[1].scores and len(resumed.scores) == 2


def test_stopped_again_and_again_the_files_are_the_same_bytes(tmp_path: Path) -> None:
    straight, stopped = prepare(tmp_path / "straight", [MIRROR]), prepare(tmp_path / "stopped", [MIRROR])
    _, ref = finished(train_base(base_section(), straight))
    for count in (1, 4, 6, 3):
        stopped_after(train_base(base_section(), stopped), count)
        assert not stopped.out.exists()
    _, resumed = finished(train_base(base_section(), stopped))
    assert resumed.digest == ref.digest == digest_of(stopped.out)
    assert digest_of(stopped.report) == digest_of(straight.report)
    assert {file.name for file in stopped.report.iterdir()} == {
        "coverage.csv",
        "loss.csv",
        "loss.png",
        "metrics.json",
        "scores.csv",
        "samples.png",
        "film_strip.png",
    }
    assert not list(stopped.checkpoints.rglob("state-*"))


def test_batches_made_by_processes_are_the_same_wherever_it_stops(tmp_path: Path, straight: Finished) -> None:
    random_before = torch.get_rng_state()
    stopped_after(course(tmp_path, transforms=[MIRROR], data_workers=2), 7)
    events, resumed = finished(course(tmp_path, transforms=[MIRROR], data_workers=1))
    assert events[0] == Noted("going on from 24 images seen")
    assert differing(straight[1], resumed) == []
    assert torch.equal(torch.get_rng_state(), random_before)
    assert not multiprocessing.active_children()


def test_processes_that_are_stuck_end_the_training_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SILENT", 1)
    monkeypatch.setattr(batches._Sent, "__getitem__", lambda self, at: time.sleep(60))
    with pytest.raises(TrainingStopped, match=r"or is stuck \(DataLoader timed out after 1 seconds\)"):
        list(course(tmp_path, data_workers=1))
    gc.collect()  # the error holds on to where it came from
    assert not multiprocessing.active_children()


def test_a_process_that_makes_batches_and_is_killed_ends_the_training_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "SILENT", 3)
    steps = course(tmp_path, images=240, data_workers=1)
    [next(steps) for _ in range(3)]  # it has saved a checkpoint
    (worker,) = multiprocessing.active_children()
    worker.kill()
    worker.join()
    with pytest.raises(TrainingStopped, match=r"has ended, or is stuck .*: set `data_workers` to fewer"):
        list(steps)
    events, state = finished(course(tmp_path, images=240))
    assert isinstance(events[0], Noted) and events[0].text.startswith("going on from ") and state.images_seen == 240


def test_other_settings_data_or_augmentations_begin_anew(tmp_path: Path) -> None:
    places = prepare(tmp_path)

    def begins_anew(**changes: float) -> bool:
        steps = train_base(base_section(**changes), places)
        told = [next(steps), next(steps)]
        steps.close()
        return not any("going on" in event.text for event in told if isinstance(event, Noted))

    stopped_after(train_base(base_section(), places), 6)
    assert not begins_anew()
    assert begins_anew(learning_rate=2e-3)
    write_recipe(places.augmented, [MIRROR])
    assert begins_anew()
    write_recipe(places.augmented, [MIRROR | {"probability": 0.25}])
    stopped_after(train_base(base_section(), places), 6)
    assert not begins_anew()
    write_recipe(places.augmented, [MIRROR])  # the same length of label, another augmentation
    assert begins_anew()
    index = places.data / "train.json"
    index.write_text(index.read_text().replace("light/20-01.png", "light/20-99.png"))
    assert begins_anew()


def test_watched_or_drawn_otherwise_it_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    straight, changed = prepare(tmp_path / "straight"), prepare(tmp_path / "changed")
    _, ref = finished(train_base(base_section(), straight))
    stopped_after(train_base(base_section(), changed), 6)
    cadences = {"report_every": 8, "held_out_every": 24, "samples_every": 20, "checkpoint_every": 16}
    drawing = {**SETTINGS["drawing"], "steps": 3, "guidance": 2.0}
    otherwise = base_section(**cadences, device="auto", data_workers=1, patience=9, drawing=drawing)
    events, resumed = finished(train_base(otherwise, changed))
    assert any(isinstance(event, Noted) and "going on from 24 images seen" in event.text for event in events)
    assert digest_of(changed.out / "weights.safetensors") == digest_of(straight.out / "weights.safetensors")
    assert read_card(changed.out).drawing.steps == 3
    assert resumed.digest != ref.digest  # the card says how it is drawn


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_in_the_middle_it_ends_the_same(tmp_path: Path, workers: int) -> None:
    straight, killed = prepare(tmp_path / "straight"), prepare(tmp_path / "killed")
    _, ref = finished(train_base(interrupted.section(), straight))
    process = process_of(interrupted.train_slowly, tmp_path / "killed", workers, parent=workers > 0)
    told = tmp_path / "killed/told.txt"
    while process.is_alive() and not (told.exists() and "SnapshotSaved" in told.read_text(encoding="utf-8")):
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.6))  # wherever that may be: within a batch, a drawing or a checkpoint
    makers = psutil.Process(process.pid).children()
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(makers) == workers and not psutil.wait_procs(makers, 30)[1], "they live on without their training"
    assert not killed.out.exists()
    events, resumed = finished(train_base(interrupted.section(), killed))
    assert any(isinstance(event, Noted) and "going on from" in event.text for event in events)
    assert resumed.digest == ref.digest
    assert digest_of(killed.report) == digest_of(straight.report)


def damage_cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def damage_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def damage_gone(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("damage", [damage_cut, damage_bit, damage_gone])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path: Path, straight: Finished, damage: type) -> None:
    stopped_after(course(tmp_path / "stopped", transforms=[MIRROR]), 8)
    newest = tmp_path / "stopped/state-000000000048.safetensors"
    damage(newest)
    events, resumed = finished(course(tmp_path / "stopped", transforms=[MIRROR]))
    assert isinstance(events[0], Noted)
    assert events[0].text.startswith(f"checkpoint {newest} is damaged (") and events[0].text.endswith(") and is not used")
    assert events[1] == Noted("going on from 24 images seen")
    assert differing(straight[1], resumed) == []
    assert resumed.history == straight[1].history


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"sha256": 1}', "\x00"])
def test_a_damaged_record_of_a_checkpoint(tmp_path: Path, straight: Finished, content: str) -> None:
    stopped_after(course(tmp_path / "stopped", transforms=[MIRROR]), 2)
    (tmp_path / "stopped/state-000000000024.json").write_text(content)
    events, resumed = finished(course(tmp_path / "stopped", transforms=[MIRROR]))
    assert isinstance(events[0], Noted) and "is damaged" in events[0].text
    assert not any(isinstance(event, Noted) and "going on" in event.text for event in events)
    assert differing(straight[1], resumed) == []


def test_where_all_are_damaged_the_first_good_one_after_them_is_kept(tmp_path: Path, straight: Finished) -> None:
    stopped_after(course(tmp_path, transforms=[MIRROR]), 8)
    for damaged in tmp_path.glob("*.safetensors"):
        damage_bit(damaged)
    looks = iter(range(100))
    with pytest.raises(StoppedOnRequest, match="stopped at 8 images seen"):
        finished(course(tmp_path, transforms=[MIRROR], conduct=Conduct(stopping=lambda: next(looks) == 1)))
    events, resumed = finished(course(tmp_path, transforms=[MIRROR]))
    assert Noted("going on from 8 images seen") in events
    assert differing(straight[1], resumed) == []


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    finished(course(tmp_path))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "state-000000000048.json",
        "state-000000000048.safetensors",
        "state-000000000060.json",
        "state-000000000060.safetensors",
    ]
    record = json.loads((tmp_path / "state-000000000060.json").read_text())
    assert record["sha256"] == digest_of(tmp_path / "state-000000000060.safetensors")


@pytest.mark.parametrize("where", ["tensors", "half of the tensors", "record"])
def test_no_space_for_a_checkpoint_leaves_the_last_good_one(
    tmp_path: Path, straight: Finished, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The disk is full while the weights, or while the record beside them, are written; later there is space again."""
    steps = course(tmp_path / "stopped", transforms=[MIRROR])
    for _ in range(2):
        event = next(steps)
    assert isinstance(event, SnapshotSaved)
    before = {file.name: file.read_bytes() for file in (tmp_path / "stopped").iterdir()}
    with monkeypatch.context() as full:
        if where == "tensors":
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
        elif where == "record":
            full.setattr(checkpoints.json, "dumps", _no_space)
        else:
            full.setattr(checkpoints, "write_tensors", _half)
        told = [next(steps) for _ in range(6)]  # up to the next checkpoint
        if where == "tensors":
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert isinstance(told[-1], Noted) and re.match("no checkpoint at 48 images seen: .*Training goes on", told[-1].text)
    left = {file.name: file.read_bytes() for file in (tmp_path / "stopped").iterdir()}
    assert before.items() <= left.items()
    assert not [name for name in left if name.endswith(".partial")]
    copytree(tmp_path / "stopped", tmp_path / "killed")
    events, resumed = finished(course(tmp_path / "killed", transforms=[MIRROR]))
    assert events[0] == Noted("going on from 24 images seen")
    assert differing(straight[1], resumed) == []
    *_, last = finished(steps)[0]
    assert isinstance(last, SnapshotSaved)  # there is space again


def test_a_course_asked_to_stop_saves_and_goes_on_bit_for_bit(tmp_path: Path, straight: Finished) -> None:
    asked = iter([False, False, False, False, True])
    steps = course(tmp_path, transforms=[MIRROR], conduct=Conduct(stopping=lambda: next(asked)))
    events = []
    with pytest.raises(StoppedOnRequest, match="stopped at 32 images seen; the same command goes on"):
        events.extend(steps)
    assert (tmp_path / "state-000000000032.safetensors").exists()
    events, resumed = finished(course(tmp_path, transforms=[MIRROR]))
    assert events[0] == Noted("going on from 32 images seen")
    assert differing(straight[1], resumed) == []
    assert resumed.history == straight[1].history


def test_a_signal_ends_the_command_with_a_checkpoint_within_seconds(tmp_path: Path) -> None:
    places = prepare(tmp_path / "work")
    (tmp_path / "work/data").rename(tmp_path / "work/curated")
    (tmp_path / "work/workspace/data").mkdir(parents=True)
    for name in ("curated", "augmented"):
        (tmp_path / "work" / name).rename(tmp_path / "work/workspace/data" / name)
    section = base_section(images=10**6, report_every=8, checkpoint_every=10**6).model_dump(mode="json")
    (tmp_path / "work/workspace/params.yaml").write_text(json.dumps({"train_base": section}))
    words = [sys.executable, "-m", "darkroom.training"]
    env = {**os.environ, "PYTHONPATH": str(TOP)}
    with subprocess.Popen(words, cwd=tmp_path / "work/workspace", env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "images seen, loss" in line:
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "stopped at " in rest and "the same command goes on" in rest and "Traceback" not in rest
    assert list((tmp_path / "work/workspace/.darkroom/checkpoints/train_base").glob("*/state-*.safetensors"))
    assert not places.out.exists()


def test_what_differs_from_the_course_before_is_told_and_old_courses_are_cleared(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    stopped_after(train_base(base_section(), places), 6)
    events, texts = [], []
    for rate in (1e-3, 2e-3, 4e-3):
        steps = train_base(
            base_section(learning_rate=rate, averaging={"halflife_images": 16, "rampup": 0.25, "snapshots": 0, "weaker": 0.25}),
            places,
        )
        events = [next(steps) for _ in range(3)]
        steps.close()
        texts.append([event.text for event in events if isinstance(event, Noted)])
    assert texts[0][1] == (
        "begins anew; the course begun before it differs: averaging.rampup was 0.5, is 0.25; learning_rate was 0.003, is 0.001"
    )
    assert texts[1][1] == "begins anew; the course begun before it differs: learning_rate was 0.001, is 0.002"
    assert texts[2][2].startswith("removed the checkpoints of an older course: ")
    assert len(list(places.checkpoints.iterdir())) == 3
    write_recipe(places.augmented, [MIRROR])
    told = next(event.text for event in train_base(base_section(), places) if isinstance(event, Noted) and "anew" in event.text)
    assert "; the augmentations" in told


def _no_space(*words: object, **more: object) -> str:
    raise OSError(28, "No space left on device")


def _half(file: Path, tensors: object) -> None:
    file.write_bytes(b"half")
    _no_space()


def test_a_checkpoint_half_written_by_a_killed_run_is_not_seen(tmp_path: Path) -> None:
    stopped_after(course(tmp_path), 2)
    (tmp_path / "state-000000000048.partial").write_bytes(b"half")
    (tmp_path / "state-000000000048.safetensors").write_bytes(b"whole, but its record was never written")
    events, state = finished(course(tmp_path))
    assert events[0] == Noted("going on from 24 images seen")
    assert not list(tmp_path.glob("*.partial"))
    assert state.images_seen == 60
    assert torch.is_tensor(next(state.model.parameters()))
