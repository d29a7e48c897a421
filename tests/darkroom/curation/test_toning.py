"""Tones: changes of brightness, contrast, gamma and saturation are undone, and nothing else is."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from darkroom.curation.fingerprints import small_picture, small_spread
from darkroom.curation.toning import with_tones_of
from tests.darkroom.curation.made_pictures import photograph

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.4),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "gamma": lambda image: image.point([round(255 * (value / 255) ** 0.7) for value in range(256)] * 3),
    "less colour": lambda image: ImageEnhance.Color(image).enhance(0.6),
}


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """Root mean square, in grey levels."""
    return float(np.sqrt(((first - second) ** 2).mean()))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_tones_is_undone(change: str) -> None:
    smalls = [Image.fromarray(small_picture(photograph(seed, 240, 180))) for seed in range(4)]
    for small in smalls:
        small.paste((255, 255, 255), (0, 0, 12, 32))  # on a white ground, as cut-outs are
    before = np.stack([np.asarray(one, np.float32) for one in smalls])
    after = np.stack([np.asarray(CHANGES[change](one), np.float32) for one in smalls])
    made = with_tones_of(after, before, np.zeros(before.shape[:3], np.float32))
    for index in range(len(smalls)):
        assert apart(made[index], after[index]) < min(4.0, apart(before[index], after[index]) / 4)


def test_a_picture_of_the_same_tones_stays_as_it_is() -> None:
    one = small_picture(photograph(5, 240, 180)).astype(np.float32)[None]
    for spread in (0, 40):
        assert apart(with_tones_of(one, one, np.full((1, 32, 32), spread, np.float32)), one) < 0.5  # black is as dark as 1 here


def test_fine_texture_that_was_clipped_is_followed_by_what_a_pixel_hides() -> None:
    """Stripes finer than a pixel of the small picture: brightened, the light ones turn white and the dark ones do not."""
    image = photograph(2, 256, 256)
    levels = np.asarray(image, np.float32) / 2 + 60
    levels[:, ::2] += 60
    image = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    brighter = ImageEnhance.Brightness(image).enhance(1.4)
    before, after = (small_picture(one).astype(np.float32)[None] for one in (image, brighter))
    spread = small_spread(image).astype(np.float32)[None]
    assert spread.mean() == pytest.approx(30, abs=6)  # half of what the stripes differ by
    blind = apart(with_tones_of(after, before, spread * 0), after)
    assert apart(with_tones_of(after, before, spread), after) < blind / 2


@pytest.mark.parametrize(
    "colours", [((220, 40, 40), (40, 90, 230)), ((250, 220, 190), (90, 60, 40)), ((0, 0, 0), (255, 255, 255))]
)
def test_no_change_of_tones_makes_one_thing_another(colours: tuple[tuple[int, int, int], tuple[int, int, int]]) -> None:
    """A red heart is no blue one, a dark hand on white no light one, and black is not white."""
    pictures = np.full((2, 32, 32, 3), 255 if colours[0] != (0, 0, 0) else 128, np.float32)
    pictures[0, 8:24, 8:24], pictures[1, 8:24, 8:24] = colours
    first, second, plain = pictures[:1], pictures[1:], np.zeros((1, 32, 32), np.float32)
    assert apart(with_tones_of(second, first, plain), second) > 25
    assert apart(with_tones_of(first, second, plain), first) > 25
