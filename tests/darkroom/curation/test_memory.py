"""What earlier runs saw: used where it holds, never where it might not; whole after kill -9; one run at a time."""

import errno
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from darkroom.curation import gathering
from darkroom.curation.choices import Choice
from darkroom.curation.curate import curate
from darkroom.curation.examining import unread
from darkroom.curation.workers import Answer
from darkroom.events import Event, Noted
from darkroom.images import SPLITS, read_split
from darkroom.refs import digest_of
from tests.conftest import TOP
from tests.darkroom.curation.made_pictures import encoded, picture, section_with
from tests.darkroom.curation.test_curate import manifest


class Room:
    """A source, a memory, and a count of what is read and what is decoded."""

    def __init__(self, folder: Path, images: Path) -> None:
        self.folder, self.images, self.memory = folder, images, folder / "memory"
        self.read: list[str] = []
        self.decoded: list[str] = []

    def run(self, name: str = "out", memory: bool = True, choices: tuple[Choice, ...] = (), **changes: Any) -> list[Event]:
        self.read, self.decoded = [], []
        place = self.memory if memory else None
        return list(
            curate(section_with(**changes), self.images, self.folder / name, self.folder / f"{name}-report", place, choices)
        )

    def manifest(self, name: str = "out") -> bytes:
        return (self.folder / name / "manifest.parquet").read_bytes()


@pytest.fixture
def room(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: None) -> Room:
    made = Room(tmp_path, images)

    examined = gathering.examined

    def watched(errand: Any, candidates: Any, chosen: Any, workers: int) -> Iterator[tuple[int, Answer]]:
        for index, answer in examined(errand, candidates, chosen, workers):
            made.read.append(candidates[index].path)
            if answer.look is not None:
                made.decoded.append(candidates[index].path)
            yield index, answer

    monkeypatch.setattr(gathering, "examined", watched)
    grow_old(images)
    return made


def grow_old(folder: Path, seconds: int = 100) -> None:
    for file in folder.rglob("*"):
        os.utime(file, (time.time() - seconds,) * 2)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the clock were fine enough to tell a file of this moment from one of a moment ago."""
    monkeypatch.setattr(gathering, "CLOCK_GRAIN", -(10**18))


def same_images(one: Path, other: Path) -> bool:
    """Whether two data sets hold the same, however their shards are cut."""
    for split in SPLITS:
        first, second = read_split(one, split), read_split(other, split)
        if (first.paths, first.captions, first.names) != (second.paths, second.captions, second.names):
            return False
        if not (first.pixels[:] == second.pixels[:]).all() or first.labels.tolist() != second.labels.tolist():
            return False
    return (one / "manifest.parquet").read_bytes() == (other / "manifest.parquet").read_bytes()


@pytest.mark.usefixtures("patient")
def test_unchanged_files_are_not_read_and_the_result_is_that_of_a_fresh_run(room: Room) -> None:
    (room.images / "cut.png").write_bytes(encoded(picture(90))[:200])
    room.run()
    assert len(room.read) == 31
    events = room.run("again")
    assert room.read == []
    assert any(isinstance(event, Noted) and "31 of 31 files are unchanged" in event.text for event in events)
    assert digest_of(room.folder / "again") == digest_of(room.folder / "out")
    room.run("fresh", memory=False)
    assert digest_of(room.folder / "fresh") == digest_of(room.folder / "out")
    assert digest_of(room.folder / "fresh-report") == digest_of(room.folder / "again-report")


@pytest.mark.usefixtures("patient")
def test_changed_added_touched_moved_and_removed_files_are_noticed(room: Room) -> None:
    room.run()
    (room.images / "blue/00.png").write_bytes(encoded(picture(200)))  # changed
    (room.images / "blue/new.png").write_bytes(encoded(picture(201)))  # added
    (room.images / "blue/02.png").unlink()  # removed
    (room.images / "blue/04.png").rename(room.images / "red/moved.png")  # moved: the content is known
    os.utime(room.images / "blue/06.png")  # touched: as well
    room.run()
    assert sorted(room.read) == ["blue/00.png", "blue/06.png", "blue/new.png", "red/moved.png"]
    assert sorted(room.decoded) == ["blue/00.png", "blue/new.png"]
    room.run("fresh", memory=False)
    assert same_images(room.folder / "out", room.folder / "fresh")


@pytest.mark.usefixtures("patient")
def test_a_change_that_keeps_size_and_time_is_noticed(room: Room) -> None:
    file = room.images / "blue/00.png"
    content, status = file.read_bytes(), file.stat()
    room.run()
    changed = bytearray(content)
    changed[-20] ^= 1
    file.write_bytes(bytes(changed))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    room.run()
    assert room.read == ["blue/00.png"]


def test_files_younger_than_the_clock_is_fine_are_read_again_but_not_decoded(room: Room) -> None:
    """A file changed twice within one tick of the clock keeps its times (the racy-git problem)."""
    room.run()
    room.run()
    assert len(room.read) == 30
    assert room.decoded == []


@pytest.mark.usefixtures("patient")
def test_what_lay_outside_the_files_is_tried_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = gathering.examined

    def slow(*given: Any) -> Iterator[tuple[int, Answer]]:
        for index, answer in watched(*given):
            yield index, replace(answer, look=unread("too_slow", "not decoded")) if index == 3 else answer

    monkeypatch.setattr(gathering, "examined", slow)
    room.run()
    assert [path for path, row in manifest(room.folder / "out").items() if row["reason"]] == ["blue/06.png"]
    monkeypatch.setattr(gathering, "examined", watched)
    room.run()
    assert room.decoded == ["blue/06.png"]


@pytest.mark.usefixtures("patient")
def test_other_thresholds_are_decided_from_the_scores_that_are_remembered(room: Room) -> None:
    loose = [{"kind": "smallest_side", "least": 8}, {"kind": "contrast", "least": 0.0}]
    room.run(filters=loose)
    assert len(room.decoded) == 30
    rows = manifest(room.folder / "out").values()
    middle = sorted(row["score_contrast"] for row in rows)[10]
    for least in (middle, "20%"):
        strict = [{"kind": "contrast", "least": least}, {"kind": "smallest_side", "least": 8}]
        room.run(filters=strict)
        assert room.read == []
        rejected = {row["reason"] for row in manifest(room.folder / "out").values()}
        assert "contrast" in rejected
        room.run("fresh", memory=False, filters=strict)
        assert digest_of(room.folder / "fresh") == digest_of(room.folder / "out")
    room.run(filters=loose)
    assert room.read == []
    assert "contrast" not in {row["reason"] for row in manifest(room.folder / "out").values()}


def test_another_way_to_look_decodes_again_and_old_memories_go(room: Room) -> None:
    room.run()
    for size in (16, 24):
        room.run(image_size=size)
        assert len(room.decoded) == 30
    assert sum(one.is_dir() for one in room.memory.iterdir()) == 2
    assert read_split(room.folder / "out", "train").size == 24


def test_a_damaged_memory_is_begun_anew(room: Room) -> None:
    room.run()
    (place,) = (one for one in room.memory.iterdir() if one.is_dir())
    expected = room.manifest()
    for name, content in {"looks.db": b"no database" * 100, "small": b"short", "square": b""}.items():
        (place / name).write_bytes(content)
        for rest in place.glob("looks.db-*"):
            rest.unlink()
        room.run()
        assert room.manifest() == expected


@pytest.mark.usefixtures("patient")
def test_a_full_disk_stops_the_run_and_what_is_remembered_is_whole(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.run()
    before = digest_of(room.folder / "out")
    for number in range(300, 320):
        (room.images / f"{number}.png").write_bytes(encoded(picture(number)))
    sync, calls = os.fdatasync, []

    def full(handle: int) -> None:
        calls.append(handle)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(OSError, match="No space left"):
        room.run()
    assert calls
    assert digest_of(room.folder / "out") == before
    monkeypatch.setattr(os, "fdatasync", sync)
    room.run()
    room.run("fresh", memory=False)
    assert same_images(room.folder / "out", room.folder / "fresh")


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("begun", [True, False])
def test_a_database_without_room_says_so_and_nothing_remembered_is_thrown_away(
    room: Room, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """SQLite's own error of a full disk, made by a limit of its pages: while looks are added, and as the memory is opened."""
    room.run()
    (place,) = (one for one in room.memory.iterdir() if one.is_dir())
    for number in range(300, 320):
        (room.images / f"{number}.png").write_bytes(encoded(picture(number)))
    connect = sqlite3.connect
    if not begun:
        (place / "looks.db").unlink()
    pictures = (place / "small").read_bytes()

    def full(*where: Any, **how: Any) -> sqlite3.Connection:
        connection = connect(*where, **how)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", full)
        with pytest.raises(OSError, match=r"memory of curation could not be written: database or disk is full") as error:
            room.run()
    assert error.value.errno == errno.ENOSPC
    assert (place / "small").read_bytes().startswith(pictures)
    room.run()
    assert len(room.decoded) == (20 if begun else 50)
    room.run("fresh", memory=False)
    assert same_images(room.folder / "out", room.folder / "fresh")


RUN = """
import sys, time
from pathlib import Path
from darkroom.curation import gathering
from darkroom.curation.curate import curate
from tests.darkroom.curation.made_pictures import section_with
gathering.CLOCK_GRAIN = -10**18
gathering.KEEP_SECONDS, gathering.REPORTED = 0.0, 1
folder = Path(sys.argv[1])
for event in curate(section_with(), folder / "images", folder / "out", folder / "report", folder / "memory"):
    print(type(event).__name__, flush=True)
    time.sleep(0.01)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    return subprocess.Popen([sys.executable, "-c", RUN, str(folder)], env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("patient")
def test_a_killed_run_goes_on_where_it_was(room: Room) -> None:
    with start(room.folder) as process:
        assert process.stdout
        lines = 0
        for line in process.stdout:
            lines += line.startswith("Progressed")
            if lines == 12:
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
    assert not (room.folder / "out").exists()
    room.run()
    assert 10 <= 30 - len(room.decoded) <= 20
    room.run("fresh", memory=False)
    assert digest_of(room.folder / "out") == digest_of(room.folder / "fresh")


def test_a_second_run_waits_for_the_first_and_says_so(room: Room) -> None:
    room.memory.mkdir()
    lock = FileLock(room.memory / "lock")
    lock.acquire()
    events = curate(section_with(), room.images, room.folder / "out", room.folder / "report", room.memory)
    first = next(events)
    assert isinstance(first, Noted) and "another run curates with" in first.text
    lock.release()
    list(events)
    assert (room.folder / "out/dataset.json").exists()


def test_adding_images_writes_new_shards_and_the_last_one(room: Room) -> None:
    for number in range(100, 300):
        (room.images / f"red/{number}.png").write_bytes(encoded(picture(number)))
    room.run()
    old = {file.name for file in (room.folder / "out/shards").iterdir()}
    (room.images / "blue/000.png").write_bytes(encoded(picture(1000)))
    room.run()
    new = {file.name for file in (room.folder / "out/shards").iterdir()}
    assert len(old - new) <= 2  # pixels of the last shard of a split, and what is said of them
    assert len(new - old) <= 2
    assert len(old & new) >= 16


@pytest.mark.usefixtures("patient")
def test_the_keep_and_drop_list(room: Room) -> None:
    (room.images / "blue/copy.png").write_bytes((room.images / "blue/00.png").read_bytes())
    (room.images / "blue/small.png").write_bytes(encoded(picture(500, 12)))
    (room.images / "blue/cut.png").write_bytes(encoded(picture(501))[:150])
    digest = hashlib.sha256((room.images / "red/01.png").read_bytes()).hexdigest()
    rows = [
        {"path": "blue/copy.png", "choice": "keep"},
        {"path": "blue/small.png", "choice": "keep"},
        {"path": "blue/cut.png", "choice": "keep"},
        {"sha256": digest, "choice": "drop", "reason": "a watermark"},
        {"path": "nowhere.png", "choice": "drop"},
    ]
    events = room.run(choices=tuple(Choice.model_validate(row) for row in rows))
    found = manifest(room.folder / "out")
    assert found["blue/copy.png"]["kept"] and found["blue/small.png"]["kept"]
    assert (found["blue/00.png"]["reason"], found["blue/00.png"]["duplicate_of"]) == ("exact_copy", "blue/copy.png")
    assert (found["red/01.png"]["reason"], found["red/01.png"]["detail"]) == ("dropped", "a watermark")
    assert found["blue/cut.png"]["reason"] == "truncated"
    assert any(isinstance(event, Noted) and "names 1 images that are not here: nowhere.png" in event.text for event in events)
    room.run()
    assert room.read == []
    assert json.loads((room.folder / "out/dataset.json").read_text())["kept"] == 30
