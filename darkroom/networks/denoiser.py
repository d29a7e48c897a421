"""The one contract of every model here: (noisy, sigma, condition) -> denoised. Preconditioning wraps any network into it.

`noisy` [n, 3, height, width] is image + sigma * noise, `sigma` [n], and the answer is the expected clean image, same shape.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from darkroom.device_memory import give_back, out_of_memory
from darkroom.sections import Section


@dataclass(frozen=True)
class Condition:
    """What the model is told beside the noisy image. An open record: a kind of knowledge more is a field more.

    `label` int64 [n]: class of each image, -1 where it is not told (as trained for classifier-free guidance).
    `augmentation` float32 [n, a]: what was done to each image, all zeros for an untouched one (Karras et al. 2020, 2006.06676).
    `text` int64 [n, length]: captions as tokens (see `captioned.tokens_of`), 0 for nothing; None where labels' names are read.
    `caption` float32 [n, width]: what an encoder made of a caption, for the network behind it.
    """

    label: Tensor
    augmentation: Tensor
    text: Tensor | None = None
    caption: Tensor | None = None

    def without_label(self) -> "Condition":
        """The same, with no class and no caption told."""
        return replace(self, label=torch.full_like(self.label, -1), text=None)

    def at(self, rows: Tensor) -> "Condition":
        """What is told of these images alone. `rows` int64 [m]"""
        return self.each(lambda told: told[rows])

    def on(self, device: torch.device) -> "Condition":
        """The same on a device."""
        return self.each(lambda told: told.to(device, non_blocking=True))

    def each(self, act: Callable[[Tensor], Tensor]) -> "Condition":
        """The same done to all that is told."""
        return Condition(*(None if told is None else act(told) for told in vars(self).values()))  # type: ignore[arg-type]


class EdmPreconditioning(Section):
    """Unit variance in and out at every level, for images of deviation `data_deviation` (EDM, table 1, last column)."""

    kind: Literal["edm"]
    data_deviation: Annotated[PositiveFloat, Field(description="standard deviation of the images in [-1, 1]")]

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the noisy image kept, of the network's answer, of the network's input."""
        whole = sigma**2 + self.data_deviation**2
        return self.data_deviation**2 / whole, sigma * self.data_deviation / whole.sqrt(), whole.rsqrt()


class FlowPreconditioning(Section):
    """The network sees (1 - t) image + t noise and answers the velocity noise - image (Lipman et al. 2023, Liu et al. 2023)."""

    kind: Literal["flow"]

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the noisy image kept, of the network's answer, of the network's input."""
        clean_share = 1 / (1 + sigma)
        return clean_share, -sigma * clean_share, clean_share


class NoisePreconditioning(Section):
    """The network sees the variance-preserving mixture and answers the noise in it (Ho et al. 2020, equation 12)."""

    kind: Literal["noise"]

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the noisy image kept, of the network's answer, of the network's input."""
        return torch.ones_like(sigma), -sigma, (1 + sigma**2).rsqrt()


class ImagePreconditioning(Section):
    """The network sees the variance-preserving mixture and answers the image itself (Ho et al. 2020, section 3.2)."""

    kind: Literal["image"]

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the noisy image kept, of the network's answer, of the network's input."""
        return torch.zeros_like(sigma), torch.ones_like(sigma), (1 + sigma**2).rsqrt()


class VelocityPreconditioning(Section):
    """It sees the variance-preserving mixture and answers how that turns: cos noise - sin image (Salimans & Ho 2022, appendix D).

    The same as `edm` of deviation 1, but for the sign of the answer.
    """

    kind: Literal["velocity"]

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the noisy image kept, of the network's answer, of the network's input."""
        shrink = (1 + sigma**2).rsqrt()
        return shrink**2, -sigma * shrink, shrink


Preconditioning = Annotated[
    EdmPreconditioning | FlowPreconditioning | NoisePreconditioning | ImagePreconditioning | VelocityPreconditioning,
    Field(discriminator="kind"),
]


class DenoiserContract(Protocol):
    """What samplers and scores need of a model."""

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Expected clean images, of the shape of `noisy`."""
        ...


class Denoiser(nn.Module):
    """A network (input, level, condition) -> answer, wrapped into the contract."""

    def __init__(self, network: nn.Module, preconditioning: Preconditioning) -> None:
        super().__init__()
        self.network, self.preconditioning = network, preconditioning
        self._weaker: tuple[Denoiser, ...] = ()  # in a tuple: no part of this model's own weights
        self._at_once = sys.maxsize  # images that memory had room for, where it was asked for more than that

    @property
    def weaker(self) -> "Denoiser | None":
        """The same model after less training, where that is kept: what drawing leads away from (see `sampling.Autoguided`)."""
        return self._weaker[0] if self._weaker else None

    def keep_weaker(self, weaker: "Denoiser | None") -> None:
        """Keep such a model beside this one, or none."""
        self._weaker = () if weaker is None else (weaker,)

    def forward(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Expected clean images (EDM, equation 7).

        Where no gradient is wanted and memory does not suffice for all of them at once, they are found in pieces, to within
        rounding the same. Training has its own ladder (`training.memory`).
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or hasattr(self, "unshard"):  # shares: all ask together
            return self._expected(noisy, sigma, condition)
        if len(noisy) <= self._at_once:
            try:
                return self._expected(noisy, sigma, condition)
            except (RuntimeError, MemoryError) as error:
                if len(noisy) == 1 or not out_of_memory(error):
                    raise
            # Outside of `except`, so that the error no longer holds what was computed.
            give_back()
            self._at_once = -(-len(noisy) // 2)
        parts = torch.split(torch.arange(len(noisy), device=noisy.device), self._at_once)
        return torch.cat([self(noisy[part], sigma[part], condition.at(part)) for part in parts])

    def _expected(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        keep, answer, enter = (scale[:, None, None, None] for scale in self.preconditioning.scales(sigma.double()))
        level = sigma.log() / 4  # EDM, table 1: c_noise
        return (keep.float() * noisy) + answer.float() * self.network(enter.float() * noisy, level, condition)
