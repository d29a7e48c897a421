"""Splits depend on content alone, keep their fractions, and are not empty."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from darkroom.curation.splitting import SplitSettings, split_all, split_of

TENTHS = SplitSettings(validation=0.1, test=0.1)


def digests(count: int, start: int = 0) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(start, start + count)]


def test_new_images_never_move_old_ones() -> None:
    old, new = digests(300), digests(500, 300)
    splits = split_all(new + old, ["a", "b"] * 400, TENTHS)
    assert splits[500:] == split_all(old, ["a", "b"] * 150, TENTHS) == [split_of(one, TENTHS) for one in old]


def test_fractions_hold_within_chance() -> None:
    splits = split_all(digests(10_000), [""] * 10_000, SplitSettings(validation=0.2, test=0.05))
    assert abs(splits.count("validation") - 2000) < 4 * 40
    assert abs(splits.count("test") - 500) < 4 * 22


@given(st.integers(3, 60), st.integers(0, 10**6), st.floats(0.001, 0.4), st.floats(0.001, 0.4))
def test_no_split_is_empty(count: int, start: int, validation: float, test: float) -> None:
    splits = split_all(digests(count, start), [""] * count, SplitSettings(validation=validation, test=test))
    assert set(splits) == {"train", "validation", "test"}


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60), st.integers(0, 10**6))
def test_every_label_is_in_training_and_only_lent_images_move(labels: list[str], start: int) -> None:
    """A label of one image is in training; of three images and more in all, a lone label may have to fill an empty split."""
    old = digests(len(labels), start)
    settings = SplitSettings(validation=0.3, test=0.3)
    splits = split_all(old, labels, settings)
    taught = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
    assert {label for label in labels if labels.count(label) >= 3} <= taught
    if len(labels) >= 30:
        assert set(labels) == taught
    grown = split_all(digests(40, start + 10**7) + old, ["a"] * 40 + labels, settings)[40:]
    for digest, before, after in zip(old, splits, grown, strict=True):
        lent = split_of(digest, settings) != before
        assert before == after or lent or after == "train"


def test_each_label_has_its_share_of_each_split() -> None:
    labels = ["rare" if number % 50 == 0 else "frequent" for number in range(20_000)]
    splits = split_all(digests(20_000), labels, TENTHS)
    for label, count in (("rare", 400), ("frequent", 19_600)):
        in_test = sum(one == "test" for one, name in zip(splits, labels, strict=True) if name == label)
        assert abs(in_test - count / 10) < 4 * (count * 0.09) ** 0.5


def test_a_fraction_of_zero_gives_an_empty_split() -> None:
    assert set(split_all(digests(500), [""] * 500, SplitSettings(validation=0.1, test=0))) == {"train", "validation"}


def test_fractions_must_leave_images_to_train_on() -> None:
    with pytest.raises(ValidationError, match="train on"):
        SplitSettings(validation=0.5, test=0.4)
