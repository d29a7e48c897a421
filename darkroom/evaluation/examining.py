"""The examination of one model: signs gathered, a diagnosis made, and both told on the page and in a file."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.augmentation import read_recipe
from darkroom.evaluation.diagnosis import Diagnosis, Evidence, diagnose
from darkroom.evaluation.figures import Figure
from darkroom.evaluation.leaking import leaks
from darkroom.evaluation.memorisation import Memorisation
from darkroom.evaluation.page import Block, Cell, Paste, Table, estimated
from darkroom.evaluation.scoring import DescribedSets
from darkroom.evaluation.signs import colour, heard, loss_gaps, variety
from darkroom.evaluation.subjects import Subject
from darkroom.images import ImageSet, Pixels, spread
from darkroom.shapes import core

MOST, MOST_BYTES = 10_000, 2**29  # images of a set whose colours are looked at, and bytes of their pixels


@dataclass(frozen=True)
class Making:
    """How models were made: the folder with the recipe of augmentations, all of params.yaml, the section that made each model."""

    augmented: Path
    settings: Mapping[str, Any]
    sections: Mapping[str, str]

    @property
    def mirrors(self) -> bool:
        """Whether training mirrors images: then a mirrored one may be drawn, and is a copy too."""
        return any(item.kind == "mirror" and item.probability > 0 for item in read_recipe(self.augmented).section.transforms)


@dataclass(frozen=True)
class Examined:
    """What was seen of a model, and what it amounts to."""

    evidence: Evidence
    diagnosis: Diagnosis

    def blocks(self) -> list[Block]:
        """For the page."""
        return [
            Table("Diagnosis", ("Finding", "Evidence", "Remedy", "Change of params.yaml"), _findings(self.diagnosis)),
            Paste("To paste into params.yaml", self.diagnosis.snippet),
            Table("What the diagnosis rests on", ("Sign", "Generated images", "Real images"), _signs(self.evidence)),
        ]

    def facts(self) -> dict[str, Any]:
        """For diagnosis.json."""
        return {
            "verdict": self.diagnosis.verdict,
            "findings": [asdict(one) for one in self.diagnosis.findings],
            "changes": [str(one) for one in self.diagnosis.changes],
            "snippet": self.diagnosis.snippet,
        }


@dataclass(frozen=True)
class Seen:
    """What an evaluation found of a model: its figures; copies in pixels, and in features where all images were described."""

    figures: Mapping[str, Figure]
    copies: Memorisation
    in_features: Memorisation | None = None


def examined(subject: Subject, made: Pixels, sets: DescribedSets, seen: Seen, making: Making) -> Examined:
    """Gather the signs of one model and judge them.

    The loss is compared where the weights are there. Raises ModelError.
    """
    seed = 0
    shapes = subject.card.shapes
    real, unseen = (core(_some(images), shapes) for images in (subject.reference, subject.unseen))
    drawn = core(made, shapes)
    scaled = [sets.features.scaled(one) for one in (sets.unseen, sets.made[0])]
    there = (subject.folder / "weights.safetensors").is_file()
    evidence = Evidence(
        figures=seen.figures,
        copies=seen.copies,
        in_features=seen.in_features,
        variety=variety(scaled[0], scaled[1], seed),
        colour=colour(real, unseen, drawn, seed),
        leaks=leaks(read_recipe(making.augmented), real, unseen, drawn, seed),
        gaps=loss_gaps(subject.folder, subject.reference, subject.unseen, seed) if there else {},
        heard=heard(subject.folder, subject.unseen, seed) if there else None,
    )
    settings = making.settings if subject.card.keeps_weaker else _led_by_none(making.settings)
    return Examined(evidence, diagnose(evidence, settings, making.sections[subject.name]))


def _some(images: ImageSet) -> Pixels:
    """Pixels of a set, or of as many images of it, evenly spread, as colours are well known from and memory has room for."""
    bytes_of_one = int(np.prod(images.pixels.shape[1:]))
    return np.asarray(images.pixels[spread(len(images), min(MOST, max(1, MOST_BYTES // bytes_of_one)))])


def _led_by_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All of params.yaml as a model that keeps no earlier weights is drawn: `away` says nothing."""
    evaluate = settings.get("evaluate", {})
    return {**settings, "evaluate": {**evaluate, "drawing": {**evaluate.get("drawing", {}), "away": 1.0}}}


def _findings(diagnosis: Diagnosis) -> list[tuple[Cell, ...]]:
    if not diagnosis.findings:
        return [(Cell("healthy"), Cell("no sign of any disease at this n"), Cell(""), Cell(""))]
    return [
        (Cell(one.kind), Cell(one.evidence), Cell(one.remedy), Cell("; ".join(map(str, one.changes))))
        for one in diagnosis.findings
    ]


def _signs(evidence: Evidence) -> Sequence[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    if evidence.variety is not None:
        rows.append((Cell("variety", "of as many real images: 1 is as varied"), estimated(evidence.variety), Cell("1")))
    for name, sign in evidence.colour.items():
        rows.append((Cell(name, "levels of 255 off the training images"), estimated(sign.made), estimated(sign.floor)))
    for name, sign in evidence.leaks.items():
        rows.append((Cell(f"shows {name}", "share that looks augmented"), estimated(sign.made), estimated(sign.floor)))
    for band, gap in evidence.gaps.items():
        rows.append((Cell(f"loss, {band}", "held-out over training: 1 is none by heart"), estimated(gap), Cell("1")))
    if evidence.heard is not None:
        rows.append(
            (Cell("listens", "held-out images that fit what is said of them best"), estimated(evidence.heard), Cell("0.5"))
        )
    return rows


def told(findings: Mapping[str, Mapping[str, Any]]) -> str:
    """diagnosis.json as Markdown: verdict, evidence, remedy, and the change that can be pasted."""
    parts = []
    for model, one in findings.items():
        parts.append(f"**{model}: {one['verdict']}**")
        parts += [f"- {finding['kind']}: {finding['evidence']}. Remedy: {finding['remedy']}" for finding in one["findings"]]
        if one["snippet"]:
            parts.append(f"\nTry in params.yaml ({'; '.join(one['changes'])}):\n\n```yaml\n{one['snippet']}```\n")
    return "\n".join(parts)
