"""Memorisation: nearest neighbours against brute force; a planted memoriser is caught, held-out images are not."""

import numpy as np
import pytest

from darkroom.evaluation import memorisation as room
from darkroom.evaluation.memorisation import memorisation, nearest_few, nearest_training
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
        index, distance = nearest_few(made, training, 5)
        np.testing.assert_array_equal(index, apart.argsort(1)[:, :5])
        np.testing.assert_allclose(distance, np.sort(apart, 1)[:, :5], rtol=1e-12)


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
