"""Versions of the registry drawn from and exported by name."""

import json
from pathlib import Path

import pytest

from darkroom.provenance import read_provenance
from tests.conftest import darkroom

pytestmark = pytest.mark.lifecycle


def test_the_champion_is_drawn_from_and_exported_by_name(lived: Path, tmp_path: Path) -> None:
    for words in (("--out", tmp_path / "unnamed"), ("--model", "tiny@1", "--out", tmp_path / "named")):
        done = darkroom("generate", "--count", 2, *words, cwd=lived)
        assert done.returncode == 0, done.stderr
    made = read_provenance(tmp_path / "unnamed/seed0-000001.png").made
    assert (made.model, made.version) == ("tiny", "1") and made.data_digest
    assert (tmp_path / "unnamed/seed0-000001.png").read_bytes() == (tmp_path / "named/seed0-000001.png").read_bytes()
    done = darkroom("export", "tiny@champion", tmp_path / "shared", cwd=lived)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "shared/README.md").read_text(encoding="utf-8")
    assert page.startswith("# tiny version 1") and "| kernel_distance |" in page and "data version (DVC): " in page
    assert "Of the images it was trained on: " in page and "0-000" not in page  # no name of a person's file
    assert json.loads((tmp_path / "shared/origin.json").read_text(encoding="utf-8"))["version"] == "1"


def test_an_alias_that_is_none_is_told_with_those_there_are(lived: Path, tmp_path: Path) -> None:
    done = darkroom("generate", "--model", "tiny@nonsense", "--out", tmp_path / "out", cwd=lived)
    assert done.returncode == 1 and "tiny has no version or alias `nonsense`; there are: " in done.stderr
    assert not (tmp_path / "out").exists()
