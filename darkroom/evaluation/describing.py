"""Act two: images described by features, kept by content: real images are described once for all models and all evaluations."""

from collections.abc import Generator
from functools import cached_property

import numpy as np

from darkroom.evaluation.keeping import Kept, code_of, key_of
from darkroom.evaluation.neighbourhoods import Described
from darkroom.evaluation.subjects import EvaluationError
from darkroom.events import Event, Progressed
from darkroom.features.features import Features, Network, raw
from darkroom.images import Pixels

CODE = ("features",)
TOGETHER = 256  # images kept in one file: to compare more of them describes only the new ones


class Describer:
    """Describes images with one network, which is opened when the first image that is not kept already needs it."""

    def __init__(self, features: Features, kept: Kept, batch: int) -> None:
        self.features, self.kept, self.batch = features, kept, batch
        self._facts = {"features": features.model_dump(), "weights": features.identity(), "code": code_of(*CODE)}

    @cached_property
    def network(self) -> Network:
        """Raises FeaturesUnavailable."""
        return self.features.opened()

    def key_for(self, pixels: Pixels) -> str:
        """The name under which the features of these images are kept."""
        return key_of("features", self._facts, pixels)

    def missing(self, pixels: Pixels) -> int:
        """How many of these images would have to be described."""
        parts = (pixels[at : at + TOGETHER] for at in range(0, len(pixels), TOGETHER))
        return sum(len(part) for part in parts if not self.kept.holds(self.key_for(part)))

    def described(self, pixels: Pixels, what: str) -> Generator[Event, None, Described]:
        """Raw features. uint8 [n, h, w, 3] -> float32 [n, d]. Raises FeaturesUnavailable, EvaluationError."""
        parts: list[Described] = []
        for at in range(0, len(pixels), TOGETHER):
            part = pixels[at : at + TOGETHER]

            def make(part: Pixels = part, at: int = at) -> Generator[Event, None, Described]:
                found = []
                for start in range(0, len(part), self.batch):
                    found.append(raw(self.network, part[start : start + self.batch], self.batch))
                    yield Progressed(f"describing {what}", at + start + len(found[-1]), len(pixels))
                return np.concatenate(found)

            parts.append((yield from self.kept.got(self.key_for(part), f"features of {what}", make)))
        whole = np.concatenate(parts)
        if not np.isfinite(whole).all():
            raise EvaluationError(f"{what}: features that are not finite; none was scored")
        return whole
