"""Noise: which levels the training sees (densities) and which levels the sampling visits (schedules).

One scale throughout: sigma, the standard deviation of the noise added to images in [-1, 1] (Karras et al. 2022,
arXiv 2206.00364). The other scales map onto it: a flow at time t has sigma = t / (1 - t) (Lipman et al. 2023), a DDPM
with cumulative product a has sigma = sqrt((1 - a) / a) (Ho et al. 2020).

Where a signal-to-noise ratio is zero its sigma is infinite; levels end at HIGHEST instead, whose ratio is 2.5e-9.

To add a density or a schedule: write the class, name it in the union at the end of this file.
"""

import math
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from darkroom.sections import Section

LOWEST = 1e-5  # an image of 8 bits has steps of 8e-3
HIGHEST = 20_000.0  # beyond the last level but one of a stretched chain of 1,000 steps; float32 still carries the image beside it
Fraction = Annotated[float, Field(gt=0, lt=1)]


class LogNormal(Section):
    """ln(sigma) is normal (EDM, Table 1). With a flow this is the logit-normal time of Stable Diffusion 3."""

    kind: Literal["log_normal"]
    mean: Annotated[float, Field(ge=-10, le=10, description="mean of ln(sigma)")]
    deviation: Annotated[PositiveFloat, Field(le=5, description="standard deviation of ln(sigma)")]

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


class LogitNormal(Section):
    """The logit of a flow's time is normal, then bent by `shift` (Esser et al. 2024, 2403.03206, section 3.1 and equation 23).

    As a logit of time is ln(sigma), this is `log_normal` with ln(shift) added to its mean.
    """

    kind: Literal["logit_normal"]
    mean: Annotated[float, Field(ge=-10, le=10, description="mean of the logit")]
    deviation: Annotated[PositiveFloat, Field(le=5, description="standard deviation of the logit")]
    shift: Annotated[PositiveFloat, Field(description="above 1, more noise: larger images need it")]

    def sigmas(self, uniform: Tensor) -> Tensor:
        """Levels at the given quantiles. [n] in (0, 1) -> [n]."""
        return self.shift * (self.mean + self.deviation * torch.special.ndtri(uniform)).exp()


class Cosine(Section):
    """The angle of a variance-preserving mixture is uniform: image cos + noise sin (Nichol & Dhariwal 2021; Salimans & Ho 2022).

    `shift` is for images of other sizes: 1 suits 64 pixels, size / 64 others (Hoogeboom et al. 2023, 2301.11093, equation 3).
    """

    kind: Literal["cosine"]
    shift: PositiveFloat

    def sigmas(self, uniform: Tensor) -> Tensor:
        """Levels at the given quantiles. [n] in (0, 1) -> [n]."""
        return (self.shift * (torch.pi / 2 * uniform.double()).tan()).clamp(max=HIGHEST).to(uniform)

    def levels(self, steps: int) -> Tensor:
        """`steps` falling levels, evenly spaced in angle from HIGHEST, then 0. [steps + 1]"""
        most = math.atan(HIGHEST / self.shift)
        return _then_zero(self.shift * torch.linspace(most, 0, steps + 1, dtype=torch.float64)[:-1].tan())


class LinearBetas(Section):
    """Variances that rise evenly (Ho et al. 2020, section 4: from 1e-4 to 0.02 in 1000 steps)."""

    kind: Literal["linear"]
    first: Fraction
    last: Fraction

    def kept(self, steps: int) -> Tensor:
        """Cumulative products a of the signal's variance. float64 [steps]"""
        return (1 - torch.linspace(self.first, self.last, steps, dtype=torch.float64)).cumprod(0)


class ScaledLinearBetas(Section):
    """Deviations that rise evenly (Stable Diffusion, Rombach et al. 2022: 0.00085 and 0.012)."""

    kind: Literal["scaled_linear"]
    first: Fraction
    last: Fraction

    def kept(self, steps: int) -> Tensor:
        """Cumulative products a of the signal's variance. float64 [steps]"""
        return (1 - torch.linspace(self.first**0.5, self.last**0.5, steps, dtype=torch.float64) ** 2).cumprod(0)


class CosineBetas(Section):
    """The signal falls as a cosine; no variance is above 0.999 (Nichol & Dhariwal 2021, 2102.09672, equation 17)."""

    kind: Literal["cosine"]

    def kept(self, steps: int) -> Tensor:
        """Cumulative products a of the signal's variance. float64 [steps]"""
        signal = ((torch.arange(steps + 1, dtype=torch.float64) / steps + 0.008) / 1.008 * torch.pi / 2).cos() ** 2
        return (signal[1:] / signal[:-1]).clamp(min=1e-3).cumprod(0)


class SigmoidBetas(Section):
    """The signal falls as a sigmoid from `start` to `end` (Jabri et al. 2023, 2212.11972, algorithm 1: -3, 3, 0.9 and others)."""

    kind: Literal["sigmoid"]
    start: float
    end: float
    temperature: PositiveFloat

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"`start` ({self.start:g}) must be below `end` ({self.end:g})")
        return self

    def kept(self, steps: int) -> Tensor:
        """Cumulative products a of the signal's variance. float64 [steps]"""
        time = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        places = torch.cat([torch.zeros(1), time, torch.ones(1)])
        signal = torch.sigmoid(-(self.start + places * (self.end - self.start)) / self.temperature)
        return (signal[1:-1] - signal[-1]) / (signal[0] - signal[-1])


Betas = Annotated[LinearBetas | ScaledLinearBetas | CosineBetas | SigmoidBetas, Field(discriminator="kind")]


class Ddpm(Section):
    """The chain of Ho et al. 2020, section 2: `diffusion_steps` small additions of noise, each as likely to be trained on.

    `zero_terminal_snr` stretches it until nothing is left of the image at its end, so that very dark and very light images can be
    drawn (Lin et al. 2024, 2305.08891, algorithm 1). Not with the preconditioning `noise`, which learns nothing there.
    """

    kind: Literal["ddpm"]
    diffusion_steps: Annotated[PositiveInt, Field(le=10_000, description="length T of the noising chain")]
    betas: Annotated[Betas, Field(description="how much noise each step of the chain adds")]
    zero_terminal_snr: bool

    def chain(self) -> Tensor:
        """The levels of the whole chain, rising, within LOWEST and HIGHEST. float64 [diffusion_steps]"""
        kept = self.betas.kept(self.diffusion_steps)
        if self.zero_terminal_snr and self.diffusion_steps > 1:
            signal = kept.sqrt()
            kept = ((signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])) ** 2
        return ((1 - kept) / kept.clamp(min=1 / (1 + HIGHEST**2))).sqrt().clamp(LOWEST, HIGHEST)

    def sigmas(self, uniform: Tensor) -> Tensor:
        """Levels at the given quantiles. [n] in (0, 1) -> [n]."""
        step = (uniform * self.diffusion_steps).long().clamp(0, self.diffusion_steps - 1)
        return self.chain().to(uniform)[step]

    def levels(self, steps: int) -> Tensor:
        """`steps` falling levels from the chain's last to its first, evenly spaced over it, then 0. [steps + 1]"""
        places = torch.linspace(self.diffusion_steps - 1, 0, steps, dtype=torch.float64).round().long()
        return _then_zero(self.chain()[places])


class Exponential(Section):
    """Evenly spaced in ln(sigma), which is half the log signal-to-noise ratio (Lu et al. 2022, 2206.00927, section 3.4)."""

    kind: Literal["exponential"]
    least: PositiveFloat
    most: PositiveFloat

    @model_validator(mode="after")
    def _rises(self) -> Self:
        _check_order(self.least, self.most)
        return self

    def levels(self, steps: int) -> Tensor:
        """`steps` falling levels, then 0. [steps + 1]"""
        ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
        return _then_zero(self.most * (self.least / self.most) ** ramp)


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


Density = Annotated[LogNormal | LogitNormal | UniformTime | Cosine | Ddpm, Field(discriminator="kind")]
Schedule = Annotated[Karras | Exponential | FlowTime | Cosine | Ddpm, Field(discriminator="kind")]
