"""A model on disk: a folder of `weights.safetensors` and `model.json`. Nothing in it is ever executed."""

import copy
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import Field, PositiveFloat, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from darkroom.images import ImageSet
from darkroom.networks.captioned import Captioned, CaptionedSettings, PretrainedCaptionedSettings
from darkroom.networks.denoiser import Denoiser, Preconditioning
from darkroom.networks.pretrained_text import FOLDER, EncoderUnavailable, copy_encoder
from darkroom.networks.transformer import TransformerSettings
from darkroom.networks.unet import UnetSettings
from darkroom.noise import Schedule
from darkroom.refs import digest_of
from darkroom.samplers import Sampler
from darkroom.sections import Section
from darkroom.shapes import Shape

Network = Annotated[
    TransformerSettings | UnetSettings | CaptionedSettings | PretrainedCaptionedSettings, Field(discriminator="kind")
]


class ModelError(ValueError):
    """A model folder that cannot be read. The text names the folder and what is wrong with it."""


class GuidedLevels(Section):
    """The noise levels at which guidance of either kind is applied; outside them the model is asked once."""

    least: Annotated[float, Field(ge=0)]
    most: PositiveFloat

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.least >= self.most:
            raise ValueError(f"`least` ({self.least:g}) must be below `most` ({self.most:g})")
        return self


Steps = Annotated[int, Field(ge=1, le=1000, description="steps of the sampler")]
Guidance = Annotated[float, Field(ge=0, le=20, description="classifier-free guidance; 1 is none")]
Away = Annotated[
    float, Field(ge=0, le=20, description="away from the model's own earlier weights (autoguidance); 1 is not at all")
]
WEIGHTS, WEAKER = "weights.safetensors", "weaker.safetensors"


class Drawing(Section):
    """How images are drawn from a model when nobody says otherwise."""

    sampler: Sampler
    schedule: Annotated[Schedule, Field(description="the noise levels that sampling visits")]
    steps: Steps
    guidance: Guidance
    away: Away
    guided_levels: GuidedLevels

    @property
    def alone(self) -> "Drawing":
        """The same, the model being led away from nothing."""
        return self.model_copy(update={"away": 1.0})


class ChosenDrawing(Section):
    """What of a drawing can be chosen once a model is trained; the levels that sampling visits belong to its training."""

    sampler: Sampler
    steps: Steps
    guidance: Guidance
    away: Away
    guided_levels: GuidedLevels

    def of(self, card: "ModelCard") -> Drawing:
        """A model's own drawing, changed to this choice; one that keeps no earlier weights is not led away from any."""
        chosen = {name: getattr(self, name) for name in ChosenDrawing.model_fields}
        return card.drawing.model_copy(update=chosen if card.keeps_weaker else {**chosen, "away": 1.0})


def chosen_of(drawing: Drawing) -> ChosenDrawing:
    """The part of a drawing that can be chosen."""
    return ChosenDrawing(**{name: getattr(drawing, name) for name in ChosenDrawing.model_fields})


class ModelCard(Section):
    """All that is needed to use the weights beside it, and where they came from."""

    network: Network
    preconditioning: Preconditioning
    image_size: int
    labels: tuple[str, ...]
    label_counts: tuple[int, ...]  # images of each label trained on: the distribution that sampling follows
    augmentations: int  # length of the augmentation label
    drawing: Drawing
    focus: tuple[str, ...]  # labels the model is meant for; empty for all
    images_seen: int
    data_digest: str  # of the images that it was made from (`images.digest_of_images`)
    parent_digest: str  # of the weights it started from; empty for a model from scratch
    buckets: tuple[Shape, ...] = ()  # shapes it was trained on, the square first; none for squares only
    bucket_counts: tuple[tuple[int, ...], ...] = ()  # images of each label of each shape
    keeps_weaker: bool = False  # whether weights of less training lie beside its own

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, told: Any) -> Any:
        """A model of before there was `away` is drawn as it was."""
        if isinstance(told, dict) and isinstance(told.get("drawing"), dict):
            return told | {"drawing": {"away": 1.0} | told["drawing"]}
        return told

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """What it draws: the square of `image_size` first."""
        return self.buckets or ((self.image_size, self.image_size),)


def buckets_of(images: ImageSet) -> dict[str, Any]:
    """What a card says of the shapes of the images trained on: nothing, where they are squares."""
    if len(images.buckets) == 1:
        return {"buckets": (), "bucket_counts": ()}
    is_shape = [(images.shapes == np.array(shape)).all(1) for shape in images.buckets]
    is_label = [images.labels == label for label in range(len(images.names))]
    counts = tuple(tuple(int((label & shape).sum()) for shape in is_shape) for label in is_label)
    return {"buckets": images.buckets, "bucket_counts": counts}


def check_sides(network: Network, shapes: Sequence[Shape]) -> None:
    """Raises ValueError where a network cannot draw images of each of these shapes, the square of which comes first."""
    (square, _), *others = shapes
    network.check_side(square, "curate.image_size")
    for side in sorted({side for shape in others for side in shape}):
        network.check_side(side, "a side of an image in curate.aspect_buckets")


def build(card: ModelCard, encoder: Path | None = None) -> Denoiser:
    """An untrained model of the card's shape. `encoder`: where its text encoder lies, if not where the card says.

    Raises EncoderUnavailable.
    """
    settings = card.network
    if isinstance(settings, PretrainedCaptionedSettings) and encoder:
        settings = settings.model_copy(update={"encoder": str(encoder)})
    check_sides(settings, card.shapes)
    network = settings.build(card.image_size, len(card.labels), card.augmentations)
    if isinstance(network, Captioned):
        network.name_labels(card.labels)
    return Denoiser(network, card.preconditioning)


def encoder_of(model: Denoiser) -> Path | None:
    """The folder of the text encoder that a model reads through, if it does."""
    network = model.network
    return network.pretrained.folder if isinstance(network, Captioned) and network.pretrained else None


def encoder_in(folder: Path, card: ModelCard) -> Path | None:
    """The text encoder beside the weights in a model's folder, if it reads through one. Raises ModelError where that is gone."""
    if not isinstance(card.network, PretrainedCaptionedSettings):
        return None
    if not (folder / FOLDER).is_dir():
        raise ModelError(f"{folder}: {FOLDER}, through which the model reads captions, is missing; copy the model's whole folder")
    return folder / FOLDER


def save_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    card: ModelCard,
    encoder: Path | None = None,
    weaker: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a model into an existing folder: card, weights, those of less training if they are kept, a copy of its text encoder.

    Raises OSError.
    """
    if encoder:
        copy_encoder(encoder, folder / FOLDER)
    write_tensors(folder / WEIGHTS, weights)
    if weaker is None:
        card = card.model_copy(update={"keeps_weaker": False, "drawing": card.drawing.alone})
    else:
        card = card.model_copy(update={"keeps_weaker": True})
        write_tensors(folder / WEAKER, weaker)
    (folder / "model.json").write_text(card.model_dump_json(indent=1), encoding="utf-8")


def weaker_in(folder: Path, card: ModelCard) -> dict[str, Tensor] | None:
    """The weights of less training beside those of the model in `folder`, if they are kept. Raises OSError, SafetensorError."""
    return load_file(folder / WEAKER) if card.keeps_weaker else None


def weaker_digest(folder: Path, card: ModelCard) -> str | None:
    """SHA-256 of those weights; None where none are kept. Raises OSError."""
    return digest_of(folder / WEAKER) if card.keeps_weaker else None


def copy_drawn(folder: Path, drawing: Drawing, out: Path) -> None:
    """A copy of the model in `folder` that is drawn with `drawing`, into an existing folder. Raises ModelError, OSError."""
    card = read_card(folder).model_copy(update={"drawing": drawing})
    shutil.copytree(folder, out, dirs_exist_ok=True)
    (out / "model.json").write_text(card.model_dump_json(indent=1), encoding="utf-8")


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file. Raises OSError where it cannot be written, such as on a full disk."""
    try:
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, file)
    except SafetensorError as error:  # it wraps the system's errors too, and is no OSError
        raise OSError(f"{file}: cannot be written: {error}") from None


def read_card(folder: Path) -> ModelCard:
    """The card of a model folder. Raises ModelError."""
    try:
        return ModelCard.model_validate_json((folder / "model.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder}: no model here (model.json is missing); train one with `darkroom run`") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))} {fault['msg']}".strip() for fault in error.errors())
        raise ModelError(f"{folder / 'model.json'}: not a model of this version of Darkroom: {faults}") from None
    except UnicodeDecodeError:
        raise ModelError(f"{folder / 'model.json'}: not a text file; the model is damaged") from None


def load_model(folder: Path, device: torch.device) -> tuple[Denoiser, ModelCard]:
    """The model in `folder`, ready to draw. Raises ModelError."""
    card = read_card(folder)
    with torch.random.fork_rng(devices=[]):  # its first weights are random: whoever trains in this process must not notice
        model = _built(folder, card)
    _load_weights(model, folder / WEIGHTS)
    model = model.to(device).eval().requires_grad_(False)
    if card.keeps_weaker:
        weaker = copy.deepcopy(model)
        _load_weights(weaker, folder / WEAKER)
        model.keep_weaker(weaker)
    return model, card


def _load_weights(model: Denoiser, file: Path) -> None:
    try:
        weights = load_file(file)
        _check_fit({name: value.shape for name, value in weights.items()}, model)
        model.load_state_dict(weights)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelError(f"{file}: weights cannot be used: {' '.join(str(error).split())}") from None


def _built(folder: Path, card: ModelCard) -> Denoiser:
    try:
        return build(card, encoder_in(folder, card))
    except EncoderUnavailable as error:
        raise ModelError(f"{folder}: the model reads captions through a text encoder. {error}") from None


def _check_fit(found: dict[str, torch.Size], model: Denoiser) -> None:
    """Refuse the weights of another network in a sentence: torch lists every tensor. Raises ValueError."""
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    others = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if others:
        few = ", ".join(others[:3]) + (" ..." if len(others) > 3 else "")
        raise ValueError(
            f"they are another network's than model.json describes: {len(others)} tensors are missing, unknown or of another "
            f"shape ({few}); copy both files from one model folder"
        )


def device_named(name: str) -> torch.device:
    """`auto` is the GPU where torch sees one. Raises ModelError for a device that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("device is `cuda`, but torch sees no GPU here; set it to `auto` or `cpu`")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
