"""Everything a person may get wrong: one clear message, an exit code that is not 0, no traceback, nothing changed."""

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from adapters import workspace as workspaces
from cli.main import main
from darkroom.params import read_params
from darkroom.refs import digest_of
from darkroom.resizing import changes_for_budget
from tests.conftest import TOP, draw_images, tiny_settings, write_settings

Failed = Callable[..., str]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    made = workspaces.make_workspace(tmp_path / "workspace", None)
    write_settings(made, tiny_settings(draw_images(tmp_path / "images", 60)))
    return made


@pytest.fixture
def failed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> Failed:
    """Run words that must fail; the message they fail with."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> str:
        assert main([str(word) for word in words]) == 1
        error = capsys.readouterr().err
        assert "Traceback" not in error
        assert any(line.startswith("darkroom: ") for line in error.splitlines())
        return error

    return run


def test_no_such_folder(failed: Failed, tmp_path: Path) -> None:
    assert "there is no such folder of images" in failed("run", "--data", "nowhere")
    assert not list(tmp_path.iterdir())


def test_a_file_for_a_folder(failed: Failed, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"x")
    assert "is not a folder" in failed("run", "--data", "image.png")


def test_not_in_a_workspace(failed: Failed) -> None:
    assert "`darkroom init DIR` makes one" in failed("run")


def test_a_workspace_that_is_none(failed: Failed, tmp_path: Path) -> None:
    assert "is not a workspace" in failed("run", "--workspace", tmp_path / "missing")


def test_an_unknown_setting_is_named_with_its_path_and_the_nearest_right_name(failed: Failed, workspace: Path) -> None:
    settings = yaml.safe_load((workspace / "params.yaml").read_text(encoding="utf-8"))
    settings["train_base"]["learning_rte"] = settings["train_base"].pop("learning_rate")
    write_settings(workspace, settings)
    error = failed("run", "--workspace", workspace)
    assert "`train_base.learning_rte` is not a setting; did you mean `learning_rate`?" in error
    assert "`train_base.learning_rate` is missing" in error


def test_a_setting_of_the_wrong_kind(failed: Failed, workspace: Path) -> None:
    settings = yaml.safe_load((workspace / "params.yaml").read_text(encoding="utf-8"))
    settings["evaluate"]["images"] = "many"
    write_settings(workspace, settings)
    assert "`evaluate.images`" in failed("run", "--workspace", workspace)


def test_bad_params_are_refused_before_a_workspace_is_made(failed: Failed, tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images", 20)
    (tmp_path / "mine.yaml").write_text("train_base: {}\n", encoding="utf-8")
    assert "`curate` is missing" in failed("run", "--data", images, "--params", "mine.yaml")
    assert not (tmp_path / "darkroom-images").exists()


def test_a_new_workspace_says_its_size_and_can_be_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "small")]) == 0
    assert "images are cut to 32 x 32 pixels, and 19,200 are seen in training" in capsys.readouterr().out
    assert main(["init", str(tmp_path / "large"), "--size", "64", "--images", "192000"]) == 0
    assert "train_base.network.widening" in capsys.readouterr().out
    text = (tmp_path / "large/params.yaml").read_text(encoding="utf-8")
    settings = read_params(tmp_path / "large/params.yaml")
    assert (settings.train_base.checkpoint_every, settings.train_base.averaging.halflife_images) == (32000, 10000)
    assert (settings.finetune.images, settings.finetune.checkpoint_every) == (25600, 12800)  # as large a share of the base
    assert settings.curate.image_size == 64 and "# noise levels at which either is applied" in text
    assert "    - {kind: smallest_side, least: 64} # pixels\n" in text


@pytest.mark.parametrize("words", [("run", "--data", "."), ("init", "mine", "--data", "."), ("run", "--data", "..")])
def test_a_workspace_among_the_images(
    failed: Failed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    images = draw_images(tmp_path / "images", 20)
    monkeypatch.chdir(images / "disc" if words[-1] == ".." else images)
    assert "would be taken for images" in failed(*words)
    assert not list(images.rglob("params.yaml"))


def test_a_file_of_settings_without_a_section(failed: Failed, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("train_base: {}\n", encoding="utf-8")
    words = ("train", "--data", draw_images(tmp_path / "images", 20), "--params", tmp_path / "mine.yaml")
    assert "mine.yaml: the section `curate` is missing" in failed(*words, "--images", 64, "--out", tmp_path / "out")


def test_a_short_budget_leaves_fine_tuning_a_batch_and_none_stays_none(workspace: Path) -> None:
    settings = read_params(workspace / "params.yaml")
    base, tuning = settings.train_base, settings.finetune
    budget = base.images // 100
    assert changes_for_budget(settings, budget)["finetune"]["images"] == tuning.batch_size > tuning.images / 100
    without = settings.model_copy(update={"finetune": tuning.model_copy(update={"images": 0})})
    assert changes_for_budget(without, budget).keys() == {"train_base"}


def test_a_folder_that_is_a_workspace_already(failed: Failed, workspace: Path) -> None:
    before = digest_of(workspace)
    assert "nothing was changed" in failed("init", workspace)
    assert digest_of(workspace) == before


def test_not_a_git_repository(failed: Failed, workspace: Path) -> None:
    (workspace / ".git").rename(workspace / "git-put-away")
    assert "run `git init` there" in failed("run", "--workspace", workspace)


def test_an_unreachable_tracking_server(failed: Failed, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{_closed_port()}")
    assert "unset MLFLOW_TRACKING_URI" in failed("run", "--workspace", workspace)


def test_an_unreachable_prefect_server(failed: Failed, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{_closed_port()}/api")
    assert "unset PREFECT_API_URL" in failed("run", "--workspace", workspace)


def test_something_else_on_the_port_that_prefect_is_said_to_be_on(
    failed: Failed, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NotFound(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), NotFound)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
        assert "no Prefect server answers there" in failed("run", "--workspace", workspace)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_to_write(failed: Failed, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert "mend the permissions" in failed("init", closed / "workspace")


def test_a_picture_of_no_kind_is_refused_before_anything_is_looked_up(failed: Failed) -> None:
    assert "near.foo: its name does not say what kind of picture to write" in failed("trace", "x.png", "--out", "near.foo")


def test_a_file_where_a_folder_should_be(failed: Failed, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear", encoding="utf-8")
    assert "letter.txt/mine: not a directory; choose another path" in failed("init", "letter.txt/mine")


def test_sample_data_is_not_written_among_a_persons_files(failed: Failed, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear", encoding="utf-8")
    failed("sample-data", "mine", "--count", "4")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_help_shows_an_example_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for word in (
        "promote",
        "rollback",
        "lineage",
        "forget",
        "generate",
        "inspect",
        "export",
        "watch",
        "serve-flows",
        "run",
        "init",
        "sample-data",
        "ui",
        "up",
        "down",
    ):
        with pytest.raises(SystemExit) as end:
            main([word, "--help"])
        assert end.value.code == 0
        assert f"example:\n  darkroom {word}" in capsys.readouterr().out


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    words = "import cli.main as c; c._parser = lambda: c; c.parse_args = lambda _: c; c.traceback = False\n"
    words += "c.act = lambda _: [print('x' * 9999, flush=True) for _ in range(99)]\nraise SystemExit(c.main([]))"
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([sys.executable, "-c", words], stdout=writing, stderr=subprocess.PIPE, text=True, cwd=TOP)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
