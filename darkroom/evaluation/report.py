"""The report: what the figures say in plain words, the figures themselves, samples, nearest neighbours, models side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from darkroom.evaluation.charts import Line
from darkroom.evaluation.figures import Estimate, Figure, difference
from darkroom.evaluation.memorisation import Memorisation
from darkroom.evaluation.page import Beside, Block, Cell, Chart, Facts, Part, Picture, Table, Words, estimated, number, page
from darkroom.evaluation.page import png as png  # for those who keep the sheets
from darkroom.evaluation.scoring import Scored
from darkroom.images import Pixels, contact_sheet

SCALE = 3  # pictures are stored with each pixel enlarged; browsers shrink them to fit
COLUMNS = 8
FRAME = 190  # grey
BESIDE = 16  # samples of each model where models stand side by side

Course = Sequence[tuple[int, Estimate, Estimate]]  # n, made, floor


@dataclass(frozen=True)
class History:
    """A training's course: losses; held-out loss over training loss by band of noise; quick scores of its sheets (`score`)."""

    loss: Sequence[Line] = ()
    gaps: Sequence[Line] = ()
    scores: Sequence[Line] = ()
    score: str = ""


@dataclass(frozen=True)
class ModelPage:
    """What the page tells about one model. `blocks` come last: whoever looked further adds them."""

    name: str
    focus: tuple[str, ...]  # labels that the model is meant for; empty: all
    samples: Pixels  # uint8 [s, h, w, 3], the first generated ones, not chosen
    pairs: Pixels  # uint8 [p, h, 2 w, 3], generated image and nearest training image side by side, closest first
    figures: dict[str, Figure]
    copies: Memorisation
    refused: Mapping[str, str] = field(default_factory=dict)
    facts: Sequence[tuple[str, str]] = ()
    labels: Mapping[str, Scored] = field(default_factory=dict)
    course: Course = ()
    history: History = field(default_factory=History)
    blocks: Sequence[Block] = ()
    copies_in_features: Memorisation | None = None
    pairs_in_features: Pixels | None = None


def pairs_of(made: Pixels, training: Pixels, copies: Memorisation, count: int) -> Pixels:
    """The `count` generated images that come closest to a training image, each beside it, mirrored where
    its mirror image is near. uint8 [count, h, 2 w, 3]"""
    closest = np.argsort(copies.neighbours.nearest, kind="stable")[:count]
    near, mirrored = training[copies.neighbours.index[closest]], copies.neighbours.mirrored[closest]
    near[mirrored] = near[mirrored][:, :, ::-1]
    return np.concatenate([made[closest], near], axis=2)


def samples_sheet(page: ModelPage) -> Image.Image:
    """The samples side by side."""
    return contact_sheet(page.samples, COLUMNS, SCALE)


def pairs_sheet(pairs: Pixels) -> Image.Image:
    """The pairs side by side, each in a frame of its own."""
    framed = np.pad(pairs, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=FRAME)
    return contact_sheet(framed, COLUMNS // 2, SCALE, gap=3)


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
            f"As a set, the images of {page.name} {found}: kernel distance {number(value)} (95 % interval "
            f"{number(low)} to {number(high)}; real images score {number(floor)}; n = {distance.n})."
        )
    sentences.append(_copies(page.copies, "in pixels"))
    if page.copies_in_features is not None:
        sentences.append(_copies(page.copies_in_features, "in features"))
    worst = _worst_label(page.labels)
    return [*sentences, worst] if worst else sentences


def _copies(found: Memorisation, place: str) -> str:
    copied, held_out = found.copied, found.copied_held_out
    beside = f"({place}; {held_out.count} of {held_out.n} real held-out images look the same by this rule)"
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


def _worst_label(labels: Mapping[str, Scored]) -> str:
    """The label that is drawn worst, where its interval lies apart from the best one's."""
    found = {label: one.figures["kernel_distance"].made for label, one in labels.items() if "kernel_distance" in one.figures}
    if len(found) < 2:
        return ""
    ordered = sorted(found, key=lambda label: found[label].value)
    best, worst = ordered[0], ordered[-1]
    if difference(found[worst], found[best])[0] <= 0:
        return ""
    return (
        f"Drawn worst: {worst} (kernel distance {number(found[worst].value)}); best: {best} ({number(found[best].value)}). "
        "The interval of the difference leaves out 0."
    )


def report(pages: Sequence[ModelPage], described_by: str, more: Sequence[Part] = ()) -> str:
    """The whole page as HTML. `described_by` names the features behind the scores; `more` are further parts of the page."""
    together = [side_by_side(pages)] if len(pages) > 1 else []
    return page("Evaluation", EXPLANATION.format(features=described_by), [*together, *(part_of(one) for one in pages), *more])


def side_by_side(pages: Sequence[ModelPage]) -> Part:
    """Models beside each other: their scores, and what each drew from the same noise."""
    blocks: list[Block] = []
    alike = len({one.focus for one in pages}) == 1
    if not alike:
        meant = "; ".join(f"{one.name}: {', '.join(one.focus) or 'all labels'}" for one in pages)
        blocks.append(Words([f"Meant for different labels ({meant}), so measured against different images: compare with care."]))
    blocks.append(_beside_table(pages, alike))
    drawn = "The first images generated from the fixed seed; not chosen."
    sheets = [Picture(one.name, contact_sheet(one.samples[:BESIDE], COLUMNS, SCALE), drawn) for one in pages]
    blocks.append(Beside(sheets))
    return Part("Side by side", "", blocks)


def _beside_table(pages: Sequence[ModelPage], alike: bool) -> Table:
    first, *others = pages
    shared = [name for name in first.figures if all(name in one.figures for one in others)]
    rows = []
    for name in shared:
        figures = [one.figures[name] for one in pages]
        cells = [Cell(_title(name)), *(estimated(figure.made) for figure in figures), estimated(figures[0].floor)]
        if alike:
            cells.append(_compared(pages, name))
        rows.append(tuple(cells))
    heads = ["Score", *(one.name for one in pages), f"Real images ({first.name})"] + (["Reading"] if alike else [])
    caption = "Apart: the 95 % interval of the difference leaves out 0." if alike else ""
    return Table("", heads, rows, caption, [first.figures[name].name for name in shared])


def _compared(pages: Sequence[ModelPage], name: str) -> Cell:
    """The first against the last."""
    first, last = pages[0], pages[-1]
    low, high = difference(last.figures[name].made, first.figures[name].made)
    if low <= 0 <= high:
        return Cell("no difference seen", "", "level")
    better = last if (high < 0) == (first.figures[name].better == "lower") else first
    return Cell(f"{better.name} is better, apart", "", "")


def part_of(one: ModelPage) -> Part:
    """All about one model."""
    meant = f"meant for: {', '.join(one.focus)}" if one.focus else "meant for all labels"
    blocks: list[Block] = [Words([*headlines(one), *one.refused.values()])]
    if one.facts:
        blocks.append(Facts(one.facts))
    blocks += [_scores(one), *_curves(one), _by_label(one)]
    blocks += [
        Picture(f"Samples of {one.name}", samples_sheet(one), "The first images generated from the fixed seed; not chosen."),
        _pairs(f"Closest pairs of {one.name}, in pixels", one.pairs),
        *([_pairs(f"Closest pairs of {one.name}, in features", near)] if (near := one.pairs_in_features) is not None else []),
        *one.blocks,
        *_history(one),
    ]
    return Part(one.name, meant, blocks)


def _pairs(title: str, pairs: Pixels) -> Picture:
    caption = "Each pair: a generated image (left), the training image nearest to it (right). The closest pairs first."
    return Picture(title, pairs_sheet(pairs), caption)


def _scores(one: ModelPage) -> Table:
    rows = []
    for name, figure in one.figures.items():
        n = f"{figure.n:,}" if figure.n == figure.floor_n else f"{figure.n:,} / {figure.floor_n:,}"
        reading = READINGS[figure.reading] + (f": {figure.beyond}" if figure.reading == "beyond" else "")
        cells = (Cell(_title(name), figure.meaning), estimated(figure.made), estimated(figure.floor))
        rows.append((*cells, Cell(n, "", "n"), Cell(figure.better), Cell(reading, "", figure.reading)))
    return Table("", HEADS, rows, "", [figure.name for figure in one.figures.values()])


def _curves(one: ModelPage) -> list[Block]:
    blocks: list[Block] = []
    if len(one.course) > 1:
        ns = [n for n, _, _ in one.course]
        lines = [
            Line(name, tone, [(n, it.value) for n, it in zip(ns, found, strict=True)], [(it.low, it.high) for it in found])
            for name, tone, found in (
                ("generated images", "made", [made for _, made, _ in one.course]),
                ("real images", "real", [floor for _, _, floor in one.course]),
            )
        ]
        caption = (
            "How the figure settles with more images; bands are 95 % intervals. Bands apart: the difference is seen at that n."
        )
        blocks.append(Chart("Kernel distance by number of images", lines, "images", "kernel distance", caption))
    return blocks


def _history(one: ModelPage) -> list[Block]:
    """The course of its training, as evidence for the diagnosis above it; a chart without points is left out."""
    past = one.history
    return [
        Chart("Loss over the training", past.loss, "images seen", "loss", LOSS),
        Chart("Held-out loss over training loss", past.gaps, "images seen", "held-out / training", GAPS),
        Chart("Sample sheets over the training", past.scores, "images seen", past.score, SHEETS),
    ]


def _by_label(one: ModelPage) -> Table:
    """The labels drawn worst first; few of them, or one, need no table."""
    if len(one.labels) < 2:
        return Table("", (), ())
    kinds = [kind for kind in ("kernel_distance", "cmmd", "coverage") if any(kind in s.figures for s in one.labels.values())]

    def place(label: str) -> float:
        figure = one.labels[label].figures.get("kernel_distance")
        return -figure.made.value if figure else np.inf

    rows = []
    for label in sorted(one.labels, key=lambda label: (place(label), label)):
        scored = one.labels[label]
        n = next((figure.n for figure in scored.figures.values()), None)
        cells = [Cell(label or "(none)"), Cell(f"{n:,}", "", "n") if n else Cell("", scored.refused.get("all", ""), "level")]
        for kind in kinds:
            figure = scored.figures.get(kind)
            cells += [estimated(figure.made), estimated(figure.floor)] if figure else [Cell(""), Cell("")]
        rows.append(tuple(cells))
    heads = ["Label", "n", *(head for kind in kinds for head in (_title(kind), f"Real images: {_title(kind).lower()}"))]
    return Table("Label by label", heads, rows, "Worst first. Against training images of the same label.")


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


LOSS = "On images as they were trained on, and on held-out ones with the averaged weights."
GAPS = (
    "By noise, the averaged weights on as many images of both kinds with the same noise. 1: nothing is learned by heart; "
    "where a line climbs, the training images are."
)
SHEETS = (
    "Kernel distance of the sample sheet, small pixels, always the same noise: colours and layout, not content. Few images: "
    "its course says more than its value."
)
HEADS = ("Score", "Generated images", "Real images", "n", "Better", "Reading")
READINGS = {
    "worse": "worse than real images",
    "level": "no difference from real images seen",
    "beyond": "beyond what unseen real images score",
}

EXPLANATION = (
    "Features: {features}. “Real images” is what held-out images, which no model has seen, score in place of "
    "generated ones against the same training images at the same n: the best that can be expected. Small figures are "
    "95 % intervals. Where no difference is seen, more images could show one. Kernel distance is an unbiased estimate "
    "and may lie below 0."
)
