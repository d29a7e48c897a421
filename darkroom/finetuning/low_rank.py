"""Low-rank fine-tuning (Hu et al. 2021, LoRA, arXiv 2106.09685): beside every matrix, scale * up @ down; only those learn.

A convolution's weight [out, in, k, k] is the matrix [out, in k k]. Tables, of labels and of bytes, learn as they are: they are
small, and a label that is new has nothing yet that a part could be added to.
"""

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
    """A small part beside every matrix learns, and the tables do: less memory, less forgetting. Merged at the end."""

    kind: Literal["low_rank"]
    rank: Annotated[PositiveInt, Field(description="of each part; more learns more")]
    scale: Annotated[PositiveFloat, Field(description="what the part is multiplied with")]

    def prepare(self, model: Denoiser, seed: int) -> Denoiser:
        """The model with parts attached that change nothing yet. A matrix no larger than the rank rests."""
        model.requires_grad_(False)
        chance = torch.Generator().manual_seed(torch_seed(seed, WEIGHTS))
        for layer in list(model.modules()):
            if isinstance(layer, nn.Embedding):
                layer.requires_grad_(True)
            elif isinstance(layer, nn.Linear | nn.Conv2d) and min(layer.weight.flatten(1).shape) > self.rank:
                parametrize.register_parametrization(layer, "weight", Part(layer.weight, self.rank, self.scale, chance))
        return model


class Part(nn.Module):
    """weight [out, ...] -> weight + scale * up [out, rank] @ down [rank, all of ...]; `up` begins at zero."""

    def __init__(self, weight: Tensor, rank: int, scale: float, chance: torch.Generator) -> None:
        super().__init__()
        entering = weight[0].numel()
        down = torch.randn(rank, entering, generator=chance) / entering**0.5
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """The weight and its part."""
        return weight + self.scale * (self.up @ self.down).view_as(weight)


Method = Annotated[Full | LowRank, Field(discriminator="kind")]
