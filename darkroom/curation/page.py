"""The report of a curation: one self-contained page. No times and no paths of a machine: the same images give the same bytes."""

from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image

from darkroom.curation.cautions import warnings_of
from darkroom.curation.charts import TONES, histogram, label_bars
from darkroom.curation.filters import Filter
from darkroom.curation.ledger import Entry, kept_by_shape, label_names, rejected_by_reason, summary
from darkroom.images import SPLITS, Rows
from darkroom.shapes import Shape

TILE = 96  # pixels of one picture
PICTURES = 18  # of one reason
CLUSTERS, MEMBERS = 24, 6  # shown, and of one cluster
LABELS = 60  # shown

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c1c1c;background:#fafafa;margin:0}
main{max-width:1080px;margin:0 auto;padding:24px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:36px 0 8px}h3{font-size:15px;margin:20px 0 6px}.quiet{color:#666}
.warn{background:#fff4d6;border-left:4px solid #d9a441;margin:6px 0;padding:8px 12px}.big{font-size:20px}
.row{display:flex;flex-wrap:wrap;gap:10px}figure{margin:0;width:96px}figure img{width:96px;height:96px;display:block}
figcaption{font-size:11px;line-height:1.3;overflow-wrap:anywhere;color:#444}.stays img{outline:3px solid #3b6ea5}
.cluster{background:#fff;border:1px solid #e2e2e2;padding:10px;margin:0 8px 8px 0;display:inline-block;vertical-align:top}
.charts{display:flex;flex-wrap:wrap;gap:24px}
svg text{font-size:11px;fill:#444}table{border-collapse:collapse}td,th{padding:3px 14px 3px 0;text-align:left}
td.n{text-align:right}
ul.names{font-size:13px;margin:4px 0;columns:2}
"""


def page(
    entries: Sequence[Entry], squares: Rows, filters: Sequence[Filter], shapes: Sequence[Shape], notes: Sequence[str]
) -> str:
    """The whole page as HTML. `squares` goes with the entries; `filters` have their thresholds in values; `notes` say what of the
    source could not be used and has no row of its own, such as a folder that may not be read."""
    parts = [
        _head(entries, shapes, notes),
        _reasons(entries, squares),
        _clusters(entries, squares),
        _scores(entries, filters),
        _labels(entries),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Curation</title><style>{STYLE}</style></head>\n<body><main>\n{''.join(parts)}</main></body></html>\n"
    )


def _head(entries: Sequence[Entry], shapes: Sequence[Shape], notes: Sequence[str]) -> str:
    counts = summary(entries)
    splits = ", ".join(f"{count:,} {split}" for split, count in counts["kept_by_split"].items())
    warned = "".join(f"<p class='warn'>{escape(one)}</p>\n" for one in [*notes, *warnings_of(entries, tuple(shapes))])
    buckets = ", ".join(f"{count:,} of {shape}" for shape, count in kept_by_shape(entries, shapes).items() if count)
    return (
        f"<h1>Curation</h1>\n<p class='big'>{counts['kept']:,} of {counts['files']:,} files kept: {splits}.</p>\n"
        f"{f'<p>Aspect buckets: {buckets} pixels.</p>' if len(shapes) > 1 else ''}"
        f"{warned or '<p>No warnings.</p>'}"
    )


def _reasons(entries: Sequence[Entry], squares: Rows) -> str:
    counts = rejected_by_reason(entries)
    if not counts:
        return "<h2>Rejected</h2><p>Nothing was rejected.</p>\n"
    rows = "".join(f"<tr><td>{reason}</td><td class='n'>{count:,}</td></tr>" for reason, count in counts.items())
    shown = []
    for reason, count in counts.items():
        those = [index for index, entry in enumerate(entries) if entry.reason == reason]
        seen = [index for index in those if entries[index].width][:PICTURES]
        unseen = [index for index in those if not entries[index].width][: PICTURES - len(seen)]
        shown.append(f"<h3>{reason}: {count:,}</h3>\n<div class='row'>")
        shown += [_figure(entries[index], squares[index], entries[index].detail) for index in seen]
        names = "".join(f"<li>{escape(entries[index].path)}: {escape(entries[index].detail)}</li>" for index in unseen)
        shown.append(f"</div>{f'<ul class=names>{names}</ul>' if names else ''}\n")
        if count > PICTURES:
            shown.append(f"<p class='quiet'>The first {PICTURES}; all are in manifest.parquet.</p>\n")
    return f"<h2>Rejected</h2>\n<table>{rows}</table>\n{''.join(shown)}"


def _clusters(entries: Sequence[Entry], squares: Rows) -> str:
    place = {entry.path: index for index, entry in enumerate(entries)}
    clusters: defaultdict[str, list[int]] = defaultdict(list)
    for index, entry in enumerate(entries):
        if entry.duplicate_of:
            clusters[entry.duplicate_of].append(index)
    if not clusters:
        return "<h2>Duplicates</h2><p>None were found.</p>\n"
    near_first = sorted(
        clusters,
        key=lambda one: (all(entries[copy].reason != "near_duplicate" for copy in clusters[one]), -len(clusters[one]), one),
    )
    drawn = []
    for original in near_first[:CLUSTERS]:
        copies = clusters[original]
        stays = _figure(entries[place[original]], squares[place[original]], "stays", "stays")
        others = [_figure(entries[one], squares[one], _link(entries[one])) for one in copies[:MEMBERS]]
        more = f"<p class='quiet'>and {len(copies) - MEMBERS:,} more</p>" if len(copies) > MEMBERS else ""
        drawn.append(f"<div class='cluster'><div class='row'>{stays}{''.join(others)}</div>{more}</div>\n")
    sizes = Counter(len(copies) for copies in clusters.values())
    told = ", ".join(f"{count:,} of {size + 1}" for size, count in sorted(sizes.items()))
    return (
        f"<h2>Duplicates</h2>\n<p>{len(clusters):,} clusters ({told} images). The framed image stays; each other one was "
        f"compared with it.</p>\n{''.join(drawn)}"
    )


def _link(entry: Entry) -> str:
    return f"{entry.reason}: {entry.detail.replace(entry.duplicate_of, 'it')}"


def _scores(entries: Sequence[Entry], filters: Sequence[Filter]) -> str:
    decoded = [entry for entry in entries if entry.scores or entry.width]
    drawn = []
    for one in filters:
        groups: tuple[list[float], list[float]] = ([], [])  # passed this filter, failed it
        for entry in decoded:
            if one.kind in entry.scores:
                groups[entry.reason == one.kind].append(entry.scores[one.kind])
        limit = getattr(one, "least", getattr(one, "most", None))
        drawn.append(f"<div><h3>{one.kind}</h3>{histogram(groups[0], groups[1], limit, one.kind)}</div>")
    sized = [entry for entry in decoded if entry.width]
    for name, values in (
        ("shorter side, pixels", [float(min(entry.width, entry.height)) for entry in sized]),
        ("width to height", [entry.width / entry.height for entry in sized]),
    ):
        pairs = list(zip(values, sized, strict=True))
        stays, goes = ([value for value, entry in pairs if entry.kept is kept] for kept in (True, False))
        drawn.append(f"<div><h3>{name}</h3>{histogram(stays, goes, None, name)}</div>")
    return (
        "<h2>Scores</h2>\n<p class='quiet'>Blue: not rejected by this filter; red: rejected by it (in the last two: for whatever "
        f"reason). The dashed line is the limit.</p>\n<div class='charts'>{''.join(drawn)}</div>\n"
    )


def _labels(entries: Sequence[Entry]) -> str:
    counts = Counter((entry.label, entry.split) for entry in entries if entry.kept)
    names = sorted(label_names(entries), key=lambda label: (-sum(counts[label, split] for split in SPLITS), label))
    table = {label: {split: counts[label, split] for split in SPLITS} for label in names[:LABELS]}
    legend = ", ".join(f"<b style='color:{TONES[split]}'>{split}</b>" for split in SPLITS)
    more = f"<p class='quiet'>and {len(names) - LABELS:,} more labels</p>" if len(names) > LABELS else ""
    return f"<h2>Labels</h2>\n<p>{legend}</p>\n{label_bars(table)}{more}\n"


def _figure(entry: Entry, square: np.ndarray, words: str, kind: str = "") -> str:
    tile = BytesIO()
    Image.fromarray(square).resize((TILE, TILE), Image.Resampling.LANCZOS).save(tile, "JPEG", quality=80)
    address = f"data:image/jpeg;base64,{b64encode(tile.getvalue()).decode()}"
    return (
        f"<figure class='{kind}'><img alt='' src='{address}'>"
        f"<figcaption>{escape(entry.path)}<br><span class='quiet'>{escape(words)}</span></figcaption></figure>"
    )
