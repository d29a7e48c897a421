"""What an evaluation takes is told before it starts, and a budget is kept by drawing fewer images, never silently."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darkroom.evaluation import cost
from darkroom.evaluation.cost import Act, Job, Rates, acts, fitted, measured, paced
from darkroom.evaluation.describing import Describer
from darkroom.evaluation.evaluate import evaluate
from darkroom.evaluation.keeping import Kept
from darkroom.evaluation.subjects import read_data, subjects_of
from darkroom.events import Event, Noted, Progressed, followed
from tests.darkroom.evaluation.rig import Painter, good, run, section

RATES = Rates(loading=1.0, asking={"base": 0.4, "tuned": 0.4}, describing=0.1, reading=0.5, looking_up=0.01, operation=0.0)


def job_of(place: Path, painter: Painter, keep: Path | None = None) -> Job:
    chosen = section()
    data = followed(read_data(place / "data"), lambda event: None)
    subjects = tuple(subjects_of(data, {"base": place / "base", "tuned": place / "tuned"}, 5))
    return Job(data, subjects, chosen.ask, chosen.metrics, 100, Describer(chosen.features, Kept(keep), 10), painter)


def test_acts_are_counted_up(place: Path) -> None:
    job = job_of(place, good())
    seconds = {act.doing: act.seconds for act in acts(job, RATES)}
    assert seconds["drawing from base"] == pytest.approx(1 + 24 * 5 * 0.4)  # three steps of Heun ask five times
    assert seconds["describing images of tuned"] == pytest.approx(24 * 0.1)
    assert seconds["describing all training images"] == pytest.approx(80 * 0.1)
    assert not any(name.startswith("examining") for name in seconds)
    pixels = {act.doing: act.seconds for act in acts(replace(job, whole=False), RATES)}
    assert pixels["describing images of tuned"] == pytest.approx(16 * 0.1)  # n is 16: so many suns are held out
    assert not any(name.startswith("describing all") for name in pixels)
    more = {act.doing: act.seconds for act in acts(replace(job, examined=True, mirrored=True), RATES)}
    assert more["examining base"] == pytest.approx(
        2 + (3 * (80 + 32) + 4 * 32) * 0.4 + cost.SIGNS
    )  # heard at two levels, told two things
    assert more["looking for copies in base"] == pytest.approx(2 * (2 * 0.5 + (24 + 32) * 0.01))
    assert seconds["looking for copies in base"] == pytest.approx(2 * 0.5 + (24 + 32) * 0.01)
    twice = replace(job, ask=replace(job.ask, seeds=(5, 6)))
    assert {act.doing: act.seconds for act in acts(twice, RATES)}["drawing from base"] == pytest.approx(1 + 48 * 5 * 0.4)


def test_what_is_kept_costs_nothing(place: Path) -> None:
    keep = place / "keep"
    painter = good()
    followed(_step(place, painter, keep), lambda event: None)
    drawn_first = [call for call in painter.calls if call[2:4] == (24, 5) and call[4].steps == 3]
    assert len(drawn_first) == 2
    again = good()
    job = job_of(place, again, keep)
    rates = measured(job)
    assert again.calls == []
    assert {act.doing for act in acts(job, rates) if act.seconds == 0} >= {"describing images of base"}
    followed(_step(place, again, keep, metrics=[{"kind": "vendi"}]), lambda event: None)  # another metric draws nothing
    assert again.calls == []
    followed(_step(place, again, keep, seed=6), lambda event: None)
    assert [call[3] for call in again.calls if call[2] == 24] == [6, 6]


def _step(place: Path, painter: Painter, keep: Path, **changes: object):  # type: ignore[no-untyped-def]
    models = {"base": place / "base", "tuned": place / "tuned"}
    return evaluate(section(**changes), place / "data", models, place / "out", painter, keep)


def test_a_budget_is_kept_by_fewer_images_and_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "measured", lambda job: RATES)
    told: list[Event] = []
    job, plan, reason = followed(fitted(job_of(place, good()), minutes=1.0), told.append)
    assert not job.whole and "copies are looked for in pixels only: to describe 80 training images" in reason
    assert job.ask.count == max(count for count in range(8, 25) if _seconds(job.with_images(count)) <= 60)
    assert sum(act.seconds for act in plan) <= 60
    assert f"{job.ask.count} images are drawn with each model instead of 24" in reason
    assert any(event.text.startswith(f"{reason}: 24 would take about") for event in told if isinstance(event, Noted))
    whole, _, none = followed(fitted(job_of(place, good()), minutes=10.0), told.append)
    assert (whole.ask.count, none) == (24, "")


def _seconds(job: Job) -> float:
    return sum(act.seconds for act in acts(job, RATES))


def test_the_reason_stands_in_the_report(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "measured", lambda job: RATES)
    made = good()
    made.images = {name: pixels[:10] for name, pixels in made.images.items()}
    monkeypatch.setattr("tests.darkroom.evaluation.rig.ASKED", 10)
    run(place, made, minutes=0.01, images=10)
    assert "8 images are drawn with each model instead of 10" in (place / "out/report.html").read_text(encoding="utf-8")


def test_progress_tells_its_rate_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0.0, 100.0, 2.0))
    monkeypatch.setattr(cost.time, "perf_counter", lambda: float(next(clock)))

    def work():  # type: ignore[no-untyped-def]
        yield Progressed("drawing", 10, 40)
        yield Progressed("drawing", 20, 40)
        return "done"

    told: list[Event] = []
    assert followed(paced(work(), [Act("drawing", 8.0), Act("scoring", 30.0)]), told.append) == "done"
    progress = [event for event in told if isinstance(event, Progressed)]
    assert [event.per_second for event in progress] == [5.0, 5.0]
    assert [event.left for event in progress] == [6 + 30, 4 + 30]
    assert told[-1] == Noted("took 6 s; 38 s were expected")
