"""Each filter keeps and rejects what it says, at any size."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from pydantic import TypeAdapter
from scipy import ndimage  # type: ignore[import-untyped]

from darkroom.curation.filters import Filter, sharpness
from tests.darkroom.curation.made_pictures import picture

filters: TypeAdapter[Filter] = TypeAdapter(Filter)


@pytest.mark.parametrize(
    ("settings", "good", "bad"),
    [
        ({"kind": "smallest_side", "least": 50}, Image.new("RGB", (50, 90)), Image.new("RGB", (49, 900))),
        ({"kind": "aspect_ratio", "most": 2.0}, Image.new("RGB", (40, 80)), Image.new("RGB", (81, 40))),
        ({"kind": "sharpness", "least": 40.0}, picture(1), picture(1).filter(ImageFilter.GaussianBlur(4))),
        ({"kind": "contrast", "least": 6.0}, picture(1), Image.new("RGB", (64, 64), (90, 90, 90))),
    ],
)
def test_a_filter_keeps_the_good_and_rejects_the_bad(settings: dict[str, object], good: Image.Image, bad: Image.Image) -> None:
    judge = filters.validate_python(settings).judge
    assert judge(good).keep
    assert not judge(bad).keep
    assert judge(bad).detail


@pytest.mark.parametrize("side", [64, 128, 400, 1500])
def test_blur_shows_at_every_size_of_image(side: int) -> None:
    sharp = picture(3, side)
    assert sharpness(sharp) > 100
    assert sharpness(sharp.filter(ImageFilter.GaussianBlur(side * 0.04))) < 40


def test_sharpness_agrees_with_scipy() -> None:
    image = picture(5, 100)
    grey = np.asarray(image.convert("L"), np.float64)
    assert sharpness(image) == pytest.approx(ndimage.laplace(grey, mode="nearest").var())


def test_one_pixel_is_judged_without_error() -> None:
    for settings in ({"kind": "sharpness", "least": 1.0}, {"kind": "contrast", "least": 1.0}):
        assert not filters.validate_python(settings).judge(Image.new("RGB", (1, 1))).keep
