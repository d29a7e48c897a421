"""The loop alone on a tiny course, without the report around it."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darkroom.augmentation import AugmentSection, Recipe
from darkroom.events import Event
from darkroom.images import ImageSet
from darkroom.networks.denoiser import Denoiser
from darkroom.networks.saved import build
from darkroom.training.checkpoints import State
from darkroom.training.course import UNSTEERED, Conduct, Materials, Sheet
from darkroom.training.loop import train
from tests.darkroom.tiny import base_section, card, painted

CPU = torch.device("cpu")


def fresh_model(augmentations: int = 0) -> Denoiser:
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return build(card(augmentations=augmentations))


def course(
    checkpoints: Path,
    pictures: ImageSet | None = None,
    transforms: list[dict[str, Any]] | None = None,
    model: Denoiser | None = None,
    conduct: Conduct = UNSTEERED,
    **changes: Any,
) -> Generator[Event, None, State]:
    """A course of training on 20 images, its checkpoints below `checkpoints`."""
    recipe = Recipe(AugmentSection.model_validate({"seed": 0, "transforms": transforms or []}))
    materials = Materials(
        images=pictures or painted(20, seed=1),
        held_out=painted(6, seed=2),
        recipe=recipe,
        checkpoints=checkpoints,
        draw=lambda averaged, images_seen: Sheet(Path(f"{images_seen}.png"), painted(24, seed=3).pixels),
        conduct=conduct,
    )
    return train(model or fresh_model(recipe.length), base_section(**changes), materials, CPU)


def weights_of(state: State) -> dict[str, Tensor]:
    """Every number that the course has made: weights, their average, the optimiser's memory."""
    weights = {f"model/{name}": value for name, value in state.model.state_dict().items()}
    weights |= {f"averaged/{name}": value for name, value in state.averaged.state_dict().items()}
    weights |= {f"profiles/{name}": value for name, value in state.profiles.state_dict().items()}
    weights |= {f"weaker/{name}": value for name, value in state.weaker.state_dict().items()}
    weights |= {f"weighting/{name}": value for name, value in state.weighting.state_dict().items()}
    for index, moments in state.optimiser.state_dict()["state"].items():
        weights |= {f"optimiser/{index}/{name}": value for name, value in moments.items()}
    return weights


def differing(one: State, other: State) -> list[str]:
    """Names of the numbers that are not the same to the last bit."""
    first, second = weights_of(one), weights_of(other)
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]
