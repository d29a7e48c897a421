"""DVC: is a stage current, take back what an equal run made, record what a run made. The only file that imports dvc."""

import json
import logging
from collections.abc import Iterator, Mapping
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
    if status and stage not in _locked(workspace):
        return ["it was not computed here before"]
    return [reason for entries in status.values() for entry in entries for reason in _reasons(entry, workspace, stage)]


def _reasons(entry: Any, workspace: Path, stage: str) -> list[str]:
    if not isinstance(entry, dict):
        return [str(entry)]
    found = []
    for path, state in [item for files in entry.values() if isinstance(files, dict) for item in files.items()]:
        if path == "code.yaml":
            found.append("its code changed")
        elif isinstance(state, dict):  # a file of settings
            found += _settings_that_differ(
                workspace / path, _locked(workspace)[stage].get("params", {}).get(path, {}), set(state)
            )
        else:
            found.append(f"{path} {'changed' if state == 'modified' else state}")
    return found


def _settings_that_differ(file: Path, locked: dict[str, Any], sections: set[str]) -> list[str]:
    now, before = flattened(yaml.safe_load(file.read_text(encoding="utf-8"))), flattened(locked)
    paths = [path for path in {**before, **now} if path.split(".")[0] in sections and before.get(path) != now.get(path)]
    return [setting_changed(path) for path in paths] or [setting_changed(section) for section in sorted(sections)]


def setting_changed(path: str) -> str:
    """How `changes` says that a setting has another value."""
    return f"{path} changed"


def flattened(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings as `outer.inner` -> value; lists as JSON."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{above}{name}.")
        else:
            flat[f"{above}{name}"] = json.dumps(value) if isinstance(value, list | tuple) else value
    return flat


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


def read_at(workspace: Path, path: str, revision: str | None) -> bytes:
    """A file of a recorded output as it was at a git revision (from the cache, else the remote); as it lies there for None.

    Raises DataError.
    """
    if revision is None:
        file = workspace / path
        if not file.exists():
            raise DataError(f"{file}: there is no such file; `darkroom run` makes it")
        return file.read_bytes()
    machine.set_quiet()
    import dvc.api
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    logging.getLogger("dvc").setLevel(logging.WARNING)
    try:
        return bytes(dvc.api.read(path, repo=str(workspace), rev=revision, mode="rb"))
    except (DvcException, SCMError, OSError) as error:
        raise DataError(f"{path} at revision {revision}, in {workspace}: {error}") from error


def kept_file(workspace: Path, digest: str, name: str) -> bytes:
    """A file of any version of an output folder that DVC's cache here still holds. Raises LookupError."""
    with _repo(workspace) as repo:
        cache = repo.cache.local
        try:
            entries = json.loads(Path(cache.oid_to_path(digest)).read_bytes())
            part = next(entry["md5"] for entry in entries if entry["relpath"] == name)
            return Path(cache.oid_to_path(part)).read_bytes()
        except (FileNotFoundError, StopIteration) as error:
            raise LookupError(f"DVC's cache here does not hold data version {digest} any more") from error


def md5(workspace: Path, path: str) -> str:
    """DVC's digest of a recorded output; empty where none is recorded."""
    outs = [out for stage in _locked(workspace).values() for out in stage.get("outs", [])]
    return next((str(out["md5"]) for out in outs if out["path"] == path), "")


def _locked(workspace: Path) -> dict[str, Any]:
    """The stages of dvc.lock."""
    lock = workspace / "dvc.lock"
    content = yaml.safe_load(lock.read_text(encoding="utf-8")) if lock.exists() else None
    return dict((content or {}).get("stages", {}))


def _target(workspace: Path, stage: str) -> str:
    return f"{workspace / 'dvc.yaml'}:{stage}"
