"""What a network is told - noise level, label, augmentation, caption - as one vector that scales and shifts its layers."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from darkroom.networks.denoiser import Condition


class Conditioned(nn.Module):
    """A network that is told things, and whose blocks may be computed twice to spare memory."""

    recompute = False  # set by who trains: activations within a block are then not kept, but computed again for its gradient

    def listen(self, width: int, labels: int, augmentations: int, caption: int) -> None:
        """Make what turns a condition into a vector of `width`; `caption` is the length of a caption's embedding, 0 for none."""
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(labels + 1, width)  # the last one stands for "not told"
        self.augmentation = nn.Linear(augmentations, width, bias=False) if augmentations else None
        self.caption = nn.Linear(caption, width, bias=False) if caption else None
        # The device is named: once transformers has loaded a model in this process, linspace no longer heeds the default one.
        steps = torch.linspace(0, math.log(1000), width // 2, device=torch.get_default_device())
        self.register_buffer("frequencies", torch.exp(steps), persistent=False)

    def told(self, level: Tensor, condition: Condition) -> Tensor:
        """level [n] (ln(sigma) / 4) and condition -> [n, width]"""
        angles = level[:, None] * self.frequencies  # type: ignore[operator]
        told: Tensor = self.level(torch.cat([angles.cos(), angles.sin()], dim=-1))
        unknown = self.label.num_embeddings - 1
        told = told + self.label(torch.where(condition.label < 0, unknown, condition.label))
        if self.augmentation is not None:
            told = told + self.augmentation(condition.augmentation)
        if self.caption is not None and condition.caption is not None:
            told = told + self.caption(condition.caption)
        return F.silu(told)

    def through(self, block: nn.Module, *inputs: Tensor | None) -> Tensor:
        """The block's answer; with `recompute`, its activations are given up at once (Chen et al. 2016, 1604.06174)."""
        if self.recompute and torch.is_grad_enabled():
            from torch.utils.checkpoint import checkpoint  # costs a second, and only few need it

            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)
