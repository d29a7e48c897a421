"""What is said of images reaches the network: captions, or labels' names where there is none."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.augmentation import AugmentSection, Recipe
from darkroom.evaluation.evaluate import evaluate
from darkroom.evaluation.generating import captions_for
from darkroom.evaluation.signs import heard
from darkroom.events import Noted
from darkroom.images import ImageSet
from darkroom.networks.captioned import longest_text, tokens_of
from darkroom.networks.denoiser import Condition
from darkroom.networks.saved import build, load_model
from darkroom.sampling import draw, noise_for
from darkroom.training import held_out
from darkroom.training.batch import Batch
from darkroom.training.batches import Batches
from darkroom.training.course import Materials, Sheet
from darkroom.training.held_out import held_out_loss
from darkroom.training.train_base import train_base
from tests.darkroom.evaluation.rig import section as evaluate_section
from tests.darkroom.tiny import NETWORK, base_section, card, finished, painted, prepare, stirred, write_captions

CPU = torch.device("cpu")
CAPTIONED: dict[str, Any] = {"kind": "captioned", "length": 12, "width": 32, "depth": 1, "image": NETWORK}


def materials_of(images: ImageSet) -> Materials:
    recipe = Recipe(AugmentSection.model_validate({"seed": 0, "transforms": []}))
    return Materials(images, images, recipe, Path(), lambda *_: Sheet(Path(), images.pixels))


def batch_of(images: ImageSet, seen: int = 0, **changes: Any) -> Batch:
    batches = Batches(base_section(**changes), materials_of(images), CPU)
    try:
        return batches.at(seen, 400)
    finally:
        batches.close()


def said(batch: Batch) -> list[str]:
    assert batch.condition.text is not None
    return [bytes(byte - 1 for byte in row if byte).decode() for row in batch.condition.text.tolist()]


def test_an_image_is_told_by_its_caption_and_at_times_by_its_labels_name() -> None:
    images = painted(40, seed=1)
    images = replace(images, captions=tuple("night" if index % 2 == 0 else None for index in range(40)))
    batch = batch_of(images, label_dropout=0.2)
    words, dark = np.array(said(batch)), images.labels[batch.rows] == 0
    assert set(words[dark]) == {"night", "dark", ""} and set(words[~dark]) == {"light", ""}
    told = words != ""
    assert 0.1 < 1 - told.mean() < 0.3
    assert 0.15 < (words[dark & told] == "dark").mean() < 0.35
    assert (told == (batch.condition.label.numpy() >= 0)).all()
    assert said(batch_of(images, label_dropout=0.2)) == words.tolist()


def test_labels_are_told_as_often_as_is_asked() -> None:
    images = replace(painted(40, seed=1), captions=("night",) * 40)
    assert set(said(batch_of(images, label_dropout=0.0, labels_for_captions=0.0))) == {"night"}
    assert set(said(batch_of(images, label_dropout=0.0, labels_for_captions=1.0))) == {"dark", "light"}


def test_without_names_captions_alone_are_told() -> None:
    images = replace(painted(40, seed=1), names=("", "light"), captions=("night",) * 40)
    batch = batch_of(images, label_dropout=0.0)
    assert set(np.array(said(batch))[images.labels[batch.rows] == 0]) == {"night"}


def test_where_no_image_has_a_caption_labels_are_told() -> None:
    images = painted(40, seed=1)
    assert longest_text(images) == 0 == longest_text(replace(images, captions=("",) * 40))
    assert batch_of(images).condition.text is None


def test_a_very_long_caption_is_cut() -> None:
    images = replace(painted(40, seed=1), captions=("x" * 5000,) * 40)
    assert longest_text(images) == 1024
    assert max(map(len, said(batch_of(images)))) == 1024


def test_a_network_learns_what_captions_say_where_labels_say_nothing(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    write_captions(places, dict.fromkeys(("train", "validation"), ("night sky", "bright day")))
    section = base_section(network=CAPTIONED, images=2000, samples_every=2000, held_out_every=1000)
    events, _ = finished(train_base(section, places))
    model, about = load_model(places.out, CPU)
    noise, any_label = noise_for(0, range(16), 8), torch.zeros(16, dtype=torch.long)
    night, day = (draw(model, about, any_label, noise, about.drawing, [words] * 16) for words in ("night sky", "bright day"))
    assert night.mean() + 20 < day.mean()
    test = replace(painted(60, seed=9), names=("thing", "thing"))
    listens = heard(places.out, replace(test, captions=("night sky", "bright day") * 30), 0)
    assert listens is not None and listens.low > 0.7
    swapped = heard(places.out, replace(test, captions=("bright day", "night sky") * 30), 0)
    assert swapped is not None and swapped.high < 0.3
    asked = (places.report / "samples.txt").read_text(encoding="utf-8").splitlines()
    assert set(asked) == {"night sky", "bright day"} and len(asked) == 24
    assert not any(isinstance(event, Noted) and "have captions" in event.text for event in events)


def test_scores_are_of_images_drawn_by_captions_of_held_out_images(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    write_captions(places, dict.fromkeys(("train", "validation", "test"), ("night sky", "bright day")))
    finished(train_base(base_section(network=CAPTIONED, images=2000, samples_every=2000, held_out_every=1000), places))
    section = evaluate_section(images=12, metrics=[{"kind": "kernel_distance"}])
    events, _ = finished(evaluate(section, places.data, {"base": places.out}, tmp_path / "scores", keep=tmp_path / "kept"))
    assert any(isinstance(event, Noted) and "drawn by those of held-out images" in event.text for event in events)
    kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "kept").rglob("*") if file.is_file()}
    finished(evaluate(section, places.data, {"base": places.out}, tmp_path / "scores", keep=tmp_path / "kept"))
    assert {file.name for file in (tmp_path / "kept").rglob("*") if file.is_file()} == set(kept)
    by_caption = json.loads((tmp_path / "scores/scores.json").read_text())["base"]["kernel_distance"]["value"]
    write_captions(places, dict.fromkeys(("validation", "test"), ("night sky", "night sky")))
    finished(evaluate(section, places.data, {"base": places.out}, tmp_path / "dark", keep=tmp_path / "kept"))
    all_night = json.loads((tmp_path / "dark/scores.json").read_text())["base"]["kernel_distance"]["value"]
    assert by_caption < all_night  # dark images alone are further from the real ones


def test_captions_are_taken_in_turn_from_images_of_the_label_that_is_told() -> None:
    images = painted(6, seed=1)
    images = replace(images, captions=("a night", None, "a dusk", "noon", None, None))
    reads, names = card(network=CAPTIONED), ["light", "dark", "dark", "dark", "light"]
    assert captions_for(reads, [images], names) == ["noon", "a night", "a dusk", "a night", "noon"]
    only_dark = replace(images, captions=("a night", *[None] * 5))
    assert captions_for(reads, [only_dark], ["light", "dark"]) == ["light", "a night"]
    assert captions_for(reads, [painted(6, seed=1)], ["light", "dark"]) is None
    assert captions_for(card(), [images], names) is None


def test_the_held_out_loss_is_that_of_what_is_said() -> None:
    model, section = stirred(build(card(network=CAPTIONED))), base_section(network=CAPTIONED)
    sets = [replace(painted(6, seed=2), captions=captions) for captions in (("night",) * 6, ("day",) * 6, ())]
    assert len({held_out_loss(model, section, materials_of(images))[0] for images in sets}) == 3


def test_of_many_held_out_images_some_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    model, section, images = stirred(build(card())), base_section(), painted(9, seed=2)
    some = held_out_loss(model, section, materials_of(images.at(np.array([0, 4, 8]))))
    whole = held_out_loss(model, section, materials_of(images))
    monkeypatch.setattr(held_out, "MOST_HELD_OUT", 3)
    assert held_out_loss(model, section, materials_of(images)) == some != whole


def test_captions_that_no_network_reads_are_told_of(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    write_captions(places, {"train": ("night", "day")})
    events, _ = finished(train_base(base_section(), places))
    assert any(
        isinstance(event, Noted) and "20 images have captions, which this network does not read" in event.text for event in events
    )
    assert not (places.report / "samples.txt").exists()


def test_captions_that_are_not_read_to_their_end_are_told_of(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    write_captions(places, {"train": ("night" * 20, "day")})
    events, _ = finished(train_base(base_section(network=CAPTIONED, images=4), places))
    said = [event.text for event in events if isinstance(event, Noted)]
    assert any("10 of 20 captions are longer than network.length" in text and "the longest has 100" in text for text in said)


@pytest.mark.parametrize("length", [4, 40])
def test_a_network_cuts_or_fills_what_it_is_told(length: int) -> None:
    model = stirred(build(card(network=CAPTIONED)))
    noisy, sigma, label = torch.randn(2, 3, 8, 8), torch.ones(2), torch.full((2,), -1)
    answers = [
        model(noisy, sigma, Condition(label, torch.zeros(2, 0), tokens_of(["night", "day"], width))) for width in (12, length)
    ]
    assert torch.allclose(*answers) == (length > 12)
