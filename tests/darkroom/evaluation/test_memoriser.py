"""A model really trained on eight images until it knows them by heart is caught; unseen images in place of its own pass."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.evaluation.evaluate import evaluate
from darkroom.evaluation.examining import Making
from darkroom.images import ImageSet, Pixels, write_split
from darkroom.training.session import Places
from darkroom.training.train_base import train_base
from tests.darkroom.evaluation.rig import SETTINGS, Painter, section
from tests.darkroom.tiny import DRAWING, NAMES, base_section, finished, prepare

IMAGES, ASKED = 12_000, 24
ONE_PATCH = {"kind": "transformer", "patch": 8, "width": 128, "depth": 2, "heads": 2, "detail": 16}


def tiles(seed: int, n: int) -> Pixels:
    """4 x 4 coloured tiles of 2 x 2 pixels: no two alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(2, 1).repeat(2, 2)


@pytest.fixture(scope="module")
def memoriser(tmp_path_factory: pytest.TempPathFactory) -> Places:
    places = prepare(tmp_path_factory.mktemp("memoriser"))
    for seed, (split, n) in enumerate({"train": 8, "validation": 16, "test": 16}.items()):
        paths = tuple(f"{split}/{row}.png" for row in range(n))
        write_split(places.data, split, ImageSet(tiles(seed, n), np.zeros(n, np.int64), NAMES, paths))
    once = dict.fromkeys(("report_every", "held_out_every", "samples_every", "checkpoint_every"), IMAGES)
    course = base_section(
        images=IMAGES,
        batch_size=64,
        learning_rate=4e-3,
        label_dropout=0.0,
        network=ONE_PATCH,
        noise={"kind": "log_normal", "mean": -0.4, "deviation": 1.4},
        drawing=DRAWING | {"sampler": {"kind": "unipc", "order": 2}},
        averaging={"halflife_images": 1000, "rampup": 0.5, "snapshots": 0, "weaker": 0.0},
        **once,
    )
    finished(train_base(course, places))
    return places


def judged(places: Places, out: Path, **draw: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores and diagnosis of the model."""
    chosen = section(images=ASKED, drawing={**SETTINGS["drawing"], "sampler": {"kind": "unipc", "order": 2}, "steps": 18})
    making = Making(places.augmented, {"train_base": {"images": IMAGES, "patience": 0}}, {"base": "train_base"})
    finished(evaluate(chosen, places.data, {"base": places.out}, out, making=making, **draw))
    return tuple(json.loads((out / name).read_text())["base"] for name in ("scores.json", "diagnosis.json"))


def test_it_is_caught_in_pixels_and_in_features_and_the_diagnosis_says_so(memoriser: Places, tmp_path: Path) -> None:
    scores, diagnosis = judged(memoriser, tmp_path / "out")
    for share in ("copied_share", "copied_share_in_features"):
        assert scores[share]["value"] > 0.9 and scores[share]["low"] > 0.7
        assert scores[share]["floor"] == 0
    assert diagnosis["verdict"] == "memorising"
    assert diagnosis["changes"] == [f"train_base.images: {IMAGES:,} -> {IMAGES // 2:,}", "train_base.patience: 0 -> 3"]


def test_unseen_images_in_their_place_pass(memoriser: Places, tmp_path: Path) -> None:
    painter = Painter(**{memoriser.out.name: tiles(9, ASKED)})
    scores, diagnosis = judged(memoriser, tmp_path / "out", draw=painter)
    assert scores["copied_share"]["value"] == scores["copied_share_in_features"]["value"] == 0
    assert "memorising" not in {one["kind"] for one in diagnosis["findings"]}
