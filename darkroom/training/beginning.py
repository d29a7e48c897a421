"""The state a course begins with, and how its averages follow the weights."""

import copy
from typing import cast

from torch import nn

from darkroom.networks.denoiser import Denoiser
from darkroom.networks.profiles import WIDTHS, share
from darkroom.training.averaging import average_into
from darkroom.training.checkpoints import State
from darkroom.training.course import Course
from darkroom.training.parallel import place
from darkroom.training.sharding import share_out


def begin(model: Denoiser, course: Course, sharded: bool = False) -> State:
    """The state before the first batch. `sharded`: where there are several processes, each keeps its share of the weights."""
    weighting = course.weighting.build(model.preconditioning).to(next(model.parameters()).device)
    wanted = 1, len(WIDTHS) if course.averaging.snapshots else 0, 1 if course.averaging.weaker else 0
    shared = sharded and place()[1] > 1
    averaged, profiles, weaker = (nn.ModuleList(_copy(model, shared) for _ in range(count)) for count in wanted)
    if shared:
        share_out(model, trained=True)
    optimiser = course.optimiser.build(model, weighting.parameters())
    return State(model, cast(Denoiser, averaged[0]), weighting, optimiser, profiles, weaker)


def _copy(model: Denoiser, shared: bool) -> Denoiser:
    """An average's; shared out before there is another, as a device may not hold many whole ones."""
    made = copy.deepcopy(model).requires_grad_(False)
    if shared:
        share_out(made, trained=False)
    return made


def average(state: State, course: Course, images_seen: int, count: int) -> None:
    """Take the new weights into every average, after a batch of `count`."""
    average_into(state.averaged, state.model, course.averaging.share(images_seen, count))
    for width, profile in zip(WIDTHS, state.profiles, strict=False):  # there are none, or one for each width
        average_into(profile, state.model, share(images_seen, count, width))


def keep_weaker(state: State, course: Course, total: int) -> None:
    """Once, when its share of the course is over: keep the average as it is, to be led away from in drawing."""
    if course.averaging.weaker and not state.weaker_at and state.images_seen >= course.averaging.weaker * total:
        average_into(state.weaker[0], state.averaged, 1.0)
        state.weaker_at = state.images_seen
