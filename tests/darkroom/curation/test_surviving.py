"""Decoders that hang or crash, files that are not what they seem, thousands of damaged ones: the run ends, and tells."""

import ctypes
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_info

from darkroom.curation import opening, workers
from darkroom.curation.decoding import UnreadableImage
from darkroom.curation.examining import Way
from darkroom.curation.opening import Reader
from darkroom.curation.reading import list_images
from darkroom.curation.workers import Answer, Errand, examined
from tests.darkroom.curation import fuzz
from tests.darkroom.curation.conftest import Run
from tests.darkroom.curation.made_pictures import encoded, photograph, picture
from tests.darkroom.curation.test_curate import manifest


@pytest.fixture(autouse=True)
def in_this_process() -> None:
    """Here workers are the point."""


HANGS, CRASHES, LEAVES, FAILS = 61, 62, 63, 64  # widths of images at which something happens


@dataclass(frozen=True)
class Poison:
    """A filter that stands for a decoder gone wrong: what it does, C code would do as well."""

    kind: str = "poison"

    def score(self, image: Image.Image) -> float:
        if image.width == HANGS:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # minutes, inside one call of C
        if image.width == CRASHES:
            ctypes.string_at(0)
        if image.width == LEAVES:
            os._exit(7)
        if image.width == FAILS:
            raise ZeroDivisionError("a mistake of ours")
        return 1.0


@dataclass(frozen=True)
class Threads:
    """A filter that says how many threads multiply matrices in the process that looks."""

    kind: str = "threads"

    def score(self, image: Image.Image) -> float:
        return max(one["num_threads"] for one in threadpool_info())


def answers(folder: Path, count: int = 2, seconds: float = 2.0, judge: object = Poison()) -> dict[str, Answer]:
    candidates = list_images(folder).candidates
    way = Way((judge,), ((16, 16),), (0, 0, 0))  # type: ignore[arg-type]
    found = examined(Errand(folder, way, None, seconds), candidates, range(len(candidates)), count)
    return {candidates[index].path: answer for index, answer in found}


def write(folder: Path, name: str, width: int) -> bytes:
    content = encoded(photograph(width, width, 20))
    (folder / name).write_bytes(content)
    return content


def test_a_decoder_that_hangs_or_crashes_costs_its_image_only(tmp_path: Path) -> None:
    bad = {"a.png": HANGS, "e.png": CRASHES, "k.png": LEAVES}
    for name in "abcdefghijkl":
        write(tmp_path, f"{name}.png", bad.get(f"{name}.png", 30))
    found = answers(tmp_path)
    assert len(found) == 12
    reasons = {path: answer.look.reason for path, answer in found.items() if answer.look and answer.look.reason}
    assert reasons == {"a.png": "too_slow", "e.png": "crashed", "k.png": "crashed"}
    assert found["e.png"].look and "SIGSEGV" in found["e.png"].look.detail
    assert found["k.png"].look and "exit code 7" in found["k.png"].look.detail
    for path, answer in found.items():
        assert answer.digest == hashlib.sha256((tmp_path / path).read_bytes()).hexdigest()


def test_each_process_computes_by_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of several wait for one another: on two cores it took five times as long."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    write(tmp_path, "a.png", 30)
    look = answers(tmp_path, judge=Threads())["a.png"].look
    assert look and look.scores == {"threads": 1}


def test_an_error_of_ours_stops_the_run_and_says_what(tmp_path: Path) -> None:
    write(tmp_path, "a.png", FAILS)
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a mistake of ours"):
        answers(tmp_path)


def test_workers_that_cannot_start_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.png", 30)
    monkeypatch.setattr(workers, "START", "raise SystemExit(3)")
    with pytest.raises(RuntimeError, match=r"could be started.*exit code 3"):
        answers(tmp_path)


def test_what_is_found_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path, f"{number}.png", 20 + number % 7)
    one, three = answers(tmp_path, 1), answers(tmp_path, 3)
    assert set(one) == set(three)
    for path, answer in one.items():
        other = three[path]
        assert answer.look and other.look and answer.look.fingerprint and other.look.fingerprint
        assert answer.digest == other.digest
        assert (answer.look.cut == other.look.cut).all()
        assert answer.look.fingerprint.perceptual_hash == other.look.fingerprint.perceptual_hash


def test_a_worker_that_is_left_alone_ends(tmp_path: Path) -> None:
    for number in range(80):
        write(tmp_path, f"{number}.png", 30)
    candidates = list_images(tmp_path).candidates
    way = Way((), ((16, 16),), (0, 0, 0))
    found = examined(Errand(tmp_path, way, None, 5.0), candidates, range(80), 2)
    next(found)
    found.close()  # type: ignore[attr-defined]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_pipes_devices_broken_links_and_vanished_files(images: Path, run: Run, tmp_path: Path) -> None:
    os.mkfifo(images / "pipe.jpg")
    (images / "zero.png").symlink_to("/dev/zero")
    (images / "loop.png").symlink_to("loop.png")
    (images / "gone.png").symlink_to("nowhere")
    (images / "wide.png").write_bytes(encoded(Image.new("RGB", (60_000, 3), (9, 9, 9))))
    (images / "grey.png").write_bytes(encoded(picture(3), "JPEG"))
    (images / "no-suffix").write_bytes(encoded(picture(900)))
    (images / os.fsdecode(b"\xff\xfe.png")).write_bytes(encoded(picture(901)))
    run(images)
    rows = manifest(tmp_path / "out")
    reasons = {path: row["reason"] for path, row in rows.items() if not row["kept"] and not row["duplicate_of"]}
    unreadable = dict.fromkeys(["pipe.jpg", "zero.png", "loop.png", "gone.png"], "unreadable")
    assert reasons == {**unreadable, "wide.png": "smallest_side"}
    assert rows["wide.png"]["width"] == 60_000
    assert rows["grey.png"]["note"] == "a JPEG whose name ends in .png"
    assert rows["no-suffix"]["kept"] and rows["\\xff\\xfe.png"]["kept"]
    assert rows["no-suffix"]["note"] == ""


def test_a_file_that_changes_while_it_is_read_is_read_again_and_then_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"first")
    (candidate,) = list_images(tmp_path).candidates
    states = iter([1, 2, 3, 3, 3])
    stamp = opening.stamp_of
    monkeypatch.setattr(opening, "stamp_of", lambda status: f"{next(states)} {stamp(status)}")
    with Reader(tmp_path) as reader:
        assert reader.read(candidate).content == b"first"
        states = iter(range(100))
        with pytest.raises(UnreadableImage, match="changed while it was read, 3 times") as error:
            reader.read(candidate)
    assert error.value.reason == "changing"


def test_a_file_too_large_to_hold_still_gets_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MOST_BYTES", 1000)
    content = np.random.default_rng(0).bytes(5000)
    (tmp_path / "a.png").write_bytes(content)
    with Reader(tmp_path) as reader:
        opened = reader.read(list_images(tmp_path).candidates[0])
    assert (opened.content, opened.digest) == (None, hashlib.sha256(content).hexdigest())


def test_hundreds_of_damaged_files(tmp_path: Path) -> None:
    reasons = fuzz.check(tmp_path, count=420, seed=0)
    assert sum(reasons.values()) == 420 + fuzz.GOOD
    assert reasons["truncated"] > 50
    assert reasons["kept"] >= fuzz.GOOD
    assert reasons["too_slow"] == 0
