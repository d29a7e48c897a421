"""Averages of the weights by power functions of time, and an average of any length rebuilt after training from a few snapshots.

Karras et al. 2024 (EDM2, arXiv 2312.02696), section 3 and appendix C. A profile of exponent g at time t weighs the weights of
time s with (g + 1) s^g / t^(g + 1): its length grows along, and is told as its standard deviation relative to t, the width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from darkroom.networks.saved import ModelError, build, encoder_in, read_card, save_model, weaker_in, write_tensors
from darkroom.refs import replaced

WIDTHS = (0.05, 0.10)  # the two that are tracked; what is rebuilt is best between and near them
WIDEST = 0.28  # no profile is wider: its exponent would be negative
FOLDER = "averages"


@dataclass(frozen=True)
class Profile:
    """A power-function average taken at a time (images seen)."""

    images_seen: float
    exponent: float


def exponent_of(width: float) -> float:
    """The exponent g of a profile this wide: (g + 1) / ((g + 2)^2 (g + 3)) = width^2 (algorithm 2)."""
    rest = width**-2.0
    return float(np.roots([1, 7, 16 - rest, 12 - rest]).real.max())


def share(images_seen: int, batch: int, width: float) -> float:
    """Share of the new weights in the average after a batch (section 3.1)."""
    return float(1 - (1 - min(batch / images_seen, 1)) ** (exponent_of(width) + 1))


def mixture(stored: Sequence[Profile], wanted: Profile) -> NDArray[np.float64]:
    """How much of each stored profile makes the wanted one, by least squares (appendix C, algorithm 3). [len(stored)]"""
    products = np.array([[_product(one, other) for other in stored] for one in stored])
    target = np.array([_product(one, wanted) for one in stored])
    return np.linalg.lstsq(products, target, rcond=1e-13)[0]


def _product(one: Profile, other: Profile) -> float:
    """Integral of the product of two profiles (appendix C.3), in logarithms: the powers are large."""
    early, late = sorted((one, other), key=lambda profile: profile.images_seen)
    ratio = np.log(early.images_seen / late.images_seen)
    scale = np.log(one.exponent + 1) + np.log(other.exponent + 1) - np.log(one.exponent + other.exponent + 1)
    return float(np.exp(scale + late.exponent * ratio - np.log(late.images_seen)))


def save_snapshot(folder: Path, images_seen: int, averages: Sequence[Mapping[str, Tensor]]) -> None:
    """Write the weights of the two averages at a time into `folder`/averages. Raises OSError."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for width, average in zip(WIDTHS, averages, strict=True):
        final = folder / FOLDER / f"{images_seen:012d}-{width:.2f}.safetensors"
        write_tensors(final.with_suffix(".partial"), average)
        final.with_suffix(".partial").replace(final)


def forget_snapshots(folder: Path, images_seen: int) -> None:
    """Remove the snapshots taken later than this: the course goes another way from here."""
    for file in (folder / FOLDER).glob("*"):
        if int(file.stem[:12]) > images_seen:
            file.unlink()


def write_average(folder: Path, width: float, out: Path) -> None:
    """A model folder `out` with the weights of the model in `folder` averaged by another width.

    Raises FileNotFoundError and ValueError as `rebuilt` does, ModelError where the averages are of another network.
    """
    card, weights = read_card(folder), rebuilt(folder, width)
    try:
        build(card, encoder_in(folder, card)).load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"{folder / FOLDER}: not averages of this model: {' '.join(str(error).split())}") from None
    with replaced(out) as fresh:
        save_model(fresh, weights, card, encoder_in(folder, card), weaker_in(folder, card))


def snapshots_of(folder: Path) -> list[int]:
    """The times (images seen) at which averages were stored in `folder`/averages, rising; empty where there are none."""
    return sorted({int(file.stem[:12]) for file in (folder / FOLDER).glob("*.safetensors")})


def rebuilt(folder: Path, width: float, images_seen: int | None = None) -> dict[str, Tensor]:
    """The weights averaged by a profile of `width` up to the snapshot at `images_seen` (None: the newest) in `folder`/averages.

    Raises FileNotFoundError where none was stored then, ValueError for a width that no profile has.
    """
    if not 0 < width < WIDEST:
        raise ValueError(f"width {width:g}: a power-function average is between 0 and {WIDEST} wide; tracked were {WIDTHS}")
    times = snapshots_of(folder)
    if not times:
        raise FileNotFoundError(f"{folder}: no snapshots of averages; set `averaging.snapshots` above 0 and train")
    last = times[-1] if images_seen is None else images_seen
    if last not in times:
        known = ", ".join(f"{time:,}" for time in times)
        raise FileNotFoundError(f"{folder}: no snapshot at {last:,} images seen; there are: {known}")
    files = [file for file in sorted((folder / FOLDER).glob("*.safetensors")) if int(file.stem[:12]) <= last]
    stored = [Profile(float(file.stem[:12]), exponent_of(float(file.stem[13:]))) for file in files]
    amounts = mixture(stored, Profile(stored[-1].images_seen, exponent_of(width)))
    whole: dict[str, Tensor] = {}
    for file, amount in zip(files, amounts, strict=True):
        for name, value in load_file(file).items():
            whole[name] = whole.get(name, torch.zeros_like(value, dtype=torch.float64)) + amount * value.double()
    return {name: value.float() for name, value in whole.items()}
