"""What is kept is found again, never trusted where it is damaged, and belongs to all that it follows from."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import grimp
import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.evaluation import generating, keeping
from darkroom.evaluation.describing import Describer
from darkroom.evaluation.keeping import Kept, code_of, key_of
from darkroom.events import Event, Noted, followed
from darkroom.features.features import ShrunkPixels

FEATURES = ShrunkPixels(kind="pixels", side=4)


class Maker:
    """Makes an array and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> Generator[Event, None, NDArray[Any]]:
        self.asked += 1
        yield Noted("making")
        return np.arange(6).reshape(2, 3)


def got(kept: Kept, make: Maker) -> tuple[NDArray[Any], list[str]]:
    events: list[Event] = []
    array = followed(kept.got("some-key", "numbers", make), events.append)
    return array, [event.text for event in events if isinstance(event, Noted) and event.text != "making"]


def test_what_is_kept_is_not_made_again(tmp_path: Path) -> None:
    make = Maker()
    first, _ = got(Kept(tmp_path / "new/folder"), make)
    again, said = got(Kept(tmp_path / "new/folder"), make)
    assert make.asked == 1 and said == []
    np.testing.assert_array_equal(first, again)
    got(Kept(None), make)
    assert make.asked == 2


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:50] + bytes([b[50] ^ 1]) + b[51:], lambda b: b""])
def test_a_damaged_file_is_noticed_and_made_again(tmp_path: Path, damage: Any) -> None:
    make = Maker()
    got(Kept(tmp_path), make)
    file = tmp_path / "some-key"
    file.write_bytes(damage(file.read_bytes()))
    array, said = got(Kept(tmp_path), make)
    assert make.asked == 2
    assert said == [f"{file}: damaged (numbers); made again"]
    np.testing.assert_array_equal(array, np.arange(6).reshape(2, 3))
    assert got(Kept(tmp_path), make)[1] == [] and make.asked == 2


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    array, said = got(Kept(tmp_path / "file/below"), Maker())
    assert array.shape == (2, 3)
    assert len(said) == 1 and "could not be kept" in said[0]


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, size = Kept(tmp_path), 1128 + 32  # an .npy of 1,000 bytes
    monkeypatch.setattr(keeping, "MOST_BYTES", 2 * size)
    for age, key in enumerate(("a", "b")):
        kept._write(tmp_path / key, np.zeros(1000, np.uint8))
        os.utime(tmp_path / key, (age, age))
    kept._read(tmp_path / "a")  # used now
    kept._write(tmp_path / "c", np.zeros(1000, np.uint8))
    assert {file.name for file in tmp_path.iterdir()} == {"a", "c"}


def test_a_key_follows_from_facts_and_content() -> None:
    content = np.zeros(4, np.uint8)
    keys = [key_of("x", {"a": 1}, content), key_of("x", {"a": 2}, content), key_of("x", {"a": 1}, content + 1)]
    keys += [key_of("x", {"a": 1}, content.reshape(2, 2)), key_of("y", {"a": 1}, content)]
    assert len(set(keys)) == 5
    assert key_of("x", {"b": 1, "a": 2}) == key_of("x", {"a": 2, "b": 1})


def test_images_belong_to_all_code_that_draws_them() -> None:
    """A change in any file that drawing can import makes kept images worthless: the list is the import tree."""
    graph = grimp.build_graph("darkroom", cache_dir=None)
    reached = graph.find_upstream_modules("darkroom.sampling") | {"darkroom.sampling"}
    parts = {name.split(".")[1] for name in reached}
    assert {name.removesuffix(".py") for name in generating.CODE} == parts
    assert code_of("noise.py") != code_of("samplers.py") != code_of("networks")


def test_more_images_describe_only_the_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.evaluation.describing.TOGETHER", 8)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    describer = Describer(FEATURES, Kept(tmp_path), batch=5)
    assert describer.missing(pixels) == 24
    followed(describer.described(pixels[:16], "some"), lambda event: None)
    assert describer.missing(pixels) == 8
    whole = followed(describer.described(pixels, "some"), lambda event: None)
    np.testing.assert_allclose(FEATURES.scaled(whole), FEATURES.describe(pixels, 24), atol=1e-6)
    other = Describer(ShrunkPixels(kind="pixels", side=2), Kept(tmp_path), batch=5)
    assert other.missing(pixels) == 24
