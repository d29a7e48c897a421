"""The sample data: reproducible, distinct, careful with folders; curation catches what was planted, nothing else."""

import importlib.util
import json
from pathlib import Path

import pytest

from darkroom.curation.curate import CurateSection, curate
from darkroom.curation.decoding import UnreadableImage, decode
from darkroom.events import Event, Noted, followed
from darkroom.refs import digest_of
from darkroom.sample_data import KINDS, SampleData, SampleDataError, make_sample_data, planted_and_caught


def make(folder: Path, count: int = 40, seed: int = 5, size: int = 64, dirt: bool = True) -> tuple[list[Event], SampleData]:
    steps = make_sample_data(folder, count, seed, size, dirt)
    events: list[Event] = []
    answer = followed(steps, events.append)
    return events, answer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "images"
    make(folder)
    return folder


def test_the_same_arguments_give_the_same_bytes_and_another_seed_does_not(made: Path, tmp_path: Path) -> None:
    make(tmp_path / "again")
    make(tmp_path / "other", seed=6)
    assert digest_of(made) == digest_of(tmp_path / "again") != digest_of(tmp_path / "other")


def test_labels_sizes_and_credits(made: Path) -> None:
    planted = {item["path"] for item in json.loads((made / "planted.json").read_text())}
    for label in ("robot", "monster", "robot_head", "cat"):
        clean = [file for file in (made / label).iterdir() if file.relative_to(made).as_posix() not in planted]
        assert len(clean) == 10
        assert {decode(file.read_bytes()).size for file in clean} == {(64, 64)}
    for artist in ("Zikri Kader", "Hrvoje Novakovic", "Julian Peter Arias", "David Revoy"):
        assert artist in (made / "CREDITS.txt").read_text()


def test_clean_images_are_distinct_and_a_larger_set_holds_the_smaller(made: Path, tmp_path: Path) -> None:
    make(tmp_path / "large", count=60, dirt=False)
    contents = [file.read_bytes() for file in (tmp_path / "large").rglob("*.png")]
    assert len(set(contents)) == len(contents) == 60
    assert (made / "cat/cat-00010.png").read_bytes() == (tmp_path / "large/cat/cat-00010.png").read_bytes()


def test_each_kind_is_planted_and_the_list_tells_the_truth(made: Path) -> None:
    items = json.loads((made / "planted.json").read_text())
    assert sorted(item["kind"] for item in items) == sorted(KINDS)
    for item in items:
        assert (made / item["path"]).is_file()
        if item["kind"] == "exact_copy":
            assert (made / item["path"]).read_bytes() == (made / item["source"]).read_bytes()
        if item["kind"] in ("text", "truncated"):
            with pytest.raises(UnreadableImage):
                decode((made / item["path"]).read_bytes())


def test_a_second_call_changes_nothing(made: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in made.rglob("*")}
    (made / "cat/own.png").touch()  # the user's own image does not matter
    events, data = make(made)
    (made / "cat/own.png").unlink()
    assert [type(event) for event in events] == [Noted]
    assert len(data.planted) == 6
    assert {file: file.stat().st_mtime_ns for file in made.rglob("*") if file.is_file()} == {
        file: time for file, time in before.items() if file.is_file()
    }


def test_other_arguments_replace_a_sample_set_but_never_files_of_the_user(tmp_path: Path) -> None:
    make(tmp_path / "set", count=4, dirt=False)
    make(tmp_path / "set", count=8, dirt=False)
    assert len(list((tmp_path / "set").rglob("*.png"))) == 8
    (tmp_path / "set/cat/mine.png").touch()
    with pytest.raises(SampleDataError, match=r"cat/mine\.png.*lost"):
        make(tmp_path / "set", count=4, dirt=False)
    assert (tmp_path / "set/cat/mine.png").exists()


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/holiday.jpg").touch()
    with pytest.raises(SampleDataError, match="not empty"):
        make(tmp_path / "photos")
    with pytest.raises(SampleDataError, match="this is a file"):
        make(tmp_path / "photos/holiday.jpg")
    with pytest.raises(SampleDataError, match="count must be"):
        make(tmp_path / "new", count=3)
    with pytest.raises(SampleDataError, match="size must be"):
        make(tmp_path / "new", size=4)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SampleDataError, match="pip install robohash"):
        make(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_curation_catches_all_that_was_planted_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path / "images", count=200, seed=77, size=128)
    section = CurateSection.model_validate(
        {
            "source": "images",
            "choices": "choices.yaml",
            "image_size": 32,
            "aspect_buckets": {"most": 1.0, "multiple": 8},
            "background": (255, 255, 255),
            "filters": [{"kind": "sharpness", "least": 40.0}],
            "duplicates": {"hash_distance": 10, "least_correlation": 0.85, "mirrored": False, "same_content": None},
            "embedding": {"side": 64},
            "split": {"validation": 0.1, "test": 0.1},
        }
    )
    for _ in curate(section, tmp_path / "images", tmp_path / "out", tmp_path / "report"):
        pass
    caught = planted_and_caught(tmp_path / "out/manifest.parquet", tmp_path / "images/planted.json")
    assert caught == dict.fromkeys(KINDS, (2, 2))
    assert json.loads((tmp_path / "out/dataset.json").read_text())["kept"] == 200
