"""The report: one self-contained page with samples, nearest neighbours, scores, and what they say in plain words.

No times and no paths: the same scores give the same bytes.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image

from darkroom.evaluation.memorisation import Memorisation, Share
from darkroom.evaluation.metrics import Estimate, Figure
from darkroom.images import Pixels, contact_sheet

SCALE = 3  # pictures are stored with each pixel enlarged; browsers shrink them to fit
COLUMNS = 8
FRAME = 190  # grey


@dataclass(frozen=True)
class ModelPage:
    """What the page tells about one model."""

    name: str
    focus: tuple[str, ...]  # labels that the model is meant for; empty: all
    samples: Pixels  # uint8 [s, h, w, 3], the first generated ones, not chosen
    pairs: Pixels  # uint8 [p, h, 2 w, 3], generated image and nearest training image side by side, closest first
    figures: dict[str, Figure]
    copies: Memorisation


def pairs_of(made: Pixels, training: Pixels, copies: Memorisation, count: int) -> Pixels:
    """The `count` generated images that come closest to a training image, each beside it. uint8 [count, h, 2 w, 3]"""
    closest = np.argsort(copies.neighbours.nearest, kind="stable")[:count]
    return np.concatenate([made[closest], training[copies.neighbours.index[closest]]], axis=2)


def samples_sheet(page: ModelPage) -> Image.Image:
    """The samples side by side."""
    return contact_sheet(page.samples, COLUMNS, SCALE)


def pairs_sheet(page: ModelPage) -> Image.Image:
    """The pairs side by side, each in a frame of its own."""
    framed = np.pad(page.pairs, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=FRAME)
    return contact_sheet(framed, COLUMNS // 2, SCALE, gap=3)


def png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    whole = BytesIO()
    image.save(whole, "PNG", optimize=True)
    return whole.getvalue()


def headlines(page: ModelPage) -> list[str]:
    """What the figures say, in sentences."""
    sentences = []
    distance = page.figures.get("kernel_distance")
    if distance is not None:
        found = {
            "worse": "can be told from real ones",
            "level": "cannot be told from real ones with this many images",
            "beyond": "lie closer to the training images than unseen real images do, which suggests copying",
        }[distance.reading]
        (value, low, high), floor = distance.made, distance.floor.value
        sentences.append(
            f"As a set, the images of {page.name} {found}: kernel distance {_number(value)} (95 % interval "
            f"{_number(low)} to {_number(high)}; real images score {_number(floor)}; n = {distance.n})."
        )
    sentences.append(_copies(page.copies.copied, page.copies.copied_held_out))
    return sentences


def _copies(copied: Share, held_out: Share) -> str:
    beside = f"({held_out.count} of {held_out.n} real held-out images look the same by this rule)"
    if copied.count == 0:
        most = copied.interval[1]
        return (
            f"No copies of training images among {copied.n} {beside}; "
            f"their true share is below {100 * most:.1f} % (95 % interval)."
        )
    low, high = copied.interval
    return (
        f"{copied.count} of {copied.n} generated images look like copies of a training image {beside}; "
        f"95 % interval {100 * low:.1f} to {100 * high:.1f} %."
    )


def report(pages: Sequence[ModelPage], described_by: str) -> str:
    """The whole page as HTML. `described_by` names the features behind the scores."""
    body = "".join(_section(page) for page in pages)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation</title><style>{STYLE}</style></head>\n<body><main>\n<h1>Evaluation</h1>\n"
        f"<p class='quiet'>{escape(EXPLANATION.format(features=described_by))}</p>\n{body}</main></body></html>\n"
    )


def _section(page: ModelPage) -> str:
    meant = f"meant for: {', '.join(page.focus)}" if page.focus else "meant for all labels"
    sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in headlines(page))
    return (
        f"<section><h2>{escape(page.name)} <small>{escape(meant)}</small></h2>\n<ul class='verdict'>{sentences}</ul>\n"
        + _table(page)
        + _picture(
            samples_sheet(page),
            f"Samples of {page.name}",
            "The first images generated from the fixed seed; not chosen.",
        )
        + _picture(
            pairs_sheet(page),
            f"Closest pairs of {page.name}",
            "Each pair: a generated image (left), the training image nearest to it (right). The closest pairs first.",
        )
        + "</section>\n"
    )


def _table(page: ModelPage) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in HEADS)
    rows = "".join(_row(name, figure) for name, figure in page.figures.items())
    return f"<div class='wide' tabindex='0'><table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>\n"


def _row(name: str, figure: Figure) -> str:
    title = name.replace("_", " ").capitalize()
    n = f"{figure.n:,}" if figure.n == figure.floor_n else f"{figure.n:,} / {figure.floor_n:,}"
    cells = (
        ("n", _estimate(figure.made)),
        ("n", _estimate(figure.floor)),
        ("n", n),
        ("", figure.better),
        (figure.reading, escape(READINGS[figure.reading])),
    )
    rest = "".join(
        f"<td class='{kind}' data-head='{head}'>{cell}</td>" for head, (kind, cell) in zip(HEADS[1:], cells, strict=True)
    )
    return f'<tr><th scope="row">{escape(title)}<small>{escape(figure.meaning)}</small></th>{rest}</tr>\n'


def _estimate(it: Estimate) -> str:
    return f"<span><b>{_number(it.value)}</b> <small>{_number(it.low)} to {_number(it.high)}</small></span>"


def _picture(image: Image.Image, title: str, caption: str) -> str:
    source = b64encode(png(image)).decode("ascii")
    return (
        f"<h3>{escape(title)}</h3>\n<figure><img alt='{escape(title)}' width='{image.width}' height='{image.height}' "
        f"src='data:image/png;base64,{source}'><figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def _number(value: float) -> str:
    """Three digits that count, without exponents for the sizes that occur: 0.0123, 1.23, 12.3, 1,230."""
    if value == 0:
        return "0"
    digits = max(0, 2 - int(np.floor(np.log10(abs(value)))))
    shown = f"{round(value, digits):,.{min(digits, 4)}f}"
    return shown.replace("-", "\N{MINUS SIGN}")


HEADS = ("Score", "Generated images", "Real images", "n", "Better", "Reading")
READINGS = {
    "worse": "worse than real images",
    "level": "no difference from real images seen",
    "beyond": "beyond what unseen real images score: look for copies, or for little variety",
}

EXPLANATION = (
    "Features: {features}. “Real images” is what held-out images, which no model has seen, score in place of "
    "generated ones against the same training images at the same n: the best that can be expected. Small figures are "
    "95 % intervals. Where no difference is seen, more images could show one. Kernel distance is an unbiased estimate "
    "and may lie below 0."
)

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --quiet: #5f6368; --paper: #fdfdfc; --line: #dcdcd8; --card: #f4f4f1;
  --worse: #9a3412; --level: #5f6368; --beyond: #6b21a8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e3; --quiet: #a3a09b; --paper: #161618; --line: #38383c;
  --card: #202024; --worse: #fdba74; --level: #a3a09b; --beyond: #d8b4fe; } }
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
.wide { overflow-x: auto; }
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
