"""Tracing an image: the right training images, in order, with a distance that means something."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.curation.decoding import ORIENTATION
from darkroom.evaluation.tracing import Untraceable, read_image, trace
from darkroom.images import ImageSet, Pixels

WHITE = (255, 255, 255)


def noise(seed: int, n: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)


def training(n: int = 40) -> ImageSet:
    return ImageSet(noise(0, n), np.arange(n) % 2, ("moon", "sun"), tuple(f"{row}.png" for row in range(n)))


def test_the_nearest_are_named_in_order_and_a_copy_is_suspect() -> None:
    images = training()
    images.pixels[9] = (images.pixels[4].astype(int) // 2 + 40).astype(np.uint8)  # the second nearest
    found = trace(images.pixels[4] // 2 * 2, images, noise(1, 50), 5)
    assert [one.path for one in found.near[:2]] == ["4.png", "9.png"]
    assert found.near[0].label == "moon"
    apart = [one.distance for one in found.near]
    assert apart == sorted(apart) and len(apart) == 5
    by_hand = np.linalg.norm((found.pixels.astype(float) - images.pixels[4]) / 255)
    assert found.near[0].distance == pytest.approx(by_hand)
    assert found.near[0].nearer_than == 1
    assert found.suspect


def test_another_image_is_not_suspect_and_a_mirrored_copy_is_named_and_shown_mirrored() -> None:
    images = training()
    assert not trace(noise(5, 1)[0], images, noise(1, 200), 3).suspect
    found = trace(images.pixels[7, :, ::-1], images, noise(1, 50), 2)
    assert (found.near[0].path, found.near[0].mirrored, found.near[0].distance, found.suspect) == ("7.png", True, 0, True)
    shown = np.asarray(found.picture())
    scale = 192 // 8
    np.testing.assert_array_equal(shown[0, : 8 * scale], shown[0, 9 * scale : 17 * scale])


def test_what_cannot_be_traced_says_why(tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("no image")
    with pytest.raises(Untraceable, match=r"note\.png: cannot be read as an image"):
        read_image(tmp_path / "note.png", [(8, 8)], WHITE)
    with pytest.raises(Untraceable, match="there is no such file"):
        read_image(tmp_path / "gone.png", [(8, 8)], WHITE)
    with pytest.raises(Untraceable, match="too few to trace"):
        trace(noise(0, 1)[0], training(1), noise(1, 5), 3)
    Image.fromarray(np.full((20, 40, 4), 200, np.uint8)).save(tmp_path / "wide.png")
    assert read_image(tmp_path / "wide.png", [(8, 8)], WHITE).shape == (8, 8, 3)


def test_an_image_is_read_as_curation_reads_it(tmp_path: Path) -> None:
    """Turned upright, in 16 bits, with what is transparent over the background: a training file lies at distance 0."""
    chance = np.random.default_rng(3)
    colours = chance.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    grey = chance.integers(0, 65536, (8, 8), dtype=np.uint16)
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    Image.fromarray(colours).save(tmp_path / "turned.png", exif=turned)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([colours, np.zeros((8, 8), np.uint8)])).save(tmp_path / "clear.png")
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png", [(8, 8)], WHITE), np.rot90(colours, -1))
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png", [(8, 8)], WHITE)[..., 0], (grey / 257).round())
    assert (read_image(tmp_path / "clear.png", [(8, 8)], (9, 8, 7)) == (9, 8, 7)).all()
