"""Decoding to sRGB, numbers to the model and back, contact sheets, splits on disk."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from darkroom import images
from darkroom.images import (
    ImageSet,
    UnreadableImage,
    contact_sheet,
    decode,
    read_split,
    to_model,
    to_pixels,
    to_square,
    write_split,
)


def encoded(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    content = BytesIO()
    image.save(content, kind, **settings)
    return content.getvalue()


def colour_of(content: bytes, background: tuple[int, int, int] = (255, 255, 255)) -> tuple[int, ...]:
    decoded = decode(content, background)
    assert decoded.mode == "RGB"
    return decoded.getpixel((0, 0))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (4, 4), 77), (77, 77, 77)),
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.new("LA", (4, 4), (0, 0)), (10, 20, 30)),
        (Image.new("RGBA", (4, 4), (200, 100, 0, 0)), (10, 20, 30)),
        (Image.new("RGBA", (4, 4), (110, 120, 130, 128)), (60, 70, 80)),
    ],
    ids=["grey", "one bit", "clear grey", "clear", "half clear"],
)
def test_every_mode_becomes_rgb(image: Image.Image, expected: tuple[int, ...]) -> None:
    assert colour_of(encoded(image), (10, 20, 30)) == pytest.approx(expected, abs=1)


def test_sixteen_bits_become_eight() -> None:
    every = np.arange(256, dtype=np.uint16).reshape(16, 16)
    decoded = np.asarray(decode(encoded(Image.fromarray(every * 257))))
    assert (decoded == every[:, :, None]).all()


def test_a_transparent_colour_is_background() -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    assert colour_of(encoded(palette), (10, 20, 30)) == (200, 0, 0)
    assert colour_of(encoded(palette, transparency=1), (10, 20, 30)) == (10, 20, 30)
    assert colour_of(encoded(Image.new("RGB", (4, 4), (9, 9, 9)), transparency=(9, 9, 9)), (10, 20, 30)) == (10, 20, 30)


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    assert colour_of(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == pytest.approx((255, 0, 0), abs=2)


def test_a_colour_profile_is_followed_and_a_damaged_one_ignored() -> None:
    picture = Image.new("RGB", (4, 4), (50, 120, 200))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"temp").replace(b"gXYZ", b"rXYZ").replace(b"temp", b"gXYZ")  # red means green
    assert colour_of(encoded(picture, icc_profile=swapped)) == pytest.approx((120, 50, 200), abs=1)
    assert colour_of(encoded(picture, icc_profile=srgb)) == pytest.approx((50, 120, 200), abs=1)
    assert colour_of(encoded(picture, icc_profile=b"no profile")) == (50, 120, 200)


@pytest.mark.parametrize(("turn", "expected"), [(3, "down"), (6, "right"), (8, "left")])
def test_pictures_are_upright(turn: int, expected: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4] = 255  # white above
    upright = np.asarray(decode(encoded(Image.fromarray(picture), exif=exif)))
    halves = {"down": upright[4:], "right": upright[:, 4:], "left": upright[:, :4]}
    assert halves[expected].min() == 255


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"MZ not an image", "not_an_image"),
        (b"%PDF-1.7", "not_an_image"),
        (b"\x89PNG\r\n\x1a\n", "truncated|not_an_image"),
    ],
)
def test_what_is_no_image_says_why(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage) as error:
        decode(content)
    assert error.value.reason in reason.split("|")
    assert str(error.value)


def test_images_too_large_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(Image.new("RGB", (20, 20)))
    monkeypatch.setattr(images, "MOST_PIXELS", 399)
    with pytest.raises(UnreadableImage, match="20 x 20 pixels") as error:
        decode(content)
    assert error.value.reason == "too_large"
    monkeypatch.setattr(images, "MOST_PIXELS", 400)
    decode(content)


def test_the_middle_square() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    square = to_square(Image.fromarray(wide), 10)
    assert square.shape == (10, 10, 3)
    assert (square == 200).all()


def test_numbers_go_to_the_model_and_back() -> None:
    every = np.arange(256, dtype=np.uint8)
    values = to_model(every.astype(np.float32))
    assert (values.min(), values.max()) == (-1, 1)
    assert (to_pixels(values) == every).all()
    assert to_pixels(np.array([-9.0, 9.0, 0.0])).tolist() == [0, 255, 128]


def test_a_contact_sheet() -> None:
    pixels = np.stack([np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)])
    sheet = np.asarray(contact_sheet(pixels, columns=2, gap=2))
    assert sheet.shape == (4 + 2 + 4, 6 + 2 + 6, 3)
    assert (sheet[:4, :6] == 10).all() and (sheet[:4, 8:] == 20).all() and (sheet[6:, :6] == 30).all()
    assert (sheet[4:6] == 255).all() and (sheet[6:, 6:] == 255).all()
    assert contact_sheet(pixels, columns=9, scale=3).size == ((6 + 2 + 6 + 2 + 6) * 3, 4 * 3)


def made_set() -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
    return ImageSet(pixels, np.array([0, 1, 2, 1, 0]), ("ant", "bee", "crane ü"), tuple(f"{n}.png" for n in range(5)))


def test_only_some_labels() -> None:
    whole = made_set()
    some = whole.only(["bee", "crane ü"])
    assert some.paths == ("1.png", "2.png", "3.png")
    assert some.labels.tolist() == [1, 2, 1]
    assert (some.pixels == whole.pixels[1:4]).all()
    assert some.names == whole.names
    assert whole.only([]) is whole
    assert len(whole.only(["ant", "ant"])) == 2
    with pytest.raises(ValueError, match="no label dog, eel in this data set; it has: ant, bee, crane ü"):
        whole.only(["eel", "dog", "bee"])


def test_a_split_survives_the_disk(tmp_path: Path) -> None:
    whole = made_set()
    write_split(tmp_path, "train", whole)
    read = read_split(tmp_path, "train")
    assert (read.pixels == whole.pixels).all()
    assert (read.labels == whole.labels).all() and read.labels.dtype == np.int64
    assert (read.names, read.paths, read.size, len(read)) == (whole.names, whole.paths, 4, 5)
    assert isinstance(read.pixels, np.memmap)
    with pytest.raises(FileNotFoundError):
        read_split(tmp_path, "test")
