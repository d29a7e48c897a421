"""Data that cannot become a model, from the command line."""

from pathlib import Path

import pytest
import yaml

from tests.conftest import darkroom, draw_images, tiny_settings

pytestmark = pytest.mark.lifecycle


@pytest.fixture
def params(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(tiny_settings(tmp_path / "nothing here")), encoding="utf-8")
    return file


def test_data_that_cannot_become_a_model(tmp_path: Path, params: Path, home: Path) -> None:
    """What curation says of it reaches the person as one message; the other kinds of bad data are tested in its room."""
    images = draw_images(tmp_path / "three", 3)
    done = darkroom("run", "--data", images, "--params", params, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("darkroom: ")
    assert "3 " in last
    assert not (tmp_path / "darkroom-three" / "data" / "curated").exists()
