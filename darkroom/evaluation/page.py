"""A self-contained page out of parts: words, facts, tables, pictures, charts. No times and no paths: equal parts, equal bytes.

Whoever has more to say of an evaluation hands over more blocks.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image

from darkroom.evaluation.charts import Line, chart
from darkroom.evaluation.figures import Estimate


@dataclass(frozen=True)
class Words:
    """Sentences, set off: what it comes to."""

    sentences: Sequence[str]


@dataclass(frozen=True)
class Paste:
    """Lines to copy as they stand."""

    title: str
    text: str


@dataclass(frozen=True)
class Facts:
    """Names and values, small: how something was measured."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Cell:
    """Text of a table; `tone` is "", "n" (a number), "worse", "level" or "beyond"; `note` is small."""

    text: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """The first cell of each row names it; `code` under that name is the exact one."""

    title: str
    heads: Sequence[str]
    rows: Sequence[tuple[Cell, ...]]
    caption: str = ""
    codes: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """An image with a caption."""

    title: str
    image: Image.Image
    caption: str


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis."""

    title: str
    lines: Sequence[Line]
    x: str
    y: str
    caption: str


@dataclass(frozen=True)
class Beside:
    """Pictures next to each other, where the page is wide enough."""

    pictures: Sequence[Picture]


Block = Words | Paste | Facts | Table | Picture | Beside | Chart


@dataclass(frozen=True)
class Part:
    """What the page tells about one thing."""

    title: str
    note: str
    blocks: Sequence[Block]


def page(title: str, lead: str, parts: Sequence[Part]) -> str:
    """The whole page as HTML."""
    links = "".join(f"<a href='#part-{at}'>{escape(part.title)}</a>" for at, part in enumerate(parts)) if len(parts) > 1 else ""
    body = "".join(_part(part, at) for at, part in enumerate(parts))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n<h1>{escape(title)}</h1>\n"
        f"<p class='quiet'>{escape(lead)}</p>\n<nav>{links}</nav>\n{body}</main></body></html>\n"
    )


def with_part(whole: str, part: Part) -> str:
    """A page, as `page` made it, with one part more before all others."""
    top, nav, rest = whole.partition("</nav>\n")
    opening, _, links = top.rpartition("<nav>")
    return f"{opening}<nav><a href='#part-more'>{escape(part.title)}</a>{links}{nav}{_part(part, 'more')}{rest}"


def _part(part: Part, at: int | str) -> str:
    note = f" <small>{escape(part.note)}</small>" if part.note else ""
    blocks = "".join(_block(block) for block in part.blocks)
    return f"<section id='part-{at}'><h2>{escape(part.title)}{note}</h2>\n{blocks}</section>\n"


def _block(block: Block) -> str:
    match block:
        case Words(sentences):
            return f"<ul class='verdict'>{''.join(f'<li>{escape(one)}</li>' for one in sentences)}</ul>\n" if sentences else ""
        case Paste(title, text):
            return f"<h3>{escape(title)}</h3>\n<pre>{escape(text)}</pre>\n" if text else ""
        case Facts(pairs):
            return f"<dl class='facts'>{''.join(f'<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>' for k, v in pairs)}</dl>\n"
        case Table():
            return _table(block)
        case Picture():
            return _picture(block)
        case Beside(pictures):
            return f"<div class='beside'>{''.join(f'<div>{_picture(one)}</div>' for one in pictures)}</div>\n"
        case Chart():
            drawn = chart(block.title, block.lines, block.x, block.y)
            inside = f"<figure>{drawn}{_caption(block.caption)}</figure>\n"
            return f"<h3>{escape(block.title)}</h3>\n{inside}" if drawn else ""


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.heads)
    codes = table.codes or [""] * len(table.rows)
    rows = "".join(_row(table.heads, row, code) for row, code in zip(table.rows, codes, strict=True))
    title = f"<h3>{escape(table.title)}</h3>\n" if table.title else ""
    caption = f"<p class='quiet'><small>{escape(table.caption)}</small></p>\n" if table.caption else ""
    return (
        f"{title}<div class='wide' tabindex='0'><table><thead><tr>{head}</tr></thead>\n"
        f"<tbody>{rows}</tbody></table></div>\n{caption}"
    )


def _row(heads: Sequence[str], row: tuple[Cell, ...], code: str) -> str:
    first, *others = row
    rest = "".join(
        f"<td class='{cell.tone}' data-head='{escape(head, quote=True)}'><span>{_text(cell)}</span></td>"
        for head, cell in zip(heads[1:], others, strict=True)
    )
    exact = f"<code>{escape(code)}</code>" if code else ""
    return f'<tr><th scope="row">{_text(first)}{exact}</th>{rest}</tr>\n'


def _text(cell: Cell) -> str:
    shown = f"<b>{escape(cell.text)}</b>" if cell.tone == "n" else escape(cell.text)
    return f"{shown} <small>{escape(cell.note)}</small>" if cell.note else shown


def _picture(picture: Picture) -> str:
    source = b64encode(png(picture.image)).decode("ascii")
    title, image = escape(picture.title, quote=True), picture.image
    return (
        f"<h3>{title}</h3>\n<figure><img alt='{title}' width='{image.width}' height='{image.height}' "
        f"src='data:image/png;base64,{source}'>{_caption(picture.caption)}</figure>\n"
    )


def _caption(text: str) -> str:
    return f"<figcaption>{escape(text)}</figcaption>"


def png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    whole = BytesIO()
    image.save(whole, "PNG", optimize=True)
    return whole.getvalue()


def estimated(it: Estimate) -> Cell:
    """A figure with its interval."""
    return Cell(number(it.value), f"{number(it.low)} to {number(it.high)}", "n")


def number(value: float) -> str:
    """Three digits that count, without exponents for the sizes that occur: 0.0123, 1.23, 12.3, 1,230."""
    if value == 0:
        return "0"
    digits = max(0, 2 - int(np.floor(np.log10(abs(value)))))
    shown = f"{round(value, digits):,.{min(digits, 4)}f}"
    return shown.replace("-", "\N{MINUS SIGN}")


STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --quiet: #5f6368; --paper: #fdfdfc; --line: #dcdcd8; --card: #f4f4f1;
  --worse: #9a3412; --level: #5f6368; --beyond: #6b21a8; --made: #1d4ed8; --real: #15803d; --other: #b45309; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e3; --quiet: #a3a09b; --paper: #161618; --line: #38383c;
  --card: #202024; --worse: #fdba74; --level: #a3a09b; --beyond: #d8b4fe; --made: #93b4ff; --real: #86d99b; --other: #f5c26b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.4rem; margin: 2.5rem 0 .5rem; padding-top: 1.25rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
small { font-weight: 400; color: var(--quiet); font-size: .85rem; }
h2 small { margin-left: .5rem; }
th small { display: block; max-width: 22rem; line-height: 1.35; }
.quiet, figcaption { color: var(--quiet); max-width: 46rem; }
.verdict { padding: .9rem 1.25rem .9rem 2.2rem; margin: 1rem 0 1.5rem; background: var(--card); border-radius: .6rem; }
.verdict li + li { margin-top: .4rem; }
pre { padding: .9rem 1.25rem; background: var(--card); border-radius: .6rem; overflow-x: auto; font-size: .85rem; }
.wide { overflow-x: auto; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .6rem 1.5rem;
  margin: 1rem 0; padding: 0; }
.facts div { min-width: 0; }
.facts dt { font-size: .8rem; color: var(--quiet); }
.facts dd { margin: 0; font-size: .95rem; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1rem 0 0; }
a { color: inherit; text-underline-offset: .2em; }
code { font-size: .8rem; color: var(--quiet); font-weight: 400; overflow-wrap: anywhere; }
th code { display: block; }
svg { width: 100%; max-width: 46rem; height: auto; display: block; }
svg text { font-size: 11px; fill: var(--quiet); font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
svg circle { fill: currentColor; } svg .band { fill: currentColor; opacity: .14; }
.made { color: var(--made); } .real { color: var(--real); } .other { color: var(--other); } .quiet { color: var(--quiet); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; margin: .4rem 0; padding: 0; font-size: .88rem; }
.legend li::before { content: ""; display: inline-block; width: 1.1em; height: .22em; background: currentColor;
  margin-right: .45em; vertical-align: middle; border-radius: 1em; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem 1.5rem; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
th, td { text-align: left; vertical-align: top; padding: .55rem .9rem .55rem 0; border-bottom: 1px solid var(--line); }
thead th { font-size: .82rem; color: var(--quiet); font-weight: 600; white-space: nowrap; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
.worse { color: var(--worse); } .level { color: var(--level); } .beyond { color: var(--beyond); }
figure { margin: 0; }
img { max-width: 100%; height: auto; border-radius: .4rem; background: #fff; image-rendering: pixelated; }
figcaption { margin-top: .4rem; font-size: .9rem; }
@media (max-width: 44rem) {
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr { display: block; padding: .7rem 0; border-bottom: 1px solid var(--line); }
  th, td { display: block; border: 0; padding: .1rem 0; }
  td { display: flex; justify-content: space-between; gap: 1rem; text-align: right; }
  td::before { content: attr(data-head); color: var(--quiet); font-size: .85rem; text-align: left; }
}
"""
