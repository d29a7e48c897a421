"""A line chart as SVG inside a page: its colours are the page's, light or dark; no times, no random names."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 12, 34
TICKS = 5


@dataclass(frozen=True)
class Line:
    """Points (x, y), and where they are uncertain (low, high) of each; `tone` is "made", "real", "other" or "quiet"."""

    name: str
    tone: str
    points: Sequence[tuple[float, float]]
    bands: Sequence[tuple[float, float]] = ()


def chart(title: str, lines: Sequence[Line], x: str, y: str) -> str:
    """The whole chart with its legend. Lines without points are left out."""
    shown = [line for line in lines if line.points]
    if not shown:
        return ""
    across = [point[0] for line in shown for point in line.points]
    up = [point[1] for line in shown for point in line.points] + [end for line in shown for band in line.bands for end in band]
    place = _Place(min(across), max(across), *_around(min(up), max(up)))
    drawn = "".join(_band(line, place) for line in shown) + "".join(_line(line, place) for line in shown)
    legend = "".join(f"<li class='{line.tone}'>{escape(line.name)}</li>" for line in shown)
    return (
        f"<ul class='legend'>{legend}</ul>"
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(title, quote=True)}'>"
        f"{_grid(place)}{drawn}"
        f"<text class='name' x='{WIDTH - RIGHT}' y='{HEIGHT - 2}' text-anchor='end'>{escape(x)}</text>"
        f"<text class='name' x='{LEFT + 4}' y='{TOP + 8}'>{escape(y)}</text></svg>"
    )


@dataclass(frozen=True)
class _Place:
    """Where values lie on the sheet."""

    left: float
    right: float
    bottom: float
    top: float

    def x(self, value: float) -> str:
        """From the left edge."""
        share = (value - self.left) / (self.right - self.left) if self.right > self.left else 0.5
        return f"{LEFT + share * (WIDTH - LEFT - RIGHT):.1f}"

    def y(self, value: float) -> str:
        """From the upper edge."""
        share = (value - self.bottom) / (self.top - self.bottom)
        return f"{HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM):.1f}"


def _around(low: float, high: float) -> tuple[float, float]:
    """A little room above and below; from 0 where that is not far."""
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    bottom = low - room
    return (0.0 if 0 <= low < 0.5 * high else bottom), high + room


def ticks(low: float, high: float) -> list[float]:
    """About `TICKS` round numbers from low to high."""
    rough = (high - low) / TICKS or 1.0
    power = 10.0 ** floor(log10(rough))
    step = next(width * power for width in (1, 2, 2.5, 5, 10) if width * power >= rough)
    first = -floor(-low / step)
    return [round(step * (first + at), 10) for at in range(int((high - first * step) / step + 1e-9) + 1)]


def _grid(place: _Place) -> str:
    rows = "".join(
        f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{place.y(value)}' y2='{place.y(value)}'/>"
        f"<text x='{LEFT - 6}' y='{float(place.y(value)) + 4:.1f}' text-anchor='end'>{_short(value)}</text>"
        for value in ticks(place.bottom, place.top)
    )
    places = ticks(place.left, place.right) if place.right > place.left else [place.left]
    columns = "".join(
        f"<text x='{place.x(value)}' y='{HEIGHT - BOTTOM + 18}' text-anchor='middle'>{_short(value)}</text>"
        for value in places
        if place.left <= value <= place.right
    )
    return rows + columns


def _short(value: float) -> str:
    shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
    return shown.replace("-", "\N{MINUS SIGN}")


def _band(line: Line, place: _Place) -> str:
    if not line.bands:
        return ""
    xs = [place.x(x) for x, _ in line.points]
    lower = [f"{x},{place.y(band[0])}" for x, band in zip(xs, line.bands, strict=True)]
    upper = [f"{x},{place.y(band[1])}" for x, band in zip(xs, line.bands, strict=True)]
    return f"<polygon class='band {line.tone}' points='{' '.join(upper + lower[::-1])}'/>"


def _line(line: Line, place: _Place) -> str:
    points = [(place.x(x), place.y(y)) for x, y in line.points]
    dots = "".join(f"<circle class='{line.tone}' cx='{x}' cy='{y}' r='3'/>" for x, y in points) if len(points) <= 12 else ""
    return f"<polyline class='line {line.tone}' points='{' '.join(f'{x},{y}' for x, y in points)}'/>{dots}"
