"""What changes the weights along their gradient.

To add an optimiser: write its settings with `build`, and name them in the union at the end of this file.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from darkroom.networks.denoiser import Denoiser
from darkroom.sections import Section
from darkroom.training.sharding import full, shared_as

BETAS = (0.9, 0.99)  # EDM2: a memory of 100 batches for the squares, so that short courses are not ruled by their start
Decay = Annotated[
    float, Field(ge=0, description="share of the learning rate by which matrices shrink; convolutions, gains and tables do not")
]


class AdamWSettings(Section):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"]
    weight_decay: Decay

    def build(self, model: Denoiser, others: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Over the model's weights, and `others` that never decay."""
        decaying, plain = parted(model)
        groups: list[dict[str, Any]] = [
            {"params": decaying, "weight_decay": self.weight_decay},
            {"params": plain, "weight_decay": 0.0},
            {"params": list(others), "weight_decay": 0.0},  # apart: they are whole where the model's are in shares
        ]
        return torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=True)


class MuonSettings(Section):
    """Matrices move along their orthogonalised momentum (Jordan et al. 2024, Muon); all other weights as with AdamW.

    Updates are scaled to the size that AdamW's have (Liu et al. 2025, 2502.16982, section 2.2): one learning rate serves both.
    """

    kind: Literal["muon"]
    weight_decay: Decay
    momentum: Annotated[float, Field(ge=0, lt=1, description="share of the gradients so far that is kept; 0.95 in the paper")]

    def build(self, model: Denoiser, others: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Over the model's weights, and `others` that never decay."""
        decaying, plain = parted(model)
        matrices = [value for value in decaying if value.ndim == 2]
        rest = [value for value in decaying if value.ndim != 2]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": self.weight_decay, "momentum": self.momentum, "matrices": True},
            {"params": rest, "weight_decay": self.weight_decay, "momentum": self.momentum, "matrices": False},
            {"params": [*plain, *others], "weight_decay": 0.0, "momentum": self.momentum, "matrices": False},
        ]
        return Muon(groups)


class Muon(torch.optim.Optimizer):
    """Muon for the groups of matrices, AdamW for the others; all in the weights' own precision."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {"lr": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change the weights along their gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    change = self._turned if group["matrices"] else self._adapted
                    weight.sub_(change(weight, group), alpha=group["lr"])

    def _turned(self, weight: Tensor, group: dict[str, Any]) -> Tensor:
        memory = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        memory.lerp_(weight.grad, 1 - group["momentum"])
        ahead = full(weight.grad.lerp(memory, group["momentum"]))  # type: ignore[union-attr]
        return shared_as(weight, orthogonal(ahead) * (0.2 * max(weight.shape) ** 0.5))

    def _adapted(self, weight: Tensor, group: dict[str, Any]) -> Tensor:
        memory = self.state[weight]
        if not memory:
            memory |= {"step": torch.zeros(()), "mean": torch.zeros_like(weight), "square": torch.zeros_like(weight)}
        memory["step"] += 1
        memory["mean"].lerp_(weight.grad, 1 - BETAS[0])
        memory["square"].lerp_(weight.grad.square(), 1 - BETAS[1])  # type: ignore[union-attr]
        steps = memory["step"].item()
        mean, square = memory["mean"] / (1 - BETAS[0] ** steps), memory["square"] / (1 - BETAS[1] ** steps)
        return mean / (square.sqrt() + 1e-8)


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are all about 1, by five turns of Newton and Schulz (Jordan et al. 2024).

    In the matrix's own precision: in bfloat16 this is many times slower on a processor without it.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        square = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * square + 2.0315 * square @ square) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def parted(model: Denoiser) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The weights that decay (matrices) and those that do not (gains, biases, convolutions, tables of labels and places)."""
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    decaying = [value for name, value in named if value.ndim == 2 and "label" not in name]
    return decaying, [value for name, value in named if value.ndim != 2 or "label" in name]


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next update."""
    for group in optimiser.param_groups:
        group["lr"] = rate


Optimiser = Annotated[AdamWSettings | MuonSettings, Field(discriminator="kind")]
