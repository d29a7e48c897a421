"""Lineage both ways: from a version back to every source file, from an image on to everything it went into.

Every version keeps the manifest of its data set (path and SHA-256 of every file, kept or rejected and why), so old versions
answer as long as they are registered.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from adapters import dvc_data, machine, mlflow_registry
from adapters.mlflow_registry import Version
from adapters.mlflow_run import runs_of
from adapters.workspace import change_params
from darkroom.curation.choices import Choice, add_choices
from darkroom.params import read_params
from darkroom.refs import digest_of

Row = dict[str, Any]
COLUMNS = ("path", "sha256", "label", "caption", "kept", "reason", "detail", "duplicate_of", "split")


@dataclass(frozen=True, slots=True)
class Use:
    """What one version had to do with an image. `role`: train, validation, test, a rejection's reason; and of which file."""

    version: Version
    role: str
    path: str
    trained: bool  # the image itself, or a copy of it, was in the training split


def manifest(workspace: Path, version: Version) -> list[Row]:
    """Every file of the data set a version was made of. Raises LookupError."""
    file = mlflow_registry.report_folder(workspace, version) / "manifest.parquet"
    if not file.exists():
        raise LookupError(f"{version.name} version {version.number} keeps no manifest: an older darkroom registered it")
    return rows_of(file)


def rows_of(file: Path | BytesIO) -> list[Row]:
    """The rows of a manifest."""
    rows: list[Row] = pq.read_table(file, columns=list(COLUMNS)).to_pylist()
    return rows


def digest(image: str) -> str:
    """The SHA-256 of a file, or the text itself where it is one. Raises FileNotFoundError."""
    file = Path(image)
    if file.is_file():
        return hashlib.sha256(file.read_bytes()).hexdigest()
    if len(image) == 64 and set(image) <= set("0123456789abcdef"):
        return image
    raise FileNotFoundError(f"{image}: there is no such file; give a file, or the SHA-256 of one that is gone")


def uses(workspace: Path, name: str, digests: Sequence[str]) -> dict[str, list[Use]]:
    """By digest: every version of a model that saw the image or a copy of it, oldest first. Each manifest is read once."""
    found: dict[str, list[Use]] = {sha256: [] for sha256 in digests}
    for version in reversed(mlflow_registry.versions(workspace, name)):
        try:
            rows = manifest(workspace, version)
        except LookupError:  # another tool's version: nothing is known of its data
            continue
        for sha256, some in found.items():
            some += [Use(version, role, path, trained) for role, path, trained in _roles(rows, sha256)]
    return found


def _roles(rows: Sequence[Row], sha256: str) -> Iterator[tuple[str, str, bool]]:
    """Each row that is the image: in the data set, or rejected; a copy counts with what was kept in its place."""
    by_path = {row["path"]: row for row in rows}
    for row in rows:
        if row["sha256"] != sha256:
            continue
        if row["kept"]:
            yield row["split"], row["path"], row["split"] == "train"
        else:
            instead = by_path.get(row["duplicate_of"])
            said = f"rejected: {row['reason']}" + (
                f" of {instead['path']} ({instead['split'] or 'rejected too'})" if instead else ""
            )
            yield said, row["path"], instead is not None and instead["split"] == "train"
    kept = {row["path"] for row in rows if row["sha256"] == sha256 and row["kept"]}
    for row in rows:
        if row["duplicate_of"] in kept:
            yield f"its copy, rejected: {row['reason']}", row["path"], False


def copies(rows: Sequence[Row], sha256: str) -> set[str]:
    """Digests of an image and of every file that curation took for a copy of it, whichever of them was kept."""
    paths = {row["path"] for row in rows if row["sha256"] == sha256}
    kept = paths | {row["duplicate_of"] for row in rows if row["path"] in paths and row["duplicate_of"]}
    return {sha256} | {row["sha256"] for row in rows if (row["path"] in kept or row["duplicate_of"] in kept) and row["sha256"]}


def forget(workspace: Path, choices: str, name: str, digests: Sequence[str], reason: str) -> list[Version]:
    """Put images on the drop list `choices`; mark the versions trained on them or on copies, and those that started from such
    a version's weights. Returns these, oldest first. The next training starts from no such weights."""
    today, who = datetime.now(UTC).date(), machine.person()
    rows = [Choice(sha256=one, choice="drop", reason=reason, date=today, by=who) for one in digests]
    add_choices(workspace / choices, rows)
    trained = {use.version.number for some in uses(workspace, name, digests).values() for use in some if use.trained}
    known = list(reversed(mlflow_registry.versions(workspace, name)))
    marked, weights = _with_descendants(known, trained, partial(_weights, workspace))
    for version in marked:
        before = json.loads(version.tags.get("forgotten", "[]"))
        mark = {"date": str(today), "by": who, "reason": reason[:200], "images": len(digests)}
        mlflow_registry.note(workspace, version, "forgotten", json.dumps([*before, mark]))
    start = read_params(workspace / "params.yaml").train_base.start
    if start.kind == "weights" and start.digest in weights:
        change_params(workspace, {"train_base": {"start": {"kind": "scratch"}}})
    return marked


def _weights(workspace: Path, version: Version) -> set[str]:
    """Digests of what a training from a version may have started from: its tuned model, its base, its registered folder."""
    found = {version.tags[tag] for tag in ("weights.sha256", "base.sha256", "model.sha256") if tag in version.tags}
    if "model.sha256" not in version.tags:  # an older darkroom registered it
        with suppress(LookupError):
            found.add(digest_of(mlflow_registry.model_folder(workspace, version)))
    return found


def _with_descendants(
    known: Sequence[Version], trained: Collection[str], weights_of: Callable[[Version], set[str]]
) -> tuple[list[Version], set[str]]:
    """Of the versions, oldest first: those of these numbers and all that started from their weights; the weights' digests."""
    marked, weights = list[Version](), set[str]()
    for version in known:
        if version.number in trained or version.tags.get("start.sha256") in weights:
            marked.append(version)
            weights |= weights_of(version)
    return marked, weights


def data_versions(workspace: Path) -> list[tuple[str, str]]:
    """Every version of the data that a run made here: when (UTC), and DVC's digest; oldest first."""
    return [(when, tags["data.md5"]) for when, tags in runs_of(workspace, "curate") if tags.get("data.md5")]


def role_in(workspace: Path, data: str, sha256: str) -> list[str]:
    """What an image was in a version of the data: train, validation, test, or rejected and why. Raises LookupError."""
    content = dvc_data.kept_file(workspace, data, "manifest.parquet")
    return [f"{role}, as {path}" for role, path, _ in _roles(rows_of(BytesIO(content)), sha256)]
