"""Memorisation: nearest neighbours against every pair; a planted memoriser is caught, held-out images are not."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.evaluation import nearest as room
from darkroom.evaluation.memorisation import memorisation, memorisation_in_features, nearer_than
from darkroom.evaluation.nearest import Neighbours, Shrunk, nearest_described, nearest_few, nearest_training
from darkroom.images import Pixels


def images(seed: int, n: int, side: int = 16) -> Pixels:
    """Independent noise images."""
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def disturbed(pixels: Pixels, most: int, seed: int = 9) -> Pixels:
    """The same images with noise of up to `most` levels."""
    noise = np.random.default_rng(seed).integers(-most, most + 1, pixels.shape)
    return (pixels.astype(int) + noise).clip(0, 255).astype(np.uint8)


def test_nearest_is_brute_force_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    made, training = images(0, 23, 8), images(1, 41, 8)
    apart = np.array([[np.linalg.norm((a.astype(float) - b) / 255) for b in training] for a in made])
    for block in (1, 7, 1024):
        monkeypatch.setattr(room, "BLOCK", block)
        found = nearest_training(made, training)
        np.testing.assert_array_equal(found.index, apart.argmin(1))
        np.testing.assert_allclose(found.nearest, np.sort(apart, 1)[:, 0], rtol=1e-12)
        np.testing.assert_allclose(found.second, np.sort(apart, 1)[:, 1], rtol=1e-12)
        index, distance, flipped = nearest_few(made, training, 5)
        np.testing.assert_array_equal(index, apart.argsort(1)[:, :5])
        np.testing.assert_allclose(distance, np.sort(apart, 1)[:, :5], rtol=1e-12)
        assert not flipped.any()


def test_the_nearest_few_of_both_ways_are_brute_force_too_and_each_image_is_named_once() -> None:
    made, training = smooth(0, 9), smooth(1, 30)
    training[3] = training[3, :, ::-1] // 2 + training[3] // 2  # nearly the same both ways
    made[0] = training[3]
    ways = np.array(
        [[[int(((a.astype(int) - b) ** 2).sum()) for b in training] for a in made] for made in (made, made[:, :, ::-1])]
    )
    apart, right = ways.min(0), np.argsort(ways.min(0), 1, kind="stable")[:, :6]
    index, distance, flipped = nearest_few(made, training, 6, mirrored=True)
    np.testing.assert_array_equal(index, right)
    np.testing.assert_array_equal(distance, np.sqrt(np.take_along_axis(apart, right, 1)) / 255)
    np.testing.assert_array_equal(flipped, np.take_along_axis(ways[1] < ways[0], right, 1))
    assert flipped.any() and not flipped.all()


def test_large_images_are_compared_at_32_pixels_and_shrunk_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, training, shrunk = smooth(0, 5, side=64), smooth(1, 40, side=64), list[int]()
    half = [np.stack([Image.fromarray(one).resize((32, 32), Image.Resampling.BOX) for one in side]) for side in (made, training)]
    right = by_hand(*half)
    once = room._shrunk

    def counted(pixels: Pixels) -> Pixels:
        shrunk.append(len(pixels))
        return once(pixels)

    monkeypatch.setattr(room, "_shrunk", counted)
    monkeypatch.setattr(room, "BLOCK", 7)
    for kept, often in ((2**30, len(training)), (0, 0)):
        monkeypatch.setattr(room, "MOST_KEPT", kept)
        small = Shrunk(training)
        shrunk.clear()
        for _ in range(2):
            found = nearest_training(made, small)
            np.testing.assert_array_equal(found.index, right.index)
            np.testing.assert_array_equal(found.nearest, right.nearest)
        assert sum(shrunk) == often + 2 * len(made) if often else sum(shrunk) > 2 * (len(training) + len(made))


def by_hand(made: Pixels, training: Pixels) -> Neighbours:
    """Every pair compared in whole numbers."""
    apart = np.array([[int(((a.astype(int) - b) ** 2).sum()) for b in training] for a in made])
    order = np.argsort(apart, 1, kind="stable")
    nearest, second = np.sqrt(np.take_along_axis(apart, order[:, :2], 1)).T / 255
    return Neighbours(order[:, 0], nearest, second, np.zeros(len(made), bool))


def smooth(seed: int, n: int, side: int = 16) -> Pixels:
    """Images whose averages tell them apart, as those of natural images do."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return disturbed(coarse.repeat(side // 4, 1).repeat(side // 4, 2), 12, seed)


@pytest.mark.parametrize("kind", [images, smooth])
def test_the_search_names_what_a_comparison_of_every_pair_names(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, whatever the blocks, whether the averages decide or not, with many equals beyond the candidates."""
    made, training = kind(0, 40), kind(1, 120)
    training[60:80] = training[5]
    made[0] = training[5]
    right = by_hand(made, training)
    for block, candidates, at_once in ((7, 4, 1), (33, 8, 256), (2048, 8, 16), (16, 3, 5)):
        monkeypatch.setattr(room, "BLOCK", block)
        monkeypatch.setattr(room, "CANDIDATES", candidates)
        monkeypatch.setattr(room, "AT_ONCE", at_once)
        monkeypatch.setattr(room, "TRIED", at_once % 7 + 1)  # fewer than an eighth of those asked, and more
        found = nearest_training(made, training)
        np.testing.assert_array_equal(found.index, right.index)
        np.testing.assert_array_equal(found.nearest, right.nearest)
        np.testing.assert_array_equal(found.second, right.second)
    assert (right.index[0], right.nearest[0], right.second[0]) == (5, 0, 0)


def test_mirrored_copies_are_found_where_asked_for() -> None:
    training, held_out = smooth(0, 150), smooth(1, 50)
    made = np.concatenate([disturbed(training[10:20, :, ::-1], 4), disturbed(training[20:25], 4), smooth(2, 35)])
    assert memorisation(made, training, held_out).copied.count == 5
    found = memorisation(made, training, held_out, mirrored=True)
    assert found.copied.count == 15
    assert found.copied_held_out.count == 0
    assert found.neighbours.index[:15].tolist() == list(range(10, 25))
    assert found.neighbours.mirrored[:15].tolist() == [True] * 10 + [False] * 5


def test_the_nearer_of_both_ways_is_that_of_a_set_with_every_mirror_image() -> None:
    made, training = images(0, 30, 8), images(1, 50, 8)
    found, both = nearest_training(made, training, mirrored=True), by_hand(made, np.concatenate([training, training[:, :, ::-1]]))
    np.testing.assert_array_equal(found.nearest, both.nearest)
    np.testing.assert_array_equal(found.index, both.index % 50)
    np.testing.assert_array_equal(found.mirrored, both.index >= 50)


def test_neighbours_in_features_are_those_of_every_pair() -> None:
    chance = np.random.default_rng(3)
    made, training = (chance.normal(size=(n, 20)).astype(np.float32) for n in (30, 300))
    apart = np.linalg.norm(made[:, None].astype(float) - training, axis=2)
    found = nearest_described(made, training)
    np.testing.assert_array_equal(found.index, apart.argmin(1))
    np.testing.assert_allclose(found.nearest, apart.min(1))
    np.testing.assert_allclose(found.second, np.sort(apart, 1)[:, 1])


def test_copies_are_caught_in_features_and_held_out_images_pass() -> None:
    chance = np.random.default_rng(4)
    training, held_out, fresh = (chance.normal(size=(n, 20)).astype(np.float32) for n in (200, 200, 200))
    copies = training[:50] + np.float32(0.01) * chance.normal(size=(50, 20)).astype(np.float32)
    caught, passed = (memorisation_in_features(made, training, held_out) for made in (copies, fresh))
    assert caught.copied.count == caught.too_near.count == 50
    assert passed.copied.count == 0
    assert passed.too_near.interval[0] < 0.01
    assert nearer_than(0.0, caught.held_out) == 1
    assert nearer_than(float(np.median(caught.held_out.nearest)), caught.held_out) == pytest.approx(0.5, abs=0.01)


def test_training_images_with_a_little_noise_are_caught_and_named() -> None:
    training, held_out = images(0, 200), images(1, 60)
    made = np.concatenate([disturbed(training[40:50], 4), images(2, 40)])
    found = memorisation(made, training, held_out)
    assert found.neighbours.index[:10].tolist() == list(range(40, 50))
    assert (found.copied.count, found.copied.n) == (10, 50)
    assert found.too_near.count >= 10
    assert (found.copied_held_out.count, found.copied_held_out.n) == (0, 60)
    assert found.copied.interval[0] > found.copied_held_out.interval[0] == 0


def test_held_out_images_pass() -> None:
    """Fresh images of the same kind: no copies, and about a hundredth as near as the nearest hundredth."""
    found = memorisation(images(5, 400), images(0, 200), images(1, 400))
    assert found.copied.count == 0
    assert found.too_near_held_out.count <= 4
    assert found.too_near.count <= 16  # expected 4


def test_an_exact_copy_counts_even_where_the_training_set_holds_it_twice() -> None:
    training = images(0, 20)
    training[7] = training[3]
    found = memorisation(training[[3]], training, images(1, 20))
    assert found.copied.count == 1
    assert found.neighbours.index.tolist() == [3]


def test_large_images_are_compared_when_shrunk() -> None:
    training = images(0, 30, 64)
    found = nearest_training(disturbed(training[:5], 30), training)
    assert found.index.tolist() == [0, 1, 2, 3, 4]
    whole = np.linalg.norm((disturbed(training[:5], 30).astype(float) - training[:5]).reshape(5, -1) / 255, axis=1)
    assert (found.nearest < whole / 3).all()


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(16, 16, 3\) cannot be compared with training images of \(8, 8, 3\)"):
        nearest_training(images(0, 3), images(1, 9, 8))
    with pytest.raises(ValueError, match="at least 2 training images"):
        nearest_training(images(0, 3), images(1, 1))
