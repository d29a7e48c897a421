"""What other thresholds would keep and reject, from the scores in the manifest: nothing is decoded again."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from darkroom.curation.filters import Filter, first_failed


class WhatIfError(ValueError):
    """The question cannot be answered from what is stored. The text says why."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Paths of images that would leave the data set, and of those that would come in unless they duplicate another (such as the
    copies of one that leaves); how many were kept; and the labels of all of them."""

    leaving: tuple[str, ...]
    coming: tuple[str, ...]
    kept: int
    labels: Mapping[str, str]

    def by_label(self, paths: Sequence[str]) -> dict[str, int]:
        """How many of these paths have which label, labels in alphabetical order."""
        return dict(sorted(Counter(self.labels[path] for path in paths).items()))


def what_if(dataset: Path, thresholds: Mapping[str, float]) -> WhatIf:
    """Compare the thresholds (filter -> value) with those that `dataset` was curated with. Raises WhatIfError."""
    manifest, about = dataset / "manifest.parquet", dataset / "dataset.json"
    if not manifest.exists() or not about.exists():
        raise WhatIfError(f"{dataset}: no curated data set here yet; run `darkroom curate` or `darkroom run` first")
    before = json.loads(about.read_text(encoding="utf-8"))["filters"]
    after = _changed(before, thresholds)
    read: TypeAdapter[list[Filter]] = TypeAdapter(list[Filter])
    old, new = read.validate_python(before), read.validate_python(after)
    columns = ["path", "label", "kept", "reason", "duplicate_of", *(f"score_{one.kind}" for one in old)]
    rows = pq.read_table(manifest, columns=columns).to_pylist()
    judged = [row for row in rows if all(row[f"score_{one.kind}"] is not None for one in old)]
    fails_then, fails_now = (_failing(filters, judged) for filters in (old, new))
    left = {path for row in judged if row["kept"] and (path := row["path"]) in fails_now - fails_then}
    kinds = {one.kind for one in old}
    coming = [
        row["path"] for row in judged if row["path"] not in fails_now and (row["reason"] in kinds or row["duplicate_of"] in left)
    ]
    labels = {row["path"]: row["label"] for row in rows}
    leaving = [row["path"] for row in judged if row["path"] in left]
    return WhatIf(tuple(leaving), tuple(coming), sum(row["kept"] for row in rows), labels)


def _failing(filters: Sequence[Filter], rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Paths of those rows of the manifest that a filter rejects."""
    kinds: list[str] = [one.kind for one in filters]
    scores = ({kind: row[f"score_{kind}"] for kind in kinds} for row in rows)
    return {row["path"] for row, failed in zip(rows, first_failed(filters, scores), strict=True) if failed}


def _changed(filters: Sequence[Mapping[str, Any]], thresholds: Mapping[str, float]) -> list[dict[str, Any]]:
    """The settings with other thresholds. Raises WhatIfError."""
    by_kind = {one["kind"]: dict(one) for one in filters}
    unknown = sorted(set(thresholds) - set(by_kind))
    if unknown:
        known = ", ".join(by_kind) or "none"
        raise WhatIfError(f"no scores of {', '.join(unknown)} are stored; those there are: {known} (see `curate.filters`)")
    for kind, value in thresholds.items():
        name = next((name for name in ("least", "most") if name in by_kind[kind]), None)
        if name is None:
            raise WhatIfError(f"the filter {kind} has no single threshold; change it in `curate.filters`")
        by_kind[kind][name] = int(value) if value == int(value) else value
    try:
        TypeAdapter(list[Filter]).validate_python(list(by_kind.values()))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise WhatIfError(f"the threshold of {fault['loc'][1]}: {fault['msg']} (it is {fault['input']})") from None
    return list(by_kind.values())
