"""The step as a whole, on images painted here and a generator that stands in for a model."""

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.evaluation.evaluate import EvaluateSection, EvaluationError, evaluate
from darkroom.evaluation.metrics import KernelDistance
from darkroom.events import Event, Noted, Progressed, ScoreMeasured, followed
from darkroom.images import ImageSet, Pixels, write_split
from darkroom.refs import ScoresRef, digest_of
from darkroom.sections import SettingsError, validated

SETTINGS: dict[str, Any] = {
    "images": 24,
    "steps": 3,
    "guidance": 1.0,
    "seed": 5,
    "batch": 10,
    "features": {"kind": "pixels", "side": 4},
    "metrics": [{"kind": "kernel_distance"}, {"kind": "precision", "k": 3}, {"kind": "coverage", "k": 3}],
    "bootstrap": 100,
    "shown": 8,
}
NAMES = ("moon", "sun")


def section(**changes: Any) -> EvaluateSection:
    return validated(EvaluateSection, {**SETTINGS, **changes}, Path("params.yaml"), "evaluate")


def painted(seed: int, labels: Sequence[int]) -> Pixels:
    """A bright (sun) or dark (moon) gradient with some noise; 8 pixels a side."""
    chance = np.random.default_rng(seed)
    ramp = np.linspace(0, 60, 8)[None, :, None, None] * chance.random((len(labels), 1, 1, 3))
    level = np.where(np.asarray(labels), 150, 20)[:, None, None, None]
    return (level + ramp + chance.integers(0, 40, (len(labels), 8, 8, 3))).astype(np.uint8)


class Painter:
    """Stands in for `darkroom.sampling.generate`: paints what it is told for each model folder."""

    def __init__(self, **images: NDArray[Any]) -> None:
        self.images = images
        self.calls: list[tuple[Any, ...]] = []

    def __call__(
        self,
        model_folder: Path,
        labels: Sequence[int] | None,
        count: int,
        seed: int,
        steps: int,
        guidance: float,
        batch: int,
    ) -> Generator[Event, None, NDArray[np.uint8]]:
        self.calls.append((model_folder.name, labels, count, seed, steps, guidance, batch))
        yield Progressed("generating", count, count)
        return self.images[model_folder.name]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A data set of 80 + 16 + 16 images and two model folders, the second meant for suns."""
    (tmp_path / "data").mkdir()
    for seed, (split, n) in enumerate({"train": 80, "validation": 16, "test": 16}.items()):
        labels = [index % 2 for index in range(n)]
        paths = tuple(f"{split}/{index}.png" for index in range(n))
        write_split(tmp_path / "data", split, ImageSet(painted(seed, labels), np.array(labels), NAMES, paths))
    for name, focus in {"base": [], "tuned": ["sun"]}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").write_text(json.dumps({"focus": focus}))
    return tmp_path


def good() -> Painter:
    return Painter(base=painted(10, [0, 1] * 12), tuned=painted(11, [1] * 24))


def run(place: Path, painter: Painter, **changes: Any) -> tuple[list[Event], ScoresRef]:
    models = {"base": place / "base", "tuned": place / "tuned"}
    step = evaluate(section(**changes), place / "data", models, place / "out", painter)
    events: list[Event] = []
    answer = followed(step, events.append)
    return events, answer


def test_scores_are_written_told_and_referred_to(place: Path) -> None:
    painter = good()
    events, ref = run(place, painter)
    assert painter.calls == [("base", None, 24, 5, 3, 1.0, 10), ("tuned", None, 24, 5, 3, 1.0, 10)]
    written = {file.name for file in (place / "out").iterdir()}
    sheets = {f"{sheet}_{name}.png" for sheet in ("samples", "neighbours") for name in ("base", "tuned")}
    assert written == {"scores.json", "report.html"} | sheets
    scores = json.loads((place / "out/scores.json").read_text())
    told = {event.name: event for event in events if isinstance(event, ScoreMeasured)}
    assert ref == ScoresRef(str(place / "out/scores.json"), digest_of(place / "out/scores.json"), 10)
    for model, figures in scores.items():
        assert set(figures) == {"kernel_distance", "precision", "coverage", "copied_share", "too_near_share"}
        for metric, it in figures.items():
            assert set(it) == {"value", "n", "low", "high", "floor", "better"}
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
    assert [event.text for event in events if isinstance(event, Noted)] == [
        "tuned: scored at n = 16, the number of real images there are to compare with"
    ]


def test_a_model_is_measured_against_its_focus(place: Path) -> None:
    """Suns are right for `tuned` (meant for suns) and far from right once it is meant for moons."""
    run(place, good())
    right = json.loads((place / "out/scores.json").read_text())["tuned"]["kernel_distance"]
    (place / "tuned/model.json").write_text(json.dumps({"focus": ["moon"]}))
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
    assert scores["tuned"]["copied_share"]["value"] == 1
    assert scores["tuned"]["copied_share"]["floor"] == 0
    assert scores["base"]["copied_share"]["value"] == 0
    assert "24 of 24 generated images look like copies" in (place / "out/report.html").read_text(encoding="utf-8")


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
    (place / "tuned/model.json").write_text(json.dumps({"focus": ["star"]}))
    with pytest.raises(EvaluationError, match="no label star in this data set; it has: moon, sun"):
        run(place, good())
    (place / "tuned/model.json").write_text("[]")
    with pytest.raises(EvaluationError, match="expected a JSON object with `focus`"):
        run(place, good())
    (place / "tuned/model.json").unlink()
    with pytest.raises(EvaluationError, match=r"tuned.model\.json: there is no such file"):
        run(place, good())
    (place / "data/test.json").unlink()
    with pytest.raises(EvaluationError, match=r"test\.json: there is no such file; run the step `curate` first"):
        run(place, good())


def test_k_that_does_not_fit_names_model_and_metric(place: Path) -> None:
    with pytest.raises(EvaluationError, match="base, metric precision: k = 30 nearest neighbours need more than 30"):
        run(place, good(), metrics=[{"kind": "precision", "k": 30}])


def test_a_metric_stands_once() -> None:
    twice = [{"kind": "precision", "k": 3}, {"kind": "precision", "k": 5}]
    with pytest.raises(SettingsError, match="precision stands more often"):
        section(metrics=twice)
