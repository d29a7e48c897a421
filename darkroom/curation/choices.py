"""The keep/drop list: a person's word on single images, under version control. It goes before every filter."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

EMPTY = """# Images to keep or to drop whatever the filters say. One row each, newest last:
# - {path: cats/one.jpg, choice: drop, reason: a watermark, date: 2026-01-31, by: Ada}
# `sha256` (of the file, as in manifest.parquet) in place of `path` means the image wherever it lies. `keep` goes before
# every filter and wins among its duplicates; `drop` leaves the image out.
"""


class ChoicesError(ValueError):
    """The list cannot be read. The text names the file, the row and what is wrong with it."""


class Choice(BaseModel):
    """A row: the image by the SHA-256 of its file, or by its path in the source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    path: str | None = None
    choice: Literal["keep", "drop"]
    reason: str = ""
    date: datetime.date | None = None
    by: str = ""

    @model_validator(mode="after")
    def _names_an_image(self) -> "Choice":
        if not self.sha256 and not self.path:
            raise ValueError("`sha256` or `path` must say which image is meant")
        return self


def read_choices(file: Path) -> tuple[Choice, ...]:
    """The rows of the list. Raises ChoicesError, also where there is no such file: a list not found would be a list ignored."""
    try:
        return _parsed(file, file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ChoicesError(f"{file}: there is no such file; make it, empty, or change `curate.choices`") from None
    except UnicodeDecodeError as error:
        raise ChoicesError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def _parsed(file: Path, text: str) -> tuple[Choice, ...]:
    try:
        rows = yaml.safe_load(text) or []
    except yaml.YAMLError as error:
        raise ChoicesError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(rows, list):
        raise ChoicesError(f"{file}: expected a list of rows, found a {type(rows).__name__}")
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(Choice.model_validate(row))
        except ValidationError as error:
            faults = "; ".join(_said(one) for one in error.errors(include_url=False))
            raise ChoicesError(f"{file}, row {number}: {faults}") from None
    return tuple(found)


def _said(fault: Any) -> str:
    where = ".".join(map(str, fault["loc"]))
    text = fault["msg"].removeprefix("Value error, ")
    return f"`{where}`: {text}" if where else text


def add_choices(file: Path, rows: Sequence[Choice]) -> None:
    """Append rows; what the file holds, comments too, stays. Written whole or not at all. Raises ChoicesError."""
    text = file.read_text(encoding="utf-8") if file.exists() else EMPTY
    before = _parsed(file, text)
    if not before:  # only comments, or an empty list in brackets, to which a row cannot be appended
        text = "".join(line for line in text.splitlines(keepends=True) if line.lstrip().startswith("#"))
    values = [row.model_dump(exclude_none=True) for row in rows]
    added = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000) if values else ""
    text = f"{text.rstrip()}\n{added}"
    try:
        complete = _parsed(file, text) == (*before, *rows)
    except ChoicesError:
        complete = False
    if not complete:
        raise ChoicesError(f"{file}: a row cannot be appended to a list in brackets; write one row a line, each after `- `")
    fresh = file.with_name(file.name + ".partial")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(file)


class Word:
    """What the list says of an image: rows are looked up by content, then by path; of several rows the last counts."""

    def __init__(self, choices: Sequence[Choice]) -> None:
        self._by_digest = {row.sha256: row for row in choices if row.sha256}
        self._by_path = {row.path: row for row in choices if row.path and not row.sha256}
        self._order = {id(row): place for place, row in enumerate(choices)}

    def on(self, path: str, digest: str) -> Choice | None:
        """The row that counts for an image; None for no row."""
        found = [row for row in (self._by_digest.get(digest), self._by_path.get(path)) if row is not None]
        return max(found, key=lambda row: self._order[id(row)], default=None)
