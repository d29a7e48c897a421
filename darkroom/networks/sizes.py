"""Sizes to begin from, and what a network of some size costs. The settings are written out: copy a line into params.yaml.

One size up is some five times the work per image. They are for images of 32 pixels; `resizing.resized` fits them to others:
larger patches of the transformer, one more level of the U-Net for every doubling.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from darkroom.networks.denoiser import Condition
from darkroom.networks.saved import Network
from darkroom.networks.transformer import TransformerSettings
from darkroom.networks.unet import UnetSettings

MADE_FOR = 32  # pixels a side
SIZES: dict[str, dict[str, Network]] = {
    "transformer": {
        "XS": TransformerSettings(kind="transformer", patch=4, width=128, depth=4, heads=2, detail=32),
        "S": TransformerSettings(kind="transformer", patch=4, width=256, depth=8, heads=4, detail=32),
        "M": TransformerSettings(kind="transformer", patch=4, width=512, depth=12, heads=8, detail=64),
        "L": TransformerSettings(kind="transformer", patch=4, width=768, depth=24, heads=12, detail=96),
    },
    "unet": {
        "XS": UnetSettings(kind="unet", width=32, widening=(1, 2, 2), depth=1, attention=8),
        "S": UnetSettings(kind="unet", width=64, widening=(1, 2, 2), depth=1, attention=16),
        "M": UnetSettings(kind="unet", width=96, widening=(1, 2, 2), depth=3, attention=16),
        "L": UnetSettings(kind="unet", width=192, widening=(1, 2, 2), depth=3, attention=16),
    },
}
READER = {"length": 128, "width": 128, "depth": 2}  # of what reads captions for any of them


@dataclass(frozen=True)
class Cost:
    """What a network costs."""

    parameters: int
    flops: int  # floating-point operations to denoise one image; to train on it, three times as many
    activations: int  # bytes kept for the gradient of one image in float32; with `recompute` far fewer

    def training_bytes(self, batch: int) -> int:
        """Memory of a training step: weights, gradient, average and the two moments of AdamW, and the activations of a batch."""
        return 4 * 5 * self.parameters + batch * self.activations


def cost_of(network: Network, image_size: int, labels: int = 1, augmentations: int = 0) -> Cost:
    """Counted on a network without contents: no memory is used, however large it is. Raises ValueError as `build` does."""
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        kept[value.untyped_storage()._cdata] = value.untyped_storage().nbytes()
        return value

    with torch.device("meta"):
        built = network.build(image_size, labels, augmentations)
        images = torch.zeros(1, 3, image_size, image_size)
        told = Condition(torch.zeros(1, dtype=torch.long), torch.zeros(1, augmentations))
        with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            answer = built(images, torch.zeros(1), told)
    for weight in built.parameters():
        kept.pop(weight.untyped_storage()._cdata, None)
    parameters = sum(math.prod(weight.shape) for weight in built.parameters())
    del answer  # until here it held what was kept, so that no two of them had one address
    return Cost(parameters, counter.get_total_flops(), sum(kept.values()))
