"""What a history says: verdicts on made histories, and on a spike, an overfit and a ruin that really happen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darkroom.events import Noted, SamplesDrawn, SpikeUndone, TroubleFound
from darkroom.images import ImageSet
from darkroom.training import monitor
from darkroom.training.checkpoints import Moment
from darkroom.training.course import TrainingStopped
from tests.darkroom.tiny import finished, painted, stopped_after
from tests.darkroom.training.rig import course, differing

CHANCE = np.random.default_rng(0)


def history(losses: list[float], held_out: list[float], rates: float = 1e-3) -> list[Moment]:
    """A point every 10 images, four reports to a held-out measurement."""
    noisy = [loss * (1 + 0.01 * CHANCE.standard_normal()) for loss in losses]
    return [Moment(10 * (row + 1), loss, rates, held_out[row // 4] if row % 4 == 3 else None) for row, loss in enumerate(noisy)]


def falling(start: float, end: float, count: int) -> list[float]:
    return [float(value) for value in np.geomspace(start, end, count)]


def kinds(points: list[Moment], images: int = 400) -> dict[str, dict[str, object]]:
    return {verdict.kind: verdict.change for verdict in monitor.verdicts(points, 1e-3, images)}


def test_a_healthy_training_is_left_alone() -> None:
    for seen in range(1, 41):
        points = history(falling(1, 0.2, 40)[:seen], [1, 0.6, 0.5, 0.4, 0.33, 0.28, 0.26, 0.25, 0.245, 0.243])
        assert kinds(points, images=4000) == {}


def test_divergence() -> None:
    assert kinds(history([*falling(1, 0.3, 20), *falling(0.3, 0.9, 20)], falling(1, 0.9, 10))) == {
        "divergence": {"learning_rate": 3.3e-4}
    }


def test_a_stall_at_a_rate_that_is_still_high() -> None:
    flat = [*falling(1, 0.6, 8), *[0.6] * 20]
    held_out = [0.8, 0.6, *[0.6] * 5]
    assert kinds(history(flat, held_out)) == {"stall": {"learning_rate": 5e-4}}
    assert kinds(history(flat, held_out, rates=1e-5)) == {}  # at the end of its schedule a training rests


def test_overfitting_is_training_and_held_out_parting() -> None:
    parted = history(falling(1, 0.05, 40), [1, 0.6, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9])
    assert kinds(parted) == {"overfitting": {"images": 120, "patience": 3}}
    assert kinds(history(falling(1, 0.05, 40), [1, 0.6, 0.5, 0.45, 0.4, 0.36, 0.33, 0.31, 0.3, 0.32]), 4000) == {}


def test_underfitting_is_a_budget_that_ended_too_soon() -> None:
    points = history(falling(1, 0.1, 40), falling(1, 0.1, 10))
    assert kinds(points) == {"underfitting": {"images": 800}}
    assert kinds(points, images=4000) == {}  # it is not the end yet


def test_collapse_is_samples_all_alike() -> None:
    real = painted(24, seed=1).pixels
    assert monitor.collapsed(real, real, 1e-3) is None
    alike = np.repeat(real[:1], 24, axis=0)
    assert monitor.collapsed(alike, real, 1e-3) is not None


def test_a_verdict_is_told_once() -> None:
    points = history(falling(1, 0.05, 40), [1, 0.6, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9])
    told = [verdict.kind for end in range(1, 41) for verdict in monitor.new_verdicts(points[:end], 1e-3, 400)]
    assert told == ["overfitting"]


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_chance_is_no_spike_and_a_spike_is_no_chance(scale: float) -> None:
    usual = list(scale * CHANCE.lognormal(0, 0.25, 5000))
    flagged = [row for row in range(64, 5000) if monitor.is_spike(usual[row], usual[row - 64 : row])]
    assert len(flagged) <= 1  # of 4,936 batches whose losses have a heavy tail
    assert monitor.is_spike(8 * scale, usual[:64])
    assert not monitor.is_spike(8 * scale, usual[:15])  # too few to know


def spoilt(row: int) -> ImageSet:
    """Ramps, and one batch full of a checkerboard's black and white."""
    images = painted(400, seed=1)
    pixels = images.pixels.copy()
    board = (np.indices((8, 8)).sum(0) % 2 * 255).astype(np.uint8)[None, :, :, None]
    from darkroom.randomness import DataOrder

    pixels[DataOrder(400, 3).take(row, 8)] = np.repeat(board, 3, axis=3)
    return replace(images, pixels=pixels)


LONG = {"images": 400, "learning_rate": 1e-2, "report_every": 40, "held_out_every": 10**6, "samples_every": 10**6}


def test_a_spike_is_undone_named_and_resumable(tmp_path: Path) -> None:
    images = spoilt(320)
    events, straight = finished(course(tmp_path / "a", images, **LONG, checkpoint_every=72))
    spikes = [event for event in events if isinstance(event, SpikeUndone)]
    assert [(one.images_seen, one.back_to, one.rate_left) for one in spikes] == [(320, 288, 0.5)]
    from darkroom.randomness import DataOrder

    assert set(spikes[0].images) == {images.paths[row] for row in DataOrder(400, 3).take(320, 8)}
    assert (straight.skipped, straight.cut, straight.images_seen) == ([320], 0.5, 400)
    assert max(point.loss for point in straight.history[-3:]) < 1.5 * straight.history[6].loss
    for count in (events.index(spikes[0]), events.index(spikes[0]) + 1, len(events) - 3):
        folder = tmp_path / str(count)
        stopped_after(course(folder, images, **LONG, checkpoint_every=72), count)
        _, resumed = finished(course(folder, images, **LONG, checkpoint_every=72))
        assert differing(straight, resumed) == []
        assert (resumed.skipped, resumed.history) == (straight.skipped, straight.history)


def test_a_spike_before_the_first_checkpoint_leaves_the_batch_out(tmp_path: Path) -> None:
    events, state = finished(course(tmp_path, spoilt(320), **LONG, checkpoint_every=10**6))
    assert [event.back_to for event in events if isinstance(event, SpikeUndone)] == [320]
    assert state.skipped == [320]


def test_spikes_without_end_stop_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from darkroom.training import recovery

    monkeypatch.setattr(recovery, "MOST_SPIKES", 0)
    with pytest.raises(TrainingStopped, match=r"at 320 images seen the loss spiked to .*lower the learning rate, or look at"):
        finished(course(tmp_path, spoilt(320), **LONG, checkpoint_every=72))


def test_eight_images_are_overfitted_and_patience_takes_the_best(tmp_path: Path) -> None:
    few = painted(8, seed=1)
    few = replace(few, pixels=np.random.default_rng(0).integers(0, 256, few.pixels.shape).astype(np.uint8))
    settings = {
        "images": 4000,
        "learning_rate": 1e-2,
        "report_every": 80,
        "held_out_every": 160,
        "samples_every": 10**6,
        "checkpoint_every": 10**6,
    }
    events, state = finished(course(tmp_path / "a", few, **settings, patience=4))
    found = [event for event in events if isinstance(event, TroubleFound) and event.kind == "overfitting"]
    assert len(found) == 1
    measured = {point.images_seen: point.held_out for point in state.history if point.held_out is not None}
    best = min(measured, key=lambda seen: measured[seen] or 0)
    assert found[0].change["images"] == best
    assert state.images_seen == best + 4 * 160 < 4000
    assert isinstance(events[-1], SamplesDrawn) and isinstance(events[-2], Noted) and "no better held-out loss" in events[-2].text
    _, until = finished(course(tmp_path / "b", few, **settings | {"images": 4000}, patience=4))
    assert differing(state, until) == []
