"""Low-rank fine-tuning (Hu et al. 2021, LoRA, arXiv 2106.09685): beside every matrix, scale * up @ down; only those learn."""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.utils import parametrize

from darkroom.networks.denoiser import Denoiser
from darkroom.randomness import WEIGHTS, torch_seed
from darkroom.sections import Section


class Full(Section):
    """Every weight learns."""

    kind: Literal["full"]

    def prepare(self, model: Denoiser, seed: int) -> Denoiser:
        """The model, ready to learn."""
        return model.requires_grad_(True)


class LowRank(Section):
    """A small part beside every matrix learns, the base's weights rest: less memory, less forgetting. Merged when it is saved."""

    kind: Literal["low_rank"]
    rank: Annotated[PositiveInt, Field(description="of each part; more learns more")]
    scale: Annotated[PositiveFloat, Field(description="what the part is multiplied with")]

    def prepare(self, model: Denoiser, seed: int) -> Denoiser:
        """The model with parts attached that change nothing yet. A matrix no larger than the rank rests."""
        model.requires_grad_(False)
        chance = torch.Generator().manual_seed(torch_seed(seed, WEIGHTS))
        for layer in [module for module in model.modules() if isinstance(module, nn.Linear)]:
            if min(layer.weight.shape) > self.rank:
                parametrize.register_parametrization(layer, "weight", Part(layer.weight, self.rank, self.scale, chance))
        return model


class Part(nn.Module):
    """weight [out, in] -> weight + scale * up [out, rank] @ down [rank, in]; `up` begins at zero."""

    def __init__(self, weight: Tensor, rank: int, scale: float, chance: torch.Generator) -> None:
        super().__init__()
        down = torch.randn(rank, weight.shape[1], generator=chance) / weight.shape[1] ** 0.5
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """The weight and its part."""
        return weight + self.scale * self.up @ self.down


Method = Annotated[Full | LowRank, Field(discriminator="kind")]
