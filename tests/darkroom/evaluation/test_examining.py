"""The examination inside an evaluation: the verdict stands on the page, in diagnosis.json, and in the words that a flow shows."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from darkroom.evaluation import examining, signs, subjects
from darkroom.evaluation.evaluate import evaluate
from darkroom.evaluation.examining import Making, told
from darkroom.evaluation.subjects import Subject
from darkroom.events import Noted
from darkroom.images import read_split
from tests.darkroom import tiny
from tests.darkroom.evaluation.rig import Painter, painted, section
from tests.darkroom.tiny import MIRROR, finished, write_recipe

SETTINGS = {"train_base": {"images": 100, "patience": 0}, "finetune": {"images": 40}, "augment": {"transforms": [MIRROR]}}


def examined_page(
    place: Path, painter: Painter, settings: Mapping[str, Any] = SETTINGS
) -> tuple[str, dict[str, dict[str, object]], list[str]]:
    write_recipe(place / "augmented", [MIRROR])
    making = Making(place / "augmented", settings, {"base": "train_base", "tuned": "finetune"})
    models = {"base": place / "base", "tuned": place / "tuned"}
    events, _ = finished(evaluate(section(images=48), place / "data", models, place / "out", painter, making=making))
    findings = json.loads((place / "out/diagnosis.json").read_text(encoding="utf-8"))
    said = [event.text for event in events if isinstance(event, Noted)]
    return (place / "out/report.html").read_text(encoding="utf-8"), findings, said


def test_a_memoriser_is_named_with_a_change_that_can_be_pasted_and_the_other_model_is_healthy(place: Path) -> None:
    train = read_split(place / "data", "train").pixels
    noise = np.random.default_rng(1).integers(0, 2, (48, 8, 8, 3), dtype=np.uint8)
    copies = train[np.arange(48) % 20 * 2 + 1] + noise
    copies[::2] = copies[::2, :, ::-1]  # the recipe mirrors: these are copies too
    page, findings, said = examined_page(place, Painter(base=painted(10, [0, 1] * 24), tuned=copies))
    assert findings["tuned"]["verdict"] == "memorising"
    assert str(findings["tuned"]["findings"]).count("48 of 48 are copies") == 1
    assert findings["base"]["verdict"] == "healthy"
    assert {"tuned: memorising", "base: healthy"} <= set(said)
    assert yaml.safe_load(str(findings["tuned"]["snippet"]))["finetune"] == {"images": 20}
    assert "finetune.images: 40 -&gt; 20" in page
    assert "<pre>finetune:\n  images: 20\n</pre>" in page
    assert "no sign of any disease" in page
    words = told(findings)
    assert "**tuned: memorising**" in words and "```yaml\nfinetune:\n  images: 20\n" in words


def test_a_model_that_is_led_away_from_nothing_is_not_asked_to_be_led_less(place: Path) -> None:
    dark = (painted(10, [0, 1] * 24) * 0.7).astype(np.uint8)
    averaging = {"train_base": {"averaging": {"halflife_images": 500}}}
    settings = {**SETTINGS, **averaging, "evaluate": {"drawing": {"guidance": 1.0, "away": 3.0}}}
    _, findings, _ = examined_page(place, Painter(base=dark, tuned=dark), settings)
    assert findings["base"]["verdict"] == "colour-shifted"
    assert findings["base"]["changes"] == ["train_base.averaging.halflife_images: 500 -> 1,000"]


def test_without_a_making_nothing_is_examined(place: Path) -> None:
    made = painted(10, [0, 1] * 24)
    models = {"base": place / "base", "tuned": place / "tuned"}
    finished(evaluate(section(images=48), place / "data", models, place / "out", Painter(base=made, tuned=made)))
    assert not (place / "out/diagnosis.json").exists()


def test_of_a_large_set_some_images_evenly_spread_tell_the_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    images = tiny.painted(40, seed=1)
    np.testing.assert_array_equal(examining._some(images), images.pixels)
    monkeypatch.setattr(examining, "MOST", 4)
    np.testing.assert_array_equal(examining._some(images), images.pixels[[0, 13, 26, 39]])
    monkeypatch.setattr(examining, "MOST_BYTES", 2 * images.pixels[0].nbytes)
    np.testing.assert_array_equal(examining._some(images), images.pixels[[0, 39]])


def test_colours_are_summed_up_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = tiny.painted(10, seed=2).pixels
    whole = pixels.astype(np.float64)
    monkeypatch.setattr(signs, "AT_ONCE", 3)
    expected = np.stack([whole.mean((1, 2)), (whole**2).mean((1, 2))], axis=2)
    np.testing.assert_allclose(signs._moments(pixels), expected)


def test_copies_are_told_beside_so_many_held_out_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images = tiny.painted(12, seed=3)
    subject = Subject("tuned", Path("nowhere"), tiny.card(), images, images)
    np.testing.assert_array_equal(subject.beside, images.pixels)
    monkeypatch.setattr(subjects, "MOST_BESIDE", 5)
    np.testing.assert_array_equal(subject.beside, images.pixels[:5])
