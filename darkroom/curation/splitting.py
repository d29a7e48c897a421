"""Which split an image belongs to: a pure function of its own content, so that new images never move old ones."""

from collections.abc import Sequence

from pydantic import Field, model_validator

from darkroom.sections import Section


class SplitSettings(Section):
    """Fractions of the kept images that go to validation and to test; the rest is for training."""

    validation: float = Field(ge=0, le=0.5)
    test: float = Field(ge=0, le=0.5)

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> "SplitSettings":
        if self.validation + self.test > 0.8:
            raise ValueError("validation and test together take more than 0.8; leave at least 0.2 to train on")
        return self


def split_of(digest: str, settings: SplitSettings) -> str:
    """The split of an image (the one that its cluster of duplicates keeps) by the hexadecimal SHA-256 of its file."""
    place = _place(digest)
    if place < settings.test:
        return "test"
    return "validation" if place < settings.test + settings.validation else "train"


def split_all(digests: Sequence[str], settings: SplitSettings) -> list[str]:
    """The split of each image. Of three images or more, no split is empty unless its fraction is 0.

    In a small set chance may leave a split empty: then the image with the lowest place in the fullest split moves there
    (for training, the highest). Only such an image may move back, when the set grows and fills that split.
    """
    splits = [split_of(digest, settings) for digest in digests]
    if len(digests) < 3:
        return splits
    lowest_first = sorted(range(len(digests)), key=lambda index: (_place(digests[index]), digests[index]))
    for split, fraction in (("test", settings.test), ("validation", settings.validation), ("train", 1.0)):
        if fraction > 0 and split not in splits:
            fullest = max(sorted(set(splits)), key=splits.count)
            order = reversed(lowest_first) if split == "train" else iter(lowest_first)
            splits[next(index for index in order if splits[index] == fullest)] = split
    return splits


def _place(digest: str) -> float:
    """A digest as a number in [0, 1), evenly spread."""
    return int(digest[:13], 16) / 16**13
