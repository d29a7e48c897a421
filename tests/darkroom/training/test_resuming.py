"""To resume, run the same command: bit for bit what a run gives that was never stopped, whatever stopped it."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from darkroom.events import Event, Noted, SnapshotSaved
from darkroom.refs import digest_of
from darkroom.training import checkpoints
from darkroom.training.checkpoints import State
from darkroom.training.train_base import train_base
from tests.darkroom.tiny import MIRROR, base_section, finished, prepare, stopped_after, write_recipe
from tests.darkroom.training import interrupted
from tests.darkroom.training.rig import course, differing

TOP = Path(__file__).parents[3]
Finished = tuple[list[Event], State]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A course that was never stopped."""
    return finished(course(tmp_path_factory.mktemp("straight"), transforms=[MIRROR]))


@pytest.mark.parametrize("count", range(1, 12))
def test_stopped_after_any_event_it_ends_the_same(tmp_path: Path, straight: Finished, count: int) -> None:
    assert len(straight[0]) == 11
    stopped_after(course(tmp_path, transforms=[MIRROR]), count)
    events, resumed = finished(course(tmp_path, transforms=[MIRROR]))
    saved = {2: 24, 7: 48, 11: 60}  # images seen at the checkpoint that comes as this event
    seen = max((images for after, images in saved.items() if after <= count), default=0)
    assert (events[:1] == [Noted(f"going on from {seen} images seen")]) == (seen > 0)
    assert differing(straight[1], resumed) == []
    assert resumed.history == straight[1].history


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
        "loss.csv",
        "loss.png",
        "metrics.json",
        "samples.png",
        "film_strip.png",
    }
    assert not list(stopped.checkpoints.rglob("state-*"))


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


def test_killed_in_the_middle_it_ends_the_same(tmp_path: Path) -> None:
    straight, killed = prepare(tmp_path / "straight"), prepare(tmp_path / "killed")
    _, ref = finished(train_base(interrupted.section(), straight))
    words = [sys.executable, "-m", "tests.darkroom.training.interrupted", str(tmp_path / "killed")]
    with subprocess.Popen(words, cwd=TOP, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("SnapshotSaved"):
                break
        time.sleep(random.uniform(0, 0.6))  # wherever that may be: within a batch, a drawing or a checkpoint
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
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
    stopped_after(course(tmp_path / "stopped", transforms=[MIRROR]), 7)
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
        with pytest.raises(OSError, match=r"cannot be written|No space left"):
            finished(steps)
        if where == "tensors":
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    left = {file.name: file.read_bytes() for file in (tmp_path / "stopped").iterdir()}
    assert before.items() <= left.items()
    assert not [name for name in left if name.endswith(".partial")]
    events, resumed = finished(course(tmp_path / "stopped", transforms=[MIRROR]))
    assert events[0] == Noted("going on from 24 images seen")
    assert differing(straight[1], resumed) == []


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
