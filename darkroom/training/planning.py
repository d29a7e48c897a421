"""What a course will take, found out before it starts: its speed on this device, its time, memory and space."""

import copy
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import count as counting

import torch
from torch import Tensor

from darkroom.events import followed
from darkroom.networks.denoiser import Denoiser
from darkroom.training.averaging import average_into
from darkroom.training.batch import Batch
from darkroom.training.batches import Batches, Maker
from darkroom.training.beginning import begin
from darkroom.training.checkpoints import State
from darkroom.training.course import Course, Materials
from darkroom.training.memory import Manner, gradient, in_precision, set_recompute
from darkroom.training.parallel import agreed, slowest

WARM = 2  # batches before the clock starts: the first ones allocate
Clock = Callable[[], float]


@dataclass(frozen=True)
class Plan:
    """The figures of a course. Bytes are those of tensors; the program and its libraries take some 500 MB beside them."""

    images: int
    parameters: int
    images_per_second: float
    memory: int  # bytes at the peak of a batch
    least_memory: int  # bytes, with one image at a time and inner values computed again: the end of the memory ladder
    checkpoint: int  # bytes on disk of one; two or three are kept
    model: int  # bytes on disk

    @property
    def hours(self) -> float:
        """Time of training alone; sample sheets and held-out measurements add some percent."""
        return self.images / self.images_per_second / 3600


def plan(model: Denoiser, course: Course, materials: Materials, seconds: float, clock: Clock = time.perf_counter) -> Plan:
    """Train a copy of the real network for some seconds, count what it keeps, and reckon the rest."""
    device = next(model.parameters()).device
    state = begin(copy.deepcopy(model), course)
    batch = Maker(course, materials)[0, course.batch_size].on(device)
    activations, least = kept_bytes(state, batch, recompute=False), kept_bytes(state, batch.part(0, 1), recompute=True)
    set_recompute(state.model, recompute=False)
    speed = images_per_second(state, course, materials, seconds, clock, in_precision(course.precision))
    weights = _bytes(state.model.parameters())
    moments = _bytes(value for values in state.optimiser.state.values() for value in values.values())
    besides = _bytes(state.profiles.parameters()) + _bytes(state.weaker.parameters())
    standing = 3 * weights + besides + moments + _bytes([batch.images, batch.noise])  # weights, their average, their gradient
    return Plan(
        images=course.images,
        parameters=sum(value.numel() for value in model.parameters()),
        images_per_second=speed,
        memory=standing + activations,
        least_memory=standing + least,
        checkpoint=2 * weights + besides + moments,
        model=weights + _bytes(state.weaker.parameters()),
    )


def images_per_second(
    state: State,
    course: Course,
    materials: Materials,
    seconds: float,
    clock: Clock = time.perf_counter,
    manner: Manner = Manner(),  # noqa: B008 - it is frozen
) -> float:
    """The rate at which `state` trains on the course's first batches: data, gradient, update and average included."""
    device = next(state.model.parameters()).device
    with closing(Batches(course, materials, device)) as batches:
        started = clock()
        warm = WARM + max(0, batches.ahead - 1)  # those made before the clock starts would count as made in no time
        for number in counting():
            if number == warm:
                started = clock()
            if agreed(number > warm and clock() - started >= seconds):
                break
            batch = batches.at(number * course.batch_size, course.batch_size)
            _, manner = followed(gradient(state.model, state.weighting, batch, manner))
            state.optimiser.step()
            average_into(state.averaged, state.model, 0.01)
            if device.type == "cuda":
                torch.cuda.synchronize()
    return (number - warm) * course.batch_size / max(slowest(clock() - started), 1e-9)


def kept_bytes(state: State, batch: Batch, recompute: bool) -> int:
    """Bytes that the forward pass over a batch keeps for the backward pass, beside the weights themselves."""
    kept: dict[int, int] = {}
    weights = {value.untyped_storage().data_ptr() for value in state.model.parameters()}

    def count(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
        followed(gradient(state.model, state.weighting, batch, Manner(recompute=recompute)))
    return sum(kept.values())


def _bytes(values: Iterable[Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in values)
