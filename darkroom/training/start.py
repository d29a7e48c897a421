"""Where the training of the base starts: from scratch, or from weights kept under their digest."""

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt

from darkroom.networks.denoiser import Denoiser
from darkroom.networks.pretrained_text import digests_of
from darkroom.networks.saved import ModelCard, ModelError, build, encoder_of, load_model
from darkroom.refs import digest_of
from darkroom.sections import Section

WEIGHTS_FOLDER = "weights"  # below .darkroom: one folder a digest


class Scratch(Section):
    """Random weights."""

    kind: Literal["scratch"]

    def begin(self, kept: Path, model: Denoiser, card: ModelCard) -> ModelCard:
        """The model stays as it was built."""
        return card

    def images(self, budget: int) -> int:
        """Images to see: all that the settings give."""
        return budget


class Weights(Section):
    """The weights of an earlier model. A digest in params.yaml fixes them as a seed fixes random ones."""

    kind: Literal["weights"]
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="of the model folder in .darkroom/weights")]
    budget: Annotated[
        NonNegativeInt,
        Field(description="images seen from there on, in place of train_base.images; 0 takes the weights as they are"),
    ]

    def begin(self, kept: Path, model: Denoiser, card: ModelCard) -> ModelCard:
        """Put the weights into `model`; labels new since then begin as "not told" does. Returns the card, with its parent.

        `kept` is the folder of model folders by digest. Raises ModelError where the weights are not there, are not what the
        digest says, or are of another shape.
        """
        folder = kept / self.digest
        if not folder.is_dir():
            raise ModelError(f"{folder}: the weights that train_base.start names are not here; set it to {{kind: scratch}}")
        if digest_of(folder) != self.digest:
            raise ModelError(f"{folder}: these weights do not have that digest; remove the folder and set train_base.start anew")
        parent, theirs = load_model(folder, torch.device("cpu"))
        parts = ("network", "preconditioning", "image_size", "augmentations")
        other = [part for part in parts if getattr(theirs, part) != getattr(card, part)]
        encoders = [encoder and digests_of(encoder) for encoder in (encoder_of(parent), encoder_of(model))]
        if encoders[0] != encoders[1]:
            other.append("text encoder")
        if theirs.labels != card.labels and not set(theirs.labels) < set(card.labels):
            other.append("labels")
        if other:
            raise ModelError(
                f"{folder}: its {', '.join(other)} differ from params.yaml or the data; set train_base.start to {{kind: scratch}}"
            )
        grown = with_labels(parent, theirs.labels, card)
        model.load_state_dict(grown.state_dict())
        model.keep_weaker(grown.weaker)
        return card.model_copy(update={"parent_digest": self.digest, "images_seen": theirs.images_seen})

    def images(self, budget: int) -> int:
        """Images to see: its own budget."""
        return self.budget


def with_labels(model: Denoiser, old: tuple[str, ...], card: ModelCard) -> Denoiser:
    """The model with a table of all the card's labels: old ones keep their rows, new ones begin as "not told" does."""
    grown = build(card, encoder_of(model)).to(next(model.parameters()).device)
    rows = [old.index(name) if name in old else len(old) for name in card.labels] + [len(old)]
    weights = model.state_dict()
    for name, value in grown.state_dict().items():
        if value.shape != weights[name].shape:  # only tables of labels have another size
            weights[name] = weights[name][rows]
    grown.load_state_dict(weights)
    grown.keep_weaker(model.weaker and with_labels(model.weaker, old, card))
    return grown


Start = Annotated[Scratch | Weights, Field(discriminator="kind", description="where the weights come from")]
