"""A range test for the learning rate: it rises from far too low to far too high, and the loss tells where it works.

After Smith 2017 (arXiv 1506.01186, section 3.3), with a geometric rise.
"""

import math
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from darkroom.events import Event, Progressed
from darkroom.networks.denoiser import Denoiser
from darkroom.training.batches import Batches
from darkroom.training.beginning import begin
from darkroom.training.course import Course, Materials
from darkroom.training.memory import gradient, in_precision
from darkroom.training.optimisers import set_rate

LEAST, MOST = 1e-6, 1.0  # rates tried
MEMORY = 0.9  # of the smoothed loss, per batch
RUINED = 2.0  # times the lowest smoothed loss: beyond, the rate is known to be too high
SAFETY = 5.0  # the rate suggested lies so far below the one at which the loss was lowest


@dataclass(frozen=True)
class RangeTest:
    """`rates` tried, the loss of each batch smoothed, and the rate `suggested`."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float


def range_test(model: Denoiser, course: Course, materials: Materials, batches: int) -> Generator[Event, None, RangeTest]:
    """Train `model` (it is spoilt by it) on `batches` batches at rising rates. Raises TrainingStopped where memory runs out."""
    state = begin(model, course)
    rates: list[float] = []
    losses: list[float] = []
    smooth, manner = 0.0, in_precision(course.precision)
    with closing(Batches(course, materials, next(model.parameters()).device)) as source:
        for number in range(batches):
            rate = LEAST * (MOST / LEAST) ** (number / max(batches - 1, 1))
            batch = source.at(number * course.batch_size, course.batch_size)
            loss, manner = yield from gradient(state.model, state.weighting, batch, manner)
            mean = loss.mean().item()
            smooth = MEMORY * smooth + (1 - MEMORY) * mean
            unbiased = smooth / (1 - MEMORY ** (number + 1))
            if not math.isfinite(mean) or (losses and unbiased > RUINED * min(losses)):
                break
            rates.append(rate)
            losses.append(unbiased)
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), course.gradient_norm)
            set_rate(state.optimiser, rate)
            state.optimiser.step()
            yield Progressed("trying learning rates", number + 1, batches, "batches")
    return RangeTest(tuple(rates), tuple(losses), _suggested(rates, losses))


def _suggested(rates: list[float], losses: list[float]) -> float:
    """A safe step below the rate at which the loss was lowest, in two figures."""
    return float(f"{rates[losses.index(min(losses))] / SAFETY:.1e}")


def plot(found: RangeTest, file: Path) -> None:
    """The loss over the rate, the suggestion marked."""
    from matplotlib.figure import Figure  # imported here: it takes a second

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, color="#36c", label="loss, smoothed")
    axes.axvline(found.suggested, color="#c40", linestyle="--", label=f"suggested: {found.suggested:g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="denoising loss", title="Where the loss falls, the rate works")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=100, metadata={"Software": None})
