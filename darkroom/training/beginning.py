"""The state a course begins with, and how its averages follow the weights."""

import copy

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
    averages = [copy.deepcopy(model).requires_grad_(False) for _ in (None, *(WIDTHS if course.averaging.snapshots else ()))]
    if sharded and place()[1] > 1:
        for one in (*averages, model):
            share_out(one, trained=one is model)
    averaged, profiles = averages[0], nn.ModuleList(averages[1:])
    return State(model, averaged, weighting, course.optimiser.build(model, weighting.parameters()), profiles)


def average(state: State, course: Course, images_seen: int, count: int) -> None:
    """Take the new weights into every average, after a batch of `count`."""
    average_into(state.averaged, state.model, course.averaging.share(images_seen, count))
    for width, profile in zip(WIDTHS, state.profiles, strict=False):  # there are none, or one for each width
        average_into(profile, state.model, share(images_seen, count, width))
