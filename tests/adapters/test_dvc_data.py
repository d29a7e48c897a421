"""What DVC says of a stage, on a pipeline of one line of Python."""

import subprocess
import sys
from pathlib import Path

import pytest

from adapters import dvc_data
from adapters import workspace as workspaces

PIPELINE = """
stages:
  double:
    cmd: {python} double.py
    params: [double]
    deps: [double.py, number.txt]
    outs: [doubled.txt]
"""
CODE = "import pathlib; pathlib.Path('doubled.txt').write_text(str(2 * int(pathlib.Path('number.txt').read_text())))"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = workspaces.make_workspace(tmp_path / "place", None)
    (folder / "dvc.yaml").write_text(PIPELINE.format(python=sys.executable), encoding="utf-8")
    (folder / "params.yaml").write_text("double: {times: 1}\n", encoding="utf-8")
    (folder / "double.py").write_text(CODE, encoding="utf-8")
    (folder / "number.txt").write_text("21", encoding="utf-8")
    return folder


def compute(place: Path) -> None:
    subprocess.run([sys.executable, "double.py"], cwd=place, check=True)
    dvc_data.record(place, "double")


def test_a_stage_is_current_once_it_is_recorded(place: Path) -> None:
    assert dvc_data.changes(place, "double") == ["it was not computed here before"]
    assert dvc_data.md5(place, "doubled.txt") == ""
    compute(place)
    assert dvc_data.changes(place, "double") == []
    assert len(dvc_data.md5(place, "doubled.txt")) == 32


def test_what_changed_is_named(place: Path) -> None:
    compute(place)
    (place / "number.txt").write_text("22", encoding="utf-8")
    assert dvc_data.changes(place, "double") == ["number.txt changed"]
    compute(place)
    (place / "params.yaml").write_text("double: {times: 2}\n", encoding="utf-8")
    assert dvc_data.changes(place, "double") == ["double.times changed"]
    compute(place)
    (place / "doubled.txt").unlink()
    assert dvc_data.changes(place, "double") == ["doubled.txt deleted"]


def test_what_an_equal_run_made_is_taken_back(place: Path) -> None:
    compute(place)
    (place / "number.txt").write_text("22", encoding="utf-8")
    assert not dvc_data.take_back(place, "double")
    compute(place)
    (place / "number.txt").write_text("21", encoding="utf-8")
    assert dvc_data.take_back(place, "double")
    assert (place / "doubled.txt").read_text(encoding="utf-8") == "42"
    assert dvc_data.changes(place, "double") == []


def test_what_dvc_refuses_is_said_with_the_place(place: Path) -> None:
    (place / "dvc.yaml").write_text("stages: {double: {}}\n", encoding="utf-8")
    with pytest.raises(dvc_data.DataError, match=str(place)):
        dvc_data.changes(place, "double")
