"""Which split an image belongs to: a pure function of its own content, so that new images never move old ones."""

from collections import Counter
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


def split_all(digests: Sequence[str], labels: Sequence[str], settings: SplitSettings) -> list[str]:
    """The split of each image. As content decides alone, every label has its share in each split, but for chance.

    Where chance leaves a label without training images, or (of three images or more) a split empty, an image is lent: to
    training the one with the highest place of its label, to another split the one with the lowest place in the fullest split.
    Only a lent image may move back, when the set grows.
    """
    splits = [split_of(digest, settings) for digest in digests]
    lowest_first = sorted(range(len(digests)), key=lambda index: (_place(digests[index]), digests[index]))
    highest = {labels[index]: index for index in lowest_first}  # of each label, the last one
    taught = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
    lent = {highest[label] for label in set(labels) - taught}
    for index in lent:
        splits[index] = "train"
    if len(digests) < 3:
        return splits
    for split, fraction in (("test", settings.test), ("validation", settings.validation)):
        if fraction > 0 and split not in splits:
            _lend(split, splits, lowest_first, labels)
    return splits


def _lend(split: str, splits: list[str], lowest_first: Sequence[int], labels: Sequence[str]) -> None:
    """Fill an empty split with an image of the fullest one; from training, only one whose label keeps another there, if any."""
    taught = Counter(labels[index] for index, one in enumerate(splits) if one == "train")
    fullest_first = sorted(sorted(set(splits)), key=splits.count, reverse=True)
    can_go = [index for one in fullest_first if splits.count(one) > 1 for index in lowest_first if splits[index] == one]
    spare = [index for index in can_go if splits[index] != "train" or taught[labels[index]] > 1]
    splits[(spare or can_go or lowest_first)[0]] = split


def _place(digest: str) -> float:
    """A digest as a number in [0, 1), evenly spread."""
    return int(digest[:13], 16) / 16**13
