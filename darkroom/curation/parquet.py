"""Parquet files with a column of images, such as Hugging Face data sets: rows listed and read where they lie."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.curation import metadata
from darkroom.curation.reading import Candidate, Found

IMAGES = ("image", "img", "jpg", "png", "webp", "bytes", "content")  # what data sets name the column; else the only one it can be
DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError)


def is_table(name: str) -> bool:
    """Whether a file's name says so."""
    return name.lower().endswith(".parquet")


def rows(top: Path, table: Found, label: str, notes: list[str]) -> Iterator[Candidate]:
    """A candidate for each row: `label` where no column gives one. What cannot be read is noted."""
    name = str(table.place[0])
    try:
        with pq.ParquetFile(top / name) as opened:
            column = image_column(opened.schema_arrow)
            if column is None:
                notes.append(f"{table.path}: a Parquet file without a column of images; passed over")
                return
            columns = opened.schema_arrow.names
            unknown = metadata.unknown_columns(set(columns) - {column})
            if unknown:
                notes.append(f"{table.path}: columns not used: {', '.join(unknown)}")
            classes = _class_names(opened.schema_arrow)
            said = [one for one in columns if one in (*metadata.CAPTIONS, *metadata.LABELS) and one != column]
            for group in range(opened.num_row_groups):
                texts = opened.read_row_group(group, columns=said).to_pylist() if said else []
                for row in range(opened.metadata.row_group(group).num_rows):
                    told = texts[row] if texts else {}
                    yield Candidate(
                        path=f"{table.path}/{group:05d}-{row:06d}",
                        label=_label(told, classes) or label,
                        caption=metadata.caption_in(told),
                        stamp=f"{table.stamp} {group} {row}",
                        place=(name, "row", group, row),
                    )
    except DAMAGED as error:
        notes.append(f"{table.path}: a damaged Parquet file ({type(error).__name__}: {error}); what lies beyond is left out")


def image_column(schema: pa.Schema) -> str | None:
    """The column of images: a struct with `bytes`, or binary; one of the usual names goes first."""

    def holds_images(kind: pa.DataType) -> bool:
        if pa.types.is_struct(kind):
            return kind.get_field_index("bytes") >= 0
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    found = [field.name for field in schema if holds_images(field.type)]
    return next((name for name in (*IMAGES, *found) if name in found), None)


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Names behind whole numbers, as Hugging Face's ClassLabel keeps them beside the schema: column -> names."""
    kept = (schema.metadata or {}).get(b"huggingface")
    try:
        features: Any = json.loads(kept)["info"]["features"] if kept else {}
        return {name: list(one["names"]) for name, one in features.items() if isinstance(one, dict) and "names" in one}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _label(told: dict[str, Any], classes: dict[str, list[str]]) -> str:
    for name, names in classes.items():
        value = told.get(name)
        if isinstance(value, int) and 0 <= value < len(names):
            return names[value]
    return metadata.label_in(told) or ""


class Group:
    """The images of one row group, to read one row after the other. Raises OSError where they are damaged."""

    def __init__(self, file: Path, group: int) -> None:
        try:
            with pq.ParquetFile(file) as opened:
                self._images = opened.read_row_group(group, columns=[image_column(opened.schema_arrow)]).column(0)
        except pa.ArrowException as error:
            raise OSError(f"a damaged Parquet file: {error}") from None

    def close(self) -> None:
        """Nothing is held open."""

    def read(self, row: int, _: int) -> bytes:
        """The image of a row. Raises FileNotFoundError for a row that only names a file."""
        value = self._images[row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None:
            raise FileNotFoundError(2, "the row holds no bytes, only the name of a file" if value else "the row is empty")
        return bytes(content)
