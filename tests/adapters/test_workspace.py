"""Making a workspace, changing its settings, and the record of the code."""

import errno
from pathlib import Path

import pytest
import yaml
from filelock import FileLock, Timeout

from adapters import workspace as workspaces
from adapters.machine import in_git
from tests.conftest import TOP


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return workspaces.make_workspace(tmp_path / "my cats", tmp_path)


def test_a_workspace_has_git_dvc_settings_and_a_remote(made: Path, tmp_path: Path) -> None:
    assert in_git(made)
    assert workspaces.find_workspace(made / "reports" / "deep") == made
    params = yaml.safe_load((made / "params.yaml").read_text(encoding="utf-8"))
    assert params["curate"]["source"] == str(tmp_path)
    assert params["register"]["name"] == "my-cats"
    assert params["finetune"]["focus"] == []
    assert "remote = local" in (made / ".dvc/config").read_text(encoding="utf-8")


def test_its_stages_name_the_digest_of_their_code_in_place_of_its_files(made: Path) -> None:
    stages = yaml.safe_load((made / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    shipped = yaml.safe_load((TOP / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name, stage in stages.items():
        assert not [path for path in stage["deps"] if path.startswith("darkroom/")]
        assert stage["params"] == [name, {"code.yaml": [name]}]
        assert stage["outs"] == shipped[name]["outs"]
    digests = yaml.safe_load((made / "code.yaml").read_text(encoding="utf-8"))
    assert set(digests) == set(stages)
    assert len(set(digests.values())) == len(digests)


def test_opening_it_brings_the_record_of_the_code_up_to_date(made: Path) -> None:
    fresh = (made / "code.yaml").read_text(encoding="utf-8")
    (made / "code.yaml").write_text("curate: before-the-upgrade\n", encoding="utf-8")
    workspaces.opened(made)
    assert (made / "code.yaml").read_text(encoding="utf-8") == fresh


def test_changing_settings_keeps_comments_and_order_and_says_what_changed(made: Path) -> None:
    before = (made / "params.yaml").read_text(encoding="utf-8")
    same = yaml.safe_load(before)["train_base"]["batch_size"]
    changed = workspaces.change_params(
        made, {"train_base": {"images": 7, "batch_size": same, "noise": {"kind": "ddpm", "diffusion_steps": 9}}}
    )
    after = (made / "params.yaml").read_text(encoding="utf-8")
    assert changed == ["train_base.images", "train_base.noise"]
    assert [line.partition("#")[2] for line in before.splitlines() if line.startswith("#")] == [
        line.partition("#")[2] for line in after.splitlines() if line.startswith("#")
    ]
    assert "# budget: images seen" in after
    settings = yaml.safe_load(after)["train_base"]
    assert settings["images"] == 7
    assert settings["noise"] == {"kind": "ddpm", "diffusion_steps": 9}
    assert workspaces.change_params(made, {"train_base": {"images": 7}}) == []


def test_settings_are_whole_though_the_disk_is_full(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, full = (made / "params.yaml").read_bytes(), Path.write_bytes

    def none_left(file: Path, content: bytes) -> int:
        full(file, content[:100])
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr(Path, "write_bytes", none_left)
    with pytest.raises(OSError, match="No space left"):
        workspaces.change_params(made, {"train_base": {"images": 7}})
    assert (made / "params.yaml").read_bytes() == before


def test_what_lies_in_the_folder_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / ".gitignore").write_text("secret\n", encoding="utf-8")
    (folder / "README.md").write_text("mine\n", encoding="utf-8")
    workspaces.make_workspace(folder, None)
    assert (folder / "README.md").read_text(encoding="utf-8") == "mine\n"
    assert (folder / ".gitignore").read_text(encoding="utf-8").startswith("secret\n")


def test_a_second_writer_waits_for_the_first(made: Path) -> None:
    waited: list[str] = []
    with workspaces.writing(made, lambda: waited.append("never")):
        lock = FileLock(made / ".darkroom" / "lock")
        with pytest.raises(Timeout):
            lock.acquire(timeout=0)
    with lock.acquire(timeout=0):
        assert waited == []


@pytest.mark.parametrize("stopped_in", ["_without_code", "change_params"])
def test_one_that_was_stopped_while_it_was_made_is_made_anew(
    tmp_path: Path, stopped_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".gitignore").write_text("mine\n")
    with monkeypatch.context() as patched:
        patched.setattr(workspaces, stopped_in, stop)
        with pytest.raises(KeyboardInterrupt):
            workspaces.make_workspace(tmp_path / "new", tmp_path)
    assert workspaces.find_workspace(tmp_path / "new") is None
    made = workspaces.make_workspace(tmp_path / "new", tmp_path)
    assert workspaces.find_workspace(made) == made and str(tmp_path) in (made / "params.yaml").read_text()
    assert (made / ".gitignore").read_text() == "mine\n" + workspaces.IGNORED
    assert not (made / ".darkroom" / "unfinished").exists()
