"""A text encoder that others trained: captions are read through it, and it is never trained here.

It is a folder as the hub's repositories are: config.json, model.safetensors and a tokenizer (CLIP's, T5's, any that transformers
reads). A model keeps a copy of it beside its weights, so that it draws the same wherever it is taken. Nothing in it is executed.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darkroom import hub
from darkroom.refs import digest_of

FOLDER = "text_encoder"  # in a model's folder
TOKENIZERS = ("tokenizer*", "vocab*", "*.model", "source.spm", "target.spm")
FILES = ("config.json", "model.safetensors", "merges.txt", "special_tokens_map.json", "added_tokens.json", *TOKENIZERS)
KEPT = 64_000_000  # numbers: what is kept of captions' features
READERS = {"clip": "CLIPTextModel", "clip_text_model": "CLIPTextModel", "t5": "T5EncoderModel"}
LONG = "a long text " * 1000  # longer than any encoder reads


class EncoderUnavailable(ValueError):
    """The text encoder is not here, or cannot be read. The text says what to put where."""


def files_of(folder: Path) -> list[Path]:
    """The files that make up the text encoder in a folder, sorted."""
    return sorted({file for pattern in FILES for file in folder.glob(pattern) if file.is_file()})


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of the text encoder in a folder."""
    return {file.name: digest_of(file) for file in files_of(folder)}


def copy_encoder(folder: Path, out: Path) -> None:
    """Copy a text encoder, and nothing else that lies beside it, into a new folder. Raises OSError."""
    out.mkdir()
    for file in files_of(folder):
        shutil.copyfile(file, out / file.name)


class PretrainedText:
    """What a text encoder makes of captions. No part of a network's weights: copies of a network share it.

    `name`: a folder, or a hub's repository in the user's cache, or fetched. Raises EncoderUnavailable.
    """

    def __init__(self, name: str) -> None:
        try:
            package = hub.transformers()
        except ImportError:
            raise EncoderUnavailable(
                "network.kind `captioned_pretrained` needs the package transformers: pip install 'darkroom[text]'"
            ) from None
        self.folder = folder_of(name)
        with _readable(self.folder):
            config = package.AutoConfig.from_pretrained(self.folder, **hub.SAFE)
            told = getattr(config, "text_config", None) or config
            self.width: int = told.hidden_size
            self._longest = int(getattr(told, "max_position_embeddings", 512))
            if torch.get_default_device().type != "meta":  # there a network's cost is counted, and nothing read
                self._load(READERS.get(config.model_type, "AutoModel"))
        self._known: dict[str, Tensor] = {}
        self._held = 0
        # No kernels are made of it. As a decorator, this would load the compiler at once: seconds of every start.
        self._asked = torch.compiler.disable(self._ask)  # type: ignore[no-untyped-call]

    def __deepcopy__(self, _: object) -> "PretrainedText":
        return self

    def __call__(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Captions as tokens of bytes, int64 [n, length] (see `captioned.tokens_of`) -> features [n, length, width], one of each
        of the encoder's own tokens, and which are there, bool [n, length]; of an empty caption none is."""
        asked: tuple[Tensor, Tensor] = self._asked(text)
        return asked

    def _ask(self, text: Tensor) -> tuple[Tensor, Tensor]:
        count, length = text.shape
        features = torch.zeros(count, length, self.width, device=text.device)
        there = torch.zeros(count, length, dtype=torch.bool, device=text.device)
        if text.is_meta:  # a network without contents, whose cost is counted
            return features, there
        # A condition holds tensors alone: text travels as bytes, and is text again here.
        captions = [bytes(byte - 1 for byte in row if byte).decode(errors="ignore") for row in text.tolist()]
        unknown = [caption for caption in dict.fromkeys(captions) if caption and caption not in self._known]
        if unknown:
            self._read(unknown, text.device)
        for row, caption in enumerate(captions):
            if caption:
                known = self._known[caption][:length].to(text.device)
                features[row, : len(known)], there[row, : len(known)] = known, True
        while self._held > KEPT:
            self._held -= self._known.pop(next(iter(self._known))).numel()
        return features, there

    def _read(self, captions: Sequence[str], device: torch.device) -> None:
        """On a processor one by one: what comes of a caption then depends on no other, and a course that goes on is equal bit
        for bit."""
        at_once = 1 if device.type == "cpu" else len(captions)
        for start in range(0, len(captions), at_once):
            some = list(captions[start : start + at_once])
            for caption, features in zip(some, self._features(some, device), strict=True):
                self._known[caption] = features
                self._held += features.numel()

    def _features(self, captions: list[str], device: torch.device) -> list[Tensor]:
        """Of each caption, one row for each of its tokens."""
        words: dict[str, Any] = {"padding": True, "truncation": True, "max_length": self._longest, "return_tensors": "pt"}
        told = self._tokenizer(captions, return_attention_mask=True, **words).to(device)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            answers = self._model.to(device)(input_ids=told["input_ids"], attention_mask=told["attention_mask"])
        pairs = zip(answers.last_hidden_state, told["attention_mask"], strict=True)
        return [answer[mask.bool()].float() for answer, mask in pairs]

    def _load(self, reader: str) -> None:
        self._tokenizer = hub.transformers().AutoTokenizer.from_pretrained(self.folder, **hub.SAFE)
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._longest = min(self._longest, self._tokenizer.model_max_length)  # some encoders keep places for themselves
        self._model = hub.pretrained(reader, self.folder).requires_grad_(False)
        if self._features([LONG], torch.device("cpu"))[0].shape[1:] != (self.width,):  # before a course begins, not within
            raise ValueError("it makes no features of text")


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Whatever the package raises on a folder that is not what it should be, as a sentence."""
    try:
        yield
    except Exception as error:  # they are of many kinds
        raise EncoderUnavailable(
            f"{folder}: no text encoder can be read from this folder ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}); it needs config.json, model.safetensors and a tokenizer"
        ) from None


def folder_of(name: str) -> Path:
    """The folder of a text encoder: itself, or that of a hub's repository. Raises EncoderUnavailable."""
    if Path(name).is_dir():
        return Path(name)
    folder, why = hub.snapshot(name, FILES, _is_whole)
    if folder is None:
        raise EncoderUnavailable(
            f"network.encoder: {name} is no folder here, is not in the user's cache and could not be fetched ({why}). Name a "
            "folder with config.json, model.safetensors and a tokenizer, such as a download of openai/clip-vit-base-patch32; or "
            "set network.kind to `captioned`: then captions are read by bytes, by an encoder that is trained along"
        )
    return folder


def _is_whole(folder: Path) -> bool:
    named = all((folder / name).is_file() for name in ("config.json", "model.safetensors"))
    return named and any(any(folder.glob(pattern)) for pattern in TOKENIZERS)
