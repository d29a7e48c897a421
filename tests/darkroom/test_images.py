"""Squares, numbers to the model and back, contact sheets, splits on disk."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.images import (
    ImageSet,
    Rows,
    contact_sheet,
    cut_to,
    read_split,
    spread,
    to_model,
    to_pixels,
    write_split,
)


def test_the_middle_square() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    square = cut_to(Image.fromarray(wide), (10, 10))
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
    assert isinstance(read.pixels, Rows)
    with pytest.raises(FileNotFoundError):
        read_split(tmp_path, "test")


@pytest.mark.parametrize(("count", "most", "rows"), [(5, 9, [0, 1, 2, 3, 4]), (10, 4, [0, 3, 6, 9]), (3, 1, [0]), (0, 4, [])])
def test_images_are_spread_evenly_over_a_set(count: int, most: int, rows: list[int]) -> None:
    assert spread(count, most).tolist() == rows
