"""DVC: is a stage current, take back what an equal run made, record what a run made. The only file that imports dvc."""

import logging
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import yaml

from adapters import machine


class DataError(ValueError):
    """DVC cannot do what is asked. The text is what DVC says."""


@contextmanager
def _repo(workspace: Path) -> Iterator[Any]:
    machine.set_quiet()
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)
    try:
        # DVC resolves its stages against the current folder. Not for threads: the folder is the process's.
        with chdir(workspace), Repo(str(workspace), _wait_for_lock=True) as repo:
            yield repo
    except DvcException as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise DataError(f"DVC, in {workspace}: {error}{cause}") from error


def changes(workspace: Path, stage: str) -> list[str]:
    """Why a stage must run: what differs from dvc.lock. Empty where it is current. Raises DataError."""
    with _repo(workspace) as repo:
        status = repo.status(targets=[_target(workspace, stage)])
    reasons = []
    for entry in status.get(stage, status.get(_target(workspace, stage), next(iter(status.values()), []))):
        reasons += _reasons(entry)
    return reasons


def _reasons(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return [str(entry)]
    found = []
    for kind, files in entry.items():
        for path, state in files.items() if isinstance(files, dict) else []:
            if isinstance(state, dict):  # a params file: setting -> state
                found += [_setting(path, setting, how) for setting, how in state.items()]
            else:
                found.append(
                    f"{path} {'changed' if state == 'modified' else state}" if kind != "changed outs" else f"{path} {state}"
                )
    return found


def _setting(path: str, setting: str, how: str) -> str:
    if path == "code.yaml":
        return "its code changed"
    return f"{setting} {'changed' if how == 'modified' else how}"


def take_back(workspace: Path, stage: str) -> bool:
    """Whether DVC's run cache held what an equal run made; if so it lies in place and is recorded."""
    from dvc.stage.cache import RunCacheNotFoundError

    with _repo(workspace) as repo, repo.lock:
        loaded = repo.stage.load_one(str(workspace / "dvc.yaml"), stage)
        try:
            repo.stage_cache.restore(loaded)
        except RunCacheNotFoundError:
            return False
        loaded.save(allow_missing=False)
        loaded.dump(update_pipeline=False)
        return True


def record(workspace: Path, stage: str) -> None:
    """Put a stage's outputs into the cache and write dvc.lock, as `dvc repro` does after running it. Raises DataError."""
    with _repo(workspace) as repo:
        repo.commit(_target(workspace, stage), force=True)


def md5(workspace: Path, path: str) -> str:
    """DVC's digest of a recorded output; empty where none is recorded."""
    lock = workspace / "dvc.lock"
    content = yaml.safe_load(lock.read_text(encoding="utf-8")) if lock.exists() else {}
    for stage in (content or {}).get("stages", {}).values():
        for out in stage.get("outs", []):
            if out["path"] == path:
                return str(out["md5"])
    return ""


def _target(workspace: Path, stage: str) -> str:
    return f"{workspace / 'dvc.yaml'}:{stage}"
