"""The MLflow registry: register a version, look one up, read what it is made of. Aliases only; stages are deprecated."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from adapters.mlflow_run import connected
from darkroom.gates import Scores

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
WHOLE = "made_by"  # the tag that is written last
COPIES = Path(".darkroom/versions")  # in a workspace: the files of versions from a registry that keeps them elsewhere
KEPT_COPIES = 8
LONGEST = 5000  # characters: PostgreSQL and MySQL refuse a longer description
_KEPT = ("value", "low", "high", "floor", "n")  # of each score; its tag must stay short


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a registered model: its number, the aliases on it, its scores and identities."""

    name: str
    number: str
    aliases: tuple[str, ...]
    scores: Scores
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Candidate:
    """What becomes a version: the model folder, its scores, its identities, its card, the files that explain it."""

    model: Path
    labels: tuple[str, ...]
    drawing: tuple[int, float, float]  # steps, guidance and away where whoever asks for images names none
    scores: Scores
    identities: Mapping[str, str]
    card: str
    files: Mapping[str, Path]


def version_with(workspace: Path, name: str, identities: Mapping[str, str]) -> Version | None:
    """The newest version that carries all these tags and is whole, if there is one."""
    for version in versions(workspace, name):
        if WHOLE in version.tags and all(version.tags.get(key) == value for key, value in identities.items()):
            return version
    return None


def version_at(workspace: Path, name: str, alias: str) -> Version | None:
    """The version that an alias points at, if there is one."""
    return next((version for version in versions(workspace, name) if alias in version.aliases), None)


def number_at(workspace: Path, name: str, alias: str) -> str:
    """The number of the version that an alias points at, in one quick call; empty where there is none."""
    import mlflow

    try:
        return str(connected(workspace).get_model_version_by_alias(name, alias).version)
    except mlflow.MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no such model; no such alias
            return ""
        raise


def version_named(workspace: Path, name: str, wanted: str) -> Version:
    """The version that a person means: a number, or an alias. Raises LookupError naming what there is."""
    known = versions(workspace, name)
    found = next((one for one in known if wanted == one.number or wanted in one.aliases), None)
    if found is None:
        there = ", ".join(f"{one.number}{''.join(f' @{alias}' for alias in one.aliases)}" for one in known)
        raise LookupError(
            f"{name} has no version or alias `{wanted}`; there are: {there or 'none; `darkroom run` registers one'}"
        )
    return found


def register(workspace: Path, name: str, candidate: Candidate) -> Version:
    """Log the model (safetensors, JSON, and the library's code; no pickle) to the run under way, make it a version.

    Its card and tags are written before the alias `challenger` moves to it: a version with an alias is whole.
    """
    import mlflow

    client = connected(workspace)
    logged = _log_model(candidate)
    made = mlflow.register_model(logged.model_uri, name)
    scores = {score: {key: one[key] for key in _KEPT if one.get(key) is not None} for score, one in candidate.scores.items()}
    tags = {**candidate.identities, "scores": json.dumps(scores), WHOLE: "darkroom"}
    client.update_model_version(name, made.version, _fitting(candidate.card))
    for key, value in tags.items():
        client.set_model_version_tag(name, made.version, key, value)
    version = Version(name, str(made.version), (CHALLENGER,), scores, tags)
    challenge(workspace, version)
    return version


def challenge(workspace: Path, version: Version) -> None:
    """Let the alias `challenger` point at a version."""
    connected(workspace).set_registered_model_alias(version.name, CHALLENGER, version.number)


def _fitting(card: str) -> str:
    """A card as MLflow's databases take it: with many labels or settings its end is left to the file."""
    more = "\n\nThe whole card: `card.md` among the version's files."
    return card if len(card) <= LONGEST else card[: LONGEST - len(more)].rpartition("\n")[0] + more


def note(workspace: Path, version: Version, key: str, value: str) -> None:
    """Keep a tag on a version."""
    connected(workspace).set_model_version_tag(version.name, version.number, key, value[:5000])


def model_folder(workspace: Path, version: Version) -> Path:
    """A local folder with the model files of a version. Raises LookupError for a version that is not Darkroom's."""
    return _part(workspace, version, "model")


def report_folder(workspace: Path, version: Version) -> Path:
    """A local folder with what explains a version: card, scores, pictures, the manifest of its images. Raises LookupError."""
    return _part(workspace, version, "report")


def _part(workspace: Path, version: Version, part: str) -> Path:
    import mlflow

    try:
        path = _files(workspace, version)
        described = yaml.safe_load((path / "MLmodel").read_text(encoding="utf-8"))
        return path / str(described["flavors"]["python_function"]["artifacts"][part]["path"])
    except (KeyError, TypeError, FileNotFoundError, mlflow.MlflowException) as error:
        raise LookupError(
            f"{version.name} version {version.number} was not registered by darkroom: it has no `{part}`"
        ) from error


def _files(workspace: Path, version: Version) -> Path:
    """The files of a version: where they lie, if on this machine; else a copy, made once and kept with the last few others."""
    import mlflow

    client = connected(workspace)
    source = client.get_model_version_download_uri(version.name, version.number)
    if source.startswith("models:/m-"):  # by the number of what was logged
        source = client.get_logged_model(source.removeprefix("models:/")).artifact_location
    address = f"models:/{version.name}/{version.number}"
    if urlsplit(source).scheme in ("", "file"):
        return Path(mlflow.artifacts.download_artifacts(address))
    copies = workspace / COPIES
    copy = copies / hashlib.sha256(f"{mlflow.get_tracking_uri()} {source}".encode()).hexdigest()[:20]
    if not copy.exists():
        copies.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=copies, ignore_cleanup_errors=True) as scratch:
            fetched = mlflow.artifacts.download_artifacts(address, dst_path=f"{scratch}/files")
            with suppress(OSError):  # another process was first: its copy is the same
                Path(fetched).rename(copy)
    os.utime(copy)
    for old in sorted(copies.iterdir(), key=lambda path: -path.stat().st_mtime)[KEPT_COPIES:]:
        shutil.rmtree(old, ignore_errors=True)
    return copy


def versions(workspace: Path, name: str) -> list[Version]:
    """Every version, newest first; those that another tool registered too, with the scores that can be read."""
    client = connected(workspace)
    try:
        model = client.get_registered_model(name)
    except Exception as error:  # the stores raise different kinds; what matters is whether the model is unknown
        if "not found" in str(error).lower() or "RESOURCE_DOES_NOT_EXIST" in str(error):
            return []
        raise
    at = model.aliases  # `search_model_versions` returns none (mlflow #16734)
    found = [
        Version(
            name=name,
            number=str(item.version),
            aliases=tuple(sorted(alias for alias, number in at.items() if str(number) == str(item.version))),
            scores=_scores(item.tags.get("scores", "")),
            tags=dict(item.tags),
        )
        for item in client.search_model_versions(f"name = '{name}'")
    ]
    return sorted(found, key=lambda version: -int(version.number))


def _scores(tag: str) -> Scores:
    """The tag `scores`; none where another tool keeps something else under that name."""
    content: Any = None
    with suppress(json.JSONDecodeError):
        content = json.loads(tag)
    items = content.items() if isinstance(content, dict) else ()
    return {name: one for name, one in items if isinstance(one, dict) and isinstance(one.get("value"), int | float)}


def _log_model(candidate: Candidate) -> Any:
    import mlflow
    import pandas
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    steps, guidance, away = candidate.drawing
    scales = [ParamSpec("guidance", "double", guidance), ParamSpec("away", "double", away)]
    signature = ModelSignature(
        inputs=Schema([ColSpec("long", "seed"), ColSpec("string", "label")]),
        outputs=Schema([ColSpec("binary", "image")]),
        params=ParamSchema([ParamSpec("steps", "integer", steps), *scales]),
    )
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "card.md").write_text(candidate.card, encoding="utf-8")
        for name, path in candidate.files.items():
            (Path(scratch) / name).write_bytes(path.read_bytes())
        return mlflow.pyfunc.log_model(
            name="model",
            python_model=str(here / "pyfunc_model.py"),
            artifacts={"model": str(candidate.model), "report": scratch},
            code_paths=[str(here.parent / "darkroom")],
            signature=signature,
            input_example=pandas.DataFrame({"seed": [0], "label": [candidate.labels[0]]}),
            pip_requirements=["torch>=2.10,<2.14", "safetensors", "pillow", "pydantic>=2", "pyyaml", "numpy", "pandas"],
            model_type="diffusion",
        )
