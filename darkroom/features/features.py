"""Features: what an image is described by before sets of images are compared.

A network's own features are `raw`; `scaled` gives each row a length of at most 1, so that a product of two of them lies in
[-1, 1]. Frechet distances are of raw features, as published; every other metric is of scaled ones. To add features: write the
class, name it in the union at the end of this file.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from darkroom.device_memory import out_of_memory
from darkroom.features import pretrained
from darkroom.features.pretrained import FeaturesUnavailable as FeaturesUnavailable  # those who describe catch it
from darkroom.images import Pixels
from darkroom.refs import digest_of
from darkroom.sections import Section

Described = NDArray[np.float32]
Network = Callable[[Tensor], Tensor]  # images [n, 3, h, w] from 0 to 255 -> raw features [n, d]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIPS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
Weights = Annotated[str, Field(min_length=1, description="auto: the user's cache, or a hub where there is a network; or a path")]


def device() -> torch.device:
    """Where images are described: on the GPU, where torch sees one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.inference_mode()
def raw(network: Network, pixels: Pixels, batch: int) -> Described:
    """A network's own features. uint8 [n, h, w, 3] -> float32 [n, d]; n > 0. On a GPU as exact as on a processor: no TF32."""
    parts: list[Tensor] = []
    at = 0
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        while at < len(pixels):
            values = torch.from_numpy(pixels[at : at + batch].astype(np.float32))
            try:
                parts.append(network(values.to(device()).permute(0, 3, 1, 2)).cpu())
            except (RuntimeError, MemoryError) as error:
                if batch == 1 or not out_of_memory(error):
                    raise
                batch = -(-batch // 2)  # no image's features depend on those beside it
                continue
            at += len(values)
    found: Described = torch.cat(parts).numpy()
    return found


def unit(described: Described) -> Described:
    """Rows scaled to length 1 (a row of zeros stays). [n, d]"""
    scaled: Described = described / np.maximum(np.linalg.norm(described, axis=1, keepdims=True), 1e-12)
    return scaled


def _resized(images: Tensor, side: int) -> Tensor:
    return interpolate(images, size=(side, side), mode="bicubic", antialias=True).clamp(0, 255)


def _standard(images: Tensor, side: int, statistics: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    mean, deviation = (torch.tensor(part, device=images.device).view(1, 3, 1, 1) for part in statistics)
    return (_resized(images, side) / 255 - mean) / deviation


class EfficientNetLite0(Section):
    """Pooled features of EfficientNet-lite0 (trained on ImageNet), 1,280 numbers.

    Good for following one project's models against each other. Not Inception: its figures compare with no paper's FID.
    The weights lie inside a Python package, so nothing is downloaded when this runs.
    """

    kind: Literal["efficientnet_lite0"]
    side: Annotated[int, Field(ge=32, le=512, multiple_of=32, description="images are resized to this many pixels a side")]

    @property
    def name(self) -> str:
        """As it stands in every figure."""
        return f"efficientnet_lite0_{self.side}"

    def identity(self) -> str:
        """What the features depend on beside settings and code: the weights."""
        return pretrained.LITE0_SHA256

    def opened(self) -> Network:
        """The network, ready to use. Raises FeaturesUnavailable."""
        network = pretrained.lite0().to(device())
        # The lite models were trained with this scaling, not with the usual ImageNet mean and deviation
        # (MEAN_RGB and STDDEV_RGB of efficientnet_lite_builder.py in tensorflow/tpu).
        return lambda images: network.extract_features((_resized(images, self.side) - 127) / 128).mean((2, 3))

    def scaled(self, described: Described) -> Described:
        """Rows of length 1."""
        return unit(described)

    def describe(self, pixels: Pixels, batch: int) -> Described:
        """uint8 [n, height, width, 3] -> scaled float32 [n, 1280]. Raises FeaturesUnavailable."""
        return unit(raw(self.opened(), pixels, batch))


class InceptionFeatures(Section):
    """The last pool of Inception-v3, 2,048 numbers: what the published FID is measured in."""

    kind: Literal["inception"]
    weights: Weights

    @property
    def name(self) -> str:
        """As it stands in every figure."""
        return "inception"

    def identity(self) -> str:
        """The weights. Raises FeaturesUnavailable."""
        return digest_of(pretrained.inception_file(self.weights))

    def opened(self) -> Network:
        """The network, ready to use. Raises FeaturesUnavailable."""
        return pretrained.inception(self.weights).to(device())

    def scaled(self, described: Described) -> Described:
        """Rows of length 1."""
        return unit(described)

    def describe(self, pixels: Pixels, batch: int) -> Described:
        """uint8 [n, height, width, 3] -> scaled float32 [n, 2048]. Raises FeaturesUnavailable."""
        return unit(raw(self.opened(), pixels, batch))


class Dinov2(Section):
    """The class token of DINOv2 (Oquab et al. 2023): agrees best with people's judgement (Stein et al. 2023)."""

    kind: Literal["dinov2"]
    model: Annotated[
        Literal["vits14", "vitb14", "vitl14", "vitg14", "own"],
        Field(description="own: whatever DINOv2 lies in the folder `weights`"),
    ]
    side: Annotated[int, Field(ge=28, le=518, multiple_of=14, description="images are resized to this many pixels a side")]
    weights: Weights

    @property
    def name(self) -> str:
        """As it stands in every figure."""
        own = f"own{self.identity()[:8]}" if self.model == "own" else self.model
        return f"dinov2_{own}" if self.side == 224 else f"dinov2_{own}_{self.side}"

    def identity(self) -> str:
        """The weights. Raises FeaturesUnavailable."""
        return _folder_digest(*_DINOV2[self.model], self.weights)

    def opened(self) -> Network:
        """The network, ready to use. Raises FeaturesUnavailable."""
        network = _of_width("Dinov2Model", *_DINOV2[self.model], self.weights).to(device())
        return lambda images: network(pixel_values=_standard(images, self.side, IMAGENET)).pooler_output

    def scaled(self, described: Described) -> Described:
        """Rows of length 1."""
        return unit(described)

    def describe(self, pixels: Pixels, batch: int) -> Described:
        """uint8 [n, height, width, 3] -> scaled float32 [n, d]. Raises FeaturesUnavailable."""
        return unit(raw(self.opened(), pixels, batch))


class Clip(Section):
    """CLIP's image embedding (Radford et al. 2021): what CMMD is measured in, with `vitl14_336`."""

    kind: Literal["clip"]
    model: Annotated[
        Literal["vitb32", "vitb16", "vitl14", "vitl14_336", "own"],
        Field(description="own: whatever CLIP lies in the folder `weights`"),
    ]
    weights: Weights

    @property
    def name(self) -> str:
        """As it stands in every figure."""
        return f"clip_{f'own{self.identity()[:8]}' if self.model == 'own' else self.model}"

    def identity(self) -> str:
        """The weights. Raises FeaturesUnavailable."""
        return _folder_digest(*_CLIP[self.model], self.weights)

    def opened(self) -> Network:
        """The network, ready to use. Raises FeaturesUnavailable."""
        network = _of_width("CLIPVisionModelWithProjection", *_CLIP[self.model], self.weights).to(device())
        side = network.config.image_size
        return lambda images: network(pixel_values=_standard(images, side, CLIPS)).image_embeds

    def scaled(self, described: Described) -> Described:
        """Rows of length 1."""
        return unit(described)

    def describe(self, pixels: Pixels, batch: int) -> Described:
        """uint8 [n, height, width, 3] -> scaled float32 [n, d]. Raises FeaturesUnavailable."""
        return unit(raw(self.opened(), pixels, batch))


# Repository on the hub, and how wide its network is; 0: any.
_DINOV2 = {
    "vits14": ("facebook/dinov2-small", 384),
    "vitb14": ("facebook/dinov2-base", 768),
    "vitl14": ("facebook/dinov2-large", 1024),
    "vitg14": ("facebook/dinov2-giant", 1536),
    "own": ("a DINOv2", 0),
}
_CLIP = {
    "vitb32": ("openai/clip-vit-base-patch32", 768),
    "vitb16": ("openai/clip-vit-base-patch16", 768),
    "vitl14": ("openai/clip-vit-large-patch14", 1024),
    "vitl14_336": ("openai/clip-vit-large-patch14-336", 1024),
    "own": ("a CLIP", 0),
}


def _folder_digest(repository: str, width: int, weights: str) -> str:
    _check_given(width, weights)
    return digest_of(pretrained.hub_folder(repository, weights) / "model.safetensors")


def _of_width(architecture: str, repository: str, width: int, weights: str) -> Any:
    """The network in a folder, which must be the one it is called after."""
    _check_given(width, weights)
    folder = pretrained.hub_folder(repository, weights)
    network = pretrained.from_hub(architecture, folder)
    if width and network.config.hidden_size != width:
        raise FeaturesUnavailable(
            f"evaluate.features: {folder}: its network is {network.config.hidden_size} wide, that of {repository} is {width}; "
            "set `model: own`, and its figures are named after the file"
        )
    return network


def _check_given(width: int, weights: str) -> None:
    if not width and weights == "auto":
        raise FeaturesUnavailable("evaluate.features: with `model: own`, name a folder in `weights`")


class ShrunkPixels(Section):
    """The image itself at `side` x `side` pixels: needs nothing installed, and sees colour and layout but no content.

    Scaled rows are divided by the root of their count, so that a product of two of them is a mean.
    """

    kind: Literal["pixels"]
    side: Annotated[int, Field(ge=1, le=64, description="images are shrunk to this many pixels a side")]

    @property
    def name(self) -> str:
        """As it stands in every figure."""
        return f"pixels_{self.side}"

    def identity(self) -> str:
        """No weights."""
        return ""

    def opened(self) -> Network:
        """[n, 3, h, w] -> values from -1 to 1."""
        size = (self.side, self.side)
        return lambda images: (interpolate(images, size=size, mode="bilinear", antialias=True) / 127.5 - 1).flatten(1)

    def scaled(self, described: Described) -> Described:
        """Rows of length 1 at most."""
        scaled: Described = described / np.float32(described.shape[1] ** 0.5)
        return scaled

    def describe(self, pixels: Pixels, batch: int) -> Described:
        """uint8 [n, height, width, 3] -> float32 [n, side * side * 3], each row of length 1 at most."""
        return self.scaled(raw(self.opened(), pixels, batch))


Features = Annotated[EfficientNetLite0 | InceptionFeatures | Dinov2 | Clip | ShrunkPixels, Field(discriminator="kind")]
