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
    assert split_all(new + old, TENTHS)[500:] == split_all(old, TENTHS) == [split_of(one, TENTHS) for one in old]


def test_fractions_hold_within_chance() -> None:
    splits = split_all(digests(10_000), SplitSettings(validation=0.2, test=0.05))
    assert abs(splits.count("validation") - 2000) < 4 * 40
    assert abs(splits.count("test") - 500) < 4 * 22


@given(st.integers(3, 60), st.integers(0, 10**6), st.floats(0.001, 0.4), st.floats(0.001, 0.4))
def test_no_split_is_empty(count: int, start: int, validation: float, test: float) -> None:
    splits = split_all(digests(count, start), SplitSettings(validation=validation, test=test))
    assert set(splits) == {"train", "validation", "test"}


def test_a_fraction_of_zero_gives_an_empty_split() -> None:
    assert set(split_all(digests(500), SplitSettings(validation=0.1, test=0))) == {"train", "validation"}


def test_fractions_must_leave_images_to_train_on() -> None:
    with pytest.raises(ValidationError, match="train on"):
        SplitSettings(validation=0.5, test=0.4)
