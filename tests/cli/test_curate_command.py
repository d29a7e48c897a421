"""`darkroom curate` on any folder, and `darkroom data diff` over git and DVC: the real commands."""

import errno
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from adapters import workspace as workspaces
from cli.main import main
from darkroom.curation import ledger
from tests.conftest import draw_images, tiny_settings, write_settings


def test_any_folder_without_a_workspace(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["curate", str(images), "--out", str(out), "--size", "24"]) == 0
    assert "60 of 60 images kept" in capsys.readouterr().out
    assert (out / "data/curated/manifest.parquet").exists() and (out / "reports/curate/metrics.json").exists()
    assert main(["curate", "--out", str(out), "--what-if", "smallest_side=49"]) == 0
    said = capsys.readouterr().out
    assert "kept now 60; with smallest_side=49: 0 to 0" in said
    assert "60 would be rejected (disc 30, square 30)" in said


def test_what_is_refused(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine/data/curated").mkdir(parents=True)
    (tmp_path / "here/data").mkdir(parents=True)  # where `--out here` would put the data set
    (tmp_path / "mine/data/curated/precious.txt").write_text("mine")
    for words, message in {
        ("curate",): "darkroom curate FOLDER --out DIR",
        ("curate", str(images)): "darkroom curate FOLDER --out DIR",
        ("curate", str(images), "--out", str(images / "out")): "lies in the folder of images",
        ("curate", str(images), "--out", str(tmp_path / "mine")): "files that darkroom did not write",
        ("curate", str(images), "--out", str(tmp_path / "o"), "--size", "3"): "`curate.image_size`",
        ("curate", str(tmp_path / "here/data"), "--out", str(tmp_path / "here")): "lies in the folder of images",
        ("curate", "--out", str(tmp_path), "--what-if", "sharpness"): "expected FILTER=VALUE",
        ("curate", "--out", str(tmp_path), "--what-if", "sharpness=inf"): "expected FILTER=VALUE",
    }.items():
        assert main(list(words)) == 1
        assert message in capsys.readouterr().err
    assert (tmp_path / "mine/data/curated/precious.txt").read_text() == "mine"


def test_a_full_disk_says_what_to_do(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def usage(path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=0 if path == tmp_path or tmp_path / "out" in (path, *path.parents) else 2**40)

    monkeypatch.setattr(ledger, "write_manifest", full)
    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert main(["curate", str(images), "--out", str(tmp_path / "out"), "--size", "24"]) == 1
    said = capsys.readouterr().err
    assert f"No space left on device; make room on the disk of {tmp_path / 'out'}, then give" in said
    assert not list((tmp_path / "out").rglob("*.partial")) and not (tmp_path / "out/data/curated").exists()


@pytest.mark.usefixtures("git_identity")
def test_data_diff_over_revisions(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = workspaces.make_workspace(tmp_path / "workspace", images)
    write_settings(workspace, tiny_settings(images))
    curated(workspace)
    commit(workspace, "first")
    draw_images(images, 4, seed=7)
    (images / "disc/0-000.png").unlink()
    (images / "disc/0-002.png").rename(images / "square/moved.png")
    curated(workspace)
    commit(workspace, "second")
    assert main(["data", "diff", "HEAD~1", "HEAD", "--workspace", str(workspace)]) == 0
    said = capsys.readouterr().out
    assert "60 -> 63 files" in said
    assert "added: 4" in said and "removed: 1\n  disc/0-000.png" in said
    assert "moved: 1\n  disc/0-002.png -> square/moved.png" in said
    assert "labels: 1\n  square/moved.png: disc -> square" in said
    assert main(["data", "diff", "HEAD", "--workspace", str(workspace)]) == 0
    assert "no image, label, caption, duplicate or split differs" in capsys.readouterr().out
    assert main(["data", "diff", "nonsense", "--workspace", str(workspace)]) == 1
    assert "nonsense" in capsys.readouterr().err


def curated(workspace: Path) -> None:
    """What a flow does for the one stage, without its servers."""
    from adapters import dvc_data
    from darkroom.curation.curate import MEMORY, curate
    from darkroom.params import read_params

    section = read_params(workspace / "params.yaml").curate
    places = workspace / "data/curated", workspace / "reports/curate", workspace / MEMORY
    for _ in curate(section, workspace / section.source, *places):
        pass
    dvc_data.record(workspace, "curate")


def commit(workspace: Path, message: str) -> None:
    name = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for words in (["add", "-A"], [*name, "commit", "--quiet", "-m", message]):
        subprocess.run(["git", "-C", str(workspace), *words], check=True, capture_output=True)
