"""Captions: any network told what is in the image by text, through a small encoder trained along.

Text is read as bytes: every language, no vocabulary to keep, no encoder to download; or through one that others
trained on more text than any set of images has. Labels are captions too: where no caption is given, a label's own name is
read, so that a set labelled `red cat`, `blue robot` teaches what `red` and `robot` mean apart.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from darkroom.images import ImageSet
from darkroom.networks.conditioning import Conditioned
from darkroom.networks.denoiser import Condition
from darkroom.networks.pretrained_text import PretrainedText
from darkroom.networks.transformer import TransformerSettings
from darkroom.networks.unet import UnetSettings
from darkroom.sections import Section

MOST_BYTES = 1024  # of a caption that any network reads


class ReadsCaptions(Section):
    """Size of what reads captions, and the network that is told what it makes of them."""

    length: Annotated[int, Field(ge=1, le=MOST_BYTES, description="bytes of a caption that are read; and at most as many tokens")]
    width: Annotated[int, Field(ge=32, multiple_of=32, description="numbers per token, and of the caption's embedding")]
    depth: Annotated[int, Field(ge=1, le=12, description="blocks of the encoder")]
    image: Annotated[TransformerSettings | UnetSettings, Field(discriminator="kind", description="the network that draws")]

    def build(self, image_size: int, labels: int, augmentations: int) -> "Captioned":
        """The network for images of about `image_size` squared pixels; see `name_labels`. Raises ValueError as `image` does."""
        return Captioned(self, self.image.build(image_size, 0, augmentations, self.width), labels, self._pretrained())

    def check_side(self, side: int, setting: str) -> None:
        """Raises ValueError where the network that draws cannot draw images with such a side."""
        self.image.check_side(side, setting)

    def _pretrained(self) -> PretrainedText | None:
        return None


class CaptionedSettings(ReadsCaptions):
    """Text is read as bytes, by an encoder that is trained along."""

    kind: Literal["captioned"]


class PretrainedCaptionedSettings(ReadsCaptions):
    """Text is read through an encoder that others trained, and by blocks on top of it that are trained along."""

    kind: Literal["captioned_pretrained"]
    encoder: Annotated[str, Field(min_length=1, description="a folder, or a hub's name such as openai/clip-vit-base-patch32")]

    def _pretrained(self) -> PretrainedText:
        return PretrainedText(self.encoder)


def tokens_of(captions: Sequence[str], length: int) -> Tensor:
    """Captions as bytes plus one; 0 is nothing. What is longer is cut. int64 [captions, length]"""
    rows = np.zeros((len(captions), length), np.int64)
    for row, caption in zip(rows, captions, strict=True):
        read = np.frombuffer(caption.encode(errors="replace")[:length], np.uint8)
        row[: len(read)] = read
        row[: len(read)] += 1
    return torch.from_numpy(rows)


def longest_text(images: ImageSet) -> int:
    """Bytes of the longest caption or label's name; 0 where no image has a caption: then labels are all that is told."""
    captions = [len(caption.encode(errors="replace")) for caption in images.captions if caption]
    return min(MOST_BYTES, max([*captions, *(len(name.encode()) for name in images.names)])) if captions else 0


def text_of(images: ImageSet, rows: NDArray[np.int64], length: int, by_name: NDArray[np.bool_] | None = None) -> Tensor | None:
    """What is said of some images, as tokens [rows, length]: the caption, or where there is none the label's name. None for a
    `length` of 0. `by_name` [rows]: of which the name is said though there is a caption, if they have a name."""
    if not length:
        return None
    said = []
    for place, row in enumerate(rows.tolist()):
        name, caption = images.names[images.labels[row]], images.captions[row]
        said.append(name if not caption or (name and by_name is not None and by_name[place]) else caption)
    return tokens_of(said, length)


class Captioned(nn.Module):
    """(input [n, 3, s, s], level [n], condition) -> answer [n, 3, s, s], the condition's text, or its label's name, read."""

    def __init__(self, settings: ReadsCaptions, image: Conditioned, labels: int, pretrained: PretrainedText | None) -> None:
        super().__init__()
        self.length = settings.length
        self.image = image
        self.pretrained = pretrained
        if pretrained:
            self.enter = nn.Linear(pretrained.width, settings.width)
        else:
            self.byte = nn.Embedding(257, settings.width)
            nn.init.normal_(self.byte.weight, std=0.02)
        self.position = nn.Parameter(0.02 * torch.randn(settings.length + 1, settings.width))  # the first is that of the whole
        self.blocks = nn.ModuleList(ReadingBlock(settings.width) for _ in range(settings.depth))
        self.names: Tensor
        self.register_buffer("names", torch.zeros(labels + 1, settings.length, dtype=torch.long), persistent=False)

    def name_labels(self, names: Sequence[str]) -> None:
        """What is read where a label is told and no text. The row after the last label stays empty: nothing is told."""
        self.names[: len(names)] = tokens_of(names, self.length)

    def forward(self, images: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """The raw answer of the network, which the preconditioning scales."""
        text = condition.text
        if text is None:
            text = self.names[torch.where(condition.label < 0, len(self.names) - 1, condition.label)]
        text = F.pad(text, (0, self.length - text.shape[1]))  # what is longer is cut
        told = replace(condition.without_label(), caption=self.read(text))
        return self.image(images, level, told)

    def read(self, text: Tensor) -> Tensor:
        """Tokens of captions [n, length] -> their embeddings [n, width]."""
        whole = self.position[:1].expand(text.shape[0], 1, -1)
        if self.pretrained:
            features, there = self.pretrained(text)
            features = self.enter(F.rms_norm(features, features.shape[-1:]))
        else:
            features, there = self.byte(text), text > 0
        tokens = torch.cat([whole, features + self.position[1:]], dim=1)
        there = F.pad(there, (1, 0), value=True)[:, None, None, :]  # [n, heads, asking, asked]
        for block in self.blocks:
            tokens = block(tokens, there)
        return F.rms_norm(tokens[:, 0], tokens.shape[-1:])


class ReadingBlock(nn.Module):
    """Attention and feed-forward over the bytes of a caption."""

    HEAD = 32

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width, 3 * width)
        self.leave = nn.Linear(width, width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """tokens [n, t, width], there [n, 1, 1, t] -> [n, t, width]"""
        query, key, value = (
            self.enter(F.rms_norm(tokens, tokens.shape[-1:])).unflatten(-1, (3, -1, self.HEAD)).permute(2, 0, 3, 1, 4)
        )
        query, key = (F.rms_norm(one, (self.HEAD,)) for one in (query, key))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=there)
        tokens = tokens + self.leave(mixed.transpose(1, 2).flatten(2))
        return tokens + self.narrow(F.silu(self.widen(F.rms_norm(tokens, tokens.shape[-1:]))))
