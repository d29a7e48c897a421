"""Evaluate: generate images with each model, describe them, score them, and write one page that says what was found.

Three acts, each kept: `generating`, `describing`, `scoring`. What they cost is known before they start (`cost`).
"""

import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from darkroom.evaluation.cost import Job, fitted, paced
from darkroom.evaluation.describing import Describer
from darkroom.evaluation.examining import Examined, Making, Seen, examined
from darkroom.evaluation.figures import Figure
from darkroom.evaluation.generating import Ask, Generate, drawn, told_names
from darkroom.evaluation.keeping import Kept
from darkroom.evaluation.memorisation import Memorisation, Share, memorisation, memorisation_in_features
from darkroom.evaluation.metrics import Metric
from darkroom.evaluation.neighbourhoods import Described
from darkroom.evaluation.report import ModelPage, pairs_of
from darkroom.evaluation.scoring import DescribedSets, by_label, course, scored
from darkroom.evaluation.subjects import Subject, first, read_data, subjects_of
from darkroom.evaluation.writing import history_of, write
from darkroom.events import Event, Noted, Progressed, ScoreMeasured
from darkroom.features.features import Features
from darkroom.images import FEWEST, Pixels
from darkroom.networks.saved import ChosenDrawing
from darkroom.networks.weights import Weights, with_weights
from darkroom.refs import ScoresRef, digest_of, replaced
from darkroom.sampling import evaluations, generate, in_words
from darkroom.sections import Section

KEPT = Path(".darkroom/features")  # in a workspace: drawn images and features, which stages' outputs do not hold


class EvaluateSection(Section):
    """Settings of the step `evaluate`."""

    images: Annotated[int, Field(ge=FEWEST, description="how many images each model generates with each seed")]
    drawing: Annotated[ChosenDrawing, Field(description="how images are drawn: scored so, and the registered version draws so")]
    weights: Annotated[Weights, Field(description="of the tuned model: scored with them, and registered with them")]
    seed: NonNegativeInt
    seeds: Annotated[int, Field(ge=1, le=100, description="how many seeds, from `seed` on; scores are means over them")]
    minutes: Annotated[PositiveFloat, Field(description="most that an evaluation may take: fewer images are drawn to keep it")]
    batch: Annotated[PositiveInt, Field(description="images generated or described at once")]
    features: Features
    metrics: tuple[Metric, ...]
    bootstrap: Annotated[int, Field(ge=100, le=100_000, description="resamplings behind an interval")]
    shown: Annotated[PositiveInt, Field(description="samples, and closest pairs, in the report")]

    @field_validator("metrics")
    @classmethod
    def _named_once(cls, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        kinds = [metric.kind for metric in metrics]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ValueError(f"a metric may stand here once, and {', '.join(twice)} stands more often")
        return metrics

    @model_validator(mode="after")
    def _cmmd_is_of_clip(self) -> Self:
        if self.features.kind != "clip" and any(metric.kind == "cmmd" for metric in self.metrics):
            raise ValueError(
                f"cmmd is measured in CLIP's features, and features.kind is {self.features.kind}; use kernel_distance"
            )
        return self

    @property
    def ask(self) -> Ask:
        """How images are drawn."""
        seeds = tuple(range(self.seed, self.seed + self.seeds))
        return Ask(self.images, seeds, self.drawing, self.batch)


@dataclass(frozen=True)
class Looked:
    """One model with all that was drawn, described and found: what further looks start from."""

    section: EvaluateSection
    subject: Subject
    made: Pixels  # all that it generated, with all seeds
    training: Pixels  # all training images, since a model may have copied any
    sets: DescribedSets  # raw features of what is compared
    page: ModelPage


def evaluate(
    section: EvaluateSection,
    data: Path,
    models: Mapping[str, Path],
    out: Path,
    draw: Generate = generate,
    keep: Path | None = None,
    histories: Mapping[str, Path] | None = None,
    making: Making | None = None,
) -> Generator[Event, None, ScoresRef]:
    """Evaluate each of `models` (name -> folder) against the data set in `data`; write scores and report into `out`.

    A model is measured against images of its own focus (the labels in its model.json; none: all). Reference: n training
    images. Floor: n held-out images against the same reference. n is the least of generated, held-out and training
    images. Drawn images and features are kept in the folder `keep`; `histories` are tables of losses, by model;
    with `making` each model is examined, and diagnosis.json is written.
    Raises EvaluationError, FeaturesUnavailable.
    """
    found = yield from read_data(data)
    subjects = tuple(subjects_of(found, models, section.seed))
    describer = Describer(section.features, Kept(keep), section.batch)
    job = Job(found, subjects, section.ask, section.metrics, section.bootstrap, describer, draw)
    job = replace(job, examined=making is not None, mirrored=making is not None and making.mirrors)
    job, plan, reason = yield from fitted(job, section.minutes)
    looks, health = yield from paced(_all(section, job, making), plan)
    pages = [_page(section, job, looked, reason, histories or {}, health) for looked in looks]
    with replaced(out) as folder:
        if making:
            told = {name: one.facts() for name, one in health.items()}
            (folder / "diagnosis.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        write(folder, pages, section.features.name)
    scores = out / "scores.json"
    return ScoresRef(str(scores), digest_of(scores), sum(len(page.figures) for page in pages))


def evaluate_workspace(section: EvaluateSection, at: Path, settings: Mapping[str, Any]) -> Generator[Event, None, ScoresRef]:
    """Evaluate and examine both models of the workspace `at`, the tuned one with the weights chosen, into reports/evaluate.

    `settings`, all of params.yaml, name old values in remedies. Raises as `evaluate`, and FileNotFoundError for weights that
    were not kept.
    """
    tuned_by = "finetune" if settings.get("finetune", {}).get("images", 1) else "train_base"  # what to change where it is ill
    with with_weights(at / "models/tuned", section.weights, at / KEPT.parent) as tuned:
        return (
            yield from evaluate(
                section,
                at / "data/curated",
                {"base": at / "models/base", "tuned": tuned},
                at / "reports/evaluate",
                keep=at / KEPT,
                histories={"base": at / "reports/train_base/loss.csv", "tuned": at / "reports/finetune/loss.csv"},
                making=Making(at / "data/augmented", settings, {"base": "train_base", "tuned": tuned_by}),
            )
        )


def _all(
    section: EvaluateSection, job: Job, making: Making | None
) -> Generator[Event, None, tuple[list[Looked], dict[str, Examined]]]:
    """First all images are drawn: a model that has diverged is known before anything is described."""
    made = {}
    for subject in job.subjects:
        made[subject.name] = yield from drawn(subject, job.ask, job.describer.kept, job.draw)
    found = []
    for subject in job.subjects:
        found.append((yield from _looked(section, job, subject, made[subject.name])))
    return found, (yield from _health(found, making)) if making else {}


def _health(looks: list[Looked], making: Making) -> Generator[Event, None, dict[str, Examined]]:
    """What ails each model."""
    found = {}
    for looked in looks:
        name, page = looked.subject.name, looked.page
        yield Progressed(f"examining {name}", 0, 1, "models")
        seen = Seen(page.figures, page.copies, page.copies_in_features)
        found[name] = examined(looked.subject, looked.made, looked.sets, seen, making)
        yield Progressed(f"examining {name}", 1, 1, "models")
        yield Noted(f"{name}: {found[name].diagnosis.verdict}")
    return found


def _page(
    section: EvaluateSection,
    job: Job,
    looked: Looked,
    reason: str,
    histories: Mapping[str, Path],
    health: Mapping[str, Examined],
) -> ModelPage:
    name = looked.subject.name
    facts = _facts(section, job, looked, reason)
    blocks = health[name].blocks() if name in health else ()
    return replace(looked.page, facts=facts, history=history_of(histories.get(name)), blocks=blocks)


def _looked(section: EvaluateSection, job: Job, subject: Subject, made: list[Pixels]) -> Generator[Event, None, Looked]:
    """One model described, scored, and looked at for copies."""
    name, whole, training = subject.name, np.concatenate(made), job.data.training.pixels
    sets = yield from _described(job, subject, made)
    if sets.n < job.ask.count:
        yield Noted(f"{name}: scored at n = {sets.n}, the number of real images there are to compare with")
    yield Progressed(f"scoring {name}", 0, 1, "models")
    result = scored(section.metrics, sets, section.bootstrap, section.seed)
    labels = by_label(section.metrics, sets, section.bootstrap, section.seed)
    main = next((metric for metric in section.metrics if metric.kind == "kernel_distance"), None)
    settling = course(main, sets, section.seed) if main else []
    yield Progressed(f"scoring {name}", 1, 1, "models")
    held_out = subject.beside
    described = (yield from _all_described(job, subject, made, held_out)) if job.whole else None
    yield Progressed(f"looking for copies in {name}", 0, len(whole))
    copies = memorisation(whole, job.data.small, held_out, job.mirrored)
    in_features = memorisation_in_features(*described) if described else None
    yield Progressed(f"looking for copies in {name}", len(whole), len(whole))
    figures = result.figures | _shares(copies, "pixels")
    if in_features:
        figures |= {f"{kind}_in_features": it for kind, it in _shares(in_features, section.features.name).items()}
    yield from (Noted(f"{name}: {why}") for why in result.refused.values())
    yield from _told(name, figures)
    pairs = pairs_of(whole, training, copies, section.shown)
    page = ModelPage(
        name, subject.card.focus, whole[: section.shown], pairs, figures, copies, result.refused, (), labels, settling
    )
    if in_features:
        near = pairs_of(whole, training, in_features, section.shown)
        page = replace(page, copies_in_features=in_features, pairs_in_features=near)
    return Looked(section, subject, whole, training, sets, page)


def _all_described(
    job: Job, subject: Subject, made: list[Pixels], held_out: Pixels
) -> Generator[Event, None, tuple[Described, Described, Described]]:
    """Scaled features of all made, all training and held-out images of the focus, to look for copies in them."""
    describer, name = job.describer, subject.name
    drawn = []
    for pixels in made:
        drawn.append((yield from describer.described(pixels, f"images of {name}")))
    training = yield from describer.described(job.data.training.pixels, "all training images")
    unseen = yield from describer.described(held_out, f"held-out images for {name}")
    scaled = [describer.features.scaled(one) for one in (np.concatenate(drawn), training, unseen)]
    return scaled[0], scaled[1], scaled[2]


def _described(job: Job, subject: Subject, made: list[Pixels]) -> Generator[Event, None, DescribedSets]:
    n, describer, card = subject.n(job.ask.count), job.describer, subject.card
    real = {}
    for what, images in (("training", subject.reference), ("unseen", subject.unseen)):
        real[what] = yield from describer.described(first(images, n), f"{what} images for {subject.name}")
    described = []
    for pixels in made:
        wanted = pixels if job.whole else pixels[:n]
        described.append((yield from describer.described(wanted, f"images of {subject.name}"))[:n])
    names = np.array(job.data.names)
    return DescribedSets(
        features=describer.features,
        reference=real["training"],
        unseen=real["unseen"],
        made=tuple(described),
        reference_labels=names[subject.reference.labels[:n]],
        unseen_labels=names[subject.unseen.labels[:n]],
        made_labels=tuple(told_names(card, seed, job.ask.count)[:n] for seed in job.ask.seeds),
    )


def _facts(section: EvaluateSection, job: Job, looked: Looked, reason: str) -> list[tuple[str, str]]:
    """How it was measured."""
    ask, card = job.ask, looked.subject.card
    drawing = ask.drawing.of(card)
    seeds = f"{ask.seeds[0]}" if len(ask.seeds) == 1 else f"{ask.seeds[0]} to {ask.seeds[-1]}"
    reference = ", ".join(card.focus) or "all labels"
    facts = [
        ("generated", f"{ask.count:,} images" + (f" with each of {len(ask.seeds)} seeds" if len(ask.seeds) > 1 else "")),
        ("drawn by", in_words(drawing)),
        ("asked of the network", f"{evaluations(drawing)} times an image"),
        ("seed", seeds),
        ("reference", f"{looked.sets.n:,} of {len(looked.subject.reference):,} training images ({reference})"),
        ("real images", f"{looked.sets.n:,} of {len(looked.subject.unseen):,} held-out images"),
        ("features", section.features.name),
        ("images seen in training", f"{card.images_seen:,}"),
    ]
    given = [("left out", job.data.left_out), ("fewer images", reason)]
    return [*facts, *((what, text) for what, text in given if text)]


def _shares(copies: Memorisation, features: str) -> dict[str, Figure]:
    def figure(share: Share, held_out: Share, meaning: str) -> Figure:
        made, floor = (it.estimate for it in (share, held_out))
        return Figure(share.n, held_out.n, made, floor, "lower", f"{meaning} (in {features})", features=features)

    return {
        "copied_share": figure(
            copies.copied,
            copies.copied_held_out,
            "share of generated images more than three times nearer to one training image than to any other",
        ),
        "too_near_share": figure(
            copies.too_near,
            copies.too_near_held_out,
            "share of generated images nearer to a training image than 99 % of unseen real images are",
        ),
    }


def _told(name: str, figures: Mapping[str, Figure]) -> Iterator[Event]:
    for metric, it in figures.items():
        made, floor = it.made, it.floor
        yield ScoreMeasured(f"{name}/{metric}", made.value, it.n, it.better, made.low, made.high, floor.value)
