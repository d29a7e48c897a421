"""Augmentations: known from seed and position alone, truthfully labelled, and untouched where the label is zero."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from darkroom.augmentation import BLOCK, Augmentation, AugmentSection, Recipe, augment, read_recipe
from darkroom.events import Noted
from darkroom.images import Pixels, write_split
from darkroom.refs import digest_of
from tests.darkroom.tiny import finished, painted

MIRROR = {"kind": "mirror", "probability": 0.5}
AFFINE = {"kind": "affine", "probability": 0.5, "shift": 0.1, "scale": 0.1, "degrees": 10.0}
BRIGHT = {"kind": "brightness_contrast", "probability": 0.5, "brightness": 0.2, "contrast": 0.2}
ALL = {"mirror": MIRROR, "affine": AFFINE, "brightness_contrast": BRIGHT}


def section(*transforms: dict[str, Any], seed: int = 0) -> AugmentSection:
    return AugmentSection.model_validate({"seed": seed, "transforms": list(transforms)})


def recipe(*transforms: dict[str, Any], seed: int = 0) -> Recipe:
    return Recipe(section(*transforms, seed=seed))


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)


def test_every_augmentation_is_tested_here() -> None:
    assert {member.model_fields["kind"].annotation.__args__[0] for member in get_args(get_args(Augmentation)[0])} == set(ALL)


@pytest.mark.parametrize("kind", ALL)
def test_a_label_has_its_length_and_is_zero_exactly_where_the_image_is_untouched(kind: str, pixels: Pixels) -> None:
    made = recipe(ALL[kind])
    varied, labels = made.apply(pixels, 0)
    assert labels.shape == (40, made.length) == (40, made.section.transforms[0].length)
    assert (labels.dtype, varied.dtype, varied.shape) == (np.float32, np.uint8, pixels.shape)
    touched = (varied != pixels).any((1, 2, 3))
    assert (labels != 0).any(1).tolist() == touched.tolist()
    assert 8 < touched.sum() < 32
    always, never = recipe(ALL[kind] | {"probability": 1.0}), recipe(ALL[kind] | {"probability": 0.0})
    assert (always.apply(pixels, 0)[1] != 0).any(1).all()
    assert (never.apply(pixels, 0)[0] == pixels).all()


def test_labels_stand_one_after_the_other_in_the_declared_order(pixels: Pixels) -> None:
    sure = {"probability": 1.0}
    _, labels = recipe(BRIGHT | sure, MIRROR | sure, AFFINE | {"probability": 0.0}).apply(pixels, 0)
    assert labels.shape == (40, 9)
    assert (labels[:, :2] != 0).all()
    assert (labels[:, 2] == 1).all()
    assert (labels[:, 3:] == 0).all()


def test_a_variation_is_known_from_the_seed_and_the_position_alone(pixels: Pixels) -> None:
    varied, labels = recipe(MIRROR, AFFINE, BRIGHT).apply(pixels, 100)
    other = recipe(MIRROR, AFFINE, BRIGHT)
    other.apply(pixels[:3], 7)
    np.random.seed(5)
    for start, end in ((20, 40), (0, 1), (1, 20)):
        piece, said = other.apply(pixels[start:end], 100 + start)
        assert (piece == varied[start:end]).all()
        assert (said == labels[start:end]).all()
    assert (recipe(MIRROR, AFFINE, BRIGHT).apply(pixels, 101)[1] != labels).any()
    assert (recipe(MIRROR, AFFINE, BRIGHT, seed=1).apply(pixels, 100)[1] != labels).any()


def test_what_is_drawn_for_many_at_once_differs_from_many_to_many_and_has_no_seam(pixels: Pixels) -> None:
    seam = BLOCK - 20
    varied, labels = recipe(MIRROR, AFFINE, BRIGHT).apply(pixels, seam)
    other = recipe(MIRROR, AFFINE, BRIGHT)
    for start, end in ((25, 40), (0, 20), (20, 25)):
        piece, said = other.apply(pixels[start:end], seam + start)
        assert (piece == varied[start:end]).all() and (said == labels[start:end]).all()
    drawn = [other.apply(pixels, block * BLOCK)[1] for block in range(3)]
    assert (drawn[0] != drawn[1]).any() and (drawn[1] != drawn[2]).any()


def test_the_images_given_are_not_changed(pixels: Pixels) -> None:
    before = pixels.copy()
    recipe(MIRROR, AFFINE, BRIGHT).apply(pixels, 0)
    assert (pixels == before).all()


def test_mirror_mirrors(pixels: Pixels) -> None:
    varied, labels = recipe(MIRROR).apply(pixels, 0)
    done = labels[:, 0] == 1
    assert (varied[done] == pixels[done][:, :, ::-1]).all()
    assert (varied[~done] == pixels[~done]).all()


def test_brightness_and_contrast_are_what_the_label_says(pixels: Pixels) -> None:
    varied, labels = recipe(BRIGHT | {"probability": 1.0}).apply(pixels, 0)
    contrast, brightness = labels[:, 0, None, None, None] + 1, labels[:, 1, None, None, None] * 255
    assert np.abs(varied - (pixels * contrast + brightness).clip(0, 255)).max() <= 1.01
    assert 0.1 < np.abs(labels).max() <= 0.2


def test_affine_moves_as_the_label_says() -> None:
    """A bright dot lies where the matrix of the label puts it."""
    size = 64
    pixels = np.zeros((30, size, size, 3), np.uint8)
    pixels[:, 38:42, 22:26] = 255
    moved, labels = recipe(AFFINE | {"probability": 1.0}).apply(pixels, 0)
    before = np.array([23.5, 39.5, 1.0])
    for image, label in zip(moved, labels, strict=True):
        matrix = label.reshape(2, 3).astype(float) + np.eye(3)[:2]
        matrix[:, 2] = label.reshape(2, 3)[:, 2] * size
        weights = image[:, :, 0].astype(float)
        rows, columns = np.indices(weights.shape)
        found = [(weights * columns).sum() / weights.sum(), (weights * rows).sum() / weights.sum()]
        assert found == pytest.approx(list(matrix @ before), abs=0.35)
    assert np.abs(labels[:, [2, 5]]).max() > 0.05


def test_no_augmentation_leaves_images_as_they_are(pixels: Pixels) -> None:
    varied, labels = recipe().apply(pixels, 0)
    assert (varied == pixels).all()
    assert labels.shape == (40, 0)


@pytest.mark.parametrize("size", [3, 20])
def test_the_step_writes_its_recipe_a_preview_and_the_same_bytes_again(tmp_path: Path, size: int) -> None:
    (tmp_path / "data").mkdir()
    write_split(tmp_path / "data", "train", painted(size, seed=1))
    digests = []
    for name in ("one", "two"):
        out, report = tmp_path / name, tmp_path / f"{name}-report"
        events, ref = finished(augment(section(MIRROR, AFFINE), tmp_path / "data", out, report))
        assert (ref.images, ref.digest) == (size, digest_of(out))
        assert {file.name for file in report.iterdir()} == {"preview.png", "metrics.json"}
        digests.append((ref.digest, digest_of(report)))
    assert digests[0] == digests[1]
    assert isinstance(events[-1], Noted) and events[-1].text.startswith("mirror, affine: ")
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["label_length"] == 7
    assert 0 < metrics["share_touched"] <= 1
    assert read_recipe(out).section == section(MIRROR, AFFINE)


def test_a_kind_may_stand_there_once(tmp_path: Path) -> None:
    steps = augment(section(MIRROR, AFFINE, MIRROR), tmp_path, tmp_path / "out", tmp_path / "report")
    with pytest.raises(ValueError, match=r"augment\.transforms: each kind may stand there once"):
        next(steps)
    assert not (tmp_path / "out").exists()


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValidationError):
        section(MIRROR | {"probability": 1.5})
