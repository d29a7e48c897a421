"""What keeps a run from being lost: saving and going on, undoing a spike, stopping before the weights are ruined."""

from collections.abc import Generator
from math import isfinite

import numpy as np

from darkroom.events import Event, Noted, SamplesDrawn, SnapshotSaved, SpikeUndone
from darkroom.networks.profiles import forget_snapshots, save_snapshot
from darkroom.training.checkpoints import State, restore_best, restore_newest, save_checkpoint
from darkroom.training.course import Course, Materials, TrainingStopped
from darkroom.training.monitor import MOST_SPIKES, out_of_patience
from darkroom.training.parallel import leads
from darkroom.training.sharding import merged_state, whole

KEPT = 2  # newest checkpoints; the best is kept besides


def resumed(materials: Materials, state: State) -> Generator[Noted, None, None]:
    """Set `state` to the newest good checkpoint, if there is one."""
    for sentence in restore_newest(materials.checkpoints, state):
        yield Noted(sentence)
    if leads():
        forget_snapshots(materials.checkpoints, state.images_seen)
    if state.images_seen:
        yield Noted(f"going on from {state.images_seen:,} images seen")


def best_taken(course: Course, materials: Materials, state: State) -> Generator[Event, None, None]:
    """Where patience ended the course, the averaged weights at the best held-out loss are its answer."""
    if out_of_patience(state.history, course.patience) and restore_best(materials.checkpoints, state):
        yield Noted(
            f"ended at {state.images_seen:,} images seen: no better held-out loss for {course.patience} measurements; "
            f"the weights of {state.taken_at:,} images are taken"
        )
        with whole(state.averaged):
            sheet = materials.draw(state.averaged, state.images_seen) if leads() else None
        if sheet is not None:
            yield SamplesDrawn(state.images_seen, str(sheet.path))


def saved(materials: Materials, state: State) -> SnapshotSaved | Noted:
    """Save a checkpoint. Where that fails, such as on a full disk, the training goes on: the checkpoint before is whole."""
    try:
        return SnapshotSaved(state.images_seen, str(save_checkpoint(materials.checkpoints, state, KEPT)))
    except OSError as error:
        return Noted(f"no checkpoint at {state.images_seen:,} images seen: {error}. Training goes on; the one before is whole")


def snapshot(materials: Materials, state: State) -> Generator[Noted, None, None]:
    """Store the power-function averages, where they are kept."""
    if not state.profiles:
        return
    averages = [merged_state(one) for one in state.profiles]
    try:
        if leads():
            save_snapshot(materials.checkpoints, state.images_seen, averages)
    except OSError as error:
        yield Noted(f"no snapshot of averages at {state.images_seen:,} images seen: {error}. Training goes on")


def undone(materials: Materials, state: State, loss: float, names: list[str]) -> SpikeUndone:
    """Go back to the newest checkpoint (or stay, where there is none yet), halve the rate, leave the batch out from now on.

    All of it is a function of the checkpoint: a training that is stopped and goes on finds the same spike and does the same.
    """
    seen, usual = state.images_seen, float(np.median(state.recent))
    cut, skipped, seconds = state.cut / 2, [*state.skipped, seen], state.seconds
    if len(skipped) > MOST_SPIKES:
        raise TrainingStopped(
            f"at {seen:,} images seen the loss spiked to {loss:.3g} from {usual:.3g}, for the {len(skipped)}th time: "
            f"lower the learning rate, or look at these images: {_few(names)}"
        )
    restore_newest(materials.checkpoints, state)
    if leads():
        forget_snapshots(materials.checkpoints, state.images_seen)
    state.cut, state.skipped, state.seconds = cut, skipped, seconds
    return SpikeUndone(seen, loss, usual, state.images_seen, cut, tuple(names))


def check_finite(state: State, loss: float, norm: float, names: list[str], course: Course) -> None:
    """Raises TrainingStopped for a loss or a gradient that is no number."""
    if not (isfinite(loss) and isfinite(norm)):
        raise TrainingStopped(
            f"at {state.images_seen:,} images seen the loss was {loss:.3g} and the gradient's norm {norm:.3g}; the "
            f"weights were left as they were. Lower the learning rate (it is {course.learning_rate:g}; try "
            f"{course.learning_rate / 3:.2g}) or lengthen the warm-up. The batch held: {_few(names)}"
        )


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
