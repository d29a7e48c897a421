"""What the loop tells when its turn comes: how training and held-out images fare, what that says, and what the model draws."""

from collections.abc import Generator
from contextlib import nullcontext

import numpy as np

from darkroom.events import Event, HeldOutMeasured, SamplesDrawn, SheetScored, StepTaken, TroubleFound
from darkroom.shapes import core
from darkroom.training import monitor
from darkroom.training.checkpoints import Moment, State
from darkroom.training.course import Course, Materials
from darkroom.training.held_out import held_out_loss, training_bands
from darkroom.training.pace import Pace
from darkroom.training.parallel import leads
from darkroom.training.quick import NAME, quick_scores
from darkroom.training.sharding import whole


def reported(
    state: State, course: Course, materials: Materials, pace: Pace, gradient_norm: float, measure: bool
) -> Generator[Event, None, None]:
    """A point more of the history: the mean loss since the last one, the held-out loss where it is due, what they show."""
    if not state.losses:  # every batch since then was left out
        return
    loss, total = round(float(np.mean(state.losses)), 6), pace.total()
    yield StepTaken(state.images_seen, total, loss, state.rate, gradient_norm, pace.speed())
    with whole(state.averaged) if measure else nullcontext():
        held_out, bands = held_out_loss(state.averaged, course, materials) if measure else (None, {})
        trained = training_bands(state.averaged, course, materials) if measure else {}
    state.history.append(Moment(state.images_seen, loss, state.rate, held_out, bands, trained))
    state.losses = []
    if held_out is not None:
        yield HeldOutMeasured(state.images_seen, held_out, bands, trained)
    for verdict in monitor.new_verdicts(state.history, course.learning_rate, total):
        yield TroubleFound(state.images_seen, verdict.kind, verdict.text, verdict.change)


def sampled(state: State, course: Course, materials: Materials, total: int) -> Generator[Event, None, None]:
    """A sheet of images drawn from the averaged weights, and its quick score; trouble, where a model no longer young draws all
    of them alike."""
    with whole(state.averaged):
        if not leads():
            return
        sheet = materials.draw(state.averaged, state.images_seen)
    yield SamplesDrawn(state.images_seen, str(sheet.path))
    scores = quick_scores(sheet.pixels, materials.images, materials.held_out)
    if scores is not None:
        state.scores.append((state.images_seen, *scores))
        yield SheetScored(state.images_seen, NAME, *scores, len(sheet.pixels))
    drawn, real = (core(pixels, materials.images.buckets) for pixels in (sheet.pixels, materials.images.pixels[:64]))
    collapse = monitor.collapsed(drawn, real, course.learning_rate)
    if collapse is not None and 4 * state.images_seen > total:
        yield TroubleFound(state.images_seen, collapse.kind, collapse.text, collapse.change)
