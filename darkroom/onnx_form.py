"""A denoiser as ONNX, checked against the model itself before it is kept."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from darkroom.networks.captioned import ReadsCaptions
from darkroom.networks.denoiser import Condition, Denoiser
from darkroom.networks.saved import ModelCard, encoder_in, load_model, read_card

TOLERANCE = 1e-3  # of images in [-1, 1], whose steps of 8 bits are 8e-3
CHECKED = (1, 3)  # images at once


class OnnxError(RuntimeError):
    """A model that cannot be written as ONNX. The text says why and what to do."""


class _Asked(nn.Module):
    """The denoiser with plain tensors for a condition: labels, or tokens where it reads captions."""

    def __init__(self, denoiser: Denoiser, card: ModelCard) -> None:
        super().__init__()
        self.denoiser, self.augmentations = denoiser, card.augmentations
        self.weaker, self.away, self.levels = denoiser.weaker, card.drawing.away, card.drawing.guided_levels
        self.reads = isinstance(card.network, ReadsCaptions)

    def forward(self, noisy: Tensor, sigma: Tensor, told: Tensor) -> Tensor:
        untouched = noisy.new_zeros(noisy.shape[0], self.augmentations)
        condition = Condition(told, untouched)
        if self.reads:
            condition = Condition(told.new_full((told.shape[0],), -1), untouched, told)
        answer: Tensor = self.denoiser(noisy, sigma, condition)
        if self.weaker is None or self.away == 1:
            return answer
        guided = torch.lerp(self.weaker(noisy, sigma, condition), answer, self.away)
        inside = (sigma >= self.levels.least) & (sigma <= self.levels.most)  # as `sampling.Autoguided`, without a branch
        return torch.where(inside[:, None, None, None], guided, answer)


def write_onnx(model: Path, file: Path) -> None:
    """The denoiser of a model folder as `file`, for any number of images. Raises OnnxError, ModelError."""
    if encoder_in(model, read_card(model)):
        raise OnnxError("the model reads captions through a pretrained text encoder, which this form cannot hold; export without")
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise OnnxError(f"ONNX needs a package that is not installed ({error.name}): `pip install 'darkroom[onnx]'`") from None
    denoiser, card = load_model(model, torch.device("cpu"))
    asked = _Asked(denoiser, card)
    batch = torch.export.Dim("n", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            asked,
            _questions(card, 2),
            input_names=["noisy", "sigma", "text" if asked.reads else "label"],
            output_names=["clean"],
            dynamic_shapes=({0: batch}, {0: batch}, {0: batch}),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise OnnxError(f"{model}: torch wrote no ONNX program")
    program.save(file)
    try:
        _compare(onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]), asked, card)
    except BaseException:  # an interrupt too: no form stays that was not compared, and what was raised goes on
        file.unlink()
        raise


def _compare(session: Any, asked: _Asked, card: ModelCard) -> None:
    """Raises OnnxError where the form does not answer as the model does."""
    names = [one.name for one in session.get_inputs()]
    for count in CHECKED:
        questions = _questions(card, count)
        with torch.inference_mode():
            expected = asked(*questions).numpy()
        try:
            (answer,) = session.run(None, {name: one.numpy() for name, one in zip(names, questions, strict=True)})
        except Exception as error:  # onnxruntime has kinds of its own
            raise OnnxError(f"the ONNX form does not run on {count} images; it was not kept: {error}") from None
        apart = float(np.abs(answer - expected).max())
        if not apart <= TOLERANCE:
            raise OnnxError(f"the ONNX form differs from the model by {apart:.2g} on {count} images; it was not kept")


def _questions(card: ModelCard, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy images of every kind of level, and something told: what the form is traced with, and checked on."""
    chance = torch.Generator().manual_seed(count)
    sigma = 10 ** torch.linspace(-2, 2, count)
    noisy = sigma[:, None, None, None] * torch.randn(count, 3, card.image_size, card.image_size, generator=chance)
    if isinstance(card.network, ReadsCaptions):
        return noisy, sigma, torch.randint(0, 257, (count, card.network.length), generator=chance)
    return noisy, sigma, torch.randint(-1, len(card.labels), (count,), generator=chance)
