"""Lineage both ways: from a version back to every source file, from an image on to everything it went into.

Every version keeps the manifest of its data set (path and SHA-256 of every file, kept or rejected and why), so old versions
answer as long as they are registered.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from adapters import machine, mlflow_registry
from adapters.mlflow_registry import Version
from darkroom.curation.choices import Choice, add_choices

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


def rows_of(file: Path) -> list[Row]:
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


def uses(workspace: Path, name: str, sha256: str) -> list[Use]:
    """Every version of a model that saw an image or a copy of it, oldest first."""
    found = []
    for version in reversed(mlflow_registry.versions(workspace, name)):
        try:
            rows = manifest(workspace, version)
        except LookupError:  # another tool's version: nothing is known of its data
            continue
        found += [Use(version, role, path, trained) for role, path, trained in _roles(rows, sha256)]
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
    """Put images on the drop list `choices`; mark the versions trained on them or on copies. Returns these, oldest first."""
    today, who = datetime.now(UTC).date(), machine.person()
    rows = [Choice(sha256=one, choice="drop", reason=reason, date=today, by=who) for one in digests]
    add_choices(workspace / choices, rows)
    marked: dict[str, Version] = {}
    for one in digests:
        for use in uses(workspace, name, one):
            if use.trained:
                marked[use.version.number] = use.version
    for version in marked.values():
        before = json.loads(version.tags.get("forgotten", "[]"))
        mark = {"date": str(today), "by": who, "reason": reason[:200], "images": len(digests)}
        mlflow_registry.note(workspace, version, "forgotten", json.dumps([*before, mark]))
    return list(marked.values())
