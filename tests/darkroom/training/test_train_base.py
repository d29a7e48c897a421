"""The step as a whole: what it writes, that it writes the same again, and what it refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from darkroom.events import Noted, SamplesDrawn
from darkroom.images import digest_of_images, write_split
from darkroom.networks.saved import load_model
from darkroom.refs import digest_of
from darkroom.training import report
from darkroom.training.train_base import train_base
from tests.darkroom.tiny import MIRROR, base_section, finished, painted, prepare


def picture(file: Path) -> NDArray[np.int64]:
    with Image.open(file) as image:
        return np.asarray(image).astype(np.int64)


def test_the_model_and_its_report(tmp_path: Path) -> None:
    places = prepare(tmp_path, [MIRROR])
    events, ref = finished(train_base(base_section(), places))
    model, card = load_model(places.out, torch.device("cpu"))
    assert ref.digest == digest_of(places.out)
    assert ref.parameters == sum(weight.numel() for weight in model.parameters())
    assert isinstance(events[0], Noted) and "20 images, 6 held out, on cpu" in events[0].text
    assert (card.labels, card.label_counts, card.augmentations) == (("dark", "light"), (10, 10), 1)
    assert (card.images_seen, card.data_digest, card.parent_digest) == (60, digest_of_images(places.data), "")
    rows = list(csv.DictReader((places.report / "loss.csv").read_text().splitlines()))
    assert [row["images_seen"] for row in rows] == ["16", "32", "48", "60"]
    assert float(rows[1]["held_out_loss middle"]) > 0 and float(rows[1]["training_loss middle"]) > 0
    assert rows[0]["training_loss middle"] == ""
    scores = list(csv.DictReader((places.report / "scores.csv").read_text().splitlines()))
    assert [row["images_seen"] for row in scores] == ["40", "60"] and float(scores[0]["kd_pixels_16"]) > float(scores[0]["real"])
    metrics = json.loads((places.report / "metrics.json").read_text())
    assert metrics["held_out_loss"] == float(rows[-1]["held_out_loss"])
    assert metrics["loss"] == float(rows[-1]["loss"])
    sheets = [event for event in events if isinstance(event, SamplesDrawn)]
    samples, strip = (picture(places.report / name) for name in ("samples.png", "film_strip.png"))
    assert strip.shape == (len(sheets) * (len(samples) // 3), *samples.shape[1:])
    assert (strip[-len(samples) // 3 :] == samples[: len(samples) // 3]).all()
    assert str(tmp_path) not in (places.out / "model.json").read_text() + (places.report / "metrics.json").read_text()


@pytest.mark.parametrize("attention", [4, 8])
def test_a_unet_that_sees_no_image_as_a_whole_is_told_of(tmp_path: Path, attention: int) -> None:
    network = {"kind": "unet", "width": 32, "widening": [1], "depth": 1, "attention": attention}
    events, _ = finished(train_base(base_section(network=network, images=4), prepare(tmp_path)))
    told = [event.text for event in events if isinstance(event, Noted) and "nothing sees an image as a whole" in event.text]
    assert len(told) == (1 if attention == 4 else 0)


def test_a_film_strip_shows_some_of_many_sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "STRIPS", 3)
    for number in range(9):
        Image.new("RGB", (6, 9), (number, number, number)).save(tmp_path / f"{number}.png")
    report.film_strip(sorted(tmp_path.glob("*.png")), tmp_path)
    assert picture(tmp_path / "film_strip.png")[::3, 0, 0].tolist() == [0, 4, 8]
    assert (picture(tmp_path / "samples.png") == 8).all()


def test_the_last_sheet_is_of_the_model_that_is_kept(tmp_path: Path) -> None:
    from darkroom.training.session import _draw_sheet

    places = prepare(tmp_path)
    finished(train_base(base_section(), places))
    model, card = load_model(places.out, torch.device("cpu"))
    again = _draw_sheet(model, card, 3, tmp_path / "again.png", torch.device("cpu"))
    assert np.abs(picture(again.path) - picture(places.report / "samples.png")).max() <= 1


def test_the_callers_random_numbers_are_neither_used_nor_moved(tmp_path: Path) -> None:
    digests = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        expected = torch.Generator().manual_seed(seed)
        _, ref = finished(train_base(base_section(), prepare(tmp_path / str(seed))))
        assert torch.equal(torch.rand(3), torch.rand(3, generator=expected))
        digests.append(ref.digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_images_is_refused_at_once(tmp_path: Path, split: str) -> None:
    places = prepare(tmp_path)
    write_split(places.data, split, painted(0, seed=0))
    with pytest.raises(ValueError, match=r"0 .*images; both are needed: see curate\.split"):
        next(train_base(base_section(), places))


def test_sizes_that_do_not_fit_the_data_are_refused_at_once(tmp_path: Path) -> None:
    network = base_section().network.model_dump() | {"patch": 3}
    with pytest.raises(ValueError, match=r"network\.patch \(3\) does not divide curate\.image_size \(8\)"):
        next(train_base(base_section(network=network), prepare(tmp_path)))
