"""Learning rates as functions of images seen. To add one: write the class, name it in the union on the last line."""

import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from darkroom.sections import Section

Warmup = Annotated[NonNegativeInt, Field(description="images over which the rate rises to its full height")]


class Constant(Section):
    """Full height after the warm-up."""

    kind: Literal["constant"]
    warmup_images: Warmup

    def factor(self, images_seen: int, images_total: int) -> float:
        """What the learning rate is multiplied with."""
        return _warm(images_seen, self.warmup_images)


class LinearToZero(Section):
    """Falls in a line to zero at the end of the budget (Bergsma et al. 2025, arXiv 2502.15938)."""

    kind: Literal["linear_to_zero"]
    warmup_images: Warmup

    def factor(self, images_seen: int, images_total: int) -> float:
        """What the learning rate is multiplied with."""
        return _warm(images_seen, self.warmup_images) * max(0.0, 1 - images_seen / images_total)


class Cosine(Section):
    """Falls in half a cosine to zero at the end of the budget (Loshchilov & Hutter 2017)."""

    kind: Literal["cosine"]
    warmup_images: Warmup

    def factor(self, images_seen: int, images_total: int) -> float:
        """What the learning rate is multiplied with."""
        share = min(images_seen / images_total, 1)
        return _warm(images_seen, self.warmup_images) * (1 + math.cos(math.pi * share)) / 2


class InverseSquareRoot(Section):
    """Falls with the square root of the images seen beyond `reference_images` (EDM2, equation 67)."""

    kind: Literal["inverse_square_root"]
    warmup_images: Warmup
    reference_images: PositiveInt

    def factor(self, images_seen: int, images_total: int) -> float:
        """What the learning rate is multiplied with."""
        return _warm(images_seen, self.warmup_images) / max(images_seen / self.reference_images, 1) ** 0.5


def _warm(images_seen: int, warmup_images: int) -> float:
    return min((images_seen + 1) / warmup_images, 1.0) if warmup_images else 1.0


LearningRate = Annotated[Constant | LinearToZero | Cosine | InverseSquareRoot, Field(discriminator="kind")]
