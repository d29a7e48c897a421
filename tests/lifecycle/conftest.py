"""One workspace that one full run went through, for every test that needs what such a run leaves."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import darkroom, draw_images, tiny_settings


@pytest.fixture(scope="session")
def life(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace made beside a person's own folder of images by `darkroom run`."""
    folder = tmp_path_factory.mktemp("life")
    images = draw_images(folder / "my pictures", 60)
    (images / "disc" / "0-000.txt").write_text("a disc", encoding="utf-8")
    before = stamps(images)
    (folder / "mine.yaml").write_text(yaml.safe_dump(tiny_settings(folder / "nothing here")), encoding="utf-8")
    done = darkroom("run", "--data", "my pictures", "--params", "mine.yaml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert stamps(images) == before, "the person's folder was changed"
    (folder / "first.txt").write_text(done.stdout, encoding="utf-8")
    return folder / "darkroom-my pictures"


@pytest.fixture
def copied(life: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of that workspace, with images of its own, to change."""

    def copy() -> Path:
        shutil.copytree(life.parent / "my pictures", tmp_path / "my pictures")
        workspace = tmp_path / "copy"
        shutil.copytree(life, workspace)
        settings = yaml.safe_load((workspace / "params.yaml").read_text(encoding="utf-8"))
        settings["curate"]["source"] = str(tmp_path / "my pictures")
        (workspace / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        return workspace

    return copy


def stamps(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """When each file was changed, and what it holds."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
