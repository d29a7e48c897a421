"""The search for a way to draw: it finds the better one, spends its time, and goes on where it was stopped."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from darkroom.evaluation import choosing
from darkroom.evaluation.choosing import Candidate, Search, choose, grid, identity, write_choice
from darkroom.events import Noted, Progressed
from darkroom.features.features import ShrunkPixels
from darkroom.images import ImageSet
from darkroom.networks.saved import Drawing
from darkroom.networks.weights import AsTrained, Average
from darkroom.samplers import Euler, Heun
from darkroom.sampling import labels_for
from tests.darkroom.evaluation.ideal import Ideal
from tests.darkroom.tiny import DRAWING, NETWORK, card, finished, painted

REAL = painted(80, seed=5)
TRAINED, WORSE = AsTrained(kind="as_trained"), Average(kind="average", width=0.1, images_seen=0)
EULER, HEUN = Euler(kind="euler"), Heun(kind="heun")


class Clock:
    """Stands still but for `step` seconds at every look."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def drawing(**changes: Any) -> Drawing:
    return Drawing.model_validate(DRAWING | changes)


def search(candidates: Iterator[Candidate] | list[Candidate], **changes: Any) -> Search:
    settings: dict[str, Any] = {
        "candidates": tuple(candidates),
        "real": REAL,
        "held_out": (),
        "features": ShrunkPixels(kind="pixels", side=4),
        "seed": 0,
        "minutes": 10.0,
        "most": 64,
        "rounds": 200,
    }
    return Search(**settings | changes)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "FIRST", 16)


def loaded(**models: Ideal) -> Any:
    return lambda weights: (models["as_trained" if weights == TRAINED else "worse"], card())


def test_the_best_is_found_by_score_and_the_quickest_of_equals_is_named(tmp_path: Path) -> None:
    model, shifted = Ideal(REAL.pixels), Ideal(REAL.pixels, 0.5)
    candidates = grid(drawing(steps=1), [TRAINED, WORSE], [EULER, HEUN], [1, 12], [1.0], [1.0])
    asked = search(candidates, minutes=1e3, clock=Clock(1.0))
    events, found = finished(choose(asked, loaded(as_trained=model, worse=shifted), tmp_path))
    assert found.best.candidate.weights == TRAINED
    assert found.best.candidate.drawing.steps == 12
    assert found.best.n == 64
    assert found.quickest.images_per_second == max(one.images_per_second for one in found.level)
    assert len(found.measured) == 8 and found.waiting == 0
    by_words = {one.candidate.words: one for one in found.measured}
    assert by_words["average of width 0.1, heun, 12 steps, guidance 1"].n < 64  # dropped on the way
    assert by_words["heun, 12 steps, guidance 1"].evaluations == 23
    assert any(isinstance(event, Progressed) for event in events)


def test_a_model_that_reads_is_asked_by_captions_of_held_out_images_others_by_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    made = REAL.pixels[:16]

    def draw_rows(model: Any, told: Any, labels: Any, seed: int, rows: range, way: Any, captions: Any, device: Any) -> Any:
        asked.extend([None] * len(rows) if captions is None else captions)
        return made[: len(rows)]

    monkeypatch.setattr(choosing, "draw_rows", draw_rows)
    said = ImageSet(REAL.pixels, REAL.labels, REAL.names, REAL.paths, tuple(f"one {row}" for row in range(len(REAL))))
    reader = {"kind": "captioned", "length": 12, "width": 32, "depth": 1, "image": NETWORK}
    reads = card(network=reader, labels=REAL.names, label_counts=tuple(len(REAL.only([name])) for name in REAL.names))
    candidates = list(grid(drawing(steps=1), [TRAINED], [EULER], [1, 2], [1.0], [1.0]))
    for name, one in (("reads", reads), ("looks", card(labels=REAL.names, label_counts=reads.label_counts))):
        asked.clear()
        here = search(candidates, held_out=(said,), most=16, clock=Clock(0.01))
        finished(choose(here, lambda weights, one=one: (Ideal(REAL.pixels), one), tmp_path / name))
        labels = {caption: REAL.names[label] for caption, label in zip(said.captions, said.labels, strict=True)}
        if name == "looks":
            assert asked == [None] * 32
        else:
            wanted = [reads.labels[label] for label in labels_for(reads, 0, 16)]
            assert [labels[caption] for caption in asked] == wanted * 2


def test_the_front_holds_those_that_none_beats_in_both() -> None:
    def one(speed: float, score: float) -> choosing.Measured:
        return choosing.Measured(
            Candidate(TRAINED, drawing(steps=int(speed))), 8, choosing.Estimate(score, score, score), speed, 1
        )

    measured = (one(1, 1.0), one(2, 2.0), one(3, 1.5), one(4, 4.0))
    front = choosing.Choice(measured, measured[0], measured[:1], 0, 8).front
    assert [(it.images_per_second, it.score.value) for it in front] == [(4, 4.0), (3, 1.5), (1, 1.0)]


def test_it_ends_with_its_time_and_goes_on_from_there_without_drawing_again(tmp_path: Path) -> None:
    candidates = list(grid(drawing(steps=1), [TRAINED], [EULER, HEUN], [1, 3, 6], [1.0], [1.0]))
    model = Ideal(REAL.pixels)
    events, short = finished(choose(search(candidates, minutes=0.1, clock=Clock(1.0)), loaded(as_trained=model), tmp_path))
    assert short.waiting == len(candidates) - len(short.measured) > 0
    assert candidates[0] in {one.candidate for one in short.measured}
    assert any("the time was not enough for" in event.text for event in events if isinstance(event, Noted))
    resumed, fresh = Ideal(REAL.pixels), Ideal(REAL.pixels)
    _, whole = finished(choose(search(candidates, minutes=1e3, clock=Clock(1.0)), loaded(as_trained=resumed), tmp_path))
    _, unbroken = finished(
        choose(search(candidates, minutes=1e3, clock=Clock(1.0)), loaded(as_trained=fresh), tmp_path / "other")
    )
    assert resumed.asked < fresh.asked
    assert {(one.candidate, one.n, one.score) for one in whole.measured} == {
        (one.candidate, one.n, one.score) for one in unbroken.measured
    }
    again = Ideal(REAL.pixels)
    _, same = finished(choose(search(candidates, minutes=1e-9, clock=Clock(1.0)), loaded(as_trained=again), tmp_path))
    assert again.asked == 0
    assert same.measured[0].score.low <= same.measured[0].score.value <= same.measured[0].score.high


def test_what_was_found_is_written_and_drawn(tmp_path: Path) -> None:
    candidates = grid(drawing(), [TRAINED], [EULER], [2, 4], [1.0], [1.0])
    _, found = finished(choose(search(candidates, most=16), loaded(as_trained=Ideal(REAL.pixels)), tmp_path))
    write_choice(found, "abc", tmp_path)
    told = json.loads((tmp_path / "choice.json").read_text())
    assert told["weights_digest"] == "abc"
    assert told["best"] == found.best.candidate.words
    assert Drawing.model_validate(told["measured"][0]["drawing"]) == found.measured[0].candidate.drawing
    assert (tmp_path / "curve.png").stat().st_size > 5000


def test_one_way_is_no_choice_and_other_facts_are_another_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to choose"):
        finished(choose(search([Candidate(TRAINED, drawing())]), loaded(as_trained=Ideal(REAL.pixels)), tmp_path))
    assert identity({"seed": 0}) != identity({"seed": 1})
