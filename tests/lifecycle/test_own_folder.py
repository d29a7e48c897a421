"""A person's own folder, from the command line, and the data that cannot become a model."""

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


def test_a_folder_becomes_a_workspace_beside_it_and_is_not_changed(tmp_path: Path, params: Path, home: Path) -> None:
    images = draw_images(tmp_path / "my pictures", 60)
    (images / "disc" / "0-000.txt").write_text("a disc", encoding="utf-8")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in images.rglob("*") if path.is_file()}
    done = darkroom("run", "--data", "my pictures", "--params", params, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    workspace = tmp_path / "darkroom-my pictures"
    assert yaml.safe_load((workspace / "params.yaml").read_text(encoding="utf-8"))["curate"]["source"] == str(images)
    assert (workspace / "reports/champion.png").exists()
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in images.rglob("*") if path.is_file()} == before
    assert "Traceback" not in done.stderr


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
