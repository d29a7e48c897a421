"""A set of mirrored writing: what is drawn does not mirror, because the network was told; untold, it does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from darkroom.augmentation import AugmentSection, Recipe
from darkroom.images import ImageSet, Pixels
from darkroom.sampling import draw, noise_for
from darkroom.training.course import Materials, Sheet
from darkroom.training.loop import train
from tests.darkroom.tiny import DRAWING, MIRROR, base_section, card, finished
from tests.darkroom.training.rig import CPU, fresh_model

DRAWN = 48


class Silent(Recipe):
    """The same variations, and the network is not told."""

    def apply(self, pixels: Pixels, images_seen: int) -> tuple[Pixels, NDArray[np.float32]]:
        varied, labels = super().apply(pixels, images_seen)
        return varied, np.zeros_like(labels)


def written(count: int) -> ImageSet:
    """The letter F, dark on light, with some grain."""
    letter = np.full((8, 8), 220)
    letter[1:7, 1:3] = letter[1:2, 1:7] = letter[4:5, 1:6] = 30
    grain = np.random.default_rng(0).integers(-20, 20, (count, 8, 8, 3))
    pixels = (letter[None, :, :, None] + grain).clip(0, 255).astype(np.uint8)
    return ImageSet(pixels, np.zeros(count, np.int64), ("dark", "light"), tuple(map(str, range(count))))


@pytest.mark.parametrize(("told", "least", "most"), [(True, 0.0, 0.05), (False, 0.2, 0.8)])
def test_what_is_drawn_mirrors_only_where_the_network_was_not_told(tmp_path: Path, told: bool, least: float, most: float) -> None:
    kind = Recipe if told else Silent
    recipe = kind(AugmentSection.model_validate({"seed": 0, "transforms": [MIRROR]}))
    images, far = written(32), 10**6
    cadences = {"report_every": far, "held_out_every": far, "samples_every": far, "checkpoint_every": far}
    section = base_section(
        images=3200, batch_size=16, averaging={"halflife_images": 200, "rampup": 0.5, "snapshots": 0, "weaker": 0.0}, **cadences
    )
    sheet = Sheet(Path(), images.pixels)
    materials = Materials(images, images, recipe, tmp_path, lambda *given: sheet)
    _, state = finished(train(fresh_model(recipe.length), section, materials, CPU))
    model = card(augmentations=recipe.length, drawing=DRAWING | {"steps": 12})
    labels, noise = torch.zeros(DRAWN, dtype=torch.long), noise_for(0, range(DRAWN), 8)
    made = draw(state.averaged, model, labels, noise, model.drawing).astype(float).mean(-1)
    letter = images.pixels[0].astype(float).mean(-1)
    upright, mirrored = (np.square(made - shape).mean((1, 2)) for shape in (letter, letter[:, ::-1]))
    share = float((mirrored < upright).mean())
    assert least <= share <= most
