"""Each filter keeps and rejects what it says, at any size."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from pydantic import TypeAdapter
from scipy import ndimage  # type: ignore[import-untyped]

from darkroom.curation.filters import ImageFilter as Scoring
from darkroom.curation.filters import fault, first_failed, sharpness, with_values
from tests.darkroom.curation.made_pictures import photograph, picture

filters: TypeAdapter[Scoring] = TypeAdapter(Scoring)


def fails(one: Scoring, image: Image.Image) -> str:
    """What is said of an image that is rejected, "" of one that stays."""
    score = one.score(image)
    return fault(one, score) if next(first_failed([one], [{one.kind: score}])) else ""


def with_bars(image: Image.Image, height: int = 20) -> Image.Image:
    whole = image.copy()
    whole.paste((3, 3, 3), (0, 0, image.width, height))
    whole.paste((3, 3, 3), (0, image.height - height, image.width, image.height))
    return whole


def with_dot() -> Image.Image:
    """A subject on a plain ground: no bars, though whole rows are of one colour."""
    whole = Image.new("RGB", (100, 100), (255, 255, 255))
    ImageDraw.Draw(whole).ellipse((30, 30, 70, 70), fill=(200, 30, 30))
    return whole


def page() -> Image.Image:
    whole = Image.new("RGB", (300, 300), (250, 250, 250))
    for top in range(10, 290, 14):
        ImageDraw.Draw(whole).text((8, top), "a line of text as on any printed page, and on", fill=(10, 10, 10), font_size=12)
    return whole


@pytest.mark.parametrize(
    ("settings", "good", "bad"),
    [
        ({"kind": "smallest_side", "least": 50}, Image.new("RGB", (50, 90)), Image.new("RGB", (49, 900))),
        ({"kind": "aspect_ratio", "most": 2.0}, Image.new("RGB", (40, 80)), Image.new("RGB", (81, 40))),
        ({"kind": "sharpness", "least": 40.0}, picture(1), picture(1).filter(ImageFilter.GaussianBlur(4))),
        ({"kind": "contrast", "least": 6.0}, picture(1), Image.new("RGB", (64, 64), (90, 90, 90))),
        ({"kind": "underexposed", "least": 40.0}, picture(1), picture(1).point(lambda level: level // 8)),
        ({"kind": "overexposed", "most": 235.0}, picture(1), picture(1).point(lambda level: 240 + level // 20)),
        ({"kind": "information", "least": 0.8}, picture(1), Image.new("RGB", (64, 64), (90, 90, 90))),
        ({"kind": "colourfulness", "least": 8.0}, picture(1), picture(1).convert("L").convert("RGB")),
        ({"kind": "bars", "most": 0.2}, with_dot(), with_bars(photograph(1))),
        ({"kind": "text_like", "most": 0.45}, photograph(1), page()),
        ({"kind": "text_like", "most": 0.45}, picture(1), page().convert("L").convert("RGB")),
    ],
)
def test_a_filter_keeps_the_good_and_rejects_the_bad(settings: dict[str, object], good: Image.Image, bad: Image.Image) -> None:
    one = filters.validate_python(settings)
    assert not fails(one, good)
    assert f"{settings.get('least', settings.get('most')):g}" in fails(one, bad)


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
    for kind in ("sharpness", "contrast", "information", "colourfulness", "underexposed"):
        assert fails(filters.validate_python({"kind": kind, "least": 1.0}), Image.new("RGB", (1, 1)))
    for kind in ("overexposed", "bars", "text_like"):
        assert not fails(filters.validate_python({"kind": kind, "most": 1.0}), Image.new("RGB", (1, 1)))


def test_a_threshold_may_be_a_share_of_the_images() -> None:
    asked = [
        filters.validate_python({"kind": "sharpness", "least": "10%"}),
        filters.validate_python({"kind": "aspect_ratio", "most": "25%"}),
        filters.validate_python({"kind": "contrast", "least": 6.0}),
    ]
    scores = {"sharpness": list(range(101)), "aspect_ratio": list(range(101))}
    assert [one.model_dump() for one in with_values(asked, scores)] == [
        {"kind": "sharpness", "least": 10.0},
        {"kind": "aspect_ratio", "most": 75.0},
        {"kind": "contrast", "least": 6.0},
    ]
    with pytest.raises(ValueError, match="pattern"):
        filters.validate_python({"kind": "sharpness", "least": "5 per cent"})


def test_what_one_filter_saw_of_an_image_is_not_taken_for_what_a_copy_shows() -> None:
    image = photograph(1, 200, 160)
    before = sharpness(image)
    assert sharpness(image.filter(ImageFilter.GaussianBlur(4))) < before / 4
    assert sharpness(image) == before
