"""Augmentations (albumentations), and the labels that tell the network what was done, so that samples do not show it.

After Karras et al. 2020 (arXiv 2006.06676) and EDM, appendix F.2: the network is trained with the label of each augmentation
and sampled with the label of an untouched image (all zeros).

To add an augmentation: write the class, name it in the union at the end of this file.
"""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from darkroom.events import Event, Noted
from darkroom.images import ImageSet, Pixels, contact_sheet, read_split
from darkroom.randomness import AUGMENTATION, generator_for
from darkroom.refs import DatasetRef, digest_of, replaced
from darkroom.sections import Section
from darkroom.shapes import framed

Probability = Annotated[float, Field(ge=0, le=1, description="how often it is applied")]
Applied = dict[str, Any]

BLOCK = 1024  # images whose variations are drawn at once


class Mirror(Section):
    """Left and right exchanged."""

    length: ClassVar[int] = 1  # numbers in the label
    kind: Literal["mirror"]
    probability: Probability

    def transform(self, albumentations: Any) -> Any:
        """The albumentations transform, which is always applied: the recipe draws when."""
        return albumentations.HorizontalFlip(p=1)

    def label(self, applied: Applied, size: tuple[int, int]) -> list[float]:
        """What the network is told: 1 where it was done."""
        return [1.0]


class Affine(Section):
    """Moved, scaled and turned a little; the border pixels are repeated outwards."""

    length: ClassVar[int] = 6
    kind: Literal["affine"]
    probability: Probability
    shift: Annotated[float, Field(ge=0, le=0.5, description="largest move, as a share of the side")]
    scale: Annotated[float, Field(ge=0, le=0.5, description="largest change of size, as a share")]
    degrees: Annotated[float, Field(ge=0, le=180, description="largest turn")]

    def transform(self, albumentations: Any) -> Any:
        """The albumentations transform, which is always applied: the recipe draws when."""
        shift = (-self.shift, self.shift)
        return albumentations.Affine(
            translate_percent={"x": shift, "y": shift},
            scale=(1 - self.scale, 1 + self.scale),
            rotate=(-self.degrees, self.degrees),
            border_mode=1,  # OpenCV's BORDER_REPLICATE
            p=1,
        )

    def label(self, applied: Applied, size: tuple[int, int]) -> list[float]:
        """What the network is told: the matrix less the identity, moves as shares of the sides. 6 numbers."""
        difference = np.asarray(applied["matrix"], np.float64) - np.eye(3)
        difference[:2, 2] /= size[::-1]
        return [float(value) for value in difference[:2].flatten()]


class BrightnessContrast(Section):
    """Brighter or darker, with more or less contrast."""

    length: ClassVar[int] = 2
    kind: Literal["brightness_contrast"]
    probability: Probability
    brightness: Annotated[float, Field(ge=0, le=1, description="largest change, as a share of full white")]
    contrast: Annotated[float, Field(ge=0, le=1, description="largest change, as a share")]

    def transform(self, albumentations: Any) -> Any:
        """The albumentations transform, which is always applied: the recipe draws when."""
        return albumentations.RandomBrightnessContrast(self.brightness, self.contrast, p=1)

    def label(self, applied: Applied, size: tuple[int, int]) -> list[float]:
        """What the network is told: contrast and brightness. 2 numbers."""
        return [float(applied["alpha"]) - 1, float(applied["beta"]) / 255]


class AugmentSection(Section):
    """How training images are varied."""

    seed: Annotated[int, Field(ge=0)]
    transforms: Annotated[list["Augmentation"], Field(description="applied in this order; none leaves images as they are")]


class Recipe:
    """The declared augmentations, ready to apply; every image's variation is a pure function of the seed and its position."""

    def __init__(self, section: AugmentSection) -> None:
        self.section = section
        self.length = sum(item.length for item in section.transforms)
        self._transforms: list[Any] = []
        self._block, self._drawn = -1, (np.empty((0, 0), bool), np.empty(0, np.int64))

    def get_ready(self) -> None:
        """Load what applying takes, which may take seconds."""
        if not self._transforms:
            self._transforms = [item.transform(_albumentations()) for item in self.section.transforms]

    def apply(self, pixels: Pixels, images_seen: int) -> tuple[Pixels, NDArray[np.float32]]:
        """Vary a batch. uint8 [n, h, w, 3] -> the same, and labels float32 [n, length]."""
        varied, labels = np.array(pixels), np.zeros((len(pixels), self.length), np.float32)
        if self.section.transforms:
            self.get_ready()
            for row, image in enumerate(varied):
                wanted, seed = self._drawn_at(images_seen + row)
                if any(wanted):
                    varied[row], labels[row] = self._apply_one(image, wanted, seed)
        return varied, labels

    def _drawn_at(self, position: int) -> tuple[tuple[bool, ...], int]:
        """Which transforms an image gets, and the seed of how. Drawn for many at once: most images get none, and cost nothing."""
        block, place = divmod(position, BLOCK)
        if block != self._block:
            chance = generator_for(self.section.seed, AUGMENTATION, block)
            often = np.array([item.probability for item in self.section.transforms])
            self._block, self._drawn = block, (chance.random((BLOCK, len(often))) < often, chance.integers(2**31, size=BLOCK))
        wanted, seeds = self._drawn
        return tuple(wanted[place].tolist()), int(seeds[place])

    def _apply_one(self, image: Pixels, wanted: tuple[bool, ...], seed: int) -> tuple[Pixels, list[float]]:
        """One transform after the other, not in a `Compose`, whose checks take longer than what it does to a small image."""
        label = list[float]()
        for item, transform, applied in zip(self.section.transforms, self._transforms, wanted, strict=True):
            if applied:
                transform.set_random_seed(seed)
                image = transform(image=image)["image"]
                label += item.label(transform.get_applied_params(), (image.shape[0], image.shape[1]))
            else:
                label += [0.0] * item.length
        return image, label


def _albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # noqa: TID251 - it would ask the network for its newest version
    import albumentations  # imported here: it takes seconds, and only a recipe with transforms needs it

    return albumentations


def augment(section: AugmentSection, data: Path, out: Path, report: Path) -> Generator[Event, None, DatasetRef]:
    """The step: write the recipe that training applies, and a sheet of what it does.

    Raises ValueError for a kind declared twice.
    """
    kinds = [item.kind for item in section.transforms]
    if len(set(kinds)) < len(kinds):
        raise ValueError("augment.transforms: each kind may stand there once (the network could not tell two apart)")
    images = read_split(data, "train")
    recipe = Recipe(section)
    with replaced(out) as folder, replaced(report) as pictures:
        (folder / "recipe.json").write_text(section.model_dump_json(indent=1), encoding="utf-8")
        contact_sheet(_preview(recipe, images), columns=9, scale=max(1, 64 // images.size)).save(pictures / "preview.png")
        touched = float((recipe.apply(images.pixels[:256], 0)[1] != 0).any(1).mean()) if recipe.length else 0.0
        counts = {"transforms": len(kinds), "label_length": recipe.length, "share_touched": round(touched, 4)}
        (pictures / "metrics.json").write_text(json.dumps(counts, indent=1), encoding="utf-8")
    yield Noted(f"{', '.join(kinds) or 'no augmentation'}: {touched:.0%} of the images a batch sees are varied")
    return DatasetRef(str(out), digest_of(out), len(images))


def _preview(recipe: Recipe, images: ImageSet) -> Pixels:
    """Eight training images, each followed by eight variations. uint8 [72, side, side, 3]"""
    chosen = np.linspace(0, len(images) - 1, 8).astype(int)
    rows = []
    for place, index in enumerate(chosen):
        original = images.exact(np.array([index]))
        varied, _ = recipe.apply(np.repeat(original, 8, axis=0), place * 8)
        rows += [framed(one, images.pixels.shape[1]) for one in (original, varied)]
    return np.concatenate(rows)


def read_recipe(folder: Path) -> Recipe:
    """The recipe that `augment` wrote."""
    return Recipe(TypeAdapter(AugmentSection).validate_json((folder / "recipe.json").read_text(encoding="utf-8")))


Augmentation = Annotated[Mirror | Affine | BrightnessContrast, Field(discriminator="kind")]
AugmentSection.model_rebuild()


def main() -> int:
    """The command of the stage `augment`: python -m darkroom.augmentation"""
    from darkroom.stage import run_stage

    paths = Path("data/curated"), Path("data/augmented"), Path("reports/augment")
    return run_stage("augment", AugmentSection, lambda section: augment(section, *paths))


if __name__ == "__main__":
    raise SystemExit(main())
