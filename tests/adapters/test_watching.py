"""The watcher: one telling for a change that has become quiet; a folder that is away, or a clock that jumps, is no change."""

import shutil
from pathlib import Path

import pytest

from adapters import watching
from adapters.mlflow_run import TrackingError
from adapters.watching import ChampionWatcher, Watcher
from darkroom.params import Params, read_params
from tests.conftest import draw_images, tiny_settings, write_settings


@pytest.fixture
def settings(tmp_path: Path) -> Params:
    draw_images(tmp_path / "images", 4)
    chosen = tiny_settings(tmp_path / "images")
    chosen["retrain"]["quiet"] = 30
    write_settings(tmp_path, chosen)
    return read_params(tmp_path / "params.yaml")


def test_a_change_is_told_of_once_after_it_is_quiet(tmp_path: Path, settings: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(watching.time, "monotonic", lambda: now)
    told: list[str] = []
    watcher = Watcher(tmp_path, told.append, lambda _: None)
    assert watcher.look(settings) == ""
    for seed in (1, 2):  # still arriving
        draw_images(tmp_path / "images", 3, seed=seed)
        now += 20
        assert watcher.look(settings) == ""
    now += 30
    assert watcher.look(settings) == "6 files added"
    assert watcher.look(settings) == ""
    assert told == ["6 files added"]

    draw_images(tmp_path / "images", 1, seed=3)  # while nobody watches: seen by the next watcher
    later = Watcher(tmp_path, told.append, lambda _: None)
    later.look(settings)
    now += 31
    assert later.look(settings) == "1 files added"


def test_the_drop_list_counts(tmp_path: Path, settings: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(watching.time, "monotonic", lambda: now)
    watcher = Watcher(tmp_path, lambda _: None, lambda _: None)
    watcher.look(settings)
    (tmp_path / settings.curate.choices).write_text("# mine\n", encoding="utf-8")
    watcher.look(settings)
    now += 31
    assert watcher.look(settings) == "1 files added"


def test_a_folder_that_is_away_is_said_once_and_starts_nothing(
    tmp_path: Path, settings: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(watching.time, "monotonic", lambda: now)
    told, said = list[str](), list[str]()
    watcher = Watcher(tmp_path, told.append, said.append)
    watcher.look(settings)
    shutil.move(tmp_path / "images", tmp_path / "unmounted")
    for _ in range(3):
        now += 60
        watcher.look(settings)
    shutil.move(tmp_path / "unmounted", tmp_path / "images")
    now += 60
    watcher.look(settings)
    assert len(said) == 2
    assert "not there" in said[0]
    assert told == []


def test_a_champion_moved_elsewhere_is_told_of_once_and_a_registry_that_is_away_is_said_once(
    tmp_path: Path, settings: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str | TrackingError] = ["", "2", "2", TrackingError("away"), TrackingError("away"), "2", "", "3"]

    def moved(workspace: Path, name: str) -> str:
        now = found.pop(0)
        if isinstance(now, TrackingError):
            raise now
        return now

    monkeypatch.setattr(watching, "moved_elsewhere", moved)
    told, said = list[str](), list[str]()
    watcher = ChampionWatcher(tmp_path, lambda: told.append("told"), said.append)
    while found:
        watcher.look(settings)
    assert told == ["told", "told"]
    assert said == ["version 2 was made champion outside darkroom", "away", "version 3 was made champion outside darkroom"]
