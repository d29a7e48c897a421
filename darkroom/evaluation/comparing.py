"""Two models compared: the same labels out of the same noise, against the same real images, and how sure the difference is.

Paired: each resampling takes the same images of both, and the same real ones. What chance does to both alike drops out, so that
differences are seen that two separate intervals would hide.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from darkroom.evaluation.figures import Better, Estimate, Numbers
from darkroom.evaluation.generating import CODE, Generate, captions_for
from darkroom.evaluation.keeping import Kept, code_of, key_of
from darkroom.evaluation.memorisation import memorisation
from darkroom.evaluation.metrics import Coverage, KernelDistance, Precision
from darkroom.evaluation.nearest import Shrunk
from darkroom.evaluation.neighbourhoods import Described, Hits, TwoSets
from darkroom.evaluation.page import Block, Cell, Part, Picture, Table, Words, estimated, number, page
from darkroom.evaluation.subjects import MOST_BESIDE
from darkroom.events import Event, Progressed
from darkroom.features.features import Features
from darkroom.images import FEWEST, SPLITS, ImageSet, Pixels, contact_sheet, read_split, spread
from darkroom.kernels import cubic, resampled
from darkroom.networks.saved import Drawing, ModelCard, read_card
from darkroom.randomness import HELD_OUT, generator_for
from darkroom.refs import digest_of
from darkroom.sampling import generate, labels_for
from darkroom.shapes import in_words

K = 5  # neighbours of precision and coverage
COLUMNS = 6  # pairs to a row
FRAME = 190  # grey
SURE = 0.975  # probability from which a difference is called one
_REFERENCE, _RESAMPLING = 30, 31  # positions in the stream of random numbers


class NotComparable(ValueError):
    """Two models have nothing to be compared by. The text says what differs and what to do."""


@dataclass(frozen=True, slots=True)
class Contest:
    """One score of both models, their difference (first less second), and the probability that the first is better."""

    metric: str
    better: Better
    meaning: str
    first: float
    second: float
    difference: Estimate
    first_better: float

    @property
    def winner(self) -> Literal["first", "second", "neither"]:
        """`neither` where chance could have made the difference."""
        if max(self.first_better, 1 - self.first_better) < SURE:
            return "neither"
        return "first" if self.first_better > 0.5 else "second"


@dataclass(frozen=True)
class Comparison:
    """What two models made of the same noise; uint8 [n, s, s, 3] each, and how they score."""

    labels: tuple[str, ...]  # that both were asked for
    n: int
    reference: int  # training images compared with
    made: tuple[Pixels, Pixels]
    contests: tuple[Contest, ...]

    def sheet(self, count: int, scale: int) -> Image.Image:
        """The first `count` pairs, from the same noise: the first model's image left, the second's right."""
        pairs = np.concatenate([made[:count] for made in self.made], axis=2)
        framed = np.pad(pairs, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=FRAME)
        return contact_sheet(framed, COLUMNS, scale, gap=3)


@dataclass(frozen=True)
class Rival:
    """A model in a comparison: what it is called there, its folder, and how it is drawn."""

    name: str
    folder: Path
    drawing: Drawing


def as_served(name: str, folder: Path) -> Rival:
    """A model drawn with its own sampler, steps and guidance. Raises ModelError."""
    return Rival(name, folder, read_card(folder).drawing)


def page_of(comparison: Comparison, names: tuple[str, str], scale: int) -> str:
    """The comparison as one self-contained page."""
    return page("{} and {} compared".format(*names), _lead(comparison), [Part("Scores", "", _blocks(comparison, names, scale))])


def part_of(comparison: Comparison, names: tuple[str, str], scale: int) -> Part:
    """The comparison as a part of another page."""
    return Part("{} beside {}".format(*names), "", [Words([_lead(comparison)]), *_blocks(comparison, names, scale)])


def readings(comparison: Comparison, names: tuple[str, str]) -> list[str]:
    """What each contest says, in words."""
    words = {"first": f"{names[0]} is better", "second": f"{names[1]} is better", "neither": "no difference seen"}
    return [words[one.winner] for one in comparison.contests]


def _blocks(comparison: Comparison, names: tuple[str, str], scale: int) -> list[Block]:
    first, second = names
    heads = ("Score", first, second, f"{first} less {second}", f"P({first} is better)", "Reading")
    rows = []
    for one, words in zip(comparison.contests, readings(comparison, names), strict=True):
        cells = (Cell(one.metric.replace("_", " ").capitalize(), one.meaning), Cell(number(one.first)), Cell(number(one.second)))
        tone = "level" if one.winner == "neither" else ""
        rows.append((*cells, estimated(one.difference), Cell(f"{one.first_better:.3f}", one.better, "n"), Cell(words, "", tone)))
    caption = f"Each pair comes from the same noise: {first} left, {second} right. The first ones; not chosen."
    return [Table("", heads, rows), Picture("Pairs", comparison.sheet(4 * COLUMNS, scale), caption)]


def _lead(comparison: Comparison) -> str:
    return (
        f"{comparison.n:,} images of each, the same labels from the same noise ({', '.join(comparison.labels)}), against "
        f"{comparison.reference:,} training images. Each resampling takes the same images of both. A difference is called one "
        f"from a probability of {SURE:g} on, either way."
    )


@dataclass(frozen=True)
class Terms:
    """On what two models are compared."""

    features: Features
    images: int
    seed: int
    batch: int
    rounds: int  # resamplings


def compare(
    first: Rival, second: Rival, data: Path, terms: Terms, keep: Path | None = None, draw: Generate = generate
) -> Generator[Event, None, Comparison]:
    """Two models from the same noise. Drawn images are kept in the folder `keep`. Raises NotComparable, ModelError."""
    cards, kept = (read_card(first.folder), read_card(second.folder)), Kept(keep)
    train, *others = _splits(data)
    names = _in_common(cards, train)
    real = train.only(names)
    kept_out = [one.only(names) for one in others]
    held_out = np.concatenate([one.pixels[spread(len(one), MOST_BESIDE // len(kept_out))] for one in kept_out])
    n = min(terms.images, len(real))
    if n < FEWEST:
        raise NotComparable(f"{len(real)} training images with the labels {', '.join(names)}; at least {FEWEST} are needed")
    made = []
    told = _labels(cards[0], names, terms.seed, n)
    for rival, card in zip((first, second), cards, strict=True):
        wanted = [card.labels.index(name) for name in told]
        said = captions_for(card, kept_out, told)

        def make(
            rival: Rival = rival, wanted: list[int] = wanted, said: list[str] | None = said
        ) -> Generator[Event, None, Pixels]:
            return draw(rival.folder, wanted, n, terms.seed, rival.drawing, terms.batch, said)

        made.append((yield from kept.got(_key(rival, wanted, said, terms), f"images of {rival.name}", make)))
    order = generator_for(terms.seed, HELD_OUT, _REFERENCE).permutation(len(real))[:n]
    described = []
    for pixels, what in ((np.asarray(real.pixels[order]), "training images"), *((one, "generated images") for one in made)):
        described.append(terms.features.describe(pixels, terms.batch))
        yield Progressed(f"describing {what}", len(described) * n, 3 * n)
    contests = list(_contests(described, terms))
    if len(held_out):
        contests.append(_copying(made, train.pixels, held_out, terms))
    return Comparison(names, n, len(order), (made[0], made[1]), tuple(contests))


def _key(rival: Rival, wanted: Sequence[int], said: Sequence[str] | None, terms: Terms) -> str:
    """The name under which the images of a model are kept."""
    facts = {
        "model": digest_of(rival.folder),
        "code": code_of(*CODE),
        "labels": list(wanted),
        **({} if said is None else {"captions": list(said)}),
        "drawing": rival.drawing.model_dump(mode="json"),
        "seed": terms.seed,
        "batch": terms.batch,
    }
    return key_of("compared", facts)


def _splits(data: Path) -> list[ImageSet]:
    try:
        return [read_split(data, split) for split in SPLITS]
    except FileNotFoundError as error:
        raise NotComparable(f"{error.filename}: there is no such file; run the step `curate` first") from None


def _in_common(cards: Sequence[ModelCard], train: ImageSet) -> tuple[str, ...]:
    """The labels that both models are meant for and the data set has."""
    sizes = [" or ".join(map(in_words, shapes)) for shapes in (*(card.shapes for card in cards), train.buckets)]
    if sizes[0] != sizes[1]:
        raise NotComparable(
            f"the first model draws images of {sizes[0]} pixels, the second of {sizes[1]}: "
            "scores of different sizes do not compare; train one at the size of the other"
        )
    if sizes[0] != sizes[2]:
        raise NotComparable(
            f"both models draw images of {sizes[0]} pixels, and the data set has {sizes[2]}: curate it at that size"
        )
    meant = [set(card.focus or card.labels) for card in cards]
    names = tuple(name for name in train.names if all(name in one for one in meant))
    if not names:
        words = [", ".join(sorted(one)) for one in meant]
        raise NotComparable(f"no label of the data set is meant by both: the first is for {words[0]}, the second for {words[1]}")
    return names


def _labels(card: ModelCard, names: Sequence[str], seed: int, n: int) -> list[str]:
    """Labels in the proportions that the first model was trained on, of those in common."""
    counts = tuple(count if name in names else 0 for name, count in zip(card.labels, card.label_counts, strict=True))
    if not any(counts):
        counts = tuple(int(name in names) for name in card.labels)
    return [card.labels[label] for label in labels_for(card.model_copy(update={"label_counts": counts}), seed, n)]


def _contests(described: Sequence[Described], terms: Terms) -> Generator[Contest, None, None]:
    real, first, second = described
    yield kernel_contest(real, first, second, terms.rounds, terms.seed)
    if len(real) <= K:
        return
    near = [TwoSets(real, made).neighbourhoods(K) for made in (first, second)]
    yield _of_hits("precision", "higher", Precision.meaning, [one.made_near_real > 0 for one in near], terms)
    yield _of_hits("coverage", "higher", Coverage.meaning, [one.real_with_made for one in near], terms)


def kernel_contest(real: Described, first: Described, second: Described, rounds: int, seed: int) -> Contest:
    """Kernel distance of both to the same real images. [n, d] each, images of both made from the same noise row by row."""
    chance = generator_for(seed, HELD_OUT, _RESAMPLING)
    of_real, of_made = (
        np.vstack([np.ones(n), chance.multinomial(n, np.full(n, 1 / n), rounds)]).astype(np.float64)
        for n in (len(real), len(first))
    )
    drawn = [resampled(cubic, real, made, of_real, of_made) for made in (first, second)]
    return _contest("kernel_distance", "lower", KernelDistance.meaning, drawn)


def _copying(made: Sequence[Pixels], training: Pixels, held_out: Pixels, terms: Terms) -> Contest:
    """Images nearer to a training image than 99 % of held-out ones are."""
    hits, small = [], Shrunk(training)
    for pixels in made:
        found = memorisation(pixels, small, held_out)
        hits.append(found.neighbours.nearest < np.quantile(found.held_out.nearest, 0.01, method="lower"))
    meaning = "share of generated images nearer to a training image than 99 % of held-out images are"
    return _of_hits("too_near_share", "lower", meaning, hits, terms)


def _of_hits(metric: str, better: Better, meaning: str, hits: Sequence[Hits], terms: Terms) -> Contest:
    """Shares of the same images, or of images from the same noise: the neighbourhoods are held as they are."""
    n = len(hits[0])
    chance = generator_for(terms.seed, HELD_OUT, _RESAMPLING)
    weights = np.vstack([np.ones(n), chance.multinomial(n, np.full(n, 1 / n), terms.rounds)])
    return _contest(metric, better, meaning, [weights @ one / n for one in hits])


def _contest(metric: str, better: Better, meaning: str, drawn: Sequence[Numbers]) -> Contest:
    """From both models' figures: as they are, then of each resampling [1 + rounds]."""
    apart = drawn[0] - drawn[1]
    ahead = -apart if better == "lower" else apart
    low, high = np.quantile(apart[1:], [0.025, 0.975])
    sure = float((ahead[1:] > 0).mean() + (ahead[1:] == 0).mean() / 2)
    first, second = (float(f"{one[0]:.6g}") for one in drawn)
    return Contest(metric, better, meaning, first, second, Estimate(float(apart[0]), float(low), float(high)), sure)
