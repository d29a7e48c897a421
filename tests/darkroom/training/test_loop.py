"""The loop: what it tells, what stops it, what it must not depend on, and that it learns."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.events import HeldOutMeasured, SamplesDrawn, SheetScored, SnapshotSaved, StepTaken
from darkroom.training.course import TrainingStopped
from tests.darkroom.tiny import finished, painted
from tests.darkroom.training.rig import course, differing, fresh_model, weights_of


def test_what_it_tells_and_when(tmp_path: Path) -> None:
    events, state = finished(course(tmp_path))
    told = [(type(event).__name__, event.images_seen) for event in events]  # type: ignore[attr-defined]
    assert told == [
        ("StepTaken", 16),
        ("SnapshotSaved", 24),
        ("StepTaken", 32),
        ("HeldOutMeasured", 32),
        ("SamplesDrawn", 40),
        ("SheetScored", 40),
        ("StepTaken", 48),
        ("SnapshotSaved", 48),
        ("StepTaken", 60),  # the last batch has 4 images
        ("HeldOutMeasured", 60),
        ("SamplesDrawn", 60),
        ("SheetScored", 60),
        ("SnapshotSaved", 60),
    ]
    steps = [event for event in events if isinstance(event, StepTaken)]
    assert [point.loss for point in state.history] == [step.loss for step in steps]
    assert [point.held_out is not None for point in state.history] == [False, True, False, True]
    assert steps[0].learning_rate == pytest.approx(3e-3 * (8 + 1) / 16 * (1 - 8 / 60))
    assert state.images_seen == 60
    assert {type(event) for event in events} == {StepTaken, HeldOutMeasured, SamplesDrawn, SheetScored, SnapshotSaved}


def test_the_same_course_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    _, one = finished(course(tmp_path / "a"))
    _, again = finished(course(tmp_path / "b"))
    _, other = finished(course(tmp_path / "c", seed=4))
    assert differing(one, again) == []
    assert one.history == again.history
    assert len(differing(one, other)) > 20


def test_measuring_drawing_and_saving_do_not_touch_the_training(tmp_path: Path) -> None:
    _, often = finished(course(tmp_path / "a", held_out_every=1, samples_every=1, checkpoint_every=1, report_every=1))
    _, never = finished(course(tmp_path / "b", held_out_every=10**6, samples_every=10**6, checkpoint_every=10**6))
    assert differing(often, never) == []


def test_the_random_numbers_of_others_do_not_touch_the_training(tmp_path: Path) -> None:
    _, one = finished(course(tmp_path / "a"))
    steps = course(tmp_path / "b")
    for number in range(3):
        next(steps)
        torch.manual_seed(number)
        np.random.seed(number)
    _, other = finished(steps)
    assert differing(one, other) == []


def test_the_held_out_loss_is_the_models_alone(tmp_path: Path) -> None:
    """A learning rate that moves nothing leaves it where it was, to the last figure."""
    events, _ = finished(course(tmp_path, learning_rate=1e-30, held_out_every=8))
    assert len({event.loss for event in events if isinstance(event, HeldOutMeasured)}) == 1


def test_it_learns(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "images": 1600,
        "batch_size": 16,
        "report_every": 320,
        "held_out_every": 320,
        "learning_rate": 2e-2,
    }
    _, state = finished(course(tmp_path, **changes, checkpoint_every=10**6))
    losses, held_out = [point.loss for point in state.history], [point.held_out or 0.0 for point in state.history]
    assert losses[-1] < 0.4 * losses[0]
    assert held_out[-1] < 0.5 * held_out[0]


def test_an_image_that_is_not_finite_stops_before_the_weights_change(tmp_path: Path) -> None:
    images = painted(20, seed=1)
    poisoned = images.pixels.astype(np.float32)
    poisoned[13] = np.nan
    model = fresh_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = course(tmp_path, replace(images, pixels=poisoned), model=model, batch_size=20)  # type: ignore[arg-type]
    with pytest.raises(TrainingStopped) as error:
        finished(batch)
    said = str(error.value)
    assert said.startswith("at 0 images seen the loss was nan")
    assert "Lower the learning rate (it is 0.003; try 0.001)" in said
    assert "The batch held: " in said and said.endswith(" ...")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weights_that_ran_away_stop_it_and_the_checkpoint_before_is_kept(tmp_path: Path) -> None:
    """A learning rate of 1 ruins the weights within a few batches: an answer of 1e30 squared is no float32."""
    model = fresh_model()
    steps = course(tmp_path, model=model, learning_rate=1.0, images=10_000)
    while not isinstance(next(steps), SnapshotSaved):
        pass
    with torch.no_grad():
        model.network.leave.bias.fill_(1e30)  # type: ignore[union-attr]
    ruined = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(TrainingStopped, match=r"at 24 images seen the loss was inf .*\(it is 1; try 0\.33\)"):
        finished(steps)
    assert all(torch.equal(value, ruined[name]) for name, value in model.state_dict().items())
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["state-000000000024.json", "state-000000000024.safetensors"]


def test_labels_are_dropped_as_often_as_asked(tmp_path: Path) -> None:
    told: list[torch.Tensor] = []
    model = fresh_model()
    model.network.register_forward_pre_hook(lambda module, inputs: told.append(inputs[2].label))
    finished(course(tmp_path, model=model, label_dropout=0.25, images=1600, batch_size=64, held_out_every=10**6))
    labels = torch.cat(told[:25])  # the last calls measure the held-out images
    assert (labels < 0).float().mean().item() == pytest.approx(0.25, abs=0.035)
    assert set(labels.tolist()) == {-1, 0, 1}


def test_the_average_lies_behind_the_weights(tmp_path: Path) -> None:
    _, state = finished(course(tmp_path))
    weights = weights_of(state)
    names = [name.removeprefix("model/") for name in weights if name.startswith("model/")]
    assert sum(not torch.equal(weights[f"model/{name}"], weights[f"averaged/{name}"]) for name in names) > 20
    assert not state.averaged.training or all(not weight.requires_grad for weight in state.averaged.parameters())
