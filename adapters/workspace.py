"""A workspace: the folder in which one data set becomes one model. git and DVC, params.yaml, dvc.yaml, data, models, reports.

A clone of the project is one (its dvc.yaml lists the code's files); `make_workspace` makes others anywhere, whose dvc.yaml names
the digest of each stage's code instead (`code.yaml`), since the code does not lie in them.
"""

import hashlib
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from adapters import machine, moving
from darkroom import __version__
from darkroom.refs import write_whole

STAGES = ("curate", "augment", "train_base", "finetune", "evaluate")
IGNORED = "/.darkroom/\n/data/\n/models/\n/reports/\n/darkroom-*/\n"


class WorkspaceError(ValueError):
    """A folder cannot be used as a workspace. The text says which, why and what to do."""


def find_workspace(start: Path) -> Path | None:
    """The workspace that a folder lies in, itself or the nearest above."""
    for folder in (start.absolute(), *start.absolute().parents):
        if (folder / ".dvc").is_dir() and (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder
    return None


def opened(folder: Path) -> Path:
    """A workspace, ready to use: found at or above `folder`, its records of the code and of its place brought up to date.

    Raises WorkspaceError.
    """
    found = find_workspace(folder)
    if found is None:
        raise WorkspaceError(f"{folder} is not in a workspace; `darkroom init DIR` makes one")
    if not machine.in_git(found):
        raise WorkspaceError(f"{found} is not in a git repository, and DVC needs one: run `git init` there")
    code = found / "code.yaml"
    if code.exists() and code.read_text(encoding="utf-8") != _code_digests():
        code.write_text(_code_digests(), encoding="utf-8")
    moving.settle(found)
    return found


def make_workspace(folder: Path, source: Path | None, params: str | None = None) -> Path:
    """Make `folder` a workspace: git, DVC with a local remote, params.yaml, dvc.yaml. Nothing that lies there is changed.

    It is one once its params.yaml is there, which comes last; one that was stopped before that is made anew.
    `source` is the folder of images, `params` the text of a params file. Raises WorkspaceError.
    """
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)
    machine.set_quiet()
    unfinished = folder / ".darkroom" / "unfinished"
    if unfinished.exists():  # these are of whoever began, and was stopped
        shutil.rmtree(folder / ".dvc", ignore_errors=True)
        for name in ("dvc.yaml", "code.yaml"):
            (folder / name).unlink(missing_ok=True)
    taken = [name for name in ("params.yaml", "dvc.yaml", ".dvc", "code.yaml") if (folder / name).exists()]
    if taken:
        raise WorkspaceError(f"{folder} holds {', '.join(taken)} already; nothing was changed")
    folder.mkdir(parents=True, exist_ok=True)
    unfinished.mkdir(parents=True, exist_ok=True)
    if not (folder / ".git").exists():
        machine.start_git(folder)
    with Repo.init(str(folder)) as repo, repo.config.edit() as config:
        config["core"]["remote"] = "local"
        config["remote"]["local"] = {"url": str(folder.absolute() / moving.REMOTE)}
    (folder / "dvc.yaml").write_text(_without_code(template("dvc.yaml")), encoding="utf-8")
    (folder / "code.yaml").write_text(_code_digests(), encoding="utf-8")
    if not (folder / "choices.yaml").exists():
        (folder / "choices.yaml").write_text(template("choices.yaml"), encoding="utf-8")
    ignored = folder / ".gitignore"
    if not ignored.exists() or IGNORED not in ignored.read_text(encoding="utf-8"):
        with ignored.open("a", encoding="utf-8") as file:
            file.write(IGNORED)
    if not (folder / "README.md").exists():
        (folder / "README.md").write_text(_README, encoding="utf-8")
    (unfinished / "params.yaml").write_text(params if params is not None else template("params.yaml"), encoding="utf-8")
    if source is not None:
        change_params(unfinished, {"curate": {"source": str(source.absolute())}})
    if params is None:  # what the shipped settings say of the sample images
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.absolute().name).strip("-._") or "model"
        change_params(unfinished, {"finetune": {"focus": []}, "register": {"name": name}})
    (unfinished / "params.yaml").replace(folder / "params.yaml")
    shutil.rmtree(unfinished)
    return folder


def _yaml() -> YAML:
    """Reads and writes YAML as it is written in the files of a workspace, comments and order kept."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 160, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def change_params(workspace: Path, changes: Mapping[str, Any]) -> list[str]:
    """Write changed settings into params.yaml, comments and order kept. Returns the paths of those that differ. Raises OSError,
    and the file is as it was."""
    file, yaml = workspace / "params.yaml", _yaml()
    content = yaml.load(file.read_text(encoding="utf-8"))
    changed = list(_merge(content, changes))
    if changed:
        text = StringIO()
        yaml.dump(content, text)
        write_whole(file, text.getvalue().encode())
    return changed


def _merge(content: Any, changes: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in changes.items():
        path = f"{above}{name}"
        both = isinstance(value, Mapping) and isinstance(content.get(name), Mapping)
        if both and value.get("kind", content[name].get("kind")) == content[name].get("kind"):
            yield from _merge(content[name], value, f"{path}.")
        elif _kinds(value) and _kinds(value) == _kinds(content.get(name)):
            if [inside for old, new in zip(content[name], value, strict=True) for inside in _merge(old, new)]:
                yield path
        elif content.get(name) != value:
            content[name] = value
            yield path


def _kinds(value: Any) -> list[Any]:
    """Of a list of settings such as filters, the kind of each; empty for anything else."""
    listed = isinstance(value, list) and all(isinstance(one, Mapping) and "kind" in one for one in value)
    return [one["kind"] for one in value] if listed else []


@contextmanager
def writing(workspace: Path, waiting: Any) -> Iterator[None]:
    """Hold the one lock of a workspace's writers; `waiting()` is called when another run holds it."""
    with machine.held(workspace / ".darkroom" / "lock", waiting):
        yield


def code() -> str:
    """Which code runs: the version of darkroom, and its commit where it lies in git."""
    commit = machine.git_commit(Path(__file__).parent)
    return f"darkroom {__version__}" + (f" at {commit}" if commit else "")


def code_digest(stage: str) -> str:
    """The digest of the code that a stage's command can import."""
    return str(YAML(typ="safe").load(_code_digests())[stage])


def template(name: str) -> str:
    """A file of the project that a workspace starts from: beside the adapters in a wheel, at the top of a clone."""
    here = Path(__file__).parent
    packed = here / "template" / name
    return (packed if packed.exists() else here.parent / name).read_text(encoding="utf-8")


def _without_code(text: str) -> str:
    """dvc.yaml for a workspace that does not hold the code: files of code out, the digest of the stage's code in."""
    yaml = _yaml()
    content = yaml.load(text)
    for name, stage in content["stages"].items():
        stage["deps"] = [path for path in stage["deps"] if not path.startswith("darkroom/")]
        stage["params"] = [*stage["params"], {"code.yaml": [name]}]
    written = StringIO()
    yaml.dump(content, written)
    return written.getvalue()


def _code_digests() -> str:
    """code.yaml: of each stage, the digest of the files that its command can import."""
    top = Path(__file__).parent.parent
    lines = ["# Digests of each stage's code, kept by darkroom: after an upgrade the stages whose code changed run again."]
    for name, stage in YAML(typ="safe").load(template("dvc.yaml"))["stages"].items():
        whole = hashlib.sha256()
        for path in sorted(path for path in stage["deps"] if path.startswith("darkroom/")):
            whole.update((top / path).read_bytes())
        lines.append(f"{name}: {whole.hexdigest()[:16]}")
    return "\n".join(lines) + "\n"


_README = """# A Darkroom workspace

- `params.yaml`: every setting. `darkroom run` computes what a change calls for, and nothing else.
- `dvc.yaml`: the stages. `dvc repro` runs them without any server; `dvc dag` draws them.
- `data/`, `models/`, `reports/`: what the stages wrote, kept by DVC. Commit `dvc.lock` to keep a state of them.
"""
