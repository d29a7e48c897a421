"""The step as a whole, on images painted here and a generator that stands in for a model."""

import csv
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from darkroom.evaluation.evaluate import evaluate, evaluate_workspace
from darkroom.evaluation.metrics import KernelDistance
from darkroom.evaluation.subjects import EvaluationError
from darkroom.events import Noted, Progressed, ScoreMeasured
from darkroom.images import ImageSet, write_split
from darkroom.networks.saved import build, save_model
from darkroom.refs import ScoresRef, digest_of
from darkroom.sections import SettingsError
from darkroom.training.train_base import train_base
from tests.darkroom.evaluation.rig import NAMES, Painter, good, painted, run, section, write_card
from tests.darkroom.tiny import base_section, card, finished, prepare, stirred

COPIES = {f"{share}{place}" for share in ("copied_share", "too_near_share") for place in ("", "_in_features")}


def test_scores_are_written_told_and_referred_to(place: Path) -> None:
    painter = good()
    events, ref = run(place, painter)
    drawing = section().drawing.of(card())
    assert drawing.sampler != card().drawing.sampler and drawing.schedule == card().drawing.schedule
    assert [call for call in painter.calls if call[4].steps == 3] == [
        ("base", None, 24, 5, drawing, 10),
        ("tuned", None, 24, 5, drawing, 10),
    ]
    written = {file.name for file in (place / "out").iterdir()}
    sheets = {f"{sheet}_{name}.png" for sheet in ("samples", "neighbours") for name in ("base", "tuned")}
    tables = {f"{table}_{name}.csv" for table in ("labels", "settling") for name in ("base", "tuned")}
    assert written == {"scores.json", "metrics.json", "report.html"} | sheets | tables
    scores = json.loads((place / "out/scores.json").read_text())
    told = {event.name: event for event in events if isinstance(event, ScoreMeasured)}
    assert ref == ScoresRef(str(place / "out/scores.json"), digest_of(place / "out/scores.json"), 14)
    for model, figures in scores.items():
        assert set(figures) == {"kernel_distance", "precision", "coverage", *COPIES}
        for metric, it in figures.items():
            assert set(it) == {"value", "n", "low", "high", "floor", "better", "name", "features"}
            event = told.pop(f"{model}/{metric}")
            assert (event.value, event.n, event.low, event.high, event.floor, event.better) == tuple(
                it[key] for key in ("value", "n", "low", "high", "floor", "better")
            )
    assert not told
    progress = [event for event in events if isinstance(event, Progressed)]
    assert progress
    assert all(event.done <= event.total for event in progress)


def test_n_is_the_least_of_generated_held_out_and_training_images(place: Path) -> None:
    events, _ = run(place, good())
    scores = json.loads((place / "out/scores.json").read_text())
    assert scores["base"]["kernel_distance"]["n"] == 24  # 32 are held out, 24 generated
    assert scores["tuned"]["kernel_distance"]["n"] == 16  # 16 suns are held out
    assert scores["tuned"]["copied_share"]["n"] == 24  # copies are looked for among all that were generated
    noted = [event.text for event in events if isinstance(event, Noted)]
    assert "tuned: scored at n = 16, the number of real images there are to compare with" in noted
    assert not any(text.startswith("base: scored at n") for text in noted)


def test_a_model_is_measured_against_its_focus(place: Path) -> None:
    """Suns are right for `tuned` (meant for suns) and far from right once it is meant for moons."""
    run(place, good())
    right = json.loads((place / "out/scores.json").read_text())["tuned"]["kernel_distance"]
    write_card(place / "tuned", ["moon"])
    run(place, good())
    wrong = json.loads((place / "out/scores.json").read_text())["tuned"]["kernel_distance"]
    assert right["high"] < wrong["low"]
    assert wrong["floor"] < wrong["low"]


def test_floor_is_of_unseen_images_against_training_images(place: Path) -> None:
    """With n as large as both sets allow nothing is left to chance: the floor can be computed by hand."""
    train = painted(0, [index % 2 for index in range(80)])
    (place / "data").joinpath("train.json").unlink()
    labels = [1] * 16
    write_split(place / "data", "train", ImageSet(train[1:33:2], np.array(labels), NAMES, ("x",) * 16))
    run(place, good())
    floor = json.loads((place / "out/scores.json").read_text())["tuned"]["kernel_distance"]["floor"]
    held_out = np.concatenate([painted(1, [0, 1] * 8)[1::2], painted(2, [0, 1] * 8)[1::2]])
    features = section().features
    by_hand = KernelDistance(kind="kernel_distance").score(features.describe(train[1:33:2], 16), features.describe(held_out, 16))
    assert floor == pytest.approx(by_hand, rel=1e-4)


def test_a_planted_memoriser_is_caught(place: Path) -> None:
    train = painted(0, [index % 2 for index in range(80)])
    noise = np.random.default_rng(1).integers(0, 2, (24, 8, 8, 3), dtype=np.uint8)
    run(place, Painter(base=painted(10, [0, 1] * 12), tuned=train[1:49:2] + noise))
    scores = json.loads((place / "out/scores.json").read_text())
    for share in ("copied_share", "copied_share_in_features"):
        assert scores["tuned"][share]["value"] == 1
        assert scores["tuned"][share]["floor"] == 0
        assert scores["tuned"][share]["low"] > 0.8
    assert (scores["tuned"]["copied_share"]["features"], scores["tuned"]["copied_share_in_features"]["features"]) == (
        "pixels",
        "pixels_4",
    )
    assert scores["base"]["copied_share"]["value"] == 0
    page = (place / "out/report.html").read_text(encoding="utf-8")
    assert "24 of 24 generated images look like copies of a training image (in pixels; 0 of 16 real" in page
    assert "Closest pairs of tuned, in features" in page


def test_the_same_run_gives_the_same_bytes(place: Path) -> None:
    run(place, good())
    first = digest_of(place / "out")
    run(place, good())
    assert digest_of(place / "out") == first
    run(place, good(), seed=6)
    assert digest_of(place / "out") != first


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (np.full((24, 8, 8, 3), np.nan), "base: it generated numbers that are not finite"),
        (np.zeros((24, 8, 8, 3), np.uint8), "base: every image it generated is one flat colour"),
        (painted(0, [1] * 24)[:, :4], "calls for uint8 (24, 8, 8, 3)"),
        (painted(0, [1] * 3), "it generated uint8 (3, 8, 8, 3)"),
    ],
)
def test_images_that_cannot_be_scored_are_refused_and_old_scores_stay(place: Path, made: NDArray[Any], words: str) -> None:
    run(place, good())
    before = digest_of(place / "out")
    with pytest.raises(EvaluationError) as caught:
        run(place, Painter(base=made, tuned=made))
    assert words in str(caught.value)
    assert digest_of(place / "out") == before


def test_too_few_real_images_are_refused_before_anything_is_generated(place: Path) -> None:
    labels = [0] * 79 + [1]
    write_split(place / "data", "train", ImageSet(painted(0, labels), np.array(labels), NAMES, ("x",) * 80))
    painter = good()
    with pytest.raises(EvaluationError, match=r"tuned: 1 training images with a label of its focus \(sun\).*at least 8"):
        run(place, painter)
    assert painter.calls == []


def test_missing_or_unfit_inputs_say_what_to_do(place: Path) -> None:
    write_card(place / "tuned", ["star"])
    with pytest.raises(EvaluationError, match="no label star in this data set; it has: moon, sun"):
        run(place, good())
    (place / "tuned/model.json").write_text("[]")
    with pytest.raises(EvaluationError, match=r"model\.json: not a model of this version"):
        run(place, good())
    (place / "tuned/model.json").unlink()
    with pytest.raises(EvaluationError, match="tuned: no model here"):
        run(place, good())
    (place / "data/test.json").unlink()
    with pytest.raises(EvaluationError, match=r"test\.json: there is no such file; run the step `curate` first"):
        run(place, good())


def test_a_figure_that_would_mean_nothing_is_refused_and_another_offered(place: Path) -> None:
    events, _ = run(place, good(), metrics=[{"kind": "precision", "k": 30}, {"kind": "frechet_distance"}, {"kind": "vendi"}])
    scores = json.loads((place / "out/scores.json").read_text())
    assert set(scores["base"]) == {"vendi", *COPIES}
    noted = " ".join(event.text for event in events if isinstance(event, Noted))
    assert "precision_pixels_4 is not given at n = 24: it needs at least 31 images" in noted
    assert "fd_pixels_4 is not given at n = 24: below 5,000 images" in noted
    assert "kernel_distance means something at this n" in (place / "out/report.html").read_text(encoding="utf-8")


def test_a_metric_stands_once() -> None:
    twice = [{"kind": "precision", "k": 3}, {"kind": "precision", "k": 5}]
    with pytest.raises(SettingsError, match="precision stands more often"):
        section(metrics=twice)


def test_a_label_has_its_own_figures_where_there_are_enough_images(place: Path) -> None:
    run(place, Painter(base=painted(10, [0, 1] * 12), tuned=painted(11, [1] * 24)))
    rows = list(csv.DictReader((place / "out/labels_base.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["label"], row["n"], row["kernel_distance"]) for row in rows] == [("moon", "", ""), ("sun", "", "")]
    assert "figures need 20" in (place / "out/report.html").read_text(encoding="utf-8")


def test_the_label_that_is_drawn_wrong_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model draws a moon when it is told a sun: only the sun's own figure shows it clearly."""
    monkeypatch.setattr("darkroom.evaluation.scoring.FEWEST_OF_LABEL", 8)
    run(place, Painter(base=painted(10, [0] * 24), tuned=painted(11, [1] * 24)))
    rows = {row["label"]: row for row in csv.DictReader((place / "out/labels_base.csv").read_text(encoding="utf-8").splitlines())}
    assert float(rows["sun"]["kernel_distance_low"]) > float(rows["moon"]["kernel_distance_high"])
    assert "Drawn worst: sun" in (place / "out/report.html").read_text(encoding="utf-8")


def test_several_seeds_are_drawn_apart_and_scored_together(place: Path) -> None:
    painter = good()
    run(place, painter, seeds=3)
    assert [call[3] for call in painter.calls if call[0] == "base" and call[2] == 24] == [5, 6, 7]
    scores = json.loads((place / "out/scores.json").read_text())
    assert scores["base"]["copied_share"]["n"] == 72
    assert scores["base"]["kernel_distance"]["n"] == 24
    assert "5 to 7" in (place / "out/report.html").read_text(encoding="utf-8")


def test_held_out_images_that_were_trained_on_are_named_and_left_out(place: Path) -> None:
    train = painted(0, [index % 2 for index in range(80)])
    labels = [0, 1] * 8
    held_out = painted(1, labels)
    held_out[3], held_out[4] = train[7], train[20]
    paths = tuple(f"held/{index}.png" for index in range(16))
    write_split(place / "data", "validation", ImageSet(held_out, np.array(labels), NAMES, paths))
    events, _ = run(place, good())
    said = [event.text for event in events if isinstance(event, Noted) and "in the training set too" in event.text]
    assert len(said) == 1
    assert "2 held-out images" in said[0]
    assert "held/3.png (= train/7.png), held/4.png (= train/20.png)" in said[0]
    assert json.loads((place / "out/scores.json").read_text())["base"]["kernel_distance"]["n"] == 24
    report = (place / "out/report.html").read_text(encoding="utf-8")
    assert "of 30 held-out images" in report and "held/3.png (= train/7.png), held/4.png" in report


def test_a_model_of_another_image_size_is_refused_before_anything_is_drawn(place: Path) -> None:
    write_card(place / "tuned", [], image_size=16)
    painter = good()
    with pytest.raises(
        EvaluationError, match="model tuned: it draws images of 16 x 16 pixels, and the images of the data set have 8 x 8"
    ):
        run(place, painter)
    assert painter.calls == []


def test_flat_and_equal_images_are_told(place: Path) -> None:
    some_flat = painted(10, [0, 1] * 12)
    some_flat[:3] = 7
    events, _ = run(place, Painter(base=some_flat, tuned=np.repeat(painted(11, [1]), 24, axis=0)))
    noted = [event.text for event in events if isinstance(event, Noted)]
    assert "base: 3 of 24 generated images are one flat colour" in noted
    assert any(text.startswith("tuned: all generated images are the same one") for text in noted)


def test_evaluation_does_not_touch_anyone_s_random_stream(tmp_path: Path) -> None:
    """A real model is loaded and drawn from: a training in this process must go on as if nothing had been."""
    places = prepare(tmp_path)
    made = card(focus=())
    places.out.mkdir()
    save_model(places.out, stirred(build(made)).state_dict(), made)
    streams = (torch.get_rng_state(), np.random.get_state()[1], random.getstate())
    small = section(images=8, metrics=[{"kind": "kernel_distance"}])
    finished(evaluate(small, places.data, {"base": places.out}, tmp_path / "out"))
    assert torch.equal(torch.get_rng_state(), streams[0])
    np.testing.assert_array_equal(np.random.get_state()[1], streams[1])
    assert random.getstate() == streams[2]


def test_the_tuned_model_is_scored_with_the_weights_chosen(tmp_path: Path) -> None:
    """Another average than training kept: other images of the tuned model, the same of the base, and no copy left behind."""
    places = prepare(tmp_path / "made")
    averaging = {"halflife_images": 16, "rampup": 0.5, "snapshots": 3, "weaker": 0.0}
    finished(train_base(base_section(averaging=averaging), places))
    workspace = tmp_path / "workspace"
    for folder, name in ((places.out, "models/base"), (places.out, "models/tuned"), (places.data, "data/curated")):
        shutil.copytree(folder, workspace / name)
    shutil.copytree(places.augmented, workspace / "data/augmented")

    def scores(weights: dict[str, Any]) -> dict[str, Any]:
        small = section(images=8, metrics=[{"kind": "kernel_distance"}], weights=weights)
        finished(evaluate_workspace(small, workspace, {}))
        return json.loads((workspace / "reports/evaluate/scores.json").read_text())

    trained = scores({"kind": "as_trained"})
    other = scores({"kind": "average", "width": 0.2, "images_seen": 0})
    assert trained["base"]["kernel_distance"]["value"] == other["base"]["kernel_distance"]["value"]
    assert trained["tuned"]["kernel_distance"]["value"] != other["tuned"]["kernel_distance"]["value"]
    assert {path.name for path in (workspace / ".darkroom").iterdir()} == {"features"}
    with pytest.raises(FileNotFoundError, match="no snapshot at 7 images seen"):
        scores({"kind": "average", "width": 0.2, "images_seen": 7})


def test_cmmd_asks_for_clip() -> None:
    with pytest.raises(SettingsError, match=r"cmmd is measured in CLIP's features, and features\.kind is pixels"):
        section(metrics=[{"kind": "cmmd"}])


def test_figures_carry_their_honest_name(place: Path) -> None:
    run(place, good())
    score = json.loads((place / "out/scores.json").read_text())["base"]["kernel_distance"]
    assert (score["name"], score["features"]) == ("kd_pixels_4", "pixels_4")
    assert "kd_pixels_4" in (place / "out/report.html").read_text(encoding="utf-8")
    plain = json.loads((place / "out/metrics.json").read_text())
    assert plain["base"]["kernel_distance"] == score["value"]
