"""The training loop, on one page. It tells what happens; whoever runs it shows, stores and stops."""

from collections.abc import Generator
from contextlib import closing

import torch
from torch.nn.utils import clip_grad_norm_

from darkroom.events import Event
from darkroom.networks.denoiser import Denoiser
from darkroom.stage import StoppedOnRequest
from darkroom.training.batches import Batches
from darkroom.training.beginning import average, begin, keep_weaker
from darkroom.training.checkpoints import State
from darkroom.training.course import Course, Materials
from darkroom.training.memory import gradient
from darkroom.training.monitor import is_spike, out_of_patience, usual_of, waited
from darkroom.training.optimisers import set_rate
from darkroom.training.pace import Pace
from darkroom.training.parallel import agreed
from darkroom.training.recovery import best_taken, check_finite, resumed, saved, snapshot, undone
from darkroom.training.sharding import full
from darkroom.training.speed import settled, still_native
from darkroom.training.telling import reported, sampled


def train(model: Denoiser, course: Course, materials: Materials, device: torch.device) -> Generator[Event, None, State]:
    """Train `model` on `materials` over a `course`; the averaged weights are in the state returned.

    Raises TrainingStopped where it cannot go on, StoppedOnRequest when it was asked to stop (the same course then goes on).
    """
    # Initialise, or go on from the newest good checkpoint.
    state = begin(model.to(device), course, materials.conduct.sharded)
    yield from resumed(materials, state)
    yield from still_native(state, course, device) if state.images_seen else settled(state, course, materials)
    pace, norm = Pace(course, materials.conduct.minutes, state), 0.0
    with closing(Batches(course, materials, device)) as batches:
        while not (pace.over() or out_of_patience(state.history, course.patience)):
            if agreed(materials.conduct.stopping()):
                yield saved(materials, state)
                raise StoppedOnRequest(f"stopped at {state.images_seen:,} images seen; the same command goes on")
            seen, total = state.images_seen, pace.total()
            count = min(course.batch_size, total - seen)
            state.rate = state.cut * course.learning_rate * course.learning_rate_schedule.factor(seen, total)
            # Load a batch and its noise, both known from the seed and the images seen.
            batch = batches.at(seen, count)
            if seen not in state.skipped:
                # Find the gradient.
                losses, state.manner = yield from gradient(state.model, state.weighting, batch, state.manner)
                length = full(clip_grad_norm_(state.model.parameters(), course.gradient_norm))
                loss, norm = torch.stack([losses.mean(), length]).tolist()  # once: a GPU is waited for

                # A number that is not finite stops the run before the weights change; a spike is undone.
                names = [materials.images.paths[row] for row in batch.rows]
                check_finite(state, loss, norm, names, course)
                if is_spike(loss, state.recent):
                    yield undone(materials, state, loss, names)
                    continue

                # Update the weights and their average.
                set_rate(state.optimiser, state.rate)
                state.optimiser.step()
                average(state, course, seen + count, count)
                state.losses.append(loss)
                state.recent = usual_of([*state.recent, loss])
            state.images_seen = seen + count
            keep_weaker(state, course, total)
            pace.tick()

            # Tell.
            report, measure, sample, save, snap = (
                seen // every < state.images_seen // every or pace.over() for every in course.cadences
            )
            if report or measure:
                yield from reported(state, course, materials, pace, norm, measure)
            if sample:
                yield from sampled(state, course, materials, total)
            if snap:
                yield from snapshot(materials, state)
            if save or (measure and course.patience and not waited(state.history)):
                yield saved(materials, state)
            if report or measure or sample or save:
                pace.restart()
    yield from best_taken(course, materials, state)
    return state
