"""One workspace that one full run went through, for every test that needs what such a run leaves."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.conftest import darkroom, draw_images, tiny_settings, write_settings


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
    for part in ("my pictures", "darkroom-my pictures"):
        shutil.copytree(folder / part, folder / "as it was" / part)
    return folder / "darkroom-my pictures"


@pytest.fixture(scope="module")
def lived(life: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of that workspace as the first run left it, with images of its own."""
    folder = tmp_path_factory.mktemp("lived")
    shutil.copytree(life.parent / "as it was", folder, dirs_exist_ok=True)
    workspace, images = folder / life.name, folder / "my pictures"
    settings = yaml.safe_load((workspace / "params.yaml").read_text(encoding="utf-8"))
    settings["curate"]["source"] = str(images)
    write_settings(workspace, settings)
    return workspace


def stamps(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """When each file was changed, and what it holds."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
