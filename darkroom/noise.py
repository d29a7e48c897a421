"""Noise: which levels the training sees (densities) and which levels the sampling visits (schedules).

One scale throughout: sigma, the standard deviation of the noise added to images in [-1, 1] (Karras et al. 2022,
arXiv 2206.00364). The other scales map onto it: a flow at time t has sigma = t / (1 - t) (Lipman et al. 2023), a DDPM
with cumulative product a has sigma = sqrt((1 - a) / a) (Ho et al. 2020).

To add a density or a schedule: write the class, name it in the union at the end of this file.
"""

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from darkroom.sections import Section

Fraction = Annotated[float, Field(gt=0, lt=1)]


class LogNormal(Section):
    """ln(sigma) is normal (EDM, Table 1). With a flow this is the logit-normal time of Stable Diffusion 3."""

    kind: Literal["log_normal"]
    mean: Annotated[float, Field(description="mean of ln(sigma)")]
    deviation: Annotated[PositiveFloat, Field(description="standard deviation of ln(sigma)")]

    def sigmas(self, uniform: Tensor) -> Tensor:
        """Levels at the given quantiles. [n] in (0, 1) -> [n]."""
        return (self.mean + self.deviation * torch.special.ndtri(uniform)).exp()


class UniformTime(Section):
    """The time t of a flow is uniform between `least` and `most` (Lipman et al. 2023)."""

    kind: Literal["uniform_time"]
    least: Fraction
    most: Fraction

    @model_validator(mode="after")
    def _rises(self) -> Self:
        _check_order(self.least, self.most)
        return self

    def sigmas(self, uniform: Tensor) -> Tensor:
        """Levels at the given quantiles. [n] in (0, 1) -> [n]."""
        time = self.least + (self.most - self.least) * uniform
        return time / (1 - time)


class Ddpm(Section):
    """The chain of Ho et al. 2020, section 4: variances beta rise linearly over `diffusion_steps`; every step is as likely."""

    kind: Literal["ddpm"]
    diffusion_steps: Annotated[PositiveInt, Field(le=10_000, description="length T of the noising chain")]
    first_beta: Fraction
    last_beta: Fraction

    def chain(self) -> Tensor:
        """The levels of the whole chain, rising. [diffusion_steps]"""
        betas = torch.linspace(self.first_beta, self.last_beta, self.diffusion_steps, dtype=torch.float64)
        kept = (1 - betas).cumprod(0)
        return ((1 - kept) / kept).sqrt()

    def sigmas(self, uniform: Tensor) -> Tensor:
        """Levels at the given quantiles. [n] in (0, 1) -> [n]."""
        step = (uniform * self.diffusion_steps).long().clamp(0, self.diffusion_steps - 1)
        return self.chain().to(uniform)[step]

    def levels(self, steps: int) -> Tensor:
        """`steps` falling levels, evenly spaced over the chain, then 0. [steps + 1]"""
        places = torch.linspace(self.diffusion_steps - 1, 0, steps, dtype=torch.float64).round().long()
        return _then_zero(self.chain()[places])


class Karras(Section):
    """Evenly spaced in sigma^(1/rho) (EDM, equation 5): small steps where the image is nearly clean."""

    kind: Literal["karras"]
    least: PositiveFloat
    most: PositiveFloat
    rho: Annotated[float, Field(ge=1)]

    @model_validator(mode="after")
    def _rises(self) -> Self:
        _check_order(self.least, self.most)
        return self

    def levels(self, steps: int) -> Tensor:
        """`steps` falling levels, then 0. [steps + 1]"""
        ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
        low, high = self.least ** (1 / self.rho), self.most ** (1 / self.rho)
        return _then_zero((high + ramp * (low - high)) ** self.rho)


class FlowTime(Section):
    """Evenly spaced in the time of a flow from `most` down to 0, bent by `shift` (Esser et al. 2024, equation 23)."""

    kind: Literal["flow_time"]
    most: Fraction
    shift: PositiveFloat

    def levels(self, steps: int) -> Tensor:
        """`steps` falling levels, then 0. [steps + 1]"""
        time = torch.linspace(self.most, 0, steps + 1, dtype=torch.float64)[:-1]
        bent = self.shift * time / (1 + (self.shift - 1) * time)
        return _then_zero(bent / (1 - bent))


def _check_order(least: float, most: float) -> None:
    if least >= most:
        raise ValueError(f"`least` ({least:g}) must be below `most` ({most:g})")


def _then_zero(levels: Tensor) -> Tensor:
    return torch.cat([levels, levels.new_zeros(1)]).float()


Density = Annotated[LogNormal | UniformTime | Ddpm, Field(discriminator="kind")]
Schedule = Annotated[Karras | FlowTime | Ddpm, Field(discriminator="kind")]
