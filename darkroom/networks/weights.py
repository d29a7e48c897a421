"""Which weights of a trained model are used: as training left them, or another average rebuilt from its snapshots."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt
from safetensors.torch import load_file
from torch import Tensor

from darkroom.networks.profiles import WIDEST, rebuilt
from darkroom.networks.saved import copy_drawn, read_card, write_tensors
from darkroom.sections import Section


class AsTrained(Section):
    """The average that training kept."""

    kind: Literal["as_trained"]

    @property
    def words(self) -> str:
        """In a few words."""
        return "as trained"

    def of(self, folder: Path) -> dict[str, Tensor]:
        """The weights of the model in `folder`. Raises OSError."""
        return load_file(folder / "weights.safetensors")


class Average(Section):
    """A power-function average of another length, or that of an earlier time; needs `averaging.snapshots` in the training."""

    kind: Literal["average"]
    width: Annotated[float, Field(gt=0, lt=WIDEST, description="standard deviation relative to the images seen")]
    images_seen: Annotated[NonNegativeInt, Field(description="of the snapshot it ends at; 0 is the newest")]

    @property
    def words(self) -> str:
        """In a few words."""
        return f"average of width {self.width:g}" + (f" at {self.images_seen:,} images" if self.images_seen else "")

    def of(self, folder: Path) -> dict[str, Tensor]:
        """The weights of the model in `folder`. Raises FileNotFoundError where no such snapshot was kept."""
        return rebuilt(folder, self.width, self.images_seen or None)


Weights = Annotated[AsTrained | Average, Field(discriminator="kind")]


@contextmanager
def with_weights(folder: Path, weights: AsTrained | Average, scratch: Path) -> Iterator[Path]:
    """The model in `folder` with these weights: itself as trained, else a copy in `scratch` that goes with the block.

    Raises FileNotFoundError, ModelError.
    """
    if isinstance(weights, AsTrained):
        yield folder
        return
    made = weights.of(folder)
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch) as temporary:
        copy = Path(temporary) / folder.name
        copy_drawn(folder, read_card(folder).drawing, copy)
        write_tensors(copy / "weights.safetensors", made)
        yield copy
