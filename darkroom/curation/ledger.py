"""The ledger of a curation: one row for every candidate file, and the counts, tables and files made from the rows."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.curation.duplicates import Duplicate
from darkroom.curation.examining import Examined
from darkroom.curation.splitting import SplitSettings, split_all
from darkroom.images import SPLITS
from darkroom.shapes import Shape, in_words, shape_for


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate file: kept, in row `row` of `split`; or rejected for `reason`. Empty strings and -1 where not so."""

    path: str
    digest: str
    width: int
    height: int
    label: str
    caption: str | None
    scores: dict[str, float]
    reason: str
    detail: str
    duplicate_of: str
    split: str
    row: int
    note: str = ""

    @property
    def kept(self) -> bool:
        """Whether the image is in the data set."""
        return not self.reason


def entries_of(examined: Sequence[Examined], duplicates: Sequence[Duplicate], settings: SplitSettings) -> tuple[Entry, ...]:
    """One entry for each file, in the order given; rows of a split count up in that order."""
    copies = {duplicate.path: duplicate for duplicate in duplicates}
    kept = [one for one in examined if not one.reason and one.path not in copies]
    splits = iter(split_all([one.digest for one in kept], [one.label for one in kept], settings))
    rows, entries = Counter[str](), list[Entry]()
    for one in examined:
        copy = copies.get(one.path)
        if one.reason or copy:
            entries.append(_entry(one, copy, "", -1))
        else:
            split = next(splits)
            entries.append(_entry(one, None, split, rows[split]))
            rows[split] += 1
    return tuple(entries)


def _entry(one: Examined, copy: Duplicate | None, split: str, row: int) -> Entry:
    return Entry(
        path=one.path,
        digest=one.digest,
        width=one.width,
        height=one.height,
        label=one.label,
        caption=one.caption,
        scores=one.scores,
        reason=copy.reason if copy else one.reason,
        detail=copy.detail if copy else one.detail,
        duplicate_of=copy.of if copy else "",
        split=split,
        row=row,
        note=one.note,
    )


def rejected_by_reason(entries: Sequence[Entry]) -> dict[str, int]:
    """How many were rejected for each reason, reasons in alphabetical order."""
    return dict(sorted(Counter(entry.reason for entry in entries if not entry.kept).items()))


def summary(entries: Sequence[Entry]) -> dict[str, Any]:
    """The counts: files, kept, rejected, by reason and by split."""
    splits = Counter(entry.split for entry in entries if entry.kept)
    kept = sum(splits.values())
    return {
        "files": len(entries),
        "kept": kept,
        "rejected": len(entries) - kept,
        "rejected_by_reason": rejected_by_reason(entries),
        "kept_by_split": {split: splits[split] for split in SPLITS},
    }


def kept_by_shape(entries: Sequence[Entry], shapes: Sequence[Shape]) -> dict[str, int]:
    """How many kept images are cut to which shape, as width x height."""
    counts = Counter(shape_for(entry.width, entry.height, tuple(shapes)) for entry in entries if entry.kept)
    return {in_words(shape): counts[shape] for shape in shapes}


def label_names(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Labels of kept images in alphabetical order: a label's index in the data set is its place here."""
    return tuple(sorted({entry.label for entry in entries if entry.kept}))


def write_manifest(file: Path, entries: Sequence[Entry], kinds: Sequence[str]) -> None:
    """One row a file, with one column `score_<kind>` for each filter (null where nothing was decoded)."""
    columns: dict[str, pa.Array] = {
        "path": pa.array([entry.path for entry in entries], pa.string()),
        "sha256": pa.array([entry.digest for entry in entries], pa.string()),
        "width": pa.array([entry.width for entry in entries], pa.int32()),
        "height": pa.array([entry.height for entry in entries], pa.int32()),
        "label": pa.array([entry.label for entry in entries], pa.string()),
        "caption": pa.array([entry.caption for entry in entries], pa.string()),
        "kept": pa.array([entry.kept for entry in entries], pa.bool_()),
        "reason": pa.array([entry.reason for entry in entries], pa.string()),
        "detail": pa.array([entry.detail for entry in entries], pa.string()),
        "duplicate_of": pa.array([entry.duplicate_of for entry in entries], pa.string()),
        "split": pa.array([entry.split for entry in entries], pa.string()),
        "row": pa.array([entry.row for entry in entries], pa.int32()),
        "note": pa.array([entry.note for entry in entries], pa.string()),
    }
    for kind in kinds:
        columns[f"score_{kind}"] = pa.array([entry.scores.get(kind) for entry in entries], pa.float64())
    pq.write_table(pa.table(columns), file, compression="zstd")


def write_classes(file: Path, entries: Sequence[Entry]) -> None:
    """A table label, split, count of kept images; every label with every split."""
    counts = Counter((entry.label, entry.split) for entry in entries if entry.kept)
    with file.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["label", "split", "count"])
        writer.writerows([label, split, counts[label, split]] for label in label_names(entries) for split in SPLITS)


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write readable JSON; the same content gives the same bytes."""
    file.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
