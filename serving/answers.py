"""What a client is given: image files that say what made them, and the same facts as JSON and as headers."""

import json
from base64 import b64encode
from io import BytesIO
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from PIL import Image
from pydantic import BaseModel

from darkroom.images import Pixels, contact_sheet
from darkroom.provenance import Provenance, Signer, encoded
from darkroom.sampling import Preset, preset
from darkroom.shapes import Shape
from serving.engine import Order
from serving.loaded import Loaded, Row

Format: TypeAlias = Literal["png", "webp"]


class ModelTold(BaseModel):
    """A version that is being served."""

    name: str
    version: str
    weights_digest: str
    weaker_digest: str | None  # of its earlier weights, which it can be led away from; null where it keeps none
    data_digest: str
    image_size: int
    shapes: tuple[tuple[int, int], ...]  # width and height of what it draws, the square first
    labels: tuple[str, ...]
    focus: tuple[str, ...]
    prompt_bytes: int  # how much of a prompt it reads; 0 for a model without text
    drawing: dict[str, Any]
    presets: dict[str, int]  # steps of each
    tags: dict[str, str]


class ImageTold(BaseModel):
    """One image: the file, and a request that draws exactly it."""

    index: int
    label: str
    recipe: dict[str, Any]
    image: str


class ImagesTold(BaseModel):
    """Images, and what they have in common."""

    model: str
    version: str
    data_digest: str
    seed: int
    drawing: dict[str, Any]
    images: list[ImageTold]


def model_told(model: Loaded) -> ModelTold:
    """What a version is and can be asked."""
    card = model.card
    return ModelTold(
        name=model.name,
        version=model.version,
        weights_digest=model.weights_digest,
        weaker_digest=model.weaker_digest,
        data_digest=card.data_digest,
        image_size=card.image_size,
        shapes=tuple((width, height) for height, width in card.shapes),
        labels=card.labels,
        focus=card.focus,
        prompt_bytes=model.reads,
        drawing=card.drawing.model_dump(mode="json"),
        presets={name: preset(name, card.drawing).steps for name in get_args(Preset)},
        tags={name: model.tags[name] for name in ("data.md5", "git.commit", "trained_in") if name in model.tags},
    )


def images_told(order: Order, images: list[Pixels], signer: Signer | None) -> ImagesTold:
    """Every image of an order as a PNG of its own, in base64."""
    files = [encoded(pixels, provenance_of(order, row), "png", signer) for pixels, row in zip(images, order.rows, strict=True)]
    return ImagesTold(
        model=order.model.name,
        version=order.model.version,
        data_digest=order.model.card.data_digest,
        seed=order.rows[0].seed,
        drawing=order.drawing.model_dump(mode="json"),
        images=[
            ImageTold(index=row.index, label=_label(order, row), recipe=recipe_of(order, row), image=b64encode(file).decode())
            for file, row in zip(files, order.rows, strict=True)
        ],
    )


def picture(order: Order, images: list[Pixels], columns: int, kind: Format, signer: Signer | None) -> bytes:
    """One file: the image, or all of them in a grid. It tells of the first; the others follow it in its seed."""
    pixels = images[0] if len(images) == 1 else np.asarray(contact_sheet(images, columns))
    return encoded(pixels, provenance_of(order, order.rows[0]), kind, signer)


def headers_of(order: Order) -> dict[str, str]:
    """The facts of an answer that is not JSON, in plain ASCII. A prompt is told in the image, not here: it may be long."""
    settings = {"count": len(order.rows), **recipe_of(order, order.rows[0])}
    settings.pop("prompt", None)
    return {
        "Darkroom-Model": _ascii(order.model.name),
        "Darkroom-Version": _ascii(order.model.version),
        "Darkroom-Data": _ascii(order.model.card.data_digest),
        "Darkroom-Seed": str(order.rows[0].seed),
        "Darkroom-Settings": json.dumps(settings),
    }


def preview(pixels: Pixels) -> str:
    """An unfinished image, small and soon: WebP as a data address."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=70, method=0)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"


def provenance_of(order: Order, row: Row) -> Provenance:
    """What an image says of itself."""
    return Provenance(
        model=order.model.name,
        version=order.model.version,
        weights_digest=order.model.weights_digest,
        weaker_digest=order.model.weaker_digest if order.drawing.away != 1 else None,
        data_digest=order.model.card.data_digest,
        seed=row.seed,
        index=row.index,
        label=_label(order, row),
        caption=row.caption,
        turns=row.turns,
        drawing=order.drawing.model_dump(mode="json"),
    )


def recipe_of(order: Order, row: Row) -> dict[str, Any]:
    """A request that draws exactly this image, as long as the same version is served."""
    told = {"label": _label(order, row) or None, "prompt": row.caption}
    return {
        "seed": row.seed,
        "first": row.index,
        **{name: value for name, value in told.items() if value is not None},
        "steps": order.drawing.steps,
        "guidance": order.drawing.guidance,
        "away": order.drawing.away,
        "sampler": order.drawing.sampler.model_dump(mode="json"),
        **({"shape": _wide_first(row.shape)} if row.shape and len(order.model.card.shapes) > 1 else {}),
        **({"turns": [turn.model_dump(mode="json") for turn in row.turns]} if row.turns else {}),
    }


def _wide_first(shape: Shape) -> list[int]:
    return [shape[1], shape[0]]


def _label(order: Order, row: Row) -> str:
    return "" if row.label < 0 else order.model.card.labels[row.label]


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode().replace("\n", " ").replace("\r", " ")
