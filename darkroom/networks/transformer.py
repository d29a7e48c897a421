"""A diffusion transformer (Peebles & Xie 2022, arXiv 2212.09748) for small images and small budgets.

Patches become tokens; the noise level, the class and the augmentation set the scale, shift and gate of every block
(adaLN-Zero). Beyond the paper: RMS norms, normalised queries and keys (Dehghani et al. 2023), a gated feed-forward
(Shazeer 2020) and long skips between the first and the last blocks (Bao et al. 2022, arXiv 2209.12152). A few convolutions at
full resolution make patches out of the image and the image out of patches, so that edges run on across patches (after Hoogeboom
et al. 2023, arXiv 2301.11093, whose U-Net has transformer blocks only where the image is small).
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from darkroom.networks.conditioning import Conditioned
from darkroom.networks.denoiser import Condition
from darkroom.sections import Section


class TransformerSettings(Section):
    """Size of the transformer."""

    kind: Literal["transformer"]
    patch: Annotated[int, Field(ge=1, le=16, description="side of a token in pixels; must divide the image size")]
    width: Annotated[int, Field(ge=32, multiple_of=32, description="numbers per token")]
    depth: Annotated[int, Field(ge=2, multiple_of=2, description="blocks")]
    heads: Annotated[int, Field(ge=1, description="attention heads; must divide the width")]
    detail: Annotated[int, Field(ge=8, multiple_of=8, description="channels of the convolutions at full resolution")]

    def build(self, image_size: int, labels: int, augmentations: int, caption: int = 0) -> "Transformer":
        """The network for images of about `image_size` squared pixels. Raises ValueError where sizes do not divide."""
        self.check_side(image_size, "curate.image_size")
        if self.width % self.heads:
            raise ValueError(f"network.heads ({self.heads}) does not divide network.width ({self.width})")
        return Transformer(self, image_size, labels, augmentations, caption)

    def check_side(self, side: int, setting: str) -> None:
        """Raises ValueError where images cannot have a side of so many pixels, which `setting` leads to."""
        if side % self.patch:
            raise ValueError(
                f"network.patch ({self.patch}) does not divide {setting} ({side}); "
                f"patches that do: {', '.join(str(p) for p in range(1, 17) if side % p == 0)}"
            )


class Block(nn.Module):
    """Attention and feed-forward, each scaled, shifted and gated by the condition."""

    def __init__(self, width: int, heads: int, with_skip: bool) -> None:
        super().__init__()
        self.heads = heads
        hidden = 8 * math.ceil(width * 8 / 3 / 8)
        self.skip = nn.Linear(2 * width, width) if with_skip else None
        self.modulation = nn.Linear(width, 6 * width)
        self.enter = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.gate_and_value = nn.Linear(width, 2 * hidden)
        self.leave = nn.Linear(hidden, width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, tokens: Tensor, condition: Tensor, skipped: Tensor | None) -> Tensor:
        """tokens [n, t, width], condition [n, width] -> [n, t, width]"""
        if self.skip is not None and skipped is not None:
            tokens = self.skip(torch.cat([tokens, skipped], dim=-1))
        scale_a, shift_a, gate_a, scale_f, shift_f, gate_f = self.modulation(condition)[:, None].chunk(6, dim=-1)
        tokens = torch.addcmul(tokens, gate_a, self._attention(_modulated(tokens, scale_a, shift_a)))
        return torch.addcmul(tokens, gate_f, self._feed_forward(_modulated(tokens, scale_f, shift_f)))

    def _attention(self, tokens: Tensor) -> Tensor:
        query, key, value = self.enter(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(_normed(query), _normed(key), value)
        return self.attended(mixed.transpose(1, 2).flatten(2))

    def _feed_forward(self, tokens: Tensor) -> Tensor:
        gate, value = self.gate_and_value(tokens).chunk(2, dim=-1)
        return self.leave(F.silu(gate) * value)


class Transformer(Conditioned):
    """(input [n, 3, h, w], level [n], condition) -> answer [n, 3, h, w]"""

    def __init__(self, settings: TransformerSettings, image_size: int, labels: int, augmentations: int, caption: int) -> None:
        super().__init__()
        self.patch, width, depth = settings.patch, settings.width, settings.depth
        tokens = (image_size // self.patch) ** 2
        self.image_size = image_size
        self.stem = nn.Conv2d(3, settings.detail, 3, padding=1)
        self.patch_in = nn.Linear(settings.detail * self.patch**2, width)
        self.position = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        self.listen(width, labels, augmentations, caption)
        half = depth // 2
        self.blocks = nn.ModuleList(Block(width, settings.heads, with_skip=index >= half) for index in range(depth))
        self.last_modulation = nn.Linear(width, 2 * width)
        self.patch_out = nn.Linear(width, settings.detail * self.patch**2)
        self.detail_modulation = nn.Linear(width, 2 * settings.detail)
        self.mix = nn.Conv2d(2 * settings.detail, settings.detail, 3, padding=1)
        self.leave = nn.Conv2d(settings.detail, 3, 3, padding=1)
        for layer in (self.last_modulation, self.detail_modulation, self.leave):
            for weight in layer.parameters():
                nn.init.zeros_(weight)
        nn.init.normal_(self.label.weight, std=0.02)

    def forward(self, images: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """The raw answer of the network, which the preconditioning scales."""
        told = self.told(level, condition)
        detail = self.stem(images)
        tokens = self.patch_in(self._into_patches(detail)) + self._positions(*images.shape[2:])
        waiting: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            opening = index < len(self.blocks) // 2
            tokens = self.through(block, tokens, told, None if opening else waiting.pop())
            if opening:
                waiting.append(tokens)
        scale, shift = self.last_modulation(told)[:, None].chunk(2, dim=-1)
        drawn = self._from_patches(self.patch_out(_modulated(tokens, scale, shift)), images.shape[2])
        return self._with_detail(drawn, detail, told)

    def _positions(self, height: int, width: int) -> Tensor:
        """What is learned of each place of a square, stretched over an image of other sides. [1, t, width]"""
        if height == width == self.image_size:
            return self.position
        side = self.image_size // self.patch
        square = self.position.transpose(1, 2).reshape(1, -1, side, side)
        rows_and_columns = (height // self.patch, width // self.patch)
        return F.interpolate(square, rows_and_columns, mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)

    def _with_detail(self, drawn: Tensor, detail: Tensor, told: Tensor) -> Tensor:
        """What the tokens drew and what the stem saw, both [n, detail, h, w] -> [n, 3, h, w]"""
        scale, shift = self.detail_modulation(told)[:, :, None, None].chunk(2, dim=1)
        return self.leave(F.silu(self.mix(F.silu(torch.cat([drawn, detail], dim=1))) * (1 + scale) + shift))

    def _into_patches(self, images: Tensor) -> Tensor:
        """[n, c, h, w] -> [n, t, c * patch * patch]"""
        return F.pixel_unshuffle(images, self.patch).flatten(2).transpose(1, 2)

    def _from_patches(self, tokens: Tensor, height: int) -> Tensor:
        """[n, t, c * patch * patch] -> [n, c, h, w]"""
        rows = height // self.patch
        grid = tokens.transpose(1, 2).reshape(tokens.shape[0], -1, rows, tokens.shape[1] // rows)
        return F.pixel_shuffle(grid, self.patch)


def _modulated(tokens: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift, _normed(tokens), 1 + scale)


def _normed(values: Tensor) -> Tensor:
    """Root-mean-square norm over the last dimension (Zhang & Sennrich 2019)."""
    return F.rms_norm(values, (values.shape[-1],))
