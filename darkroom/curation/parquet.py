"""Parquet files with a column of images, such as Hugging Face data sets: rows listed and read where they lie."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.curation import metadata
from darkroom.curation.reading import Candidate, Found

IMAGES = ("image", "img", "jpg", "png", "webp", "bytes", "content")  # what data sets name the column; else the only one it can be
BUFFER = 1024 * 1024  # bytes read ahead: by itself Arrow would read a whole row group
AT_ONCE = 16  # rows held
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
    none = {name for name in classes if isinstance(told.get(name), int) and told[name] < 0}  # how Hugging Face says: no label
    return metadata.label_in({name: value for name, value in told.items() if name not in none}) or ""


def _checked(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except MemoryError as error:  # Arrow's own is one of both
        raise OSError(f"memory does not suffice for some rows of this Parquet file: {error}") from None
    except pa.ArrowException as error:
        raise OSError(f"a damaged Parquet file: {error}") from None


class Group:
    """The images of one row group, some at a time, to read onwards: a group may be all of a file.

    Raises OSError where they are damaged.
    """

    def __init__(self, file: Path, group: int) -> None:
        self._opened = _checked(lambda: pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False))
        self._group = group
        self._begin()

    def _begin(self) -> None:
        column = image_column(self._opened.schema_arrow)
        self._coming = self._opened.iter_batches(AT_ONCE, row_groups=[self._group], columns=[column], use_threads=False)
        self._first, self._some = 0, pa.array([])

    def close(self) -> None:
        """Let go of the file."""
        self._opened.close()

    def read(self, row: int, _: int) -> bytes:
        """The image of a row. Raises FileNotFoundError for a row that only names a file."""
        if row < self._first:
            self._begin()
        while row >= self._first + len(self._some):
            self._first += len(self._some)
            some = _checked(lambda: next(self._coming, None))
            if some is None:
                raise OSError("a damaged Parquet file: it has fewer rows than it says")
            self._some = some.column(0)
        value = self._some[row - self._first].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None:
            raise FileNotFoundError(2, "the row holds no bytes, only the name of a file" if value else "the row is empty")
        return bytes(content)
