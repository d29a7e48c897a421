"""The join of hashes against all with all."""

import numpy as np
import pytest

from darkroom.curation import near_hashes
from darkroom.curation.near_hashes import pairs_between, pairs_within


def hashes_with_groups(count: int, seed: int) -> near_hashes.Hashes:
    """A third chance, a third of these with a few bits changed, some equal; and skewed, as hashes of real images are."""
    chance = np.random.default_rng(seed)
    hashes = chance.integers(0, 2**64, count, np.uint64) & (chance.integers(0, 2**64, count, np.uint64) | np.uint64(0xFF00))
    third = count // 3
    hashes[third : 2 * third] = hashes[:third]
    for _ in range(6):
        hashes[third : 2 * third] ^= np.uint64(1) << chance.integers(0, 64, third).astype(np.uint64)
    hashes[-20:] = hashes[:20]
    return hashes


@pytest.fixture(params=[0, near_hashes.FEW], ids=["cleverly", "all with all"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_hashes, "FEW", request.param)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("distance", [0, 3, 8, 10])
def test_the_join_finds_exactly_the_pairs_within_the_distance(distance: int) -> None:
    hashes = hashes_with_groups(600, distance)
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= distance
    expected = np.argwhere(np.triu(near, 1))
    assert len(expected) >= 20
    assert pairs_within(hashes, distance).tolist() == expected.tolist()


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("distance", [0, 9])
def test_the_join_of_two_lists(distance: int) -> None:
    both = hashes_with_groups(600, 1)
    hashes, others = both[:350], both[150:]
    expected = np.argwhere(np.bitwise_count(hashes[:, None] ^ others) <= distance)
    assert len(expected) >= 20
    found = pairs_between(hashes, others, distance)
    assert sorted(found.tolist()) == expected.tolist()


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("distance", [0, 8])
def test_the_join_of_nothing_is_nothing(distance: int) -> None:
    nothing = np.empty(0, np.uint64)
    assert pairs_within(nothing, distance).shape == (0, 2)
    assert pairs_between(nothing, np.arange(3, dtype=np.uint64), distance).shape == (0, 2)


def test_a_multitude_of_equal_hashes_costs_no_square() -> None:
    hashes = np.zeros(4_000, np.uint64)
    hashes[-1] = 1
    pairs = pairs_within(hashes, 2)
    assert len(np.unique(pairs[:, 1])) == 3_999
    assert len(pairs) <= near_hashes.MOST_ALIKE * 4_000
