"""Small charts as SVG, for the page of a curation: a histogram with its threshold, bars by label."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 300, 90  # of the bars, in pixels
BINS = 40
BELOW = 18  # pixels for the numbers under the bars
TONES = {"train": "#3b6ea5", "validation": "#8fb3d9", "test": "#d9a441"}


def histogram(kept: Sequence[float], rejected: Sequence[float], limit: float | None, name: str) -> str:
    """How many images have which score: kept ones, above them rejected ones; the limit as a line. Wide ranges by logarithm."""
    values = np.array([*kept, *rejected], float)
    logarithmic = bool(len(values)) and values.min() > 0 and values.max() > 50 * np.median(values)
    ends = [*values, *([] if limit is None else [limit])]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    places = [_placed(np.array(group, float), low, high, logarithmic) for group in (kept, rejected)]
    counts = [np.histogram(group, BINS, (0, 1))[0] for group in places]
    top = max(1, int((counts[0] + counts[1]).max()))
    bars = []
    for index, (stays, goes) in enumerate(zip(*counts, strict=True)):
        left, wide = index * WIDTH / BINS, WIDTH / BINS - 1
        for base, count, tone in ((0, stays, "#3b6ea5"), (stays, goes, "#c0503c")):
            tall = HEIGHT * count / top
            if count:
                bars.append(_box(left, HEIGHT - HEIGHT * base / top - tall, wide, tall, tone))
    if limit is not None:
        at = WIDTH * float(_placed(np.array([limit]), low, high, logarithmic)[0])
        bars.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{HEIGHT}" stroke="#111" stroke-dasharray="3 2"/>')
    words = f"{_text(0, 'start', _number(low))}{_text(WIDTH, 'end', _number(high))}"
    if limit is not None:
        words += _text(WIDTH / 2, "middle", f"limit {_number(limit)}")
    return _svg(HEIGHT + BELOW, "".join(bars) + words, f"histogram of {name}")


def _placed(values: np.ndarray, low: float, high: float, logarithmic: bool) -> np.ndarray:
    """Values as places from 0 to 1."""
    if logarithmic and low > 0:
        values, low, high = np.log(values), float(np.log(low)), float(np.log(high))
    return np.asarray((values - low) / (high - low) if high > low else np.full(len(values), 0.5))


def label_bars(counts: Mapping[str, Mapping[str, int]]) -> str:
    """A bar for each label, in parts for its splits."""
    most = max((sum(parts.values()) for parts in counts.values()), default=1) or 1
    drawn, row = [], 20
    for index, (label, parts) in enumerate(counts.items()):
        left = 110.0
        for split, count in parts.items():
            wide = (WIDTH - 40) * count / most
            drawn.append(_box(left, index * row + 3, wide, row - 6, TONES[split]))
            left += wide
        shown = label if len(label) <= 16 else label[:15] + "…"
        drawn.append(_text(104, "end", shown or "no label", index * row + 14))
        drawn.append(_text(left + 4, "start", f"{sum(parts.values()):,}", index * row + 14))
    return _svg(max(1, len(counts)) * row, "".join(drawn), "images by label and split", WIDTH + 130)


def _box(left: float, top: float, wide: float, tall: float, tone: str) -> str:
    return f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{tall:.1f}" fill="{tone}"/>'


def _text(left: float, anchor: str, words: str, top: float = HEIGHT + 13) -> str:
    return f'<text x="{left:.1f}" y="{top:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(tall: float, content: str, name: str, wide: float = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {wide} {tall}" width="{wide}" height="{tall}" role="img" aria-label="{escape(name)}">{content}</svg>'
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
