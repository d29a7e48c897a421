"""What changed between two versions of a data set, in terms of images, labels, captions, duplicates and splits."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, BinaryIO

import pyarrow.parquet as pq

Rows = Mapping[str, Mapping[str, Any]]
COLUMNS = ["path", "sha256", "label", "caption", "kept", "reason", "duplicate_of", "split"]


@dataclass(frozen=True, slots=True)
class Changes:
    """Of each kind of change, one line of text for each image, sorted by path."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[str, ...]
    changed: tuple[str, ...]
    now_kept: tuple[str, ...]
    now_rejected: tuple[str, ...]
    labels: tuple[str, ...]
    captions: tuple[str, ...]
    duplicates: tuple[str, ...]
    splits: tuple[str, ...]

    def any(self) -> bool:
        """Whether there is a change at all."""
        return any(getattr(self, field.name) for field in fields(self))


def read_rows(manifest: BinaryIO) -> Rows:
    """Rows of a manifest.parquet by path."""
    return {row["path"]: row for row in pq.read_table(manifest, columns=COLUMNS).to_pylist()}


def compare(old: Rows, new: Rows) -> Changes:
    """The changes from `old` to `new`. A file of equal content under another path has moved."""
    gone, come = sorted(set(old) - set(new)), sorted(set(new) - set(old))
    places: dict[str, list[str]] = {}
    for path in reversed(gone):
        places.setdefault(old[path]["sha256"], []).append(path)
    moved = {path: places[new[path]["sha256"]].pop() for path in come if new[path]["sha256"] and places.get(new[path]["sha256"])}
    pairs = sorted([(path, path) for path in set(old) & set(new)] + [(before, after) for after, before in moved.items()])

    def differing(column: str) -> list[tuple[str, Any, Any]]:
        found = [(after, old[before][column], new[after][column]) for before, after in pairs]
        return [one for one in found if one[1] != one[2]]

    lost = set(moved.values())
    return Changes(
        added=tuple(_with_reason(path, new[path]) for path in come if path not in moved),
        removed=tuple(path for path in gone if path not in lost),
        moved=tuple(f"{before} -> {after}" for after, before in sorted(moved.items())),
        changed=tuple(path for path, *_ in differing("sha256")),
        now_kept=tuple(
            f"{path} (was {old.get(path, {}).get('reason') or 'rejected'})" for path, _, kept in differing("kept") if kept
        ),
        now_rejected=tuple(_with_reason(path, new[path]) for path, _, kept in differing("kept") if not kept),
        labels=tuple(f"{path}: {_named(before)} -> {_named(after)}" for path, before, after in differing("label")),
        captions=tuple(path for path, *_ in differing("caption")),
        duplicates=tuple(
            f"{path}: of {after}" if after else f"{path}: no longer" for path, _, after in differing("duplicate_of")
        ),
        splits=tuple(f"{path}: {before} -> {after}" for path, before, after in differing("split") if before and after),
    )


def _with_reason(path: str, row: Mapping[str, Any]) -> str:
    return f"{path} ({row['reason']})" if row["reason"] else path


def _named(label: str) -> str:
    return label or "no label"
