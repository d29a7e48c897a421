"""What text beside images says of them: metadata.jsonl, metadata.csv, sidecars (.txt, .json, .cls). Oddities are noted."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from typing import Any

FILES = frozenset({"metadata.jsonl", "metadata.csv"})
SIDECARS = (".txt", ".json", ".cls")  # of the same stem as an image
MOST_BYTES = 64 * 1024  # of a sidecar: a longer text is no caption
CAPTIONS = ("text", "caption", "captions", "prompt")  # names that data sets give to the column of captions,
LABELS = ("label", "labels", "class", "class_name", "cls")  # and to that of labels
FILE_NAME = "file_name"


def rows_of(name: str, content: bytes, notes: list[str]) -> dict[str, Mapping[str, Any]]:
    """Rows of a metadata file by `file_name`, as Hugging Face's ImageFolder reads them; `name` is for the notes."""
    text = content.decode("utf-8-sig", errors="replace")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        notes.append(f"{name}, line {line}: not UTF-8; here and below \ufffd stands for what cannot be read: save it as UTF-8")
    parsed = _from_csv(name, text, notes) if name.endswith(".csv") else _from_json_lines(name, text, notes)
    rows = {str(row[FILE_NAME]).replace("\\", "/"): row for row in parsed}
    _note_odd(name, rows.values(), notes)
    unknown = unknown_columns({column for row in rows.values() for column in row})
    if unknown:
        notes.append(f"{name}: columns not used: {', '.join(unknown)}")
    return rows


def _note_odd(name: str, rows: Iterable[Mapping[str, Any]], notes: list[str]) -> None:
    """Labels and captions that are objects, or labels that are lists, mean nothing here."""
    odd = sum(
        any(isinstance(row.get(label), dict | list) for label in LABELS)
        or any(isinstance(row.get(caption), dict) for caption in CAPTIONS)
        for row in rows
    )
    if odd:
        notes.append(f"{name}: in {odd} rows a label or caption is no text and no number; passed over")


def unknown_columns(columns: Iterable[str]) -> list[str]:
    """Those that mean nothing here, sorted."""
    return sorted(set(map(str, columns)) - {FILE_NAME, *CAPTIONS, *LABELS})


def told_in(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without what says nothing."""
    return {name: value for name, value in row.items() if value is not None and value != ""}


def label_in(row: Mapping[str, Any]) -> str | None:
    """The label that a row gives, as text; None where it gives none, or something that is no text and no number."""
    told = (_text(row[name]).strip() for name in LABELS if isinstance(row.get(name), str | int | float))
    return next(filter(None, told), None)


def _text(value: str | float) -> str:
    """As text that can be written anywhere: JSON may hold halves of characters, such as of a cut emoji."""
    return str(value).encode(errors="replace").decode()


def caption_in(row: Mapping[str, Any]) -> str | None:
    """The caption that a row gives (of a list, the first); None where it gives none."""
    for name in CAPTIONS:
        value = row.get(name)
        if isinstance(value, list | tuple):
            value = next(iter(value), None)
        if isinstance(value, str | int | float) and value != "":
            return _text(value).strip() or None
    return None


def _from_json_lines(name: str, text: str, notes: list[str]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: JSON may hold other line separators
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and isinstance(row.get(FILE_NAME), str):
            yield row
        else:
            notes.append(f"{name}, line {number}: no JSON object with `file_name`; passed over")


def _from_csv(name: str, text: str, notes: list[str]) -> Iterator[Mapping[str, Any]]:
    table = csv.DictReader(StringIO(text, newline=""))
    try:
        if FILE_NAME not in (table.fieldnames or ()):
            notes.append(f"{name}: no column `file_name`; passed over")
            return
        for row in table:
            if row[FILE_NAME] and None not in row and None not in row.values():
                yield row
            else:
                notes.append(f"{name}, line {table.line_num}: does not fit the columns; passed over")
    except csv.Error as error:
        notes.append(f"{name}, line {table.line_num}: {error}; what follows is passed over")


def from_sidecars(sidecars: Mapping[str, bytes], notes: list[str]) -> dict[str, Any]:
    """A row made of the sidecars of one image: name of the sidecar -> content. A .txt gives the caption before a .json does."""
    row: dict[str, Any] = {}
    for name, content in sorted(sidecars.items()):  # .cls, .json, .txt
        if len(content) >= MOST_BYTES:
            notes.append(f"{name}: {MOST_BYTES // 1024} KiB or more, which is no caption; passed over")
            continue
        try:
            text = content.decode("utf-8-sig").strip()
            if name.lower().endswith(".txt"):
                row["text"] = text
            elif name.lower().endswith(".cls"):
                row["label"] = text
            else:
                parsed = json.loads(text)
                row |= parsed if isinstance(parsed, dict) else {}
                _note_odd(name, [row], notes)
        except (ValueError, RecursionError) as error:
            kind = "JSON" if name.lower().endswith(".json") else "UTF-8 text"
            notes.append(f"{name}: not readable as {kind} ({type(error).__name__}); passed over")
    return row
