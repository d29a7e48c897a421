"""Exponential moving average of the weights: what is sampled, scored and kept."""

from typing import Annotated

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import nn

from darkroom.sections import Section


class Averaging(Section):
    """Half-life of a weight in the average, in images; young averages are shorter (EDM, `ema_rampup_ratio`)."""

    halflife_images: Annotated[PositiveInt, Field(description="half-life of the average, in images seen")]
    rampup: Annotated[float, Field(gt=0, le=1, description="half-life at most this share of the images seen so far")]

    snapshots: Annotated[
        NonNegativeInt,
        Field(description="kept along the way of two power-function averages, to rebuild an average of any length; 0 for none"),
    ]
    weaker: Annotated[
        float,
        Field(ge=0, lt=1, description="share of the course after which the average is kept besides, for `drawing.away`; 0: not"),
    ]

    def share(self, images_seen: int, batch: int) -> float:
        """Share of the new weights in the average after a batch."""
        halflife = min(self.halflife_images, max(images_seen * self.rampup, 1e-8))
        return float(1 - 0.5 ** (batch / halflife))


@torch.no_grad()
def average_into(averaged: nn.Module, model: nn.Module, share: float) -> None:
    """averaged <- averaged + share * (model - averaged)"""
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), share)
