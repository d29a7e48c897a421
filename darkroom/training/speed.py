"""How a course is computed - in which precision, compiled or not: as it is set to, or the fastest safe way on its own device."""

import copy
from collections.abc import Callable, Generator
from dataclasses import replace

import torch

from darkroom.events import Event, Noted, followed
from darkroom.networks.denoiser import Denoiser
from darkroom.training.batches import Maker
from darkroom.training.beginning import begin
from darkroom.training.checkpoints import State
from darkroom.training.course import Course, Materials
from darkroom.training.memory import Manner, Precision, gradient, in_precision
from darkroom.training.parallel import agreed
from darkroom.training.planning import images_per_second
from darkroom.training.sharding import is_shared

SECONDS = 2.0  # of measuring, for each way
SAFE, SAFE_GRADIENT = 0.02, 0.1  # largest relative error of the first batch's loss, and of its gradient's length, against fp32
WORTH = 1.1  # times the plain speed, below which another rounding is not worth it
LONG = 1200.0  # seconds that a course takes at least where torch.compile, which takes one or two hundred, is tried

Measure = Callable[[Manner], float]


def settled(state: State, course: Course, materials: Materials) -> Generator[Event, None, None]:
    """Set the manner of a course that begins. It is kept in its checkpoints: one that goes on does not measure again."""
    model, device, shared = state.model, next(state.model.parameters()).device, is_shared(state.model)
    if shared and (course.compile or course.precision == "auto"):
        yield Noted("with the weights in shares nothing is measured or compiled: `precision: auto` is taken as fp32")

    def measure(manner: Manner) -> float:
        return images_per_second(begin(copy.deepcopy(model), course), course, materials, SECONDS, manner=manner)

    if course.precision != "auto":
        state.manner = in_precision(course.precision)
    elif not shared:  # of weights in shares there is no copy to try
        safe = [one for one in offered(device) if one == "fp32" or is_safe(model, course, materials, in_precision(one))]
        precision, found = fastest(safe, measure)
        state.manner = in_precision(precision)
        yield Noted(f"precision {precision} ({', '.join(f'{name}: {rate:.0f} images/s' for name, rate in found.items())})")
    if course.compile and not shared:
        state.manner = yield from compiled(state.manner, course, materials, model, measure)


def still_native(state: State, course: Course, device: torch.device) -> Generator[Event, None, None]:
    """fp32 for a course that goes on on a device which would only imitate the precision that was measured on another."""
    if course.precision == "auto" and state.manner.precision not in offered(device):
        yield Noted(f"precision fp32 from here on: {device} does not compute in {state.manner.precision} by itself")
        state.manner = in_precision("fp32")


def compiled(
    manner: Manner, course: Course, materials: Materials, model: Denoiser, measure: Measure
) -> Generator[Event, None, Manner]:
    """The manner with a compiled network, made on a copy; the plain one where that fails, or is as good and may be chosen."""
    other = replace(manner, compiled=course.batch_size)
    plain = measure(manner)
    seconds = course.images / plain if materials.conduct.minutes is None else 60 * materials.conduct.minutes
    if course.compile == "auto" and seconds < LONG:
        yield Noted(f"torch.compile is not tried: some {seconds / 60:.0f} minutes of training would hardly repay it")
        return manner
    if course.compile == "auto" and len(materials.images.buckets) > 1:
        yield Noted("torch.compile is not tried: it would make kernels for each of several shapes")
        return manner
    yield Noted("torch.compile makes kernels for this network: a minute or two")
    if not (yield from can_compile(model, course, materials, other)):
        return manner
    fast = measure(other)
    taken = course.compile is True or (fast > WORTH * plain and is_safe(model, course, materials, other))
    yield Noted(f"{'' if taken else 'not '}compiled (compiled: {fast:.0f} images/s, as it is: {plain:.0f})")
    return other if taken else manner


def can_compile(model: Denoiser, course: Course, materials: Materials, manner: Manner) -> Generator[Event, None, bool]:
    """Whether a copy's network can be compiled, by every process; why not is told. Its kernels serve the model as well."""
    trial = begin(copy.deepcopy(model), course)
    batch = Maker(course, materials)[0, course.batch_size].on(next(model.parameters()).device)
    _, after = yield from gradient(trial.model, trial.weighting, batch, manner)
    return not agreed(not after.compiled)


def fastest(offered: list[Precision], measure: Measure) -> tuple[Precision, dict[Precision, float]]:
    """The precision to take, and the speed of each. fp32 stays where no other is worth it."""
    found = {one: measure(in_precision(one)) for one in offered}
    best = max(found, key=lambda one: found[one])
    return (best if found[best] > WORTH * found["fp32"] else "fp32"), found


def offered(device: torch.device) -> list[Precision]:
    """The precisions that a device computes in by itself, not by emulation."""
    if device.type == "cuda":
        return ["fp32", "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"]
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return ["fp32", "bf16"] if native else ["fp32"]


def is_safe(model: Denoiser, course: Course, materials: Materials, manner: Manner) -> bool:
    """Whether the first batch's loss and the length of its gradient are fp32's, to within rounding, of weights that are stirred:
    a network that begins answers nothing, in whatever precision."""
    batch = Maker(course, materials)[0, course.batch_size].on(next(model.parameters()).device)
    found = []
    for one in (Manner(), manner):
        trial = begin(copy.deepcopy(model), course)
        _stir(trial.model)
        loss, _ = followed(gradient(trial.model, trial.weighting, batch, one))
        lengths = [value.grad.norm() for value in trial.model.parameters() if value.grad is not None]
        found.append(torch.stack([loss.mean().float(), torch.stack(lengths).norm()]).cpu())
    exact, narrow = found
    return bool((abs(narrow - exact) <= torch.tensor([SAFE, SAFE_GRADIENT]) * exact).all())  # nothing is below what is no number


@torch.no_grad()
def _stir(model: Denoiser) -> None:
    chance = torch.Generator().manual_seed(0)
    for value in model.parameters():
        value.add_(0.02 * torch.randn(value.shape, generator=chance).to(value))
