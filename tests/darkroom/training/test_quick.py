"""Quick measures along a training: what they come to by other means, and that a better sheet scores better."""

from pathlib import Path

import numpy as np
import pytest

from darkroom.augmentation import AugmentSection, Recipe
from darkroom.evaluation.metrics import KernelDistance
from darkroom.features.features import ShrunkPixels
from darkroom.training.course import Materials, Sheet
from darkroom.training.held_out import held_out_loss, training_bands
from darkroom.training.quick import quick_scores
from tests.darkroom.tiny import base_section, painted
from tests.darkroom.training.rig import fresh_model


def test_a_sheet_scores_what_the_evaluation_would_give_it() -> None:
    training, held_out, sheet = painted(40, seed=1), painted(30, seed=2), painted(24, seed=3).pixels // 2
    score, floor = quick_scores(sheet, training, held_out) or (0.0, 0.0)
    features = ShrunkPixels(kind="pixels", side=16)
    real, made, unseen = (features.describe(one, 64) for one in (training.pixels, sheet, held_out.pixels[_spread(30, 24)]))
    distance = KernelDistance(kind="kernel_distance")
    assert score == pytest.approx(distance.score(real, made), rel=1e-4)
    assert floor == pytest.approx(distance.score(real, unseen), rel=1e-3, abs=1e-3)
    assert score > 5 * abs(floor)


def _spread(n: int, count: int) -> np.ndarray:
    return np.linspace(0, n - 1, count).round().astype(int)


def test_a_better_sheet_scores_better() -> None:
    training, held_out, good = painted(40, seed=1), painted(30, seed=2), painted(24, seed=3).pixels
    noise = np.random.default_rng(0).integers(0, 256, good.shape, dtype=np.uint8)
    half = ((good.astype(int) + noise) // 2).astype(np.uint8)
    scores = [quick_scores(sheet, training, held_out) for sheet in (good, half, noise)]
    assert all(one is not None for one in scores)
    assert [one[0] for one in scores if one] == sorted(one[0] for one in scores if one)


def test_one_image_is_too_few() -> None:
    assert quick_scores(painted(24, seed=3).pixels, painted(40, seed=1), painted(1, seed=2)) is None


def test_training_bands_are_the_held_out_bands_where_both_are_the_same_images() -> None:
    images, course = painted(20, seed=1), base_section()
    recipe = Recipe(AugmentSection(seed=0, transforms=[]))

    def draw(averaged: object, images_seen: int) -> Sheet:
        raise AssertionError("no sheet is drawn to measure a loss")

    materials = Materials(images, images, recipe, Path(), draw)
    _, bands = held_out_loss(fresh_model(), course, materials)
    assert training_bands(fresh_model(), course, materials) == bands
    other = Materials(painted(20, seed=9), images, recipe, Path(), draw)
    assert training_bands(fresh_model(), course, other) != bands
