"""The denoising loss, and the weightings: which noise levels count for how much.

The loss of an image is the squared error of the network's own answer (the noise, the velocity, ...: whatever the preconditioning
makes of it). A weighting turns it into what the gradient is taken of. The losses told, of training and held out, are
unweighted: they mean the same under every weighting.

To add a weighting: write the settings with `build(preconditioning) -> nn.Module`, where the module maps (error [n], sigma [n]) to
what is minimised [n], and name the settings in the union at the end of this file. Parameters of the module are trained along.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from darkroom.networks.denoiser import Condition, Denoiser, Preconditioning
from darkroom.sections import Section


def denoising_loss(model: Denoiser, images: Tensor, sigma: Tensor, noise: Tensor, condition: Condition) -> Tensor:
    """Loss of each image [n]. The factor 1 / c_out^2 makes it the squared error of the network's own answer (EDM, section 5)."""
    noisy = images + sigma[:, None, None, None] * noise
    error = (model(noisy, sigma, condition) - images).square().flatten(1).mean(1)
    _, answer, _ = model.preconditioning.scales(sigma.double())
    return error / answer.float().square()


class ConstantWeighting(Section):
    """Every level counts alike in the space of the network's own answer (for `noise`, the simple loss of Ho et al. 2020)."""

    kind: Literal["constant"]

    def build(self, preconditioning: Preconditioning) -> nn.Module:
        """(error [n], sigma [n]) -> [n]"""
        return _Unweighted()


class MinSnrWeighting(Section):
    """The clean image's error times the signal-to-noise ratio, at most `gamma` (Hang et al. 2023, 2303.09556, equation 6).

    The ratio is 1 / sigma^2. For the error of the noise this is min(SNR, gamma) / SNR, for that of the velocity
    min(SNR, gamma) / (SNR + 1): one weighting, whatever the network answers.
    """

    kind: Literal["min_snr"]
    gamma: Annotated[PositiveFloat, Field(description="the ratio beyond which levels count no more; 5 in the paper")]

    def build(self, preconditioning: Preconditioning) -> nn.Module:
        """(error [n], sigma [n]) -> [n]"""
        return _Weighted(lambda sigma: (1 / sigma**2).clamp(max=self.gamma), preconditioning)


class EdmWeighting(Section):
    """The clean image's error times (sigma^2 + d^2) / (sigma d)^2 (EDM, table 1); what `constant` is on `edm` of the same d."""

    kind: Literal["edm"]
    data_deviation: Annotated[PositiveFloat, Field(description="standard deviation d of the images in [-1, 1]")]

    def build(self, preconditioning: Preconditioning) -> nn.Module:
        """(error [n], sigma [n]) -> [n]"""
        variance = self.data_deviation**2
        return _Weighted(lambda sigma: (sigma**2 + variance) / (sigma**2 * variance), preconditioning)


class LearnedWeighting(Section):
    """Each level's error over its usual size, which a small network learns along: e / exp(u) + u (EDM2, 2312.02696, equation 21).

    At its optimum exp(u) is the mean error at that level, so that every level pulls alike whatever the density of the noise.
    """

    kind: Literal["learned"]

    def build(self, preconditioning: Preconditioning) -> nn.Module:
        """(error [n], sigma [n]) -> [n]"""
        return _Uncertainty()


class _Unweighted(nn.Module):
    def forward(self, error: Tensor, sigma: Tensor) -> Tensor:
        return error


class _Weighted(nn.Module):
    """`weight` is that of the clean image's squared error: the answer's, times c_out^2."""

    def __init__(self, weight: Callable[[Tensor], Tensor], preconditioning: Preconditioning) -> None:
        super().__init__()
        self.weight, self.preconditioning = weight, preconditioning

    def forward(self, error: Tensor, sigma: Tensor) -> Tensor:
        exact = sigma.double()
        _, answer, _ = self.preconditioning.scales(exact)
        return error * (self.weight(exact) * answer.square()).to(error)


class _Uncertainty(nn.Module):
    """u as a linear map of waves over ln(sigma) / 4; zero at the start, which is the constant weighting."""

    WAVES = 64

    def __init__(self) -> None:
        super().__init__()
        place = (torch.arange(self.WAVES) + 0.5) / self.WAVES
        # Frequencies at the quantiles of a normal law, and spread phases, in the place of EDM2's random ones: no seed to keep.
        self.register_buffer("frequencies", 2 * torch.pi * torch.special.ndtri(place), persistent=False)
        self.register_buffer("phases", 2 * torch.pi * (torch.arange(self.WAVES) * 0.618034).frac(), persistent=False)
        self.log_size = nn.Linear(self.WAVES, 1)
        for weight in self.log_size.parameters():
            nn.init.zeros_(weight)

    def forward(self, error: Tensor, sigma: Tensor) -> Tensor:
        waves = ((sigma.log() / 4)[:, None] * self.frequencies + self.phases).cos()  # type: ignore[operator]
        log_size = self.log_size(waves)[:, 0]
        return error * (-log_size).exp() + log_size


Weighting = Annotated[
    ConstantWeighting | MinSnrWeighting | EdmWeighting | LearnedWeighting,
    Field(discriminator="kind"),
]
