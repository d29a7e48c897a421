"""A U-Net (Ho et al. 2020) as ADM and EDM2 shaped it (Dhariwal & Nichol 2021, 2105.05233; Karras et al. 2024, 2312.02696).

Residual blocks whose norm is scaled and shifted by the condition, attention with normalised queries and keys where the image is
small, convolutions everywhere else. The second convolution of every block starts at zero: a fresh network changes nothing.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from darkroom.networks.conditioning import Conditioned
from darkroom.networks.denoiser import Condition
from darkroom.sections import Section

HEAD = 32  # channels of one attention head; widths are multiples of it
GROUP = 16  # channels normed together


class UnetSettings(Section):
    """Size of the U-Net."""

    kind: Literal["unet"]
    width: Annotated[int, Field(ge=HEAD, multiple_of=HEAD, description="channels at full resolution")]
    widening: Annotated[
        tuple[PositiveInt, ...],
        Field(min_length=1, max_length=7, description="channels of each level in widths; each level halves the image's side"),
    ]
    depth: Annotated[int, Field(ge=1, le=8, description="blocks on each level, on the way down and on the way up")]
    attention: Annotated[int, Field(ge=0, description="levels with sides up to this many pixels have attention; 0 for none")]

    def build(self, image_size: int, labels: int, augmentations: int, caption: int = 0) -> "Unet":
        """The network for images of about `image_size` squared pixels. Raises ValueError where that cannot be halved so often."""
        self.check_side(image_size, "curate.image_size")
        return Unet(self, image_size, labels, augmentations, caption)

    def smallest_side(self, image_size: int) -> int:
        """The side, in pixels, of the level that sees most of an image at once."""
        return image_size >> (len(self.widening) - 1)

    def check_side(self, side: int, setting: str) -> None:
        """Raises ValueError where images cannot have a side of so many pixels, which `setting` leads to."""
        halvings = len(self.widening) - 1
        if side % 2**halvings:
            most = (side & -side).bit_length()
            raise ValueError(
                f"network.widening has {halvings + 1} levels, and {setting} ({side}) can be halved "
                f"{most - 1} times: give {most} levels at most"
            )


class Residual(nn.Module):
    """Two convolutions and, where wanted, attention; the condition scales and shifts in between."""

    def __init__(self, entering: int, leaving: int, told: int, attention: bool) -> None:
        super().__init__()
        self.enter_norm = nn.GroupNorm(entering // GROUP, entering)
        self.enter = nn.Conv2d(entering, leaving, 3, padding=1)
        self.modulation = nn.Linear(told, 2 * leaving)
        self.leave_norm = nn.GroupNorm(leaving // GROUP, leaving, affine=False)
        self.leave = nn.Conv2d(leaving, leaving, 3, padding=1)
        self.past = nn.Conv2d(entering, leaving, 1) if entering != leaving else nn.Identity()
        self.attention = Attention(leaving) if attention else nn.Identity()
        for layer in (self.modulation, self.leave):
            for weight in layer.parameters():
                nn.init.zeros_(weight)

    def forward(self, images: Tensor, told: Tensor) -> Tensor:
        """images [n, entering, s, s], told [n, told] -> [n, leaving, s, s]"""
        scale, shift = self.modulation(told)[:, :, None, None].chunk(2, dim=1)
        inside = self.enter(F.silu(self.enter_norm(images)))
        inside = self.leave(F.silu(torch.addcmul(shift, self.leave_norm(inside), 1 + scale)))
        return self.attention(self.past(images) + inside)


class Attention(nn.Module):
    """Every place looks at every other; queries and keys of unit size (Dehghani et al. 2023, 2302.05442)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // HEAD
        self.norm = nn.GroupNorm(channels // GROUP, channels)
        self.enter = nn.Conv2d(channels, 3 * channels, 1)
        self.leave = nn.Conv2d(channels, channels, 1)
        for weight in self.leave.parameters():
            nn.init.zeros_(weight)

    def forward(self, images: Tensor) -> Tensor:
        """[n, c, s, s] -> [n, c, s, s]"""
        places: Tensor = self.enter(self.norm(images))
        parts = places.reshape(images.shape[0], 3, self.heads, HEAD, -1).transpose(-1, -2)
        query, key, value = parts.contiguous().unbind(1)  # as they are on a processor; on a GPU fused attention wants them so
        mixed = F.scaled_dot_product_attention(F.rms_norm(query, (HEAD,)), F.rms_norm(key, (HEAD,)), value)
        return images + self.leave(mixed.transpose(-1, -2).reshape(images.shape))


class Unet(Conditioned):
    """(input [n, 3, h, w], level [n], condition) -> answer [n, 3, h, w]"""

    def __init__(self, settings: UnetSettings, image_size: int, labels: int, augmentations: int, caption: int) -> None:
        super().__init__()
        told = 4 * settings.width
        self.listen(told, labels, augmentations, caption)
        widths = [settings.width * factor for factor in settings.widening]
        attends = [image_size >> level <= settings.attention for level in range(len(widths))]
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        here, waiting = widths[0], [widths[0]]
        for width, attention in zip(widths, attends, strict=True):
            level = nn.ModuleList()
            for _ in range(settings.depth):
                level.append(Residual(here, width, told, attention))
                here = width
                waiting.append(here)
            self.down.append(level)
        self.middle = Residual(here, here, told, attends[-1])
        for width, attention in reversed(list(zip(widths, attends, strict=True))):
            level = nn.ModuleList()
            for _ in range(settings.depth):
                level.append(Residual(here + waiting.pop(), width, told, attention))
                here = width
            self.up.append(level)
        self.leave_norm = nn.GroupNorm((here + waiting[0]) // GROUP, here + waiting[0])
        self.leave = nn.Conv2d(here + waiting[0], 3, 3, padding=1)
        for weight in self.leave.parameters():
            nn.init.zeros_(weight)
        nn.init.normal_(self.label.weight, std=0.02)

    def forward(self, images: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """The raw answer of the network, which the preconditioning scales."""
        told = self.told(level, condition)
        images = self.stem(images.contiguous(memory_format=torch.channels_last))  # the convolutions' faster order
        waiting = [images]
        for depth, blocks in enumerate(self.down):
            if depth:
                images = F.avg_pool2d(images, 2)
            for block in blocks:  # type: ignore[attr-defined]
                images = self.through(block, images, told)
                waiting.append(images)
        images = self.through(self.middle, images, told)
        for depth, blocks in enumerate(self.up):
            if depth:
                images = F.interpolate(images, scale_factor=2.0)
            for block in blocks:  # type: ignore[attr-defined]
                images = self.through(block, torch.cat([images, waiting.pop()], dim=1), told)
        return self.leave(F.silu(self.leave_norm(torch.cat([images, waiting.pop()], dim=1))))
