"""The MLflow registry: register a version, look one up, move an alias. Aliases only; stages are deprecated."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adapters.mlflow_run import connected

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a registered model: its number, the aliases on it, its scores and identities."""

    name: str
    number: str
    aliases: tuple[str, ...]
    scores: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Candidate:
    """What becomes a version: the model folder, its scores, its identities, the files that explain it."""

    model: Path
    labels: tuple[str, ...]
    scores: Mapping[str, float]
    identities: Mapping[str, str]
    files: Mapping[str, Path]


def version_with(workspace: Path, name: str, identities: Mapping[str, str]) -> Version | None:
    """The newest version that carries all these tags, if there is one."""
    for version in _versions(workspace, name):
        if all(version.tags.get(key) == value for key, value in identities.items()):
            return version
    return None


def version_at(workspace: Path, name: str, alias: str) -> Version | None:
    """The version that an alias points at, if there is one."""
    return next((version for version in _versions(workspace, name) if alias in version.aliases), None)


def register(workspace: Path, name: str, candidate: Candidate) -> Version:
    """Log the model (safetensors, JSON, and the library's code; no pickle) to the run under way, make it a version.

    It is aliased `challenger`.
    """
    import mlflow

    client = connected(workspace)
    logged = _log_model(candidate)
    made = mlflow.register_model(logged.model_uri, name)
    for key, value in _tags(candidate).items():
        client.set_model_version_tag(name, made.version, key, value)
    client.set_registered_model_alias(name, CHALLENGER, made.version)
    return Version(name, str(made.version), (CHALLENGER,), candidate.scores, candidate.identities)


def move_champion(workspace: Path, version: Version, reason: str) -> None:
    """`previous` <- the champion so far, `champion` <- this version; the reason is kept as a tag."""
    client = connected(workspace)
    so_far = version_at(workspace, version.name, CHAMPION)
    if so_far is not None and so_far.number != version.number:
        client.set_registered_model_alias(version.name, PREVIOUS, so_far.number)
    client.set_model_version_tag(version.name, version.number, "promoted", reason)
    client.set_registered_model_alias(version.name, CHAMPION, version.number)


def note(workspace: Path, version: Version, key: str, value: str) -> None:
    """Keep a tag on a version."""
    connected(workspace).set_model_version_tag(version.name, version.number, key, value[:5000])


def model_folder(workspace: Path, name: str, alias: str) -> Path:
    """A local folder with the files of the version at an alias. Raises LookupError where there is none."""
    import mlflow

    version = version_at(workspace, name, alias)
    if version is None:
        raise LookupError(f"no version of {name} is `{alias}` yet; `darkroom run` registers and promotes one")
    path = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/{version.number}"))
    described = yaml.safe_load((path / "MLmodel").read_text(encoding="utf-8"))
    return path / str(described["flavors"]["python_function"]["artifacts"]["model"]["path"])


def _versions(workspace: Path, name: str) -> list[Version]:
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
            scores=json.loads(item.tags.get("scores", "{}")),
            tags=dict(item.tags),
        )
        for item in client.search_model_versions(f"name = '{name}'")
    ]
    return sorted(found, key=lambda version: -int(version.number))


def _tags(candidate: Candidate) -> dict[str, str]:
    return {**candidate.identities, "scores": json.dumps(dict(candidate.scores))}


def _log_model(candidate: Candidate) -> Any:
    import mlflow
    import pandas
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec("long", "seed"), ColSpec("string", "label")]),
        outputs=Schema([ColSpec("binary", "image")]),
        params=ParamSchema([ParamSpec("steps", "integer", 12), ParamSpec("guidance", "float", 1.5)]),
    )
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as scratch:
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
