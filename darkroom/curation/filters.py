"""Quality filters: each gives a verdict on one image. To add one, write a class and name it on the last line."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from darkroom.sections import Section

WORKING_SIDE = 128  # longest side, in pixels, at which sharpness and contrast are judged; smaller images stay as they are
ORIGINAL_SIZE = "original size"  # in `Image.info`: width and height of a file that was decoded at a reduced size


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a filter measured, whether the image stays, and the sentence that says why not."""

    score: float
    keep: bool
    detail: str


class SmallestSide(Section):
    """Rejects images whose shorter side has fewer than `least` pixels: enlarging invents nothing."""

    kind: Literal["smallest_side"]
    least: int = Field(ge=1)

    def judge(self, image: Image.Image) -> Verdict:
        """Score: the shorter side in pixels."""
        width, height = _size(image)
        side = min(width, height)
        return Verdict(side, side >= self.least, f"{width} x {height} pixels; the shorter side is below {self.least}")


class AspectRatio(Section):
    """Rejects images whose longer side is more than `most` times the shorter: the middle square would lose the rest."""

    kind: Literal["aspect_ratio"]
    most: float = Field(ge=1)

    def judge(self, image: Image.Image) -> Verdict:
        """Score: the longer side in units of the shorter."""
        width, height = _size(image)
        ratio = max(width, height) / min(width, height)
        return Verdict(ratio, ratio <= self.most, f"{width} x {height} pixels: {ratio:.2f} to 1 is above {self.most:g}")


class Sharpness(Section):
    """Rejects blurred images: the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) is below `least`.

    In squared grey levels, at a longest side of 128 pixels. Sharp flat art scores 350 and more, photographs
    100 to 3,000; blurred by 2 % of their width they score about 10.
    """

    kind: Literal["sharpness"]
    least: float = Field(ge=0)

    def judge(self, image: Image.Image) -> Verdict:
        """Score: the variance of the Laplacian."""
        score = sharpness(image)
        return Verdict(score, score >= self.least, f"blurred: the Laplacian varies by {score:.1f}, below {self.least:g}")


class Contrast(Section):
    """Rejects images with almost nothing on them: the standard deviation of grey levels (0 to 255) is below `least`."""

    kind: Literal["contrast"]
    least: float = Field(ge=0, le=128)

    def judge(self, image: Image.Image) -> Verdict:
        """Score: the standard deviation of grey levels."""
        score = float(_grey(image).std())
        return Verdict(score, score >= self.least, f"grey levels vary by {score:.1f}, below {self.least:g}")


def _size(image: Image.Image) -> tuple[int, int]:
    found: tuple[int, int] = image.info.get(ORIGINAL_SIZE, image.size)
    return found


def sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian of the grey image at the working side, in squared grey levels."""
    grey = np.pad(_grey(image), 1, mode="edge")
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * grey[1:-1, 1:-1]).var())


def _grey(image: Image.Image) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    grey = image.convert("L")
    shrink = max(image.size) / WORKING_SIDE
    if shrink > 1:
        size = (max(1, round(image.width / shrink)), max(1, round(image.height / shrink)))
        grey = grey.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(grey, np.float64)


Filter = Annotated[SmallestSide | AspectRatio | Sharpness | Contrast, Field(discriminator="kind")]
