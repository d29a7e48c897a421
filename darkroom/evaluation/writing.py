"""What an evaluation leaves: scores.json for gates and cards, metrics.json and tables for DVC, pictures, the page."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from darkroom.evaluation.charts import Line
from darkroom.evaluation.figures import Figure
from darkroom.evaluation.report import History, ModelPage, pairs_sheet, png, report, samples_sheet
from darkroom.evaluation.signs import BANDS


def write(folder: Path, pages: Sequence[ModelPage], features: str) -> None:
    """Every file of an evaluation, into an existing folder. The same figures give the same bytes."""
    scores = {page.name: {name: _fields(figure) for name, figure in page.figures.items()} for page in pages}
    plain = {page.name: {name: figure.made.value for name, figure in page.figures.items()} for page in pages}
    for name, content in (("scores.json", scores), ("metrics.json", plain)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for page in pages:
        (folder / f"samples_{page.name}.png").write_bytes(png(samples_sheet(page)))
        (folder / f"neighbours_{page.name}.png").write_bytes(png(pairs_sheet(page.pairs)))
        settling = [(n, made.value, made.low, made.high, floor.value) for n, made, floor in page.course]
        _table(folder / f"settling_{page.name}.csv", ("n", "generated", "low", "high", "real"), settling)
        _table(folder / f"labels_{page.name}.csv", *_by_label(page))
    (folder / "report.html").write_text(report(pages, features), encoding="utf-8")


def _fields(it: Figure) -> dict[str, Any]:
    """What is needed to read a figure: its honest name, n, its interval, what real images score."""
    return {
        **it.made._asdict(),
        "n": it.n,
        "floor": it.floor.value,
        "better": it.better,
        "name": it.name,
        "features": it.features,
    }


def _by_label(page: ModelPage) -> tuple[list[str], list[list[Any]]]:
    """Heads and rows: a row for each label, with every figure's value, interval and real images' score; empty where refused."""
    kinds = [kind for kind, figure in page.figures.items() if figure.name]  # those of features: copies are looked for in all
    rows = []
    for label, scored in page.labels.items():
        row: list[Any] = [label, next((figure.n for figure in scored.figures.values()), "")]
        for kind in kinds:
            it = scored.figures.get(kind)
            row += [*it.made, it.floor.value] if it else [""] * 4
        rows.append(row)
    return ["label", "n", *(kind + part for kind in kinds for part in ("", "_low", "_high", "_real"))], rows


def _table(file: Path, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows(rows)


def history_of(file: Path | None) -> History:
    """What a training left in loss.csv, and in scores.csv beside it. Empty where there is none."""
    if file is None:
        return History()
    rows, sheets = _rows(file), _rows(file.with_name("scores.csv"))
    loss = [_line(rows, *one) for one in (("loss", "training images", "quiet"), ("held_out_loss", "held-out images", "made"))]
    gaps = []
    for band, tone in zip(BANDS, ("made", "real", "other"), strict=True):
        both = [(row, row.get(f"held_out_loss {band}"), row.get(f"training_loss {band}")) for row in rows]
        points = [(float(row["images_seen"]), float(held) / float(seen)) for row, held, seen in both if held and seen]
        gaps.append(Line(band, tone, points))
    names = [name for name in (sheets[0] if sheets else {}) if name.startswith("kd_")]
    scores = [_line(sheets, name, "sheet of the training", "made") for name in names]
    scores += [_line(sheets, "real", "as many held-out images", "real")] if sheets else []
    return History(loss, gaps, scores, *names[:1])


def _rows(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


def _line(rows: Sequence[dict[str, str]], column: str, name: str, tone: str) -> Line:
    return Line(name, tone, [(float(row["images_seen"]), float(row[column])) for row in rows if row.get(column)])
