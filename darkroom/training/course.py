"""What a course of training is set to do, what it works on, and how it ends early."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from darkroom.augmentation import Recipe
from darkroom.images import ImageSet, Pixels
from darkroom.networks.denoiser import Denoiser
from darkroom.noise import Density
from darkroom.sections import Section
from darkroom.training.averaging import Averaging
from darkroom.training.learning_rate import LearningRate
from darkroom.training.loss import Weighting
from darkroom.training.optimisers import Optimiser

CADENCES = ("report_every", "held_out_every", "samples_every", "checkpoint_every")
# Where a course runs and how it is watched: it goes on where these have changed.
WATCHING = {"device", "data_workers", "patience", *CADENCES}
# Of these, what changes nothing of a finished course: it stays as it is. The others may have chosen its weights.
IRRELEVANT = ("device", "data_workers", "report_every", "samples_every", "checkpoint_every")


class TrainingStopped(ValueError):
    """The training cannot go on. The text says at which image, why, and what to change."""


class Course(Section):
    """Settings of a course of training; all cadences count images seen."""

    seed: Annotated[int, Field(ge=0, description="of weights, noise and data order")]
    device: Annotated[str, Field(pattern="^(auto|cpu|cuda)$", description="auto, cpu or cuda")]
    precision: Annotated[
        Literal["fp32", "bf16", "fp16", "auto"],
        Field(description="of the network's arithmetic; auto measures on the device, and another device may take another"),
    ]
    compile: Annotated[
        bool | Literal["auto"],
        Field(description="the network by torch.compile; auto tries it where a course takes so long that it may pay"),
    ]
    data_workers: Annotated[
        NonNegativeInt | Literal["auto"],
        Field(description="processes that make batches; 0: none; auto: for a GPU, as many as cores allow, 8 at most"),
    ]
    images: Annotated[PositiveInt, Field(description="budget: images seen in all")]
    batch_size: PositiveInt
    learning_rate: Annotated[PositiveFloat, Field(le=1)]
    learning_rate_schedule: LearningRate
    optimiser: Optimiser
    gradient_norm: Annotated[PositiveFloat, Field(description="longer gradients are shortened to this norm")]
    label_dropout: Annotated[float, Field(ge=0, le=1, description="share of images whose label is not told")]
    labels_for_captions: Annotated[
        float, Field(ge=0, le=1, description="share of captioned images told by their label's name, so that it may be asked for")
    ]
    noise: Annotated[Density, Field(description="the noise levels that training sees")]
    weighting: Annotated[Weighting, Field(description="how much each noise level counts")]
    averaging: Averaging
    patience: Annotated[
        NonNegativeInt, Field(description="held-out measurements without a new best after which training ends; 0 for never")
    ]
    report_every: PositiveInt
    held_out_every: PositiveInt
    samples_every: PositiveInt
    checkpoint_every: PositiveInt

    def stretched(self, images: int) -> Self:
        """The same course with another budget: warm-up, average and cadences take the same shares of it."""
        ratio = images / self.images

        def scaled(count: int) -> int:
            return max(1, round(count * ratio))

        schedule, averaging = self.learning_rate_schedule, self.averaging
        names = [name for name in type(schedule).model_fields if name.endswith("_images")]
        return self.model_copy(
            update={
                "images": images,
                "learning_rate_schedule": schedule.model_copy(update={name: scaled(getattr(schedule, name)) for name in names}),
                "averaging": averaging.model_copy(update={"halflife_images": scaled(averaging.halflife_images)}),
                **{name: scaled(getattr(self, name)) for name in CADENCES},
            }
        )

    @property
    def cadences(self) -> tuple[int, int, int, int, int]:
        """Images between two reports, held-out measurements, sample sheets, checkpoints, snapshots of averages."""
        between = max(1, self.images // max(self.averaging.snapshots, 1))
        return self.report_every, self.held_out_every, self.samples_every, self.checkpoint_every, between


def never() -> bool:
    """Nobody asks to stop."""
    return False


@dataclass(frozen=True)
class Conduct:
    """How whoever runs a course steers it."""

    stopping: Callable[[], bool] = never  # asked before every batch: whether to save and stop
    minutes: float | None = None  # a budget of wall clock, in place of the course's images
    sharded: bool = False  # several processes: each keeps its share of the weights


UNSTEERED = Conduct()


@dataclass(frozen=True)
class Sheet:
    """Images drawn from a model: uint8 [n, s, s, 3], and the file that shows them."""

    path: Path
    pixels: Pixels


@dataclass(frozen=True)
class Materials:
    """What a course of training works on."""

    images: ImageSet
    held_out: ImageSet
    recipe: Recipe
    checkpoints: Path  # folder: the same course goes on from what lies here
    draw: Callable[[Denoiser, int], Sheet]  # draws the sample sheet of a model at an image count
    conduct: Conduct = UNSTEERED
