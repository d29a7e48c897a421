"""A workspace that was moved, renamed or copied: MLflow and DVC keep absolute addresses of it, which are put right."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from adapters import machine

ARTIFACTS = Path(".darkroom/mlflow-artifacts")  # in a workspace, as its database, where MLflow is not told of another store
DATABASE = Path(".darkroom/mlflow.db")
REMOTE = Path(".darkroom/remote")  # of DVC, as a workspace is made
ADDRESSES = (  # MLflow's columns that hold one
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def settle(workspace: Path) -> None:
    """Let what is kept of a workspace say where it lies now."""
    _settle_mlflow(workspace / DATABASE, workspace / ARTIFACTS)
    _settle_dvc(workspace)


def _settle_mlflow(database: Path, artifacts: Path) -> None:
    if not database.exists():
        return
    with closing(sqlite3.connect(database, timeout=60)) as rows, rows:
        tables = {name for (name,) in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        query = "SELECT artifact_location FROM experiments WHERE artifact_location LIKE ?"
        found = rows.execute(query, (f"file:%/{ARTIFACTS.as_posix()}",)).fetchone() if "experiments" in tables else None
        if found is None or _path_of(found[0]).resolve() == artifacts.resolve():
            return
        before, now = found[0], artifacts.as_uri()
        for table, column in ADDRESSES:
            if table in tables:
                rows.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
                )


def _path_of(address: str) -> Path:
    return Path(unquote(urlsplit(address).path))


def _settle_dvc(workspace: Path) -> None:
    """Only where the folder that DVC pushes to is gone: a clone's lies in the workspace that it was cloned from."""
    config, remote = workspace / ".dvc" / "config", workspace / REMOTE
    if not remote.is_dir() or not config.is_file():
        return
    values = [line.partition("=")[2].strip().strip("\"'") for line in config.read_text(encoding="utf-8").splitlines()]
    if not any(map(_is_gone, values)):  # DVC takes its time to load
        return
    machine.set_quiet()
    from dvc.repo import Repo

    with Repo(str(workspace)) as repo, repo.config.edit() as held:
        for one in held["remote"].values():
            if _is_gone(str(one["url"])):
                one["url"] = str(remote)


def _is_gone(remote: str) -> bool:
    return Path(remote).parts[-2:] == REMOTE.parts and not Path(remote).exists()
