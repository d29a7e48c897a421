"""What changes the weights along their gradient, and the state a course begins with."""

import copy

import torch
from torch import nn

from darkroom.networks.denoiser import Denoiser
from darkroom.training.checkpoints import State
from darkroom.training.course import Course


def begin(model: Denoiser, course: Course) -> State:
    """The state before the first batch."""
    weighting = course.weighting.build(model.preconditioning).to(next(model.parameters()).device)
    averaged = copy.deepcopy(model).requires_grad_(False)
    groups = _groups(model, weighting, course)
    return State(model, averaged, weighting, torch.optim.AdamW(groups, lr=course.learning_rate, betas=(0.9, 0.99), fused=True))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next update."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def _groups(model: Denoiser, weighting: nn.Module, course: Course) -> list[dict[str, object]]:
    """Matrices decay; gains, biases, tables of positions and the loss's weighting do not."""
    matrices = [value for name, value in model.named_parameters() if value.ndim == 2 and "label" not in name]
    others = [value for name, value in model.named_parameters() if value.ndim != 2 or "label" in name]
    others += weighting.parameters()
    return [{"params": matrices, "weight_decay": course.weight_decay}, {"params": others, "weight_decay": 0.0}]
