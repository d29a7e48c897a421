"""Diagnosis: sets of images made to have each disease, a model that knows its images by heart, and no alarm for real images."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from darkroom.augmentation import AugmentSection, Recipe
from darkroom.evaluation import evaluate as evaluating
from darkroom.evaluation import signs
from darkroom.evaluation.diagnosis import Diagnosis, Evidence, diagnose
from darkroom.evaluation.evaluate import EvaluateSection
from darkroom.evaluation.figures import Figure
from darkroom.evaluation.leaking import leaks
from darkroom.evaluation.memorisation import memorisation
from darkroom.evaluation.metrics import KernelDistance, Precision
from darkroom.evaluation.neighbourhoods import TwoSets
from darkroom.evaluation.signs import colour, heard, loss_gaps, variety
from darkroom.features.features import ShrunkPixels
from darkroom.images import ImageSet, Pixels, read_split
from darkroom.sampling import draw, noise_for
from darkroom.training.train_base import train_base
from tests.darkroom.evaluation.ideal import Ideal
from tests.darkroom.tiny import base_section, card, finished, painted, prepare

TOP = Path(__file__).parents[3]
SETTINGS = yaml.safe_load((TOP / "params.yaml").read_text(encoding="utf-8"))
TRANSFORMS = [
    {"kind": "mirror", "probability": 0.5},
    {"kind": "affine", "probability": 0.5, "shift": 0.15, "scale": 0.1, "degrees": 15.0},
]
FEATURES = ShrunkPixels(kind="pixels", side=8)


def scenes(seed: int, n: int, side: int = 16) -> Pixels:
    """A coloured disc in the left half, above a dark bar at the right border: nothing symmetric, nothing twice."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    images = np.empty((n, side, side, 3))
    for image in images:
        image[:] = 180 + chance.normal(0, 12, 3)
        centre, radius = (chance.uniform(0.25, 0.4), chance.uniform(0.3, 0.7)), chance.uniform(0.12, 0.25)
        image[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2] = chance.uniform(0, 255, 3)
        image[(x > 0.8) & (y > chance.uniform(0.3, 0.8))] = chance.uniform(0, 60, 3)
        image += chance.normal(0, 3, image.shape)
    return images.clip(0, 255).round().astype(np.uint8)


REAL, HELD_OUT = scenes(0, 400), scenes(1, 200)


def recipe() -> Recipe:
    return Recipe(AugmentSection.model_validate({"seed": 0, "transforms": TRANSFORMS}))


def evidence(made: Pixels) -> Evidence:
    """All that can be seen of images alone."""
    real, unseen, drawn = (FEATURES.describe(pixels, 64) for pixels in (REAL[: len(made)], HELD_OUT, made))
    figures = {}
    for metric in (KernelDistance(kind="kernel_distance"), Precision(kind="precision", k=5)):
        chance = np.random.default_rng(0)
        estimates = [metric.estimate(TwoSets(real, one), 200, chance) for one in (drawn, unseen)]
        figures[metric.kind] = Figure(len(drawn), len(unseen), *estimates, metric.better, metric.meaning)
    return Evidence(
        figures=figures,
        copies=memorisation(made, REAL, HELD_OUT),
        variety=variety(unseen, drawn, 0),
        colour=colour(REAL, HELD_OUT, made, 0),
        leaks=leaks(recipe(), REAL, HELD_OUT, made, 0),
    )


def found_in(made: Pixels) -> Diagnosis:
    return diagnose(evidence(made), SETTINGS, "train_base")


@cache
def evidence_of(kind: str) -> Evidence:
    return evidence(DISEASED[kind])


@pytest.mark.parametrize("seed", [2, 3])
def test_real_images_in_place_of_generated_ones_are_healthy(seed: int) -> None:
    found = found_in(scenes(seed, 200))
    assert found.verdict == "healthy", found
    assert (found.changes, found.snippet) == ((), "")


def noisy(pixels: Pixels, most: int) -> Pixels:
    return (pixels + np.random.default_rng(7).integers(-most, most + 1, pixels.shape)).clip(0, 255).astype(np.uint8)


def scrambled(pixels: Pixels) -> Pixels:
    """The quarters of each image in another order: right colours, right variety, and no scene."""
    half = pixels.shape[1] // 2
    quarters = [pixels[:, y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    orders = [np.random.default_rng(row).permutation(4) for row in range(len(pixels))]
    a, b, c, d = (np.stack([quarters[order[place]][row] for row, order in enumerate(orders)]) for place in range(4))
    return np.concatenate([np.concatenate([a, b], axis=2), np.concatenate([c, d], axis=2)], axis=1)


DISEASED = {
    "memorising": noisy(REAL[:200], 2),
    "collapsed": noisy(scenes(5, 2)[np.arange(200) % 2], 20),
    "leaking augmentation": recipe().apply(scenes(6, 200), 0)[0],
    "colour-shifted": (scenes(8, 200).astype(int) * [1.0, 0.85, 0.8]).astype(np.uint8),
    "underfit": scrambled(scenes(9, 200)),
}


@pytest.mark.parametrize("kind", DISEASED)
def test_each_disease_is_named_with_its_evidence_and_a_remedy_that_can_be_pasted(kind: str) -> None:
    found = diagnose(evidence_of(kind), SETTINGS, "train_base")
    assert found.verdict == kind, found
    assert any(character.isdigit() for character in found.findings[0].evidence)
    changed = yaml.safe_load(found.snippet)
    for change in found.changes:
        old, new = SETTINGS, changed
        for part in change.setting.split("."):
            old, new = old[part], new[part]
        assert (change.old, change.new) == (old, new)
        assert old != new
        assert f"{change.setting}: " in str(change) and " -> " in str(change)


def test_the_share_that_shows_an_augmentation_is_measured() -> None:
    """Half of the images mirrored: half is said, and no turning; blurred ones are not taken for turned ones."""
    half = scenes(10, 200)
    half[::2] = half[::2, :, ::-1]
    mirror, affine = (leaks(recipe(), REAL, HELD_OUT, half, 0)[kind] for kind in ("mirror", "affine"))
    assert mirror.made.low < 0.5 < mirror.made.high
    assert mirror.made.value == pytest.approx(0.5, abs=0.12)
    assert mirror.floor.high < 0.15
    assert affine.made.value < 0.15
    assert leaks(recipe(), np.full_like(REAL, 90), HELD_OUT, half, 0) == {}
    blurred = (sum(np.roll(scenes(11, 200).astype(int), by, axis=2) for by in (-1, 0, 1)) // 3).astype(np.uint8)
    assert leaks(recipe(), REAL, HELD_OUT, blurred, 0)["affine"].made.low < 0.25 * 0.5
    assert leaks(recipe(), REAL, HELD_OUT, scrambled(scenes(13, 200)), 0) == {}


def test_a_brighter_set_is_said_to_be_shifted_and_not_to_leak_brightness() -> None:
    section = {"seed": 0, "transforms": [{"kind": "brightness_contrast", "probability": 0.5, "brightness": 0.2, "contrast": 0.2}]}
    made = (scenes(12, 200) * 0.8).astype(np.uint8)
    signs = leaks(Recipe(AugmentSection.model_validate(section)), REAL, HELD_OUT, made, 0)
    seen = Evidence({}, evidence_of("colour-shifted").copies, colour=colour(REAL, HELD_OUT, made, 0), leaks=signs)
    found = diagnose(seen, SETTINGS, "train_base")
    assert {finding.kind for finding in found.findings} & {"colour-shifted", "leaking augmentation"} == {"colour-shifted"}


def test_a_collapse_under_guidance_asks_for_less_guidance_first() -> None:
    found = diagnose(evidence_of("collapsed"), SETTINGS, "train_base")
    assert [str(change) for change in found.changes] == ["evaluate.drawing.away: 3 -> 1"]
    towards = {**SETTINGS, "evaluate": {"drawing": {"guidance": 2.0, "away": 1.0}}}
    found = diagnose(evidence_of("collapsed"), towards, "train_base")
    assert [str(change) for change in found.changes] == ["evaluate.drawing.guidance: 2 -> 1"]
    plain = {**SETTINGS, "evaluate": {"drawing": {"guidance": 1.0, "away": 1.0}}}
    assert [change.setting for change in diagnose(evidence_of("collapsed"), plain, "finetune").changes] == [
        "finetune.learning_rate"
    ]


def test_a_colour_shift_under_guidance_asks_for_half_of_it_first() -> None:
    shifted = evidence_of("colour-shifted")
    assert [str(change) for change in diagnose(shifted, SETTINGS, "finetune").changes] == ["evaluate.drawing.away: 3 -> 2"]
    little = {**SETTINGS, "evaluate": {"drawing": {"guidance": 1.4, "away": 1.5}}}
    assert [str(change) for change in diagnose(shifted, little, "finetune").changes] == [
        "evaluate.drawing.guidance: 1.4 -> 1",
        "evaluate.drawing.away: 1.5 -> 1",
    ]
    plain = {**SETTINGS, "evaluate": {"drawing": {"guidance": 1.0, "away": 1.0}}}
    assert [change.setting for change in diagnose(shifted, plain, "finetune").changes] == [
        "finetune.averaging.halflife_images",
        "finetune.noise.mean",
    ]


def test_a_model_that_knows_its_images_by_heart_is_caught_in_images_and_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """What training would come to without end: the samplers draw its images, and its loss on others is many times as high."""
    few, others = scenes(20, 8, 8), scenes(21, 100, 8)
    model, drawing = Ideal(few), card().drawing.model_copy(update={"steps": 20})
    labels = torch.zeros(64, dtype=torch.int64)
    made = draw(model, card(), labels, noise_for(0, range(64), 8), drawing)
    copies = memorisation(made, few, others)
    assert copies.copied.value > 0.9
    assert copies.copied_held_out.value < 0.1
    monkeypatch.setattr(signs, "load_model", lambda folder, device: (model, card()))
    sets = [ImageSet(one, np.zeros(len(one), np.int64), ("dark",), ("",) * len(one)) for one in (few, others)]
    gaps = loss_gaps(Path("model"), sets[0], sets[1], 0)
    assert gaps["middle"].low > 1.15
    found = diagnose(Evidence({}, copies, gaps=gaps), SETTINGS, "train_base")
    assert {finding.kind for finding in found.findings} == {"memorising", "overfit"}
    assert found.verdict == "memorising"


def test_a_network_that_has_learned_little_has_no_gap(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    finished(train_base(base_section(), places))
    gaps = loss_gaps(places.out, read_split(places.data, "train"), read_split(places.data, "validation"), 0)
    passed = memorisation(scenes(2, 50), REAL, HELD_OUT)
    assert diagnose(Evidence({}, passed, gaps=gaps), SETTINGS, "train_base").verdict == "healthy"


def test_a_model_that_listens_denoises_images_better_told_what_they_are(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    finished(train_base(base_section(images=2000, samples_every=2000, held_out_every=2000), places))
    listens = heard(places.out, painted(60, seed=9), 0)
    assert listens is not None and listens.low > 0.8
    passed = memorisation(scenes(2, 50), REAL, HELD_OUT)
    assert diagnose(Evidence({}, passed, heard=listens), SETTINGS, "train_base").verdict == "healthy"
    one_label = painted(60, seed=9).only(["dark"])
    assert heard(places.out, one_label, 0) is None and heard(places.out, painted(14, seed=9), 0) is None


def test_a_model_that_does_not_listen_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    images = painted(100, seed=9)
    monkeypatch.setattr(signs, "load_model", lambda folder, device: (Ideal(np.asarray(images.pixels)), card()))
    deaf = heard(Path("model"), images, 0)
    assert deaf is not None and (deaf.value, deaf.high < 0.6) == (0.5, True)
    passed = memorisation(scenes(2, 50), REAL, HELD_OUT)
    found = diagnose(Evidence({}, passed, heard=deaf), SETTINGS, "finetune")
    assert found.verdict == "not listening" and "better than told what another is; 50 % is chance" in found.findings[0].evidence
    assert [str(change) for change in found.changes] == ["finetune.images: 2,560 -> 5,120"]


def test_a_model_that_was_not_fine_tuned_is_mended_in_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(evaluating, "evaluate", lambda *given, **named: asked.append(named["making"].sections) or iter(()))
    (tmp_path / "models/tuned").mkdir(parents=True)
    (tmp_path / "models/tuned/model.json").write_text(card().model_dump_json())
    section = EvaluateSection.model_validate(SETTINGS["evaluate"])
    for images in (2560, 0):
        settings = {**SETTINGS, "finetune": {**SETTINGS["finetune"], "images": images}}
        list(evaluating.evaluate_workspace(section, tmp_path, settings))
    assert asked == [{"base": "train_base", "tuned": "finetune"}, {"base": "train_base", "tuned": "train_base"}]


def test_settings_that_are_not_there_are_left_out_of_the_remedy() -> None:
    settings: dict[str, Any] = {"train_base": {"images": 100}}
    found = diagnose(evidence_of("memorising"), settings, "train_base")
    assert [str(change) for change in found.changes] == ["train_base.images: 100 -> 50"]
    assert diagnose(evidence_of("memorising"), {}, "train_base").snippet == ""
