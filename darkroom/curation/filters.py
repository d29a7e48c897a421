"""Quality filters: each gives one image a score, and its threshold decides. To add one, write a class and name it at the end.

Scores are kept; which images stay is decided from them, so that other thresholds cost no other look at the images.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, TypeVar, cast
from weakref import ref

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from darkroom.sections import Section

Percent = Annotated[str, Field(pattern=r"^\d{1,2}(\.\d+)?%$", description="a share of the images, such as 5%")]
VIEW_SIDE = 256  # longest side, in pixels, of the copy that most is measured on
WORKING_SIDE = 128  # longest side, in pixels, at which sharpness and contrast are judged; smaller images stay as they are
TEXT_SIDE = 256  # the same, where lines of text are looked for
BAR_RANGE = 12  # grey levels that may differ within a bar: compression
MANY_STROKES = 12  # on one line, of 256 pixels
MOST_INK = 0.4  # share of a page
LEVELS = np.arange(256)  # of grey
Made = TypeVar("Made")
ORIGINAL_SIZE = "original size"  # in `Image.info`: width and height of a file that was decoded at a reduced size


class SmallestSide(Section):
    """Rejects images whose shorter side has fewer than `least` pixels: enlarging invents nothing."""

    kind: Literal["smallest_side"]
    least: Annotated[int, Field(ge=1)] | Percent
    fault: ClassVar[str] = "its shorter side has {score:.0f} pixels, below {least:g}"

    def score(self, image: Image.Image) -> float:
        """The shorter side in pixels."""
        width, height = _size(image)
        return min(width, height)


class AspectRatio(Section):
    """Rejects images whose longer side is more than `most` times the shorter: the middle square would lose the rest."""

    kind: Literal["aspect_ratio"]
    most: Annotated[float, Field(ge=1)] | Percent
    fault: ClassVar[str] = "its sides are {score:.2f} to 1, above {most:g}"

    def score(self, image: Image.Image) -> float:
        """The longer side in units of the shorter."""
        width, height = _size(image)
        return max(width, height) / min(width, height)


class Sharpness(Section):
    """Rejects blurred images: the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) is below `least`.

    In squared grey levels, at a longest side of 128 pixels. Sharp flat art scores 350 and more, photographs
    100 to 3,000; blurred by 2 % of their width they score about 10.
    """

    kind: Literal["sharpness"]
    least: Annotated[float, Field(ge=0)] | Percent
    fault: ClassVar[str] = "blurred: the Laplacian varies by {score:.1f}, below {least:g}"

    def score(self, image: Image.Image) -> float:
        """The variance of the Laplacian."""
        return sharpness(image)


class Contrast(Section):
    """Rejects images with almost nothing on them: the standard deviation of grey levels (0 to 255) is below `least`."""

    kind: Literal["contrast"]
    least: Annotated[float, Field(ge=0, le=128)] | Percent
    fault: ClassVar[str] = "grey levels vary by {score:.1f}, below {least:g}"

    def score(self, image: Image.Image) -> float:
        """The standard deviation of grey levels."""
        counts = _counts(image)
        mean = counts @ LEVELS / counts.sum()
        return float(np.sqrt(counts @ (LEVELS - mean) ** 2 / counts.sum()))


class Underexposed(Section):
    """Rejects images that are dark all over: even the brightest hundredth of the pixels lies below `least` (grey, 0 to 255)."""

    kind: Literal["underexposed"]
    least: Annotated[float, Field(ge=0, le=255)] | Percent
    fault: ClassVar[str] = "dark: 99 of 100 pixels are below grey level {score:.0f}, and that below {least:g}"

    def score(self, image: Image.Image) -> float:
        """The 99th percentile of grey levels."""
        return _percentile(image, 99)


class Overexposed(Section):
    """Rejects images that are washed out: even the darkest twentieth of the pixels lies above `most` (grey, 0 to 255)."""

    kind: Literal["overexposed"]
    most: Annotated[float, Field(ge=0, le=255)] | Percent
    fault: ClassVar[str] = "bright: 19 of 20 pixels are above grey level {score:.0f}, and that above {most:g}"

    def score(self, image: Image.Image) -> float:
        """The 5th percentile of grey levels."""
        return _percentile(image, 5)


class Information(Section):
    """Rejects images that say little: the entropy of their grey levels is below `least` bits (a plain surface 0, noise 8)."""

    kind: Literal["information"]
    least: Annotated[float, Field(ge=0, le=8)] | Percent
    fault: ClassVar[str] = "{score:.2f} bits a pixel, below {least:g}"

    def score(self, image: Image.Image) -> float:
        """Bits a pixel."""
        shares = _counts(image) / _counts(image).sum()
        return float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum()) + 0.0


class Colourfulness(Section):
    """Rejects images that are grey, or nearly so, also where they are stored as RGB: for data sets that want colour.

    Hasler and Suesstrunk (SPIE 5007, 2003): grey scores 0, a pale photograph 15, a colourful one 60.
    """

    kind: Literal["colourfulness"]
    least: Annotated[float, Field(ge=0)] | Percent
    fault: ClassVar[str] = "grey: colourfulness {score:.1f} is below {least:g}"

    def score(self, image: Image.Image) -> float:
        """The measure of that paper."""
        red, green, blue = (_shrunk(view_of(image)).astype(np.float64)[..., channel] for channel in range(3))
        first, second = red - green, (red + green) / 2 - blue
        return float(np.hypot(first.std(), second.std()) + 0.3 * np.hypot(first.mean(), second.mean()))


class Bars(Section):
    """Rejects letterboxed and framed images: bars of one colour along opposite edges take more than `most` of the area.

    A plain background that a subject reaches into is no bar: a bar ends along a line.
    """

    kind: Literal["bars"]
    most: Annotated[float, Field(ge=0, le=1)] | Percent
    fault: ClassVar[str] = "bars along the edges take {score:.0%} of the area, above {most:g}"

    def score(self, image: Image.Image) -> float:
        """The share of the area that bars take."""
        grey = _grey(image)
        return 1 - (1 - _bars(grey)) * (1 - _bars(grey.T))


class TextLike(Section):
    """Rejects pages and screenshots of text: two tones, one of them in many thin strokes on each line. Score above `most`.

    Pages of text score 0.5 and more; photographs and drawings mostly below 0.3. Off as shipped: look at what it would reject.
    """

    kind: Literal["text_like"]
    most: Annotated[float, Field(ge=0, le=1)] | Percent
    fault: ClassVar[str] = "like a page of text: {score:.2f} is above {most:g}"

    def score(self, image: Image.Image) -> float:
        """How far two tones explain the image, times the share of its lines with many strokes."""
        return text_likeness(image)


class Outlier(Section):
    """Rejects images whose content is unlike that of all others: few in the set come near. Score above `most`.

    1 less the mean cosine of an image's features (`curate.embedding`) with its ten nearest: 0 among copies, 1 where nothing is
    related. Judged over the whole set, once it is read. Off as shipped: describing takes ten times as long as reading.
    """

    kind: Literal["outlier"]
    most: Annotated[float, Field(ge=0, le=2)] | Percent
    fault: ClassVar[str] = "unlike all others: {score:.3f} is above {most:g}"


def first_failed(filters: Sequence["Filter"], scores: Iterable[Mapping[str, float]]) -> Iterator["Filter | None"]:
    """Of each image, by its score of every kind, the first filter that rejects it. Thresholds are values (`with_values`).

    A score passes that is neither below `least` nor above `most`.
    """
    limits = [(one, one.kind, _limit(one, "least", -math.inf), _limit(one, "most", math.inf)) for one in filters]
    for of_one in scores:
        yield next((one for one, kind, least, most in limits if of_one[kind] < least or of_one[kind] > most), None)


def fault(one: "Filter", score: float) -> str:
    """Why a filter, with thresholds in values, rejects an image of this score."""
    return one.fault.format(score=score, **one.model_dump())


def with_values(filters: Sequence["Filter"], scores: Mapping[str, Sequence[float]]) -> list["Filter"]:
    """The filters with thresholds in values: `least: 5%` becomes what 5 % of the scores of that kind lie below."""
    return [_with_value(one, scores.get(one.kind, ())) for one in filters]


def _with_value(one: "Filter", scores: Sequence[float]) -> "Filter":
    name = "least" if hasattr(one, "least") else "most"
    threshold = getattr(one, name)
    if not isinstance(threshold, str):
        return one
    share = float(threshold[:-1])
    value = float(np.percentile(scores, share if name == "least" else 100 - share)) if scores else 0.0
    if isinstance(one, SmallestSide):
        value = max(1, math.ceil(value))  # sides are whole: the same ones lie below
    return one.model_copy(update={name: value})


def _limit(one: "Filter", name: str, otherwise: float) -> float:
    return float(getattr(one, name, otherwise))


def _bars(grey: NDArray[np.uint8]) -> float:
    """The share of rows in bars of one colour, above and below."""
    if max(np.ptp(grey[0]), np.ptp(grey[-1])) >= BAR_RANGE:  # as in most images
        return 0.0
    plain = np.ptp(grey, axis=1) < BAR_RANGE
    if plain.all():
        return 0.0
    above, below = int(np.argmin(plain)), int(np.argmin(plain[::-1]))
    if not above or not below or abs(grey[0].mean() - grey[-1].mean()) > BAR_RANGE:
        return 0.0
    inside = grey[above : len(grey) - below]
    edges = (inside[min(1, len(inside) - 1)], grey[0].mean()), (inside[max(0, len(inside) - 2)], grey[-1].mean())
    straight = all((abs(row - colour) > BAR_RANGE).mean() > 0.5 for row, colour in edges)
    return (above + below) / len(grey) if straight else 0.0


def text_likeness(image: Image.Image) -> float:
    """0 to 1; see `TextLike`."""
    grey = _shrunk(image.convert("L"), TEXT_SIDE).astype(np.float64)
    levels = np.sort(grey.ravel())
    count, total = np.arange(1, len(levels)), np.cumsum(levels)[:-1]
    between = (total * len(levels) - count * levels.sum()) ** 2 / (count * (len(levels) - count)) / len(levels) ** 2  # Otsu 1979
    if not len(between) or levels[0] == levels[-1]:
        return 0.0
    best = int(np.argmax(between))
    two_tones = float(between[best] / levels.var())
    ink = grey > levels[best]
    ink = ink if ink.mean() < 0.5 else ~ink
    strokes = (ink[:, 1:] & ~ink[:, :-1]).sum(1)
    lines = strokes[ink.any(1)]
    return two_tones * float((lines >= MANY_STROKES).mean()) if len(lines) and ink.mean() < MOST_INK else 0.0


def _size(image: Image.Image) -> tuple[int, int]:
    found: tuple[int, int] = image.info.get(ORIGINAL_SIZE, image.size)
    return found


def _counts(image: Image.Image) -> NDArray[np.int64]:
    """How many pixels have each grey level, at the working side. [256]"""
    return _once(image, "counts", lambda: np.bincount(_grey(image).ravel(), minlength=256))


def _percentile(image: Image.Image, share: float) -> float:
    """As `np.percentile` of the grey levels, from their counts."""
    up_to = np.cumsum(_counts(image))
    place = share / 100 * (up_to[-1] - 1)
    below, above = np.searchsorted(up_to, [np.floor(place), np.ceil(place)], side="right")
    return float(below + (above - below) * (place % 1))


def sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian of the grey image at the working side, in squared grey levels."""
    return _once(image, "sharpness", lambda: _varying(_grey(image).astype(np.int16)))


def _varying(grey: NDArray[np.int16]) -> float:
    """Beyond an edge lies what lies at it. From exact sums: `var` takes twice as long."""
    apart = np.zeros_like(grey)
    for across, along in ((grey, apart), (grey.T, apart.T)):
        steps = across[1:] - across[:-1]
        along[:-1] += steps
        along[1:] -= steps
    values = apart.ravel().astype(np.float64)
    return float((values @ values - values.sum() ** 2 / values.size) / values.size)


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    """Grey levels at the working side."""
    return _once(image, "grey", lambda: _shrunk(view_of(image).convert("L")))


def view_of(image: Image.Image) -> Image.Image:
    """The image such that no side is longer than `VIEW_SIDE`."""
    return _once(image, "view", lambda: reduced(image, VIEW_SIDE))


def reduced(image: Image.Image, most: int) -> Image.Image:
    """By a whole number, such that no side is longer than `most` pixels: means of squares, which is fast."""
    return image.reduce(-(-max(image.size) // most)) if max(image.size) > most else image


def _once(image: Image.Image, what: str, make: Callable[[], Made]) -> Made:
    """Made once for all filters, and kept beside the image (whose copies inherit what lies there)."""
    of, made = image.info.get(what, (None, None))
    if of is None or of() is not image:
        made = make()
        image.info[what] = ref(image), made
    return cast(Made, made)


def _shrunk(image: Image.Image, side: int = WORKING_SIDE) -> NDArray[np.uint8]:
    shrink = max(image.size) / side
    if shrink > 1:
        size = (max(1, round(image.width / shrink)), max(1, round(image.height / shrink)))
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(image)


ImageFilter = Annotated[
    SmallestSide
    | AspectRatio
    | Sharpness
    | Contrast
    | Underexposed
    | Overexposed
    | Information
    | Colourfulness
    | Bars
    | TextLike,
    Field(discriminator="kind"),
]
Filter = Annotated[ImageFilter | Outlier, Field(discriminator="kind")]
