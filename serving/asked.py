"""What can be asked for, with its limits: the requests of the API, and the orders they become."""

from collections.abc import Sequence
from difflib import get_close_matches
from random import SystemRandom
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from darkroom.images import BETWEEN
from darkroom.networks.saved import Drawing
from darkroom.provenance import Turn
from darkroom.samplers import Sampler
from darkroom.sampling import Preset, label_at, preset, shape_at
from darkroom.shapes import Shape, in_words
from serving.engine import Order
from serving.loaded import Loaded, Row
from serving.problems import Problem

MOST_IMAGES, MOST_IN_A_JOB, MOST_STEPS, MOST_TURNS = 64, 256, 200, 16
MODELS_STEPS = 1000  # as many as a model's own settings may say: its recipes do, too
WEBP_SIDE = 16383  # pixels: the format holds no longer side
LARGEST_SEED = 2**53 - 1  # every whole number up to here is one in JavaScript too

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED, strict=True)]
Index = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]
Side = Annotated[int, Field(ge=1, le=8192, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Alias = Literal["champion", "challenger"]


class Asked(BaseModel):
    """A request: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TurnAsked(Asked):
    """Noise turned towards that of another image, as an image's recipe tells it."""

    seed: Seed
    index: Index = 0
    amount: Annotated[Share, Field(description="0 changes nothing, 1 is the other image")]
    turns: Annotated[list["TurnAsked"], Field(max_length=MOST_TURNS, description="what was done to the other's noise")] = []

    def turn(self) -> Turn:
        """For the engine, and for the image's metadata."""
        return Turn(seed=self.seed, index=self.index, amount=self.amount, turns=tuple(one.turn() for one in self.turns))

    def count(self) -> int:
        """This turn and those inside it."""
        return 1 + sum(one.count() for one in self.turns)


class Variation(Asked):
    """More like one image: its noise turned a part of the way towards other noise, each time another."""

    seed: Annotated[Seed, Field(description="of the other noise")]
    first: Annotated[Index, Field(description="number of the first other noise")] = 0
    strength: Annotated[Share, Field(description="0 is the image itself, 1 another one")] = 0.3


class Between(Asked):
    """From one image to another: `count` images, the first and the last of them the two themselves."""

    seed: Annotated[Seed, Field(description="seed of the image at the end")]
    index: Annotated[Index, Field(description="number of that image among those of its seed")] = 0
    turns: Annotated[list[TurnAsked], Field(max_length=MOST_TURNS, description="as in its recipe")] = []


class Drawn(Asked):
    """How to draw. What is left out is as the model's own settings say."""

    model: Annotated[Alias, Field(description="alias in the registry")] = "champion"
    seed: Annotated[Seed | None, Field(description="the same seed, the same images; left out, one is chosen and told")] = None
    first: Annotated[Index, Field(description="number of the first image among those of this seed")] = 0
    label: Annotated[str | None, Field(max_length=200, description="class; left out, classes as common as in training")] = None
    prompt: Annotated[str | None, Field(max_length=1000, description="text, for models that read it")] = None
    shape: Annotated[
        tuple[Side, Side] | None,
        Field(description="width and height in pixels, one of the model's shapes; left out, shapes as common as in training"),
    ] = None
    preset: Annotated[Preset | None, Field(description="a sampler and its steps: in a hurry, as a rule, with patience")] = None
    steps: Annotated[
        int | None,
        Field(ge=1, le=MODELS_STEPS, strict=True, description=f"of the sampler: up to {MOST_STEPS}, or the model's own"),
    ] = None
    guidance: Annotated[float | None, Field(ge=0, le=20, allow_inf_nan=False, description="weight of the class; 1: no more")] = (
        None
    )
    away: Annotated[
        float | None,
        Field(
            ge=0, le=20, allow_inf_nan=False, description="away from the model's own earlier weights, where it keeps them; 1: not"
        ),
    ] = None
    sampler: Annotated[Sampler | None, Field(description="as in params.yaml")] = None
    turns: Annotated[list[TurnAsked], Field(max_length=MOST_TURNS, description="as in an image's recipe")] = []
    variation: Annotated[Variation | None, Field(description="more like the image `first`; not with `between`")] = None
    between: Annotated[Between | None, Field(description="from the image `first` to another")] = None

    @model_validator(mode="after")
    def _one_turn(self) -> "Drawn":
        if self.variation and self.between:
            raise ValueError("`variation` and `between` do not go together; leave one out")
        inside = sum(turn.count() for turn in [*self.turns, *(self.between.turns if self.between else [])])
        if inside + bool(self.variation) > MOST_TURNS:  # so that each image's recipe can be asked for again
            raise ValueError(f"`turns` may hold {MOST_TURNS} turns at most, with those inside them")
        return self


class ImagesAsked(Drawn):
    """Images, drawn while the client waits."""

    count: Annotated[int, Field(ge=1, le=MOST_IMAGES, strict=True, description="how many images")] = 1
    format: Annotated[
        Literal["png", "webp", "json"],
        Field(
            description="one picture (a grid where there are several), or JSON with every image as a file of its own in base64"
        ),
    ] = "json"
    columns: Annotated[int, Field(ge=1, le=MOST_IMAGES, strict=True, description="images in a row of a grid")] = 4


class JobAsked(Drawn):
    """Images, drawn while the client looks on or does something else."""

    count: Annotated[int, Field(ge=1, le=MOST_IN_A_JOB, strict=True, description="how many images")] = 1


class NearestAsked(Drawn):
    """One image, drawn again, to compare it with those trained on."""


def order_of(asked: ImagesAsked | JobAsked | NearestAsked, model: Loaded) -> Order:
    """The order that a request becomes with a model. Raises Problem where the model cannot do what is asked."""
    count = 1 if isinstance(asked, NearestAsked) else asked.count
    seed = SystemRandom().randrange(2**31) if asked.seed is None else asked.seed
    caption = _caption(asked, model)
    rows = []
    for place in range(count):
        turn = _turn(asked, place, count)
        index = asked.first if turn else asked.first + place
        turns = [one.turn() for one in asked.turns] + ([turn] if turn else [])
        label = _label(asked, model, seed, index)
        rows.append(Row(seed, index, label, caption, tuple(turns), _shape(asked, model, seed, index, label)))
    if isinstance(asked, ImagesAsked) and asked.format == "webp":
        _check_grid([row.shape or model.card.shapes[0] for row in rows], asked.columns)
    return Order(model, drawing_of(asked, model), rows)


def _check_grid(shapes: Sequence[Shape], columns: int) -> None:
    across, down = min(columns, len(shapes)), -(-len(shapes) // columns)
    height, width = (max(sides) for sides in zip(*shapes, strict=True))
    if max(across * (width + BETWEEN), down * (height + BETWEEN)) - BETWEEN > WEBP_SIDE:
        raise Problem(
            422, "Too large a grid", f"a WebP image has {WEBP_SIDE:,} pixels a side at most; ask for fewer, for PNG or for JSON"
        )


def drawing_of(asked: Drawn, model: Loaded) -> Drawing:
    """The model's own drawing with what is asked for in place of it. Raises Problem."""
    drawing = preset(asked.preset, model.card.drawing) if asked.preset else model.card.drawing
    changes = {name: getattr(asked, name) for name in ("steps", "guidance", "away", "sampler")}
    drawing = drawing.model_copy(update={name: value for name, value in changes.items() if value is not None})
    most = max(MOST_STEPS, model.card.drawing.steps)
    if drawing.steps > most:
        raise Problem(422, "Too many steps", f"{model.name} version {model.version} draws in {most} steps at most; ask for fewer")
    if drawing.away != 1 and not model.card.keeps_weaker:
        raise Problem(
            422, "No earlier weights", f"{model.name} version {model.version} keeps none to be led away from; leave `away` out"
        )
    return drawing


def _turn(asked: Drawn, place: int, count: int) -> Turn | None:
    if asked.variation:
        return Turn(seed=asked.variation.seed, index=asked.variation.first + place, amount=asked.variation.strength)
    if asked.between:
        turns = tuple(one.turn() for one in asked.between.turns)
        return Turn(seed=asked.between.seed, index=asked.between.index, amount=place / max(1, count - 1), turns=turns)
    return None


def _label(asked: Drawn, model: Loaded, seed: int, index: int) -> int:
    if asked.label is None:
        return -1 if asked.prompt is not None else label_at(model.card, seed, index)
    if asked.label not in model.card.labels:
        near = get_close_matches(asked.label, model.card.labels, n=1)
        there = f"did you mean `{near[0]}`?" if near else f"it knows: {', '.join(model.card.labels[:50])}"
        raise Problem(422, "Unknown label", f"{model.name} version {model.version} knows no such label; {there}")
    return model.card.labels.index(asked.label)


def _shape(asked: Drawn, model: Loaded, seed: int, index: int, label: int) -> Shape:
    if asked.shape is None:
        return shape_at(model.card, seed, index, label)
    shape = asked.shape[::-1]
    if shape not in model.card.shapes:
        there = ", ".join(map(in_words, model.card.shapes))
        raise Problem(422, "Unknown shape", f"{model.name} version {model.version} does not draw it; it draws {there} pixels")
    return shape


def _caption(asked: Drawn, model: Loaded) -> str | None:
    if asked.prompt is None:
        return None
    if not model.reads:
        there = f"it knows labels: {', '.join(model.card.labels[:50])}"
        raise Problem(422, "No prompts", f"{model.name} version {model.version} was trained without text; {there}")
    return asked.prompt
