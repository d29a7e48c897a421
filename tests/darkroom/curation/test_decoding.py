"""Decoding: every kind of file to upright sRGB, reduced decoding, and the reason where there is nothing to decode."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from darkroom.curation import decoding
from darkroom.curation.decoding import UnreadableImage, decode, decoded, kind_of
from darkroom.curation.fingerprints import hashes
from tests.darkroom.curation.made_pictures import encoded, photograph


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
    monkeypatch.setattr(decoding, "MOST_PIXELS", 399)
    with pytest.raises(UnreadableImage, match="20 x 20 pixels") as error:
        decode(content)
    assert error.value.reason == "too_large"
    monkeypatch.setattr(decoding, "MOST_PIXELS", 400)
    decode(content)


def image_with(kind: str, **settings: Any) -> bytes:
    return encoded(photograph(7, 96, 64), kind, **settings)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_every_format_is_known_by_its_content_and_decoded(kind: str) -> None:
    content = image_with(kind)
    assert kind_of(content[: decoding.HEAD]) == kind
    found = decoded(content, (255, 255, 255))
    assert (found.width, found.height, found.format, found.note) == (96, 64, kind, "")
    assert abs(np.asarray(found.image).astype(int) - np.asarray(photograph(7, 96, 64))).mean() < 12


def test_heic_is_read_with_its_plugin_and_named_without(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    plugin.register_heif_opener()
    content = image_with("HEIF")
    assert decoded(content, (0, 0, 0)).format == "HEIC"
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(UnreadableImage, match=r"darkroom\[heic\]") as error:
        decode(content)
    assert error.value.reason == "unsupported"


@pytest.mark.parametrize(("kind", "settings"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_the_first_frame_counts_and_that_is_noted(kind: str, settings: dict[str, Any]) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    found = decoded(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **settings), (0, 0, 0))
    assert found.image.getpixel((0, 0)) == pytest.approx((250, 0, 0), abs=2)
    assert found.note == "the first of 3 frames"


def test_an_animation_whose_second_frame_is_damaged_gives_its_first() -> None:
    frames = [photograph(seed, 64, 64).quantize(64) for seed in (1, 2)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    found = decoded(content[: len(content) * 3 // 4], (0, 0, 0))
    assert found.image.size == (64, 64)


def test_cmyk_and_its_adobe_inversion_come_out_alike() -> None:
    photo = photograph(3, 64, 64)
    plain = decode(encoded(photo.convert("CMYK"), "JPEG", quality=95))
    assert abs(np.asarray(plain).astype(int) - np.asarray(photo)).mean() < 8
    tiff = decode(encoded(photo.convert("CMYK"), "TIFF"))
    assert abs(np.asarray(tiff).astype(int) - np.asarray(photo)).mean() < 2


def test_sixteen_bits_per_colour() -> None:
    """A PNG of 16-bit RGB, written by hand: Pillow cannot."""
    values = np.linspace(0, 65535, 8 * 4 * 3).astype(">u2").reshape(4, 8, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    found = np.asarray(decode(png(struct.pack(">IIBBBBB", 8, 4, 16, 2, 0, 0, 0), (b"IDAT", zlib.compress(rows)))))
    assert abs(found.astype(float) - values / 257).max() <= 1


def png(header: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in [(b"IHDR", header), *chunks, (b"IEND", b"")])


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_bomb_in_compressed_text_is_not_unpacked(kind: bytes) -> None:
    squeezed = zlib.compress(b"\0" * 50_000_000)
    text = b"Comment\0\0" + squeezed if kind == b"zTXt" else b"Comment\0\1\0\0\0" + squeezed
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    with pytest.raises(UnreadableImage) as error:
        decode(png(header, (kind, text), (b"IDAT", zlib.compress(b"\0\0"))))
    assert error.value.reason == "too_large"


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_of_unknown_white_are_refused_clearly(mode: str) -> None:
    with pytest.raises(UnreadableImage, match="32-bit") as error:
        decode(encoded(photograph(1, 32, 32).convert(mode), "TIFF"))
    assert error.value.reason == "unsupported"


def test_a_profile_does_not_tint_what_lies_under_transparency() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"temp").replace(b"gXYZ", b"rXYZ").replace(b"temp", b"gXYZ")
    half = Image.new("RGBA", (4, 4), (50, 120, 200, 255))
    half.putpixel((0, 0), (0, 0, 0, 0))
    found = decode(encoded(half, icc_profile=swapped), (10, 200, 30))
    assert found.getpixel((0, 0)) == (10, 200, 30)
    assert found.getpixel((1, 1)) == pytest.approx((120, 50, 200), abs=1)


def test_damaged_exif_does_not_cost_the_image() -> None:
    content = image_with("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    assert decode(content).size == (96, 64)


@pytest.mark.parametrize("seed", range(4))
def test_reduced_decoding_is_quick_to_the_eye_the_same(seed: int) -> None:
    """Size as in the file, sides as asked for, hashes within two bits of those of the whole picture."""
    content = encoded(photograph(seed, 2400, 1600), "JPEG", quality=92)
    whole, reduced = decoded(content, (0, 0, 0)), decoded(content, (0, 0, 0), least=(512, 128))
    assert (reduced.width, reduced.height) == whole.image.size == (2400, 1600)
    assert reduced.image.size == (600, 400)
    (of_views, difference), (of_less_views, less_difference) = hashes(whole.image), hashes(reduced.image)
    assert (np.bitwise_count(of_views ^ of_less_views) <= 2).all()
    assert (difference ^ less_difference).bit_count() <= 2


def test_reduced_decoding_keeps_the_sides_that_are_needed_and_turns() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(photograph(1, 1600, 400), "JPEG", exif=exif)
    found = decoded(content, (0, 0, 0), least=(200, 200))
    assert found.image.size == (200, 800)  # half, not an eighth: the shorter side counts too
    assert (found.width, found.height) == (400, 1600)
