"""A workspace that was renamed or copied: its models are found where it lies now, and nothing is written where it lay."""

import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from adapters import mlflow_registry, mlflow_run
from adapters import workspace as workspaces


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return workspaces.make_workspace(tmp_path / "50% cats", tmp_path)


def log_version(workspace: Path) -> str:
    """One run with a file, and a version whose files are the run's. Returns the address of the run's files."""
    client = mlflow_run.connected(workspace)
    run = client.create_run(client.get_experiment_by_name(mlflow_run.EXPERIMENT).experiment_id)
    client.log_text(run.info.run_id, "sharp", "found.txt")
    client.log_text(run.info.run_id, "flavors: {python_function: {artifacts: {model: {path: net}}}}\n", "MLmodel")
    client.log_text(run.info.run_id, "weights", "net/weights")
    if not client.search_registered_models():
        client.create_registered_model("cats")
    client.create_model_version("cats", run.info.artifact_uri, run.info.run_id)
    return str(run.info.artifact_uri)


def remote_of(workspace: Path) -> str:
    with Repo(str(workspace)) as repo:
        return str(repo.config["remote"]["local"]["url"])


def weights(workspace: Path, number: str) -> Path:
    found = mlflow_registry.model_folder(workspace, mlflow_registry.version_named(workspace, "cats", number)) / "weights"
    assert found.read_text(encoding="utf-8") == "weights"
    return found


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_models_are_found_and_runs_are_kept_where_the_workspace_lies_now(made: Path, tmp_path: Path, move: object) -> None:
    log_version(made)
    (made / ".darkroom/remote").mkdir()
    now = tmp_path / "dogs, cats & #2"
    assert callable(move)
    move(made, now)
    assert workspaces.opened(now) == now
    assert weights(now, "1").is_relative_to(now)
    assert log_version(now).startswith((now / ".darkroom/mlflow-artifacts").as_uri())
    assert weights(now, "2").is_relative_to(now)
    if move is shutil.move:
        assert not made.exists(), "nothing is written where it lay"
        assert remote_of(now) == str(now / ".darkroom/remote")
    else:
        workspaces.opened(made)
        assert weights(made, "1").is_relative_to(made), "the original keeps its own"
        assert remote_of(now) == str(made / ".darkroom/remote")


def test_a_workspace_that_stayed_is_left_alone_also_where_it_is_reached_by_a_link(made: Path, tmp_path: Path) -> None:
    before = log_version(made)
    config = (made / ".dvc/config").read_bytes()
    (tmp_path / "link").symlink_to(made)
    for place in (made, tmp_path / "link"):
        workspaces.opened(place)
        client = mlflow_run.connected(made)
        assert [run.info.artifact_uri for run in client.search_runs(["1"])] == [before]
        assert (made / ".dvc/config").read_bytes() == config
