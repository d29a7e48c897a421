"""The champion beside what may follow it: the same labels from the same noise, and how sure each difference is."""

import json
import shutil
from collections.abc import Generator
from pathlib import Path

from adapters import mlflow_registry, prefect_runs
from adapters.mlflow_registry import CHAMPION, Version
from adapters.mlflow_run import TrackingError
from darkroom.evaluation.comparing import Comparison, NotComparable, Rival, Terms, as_served, compare, part_of, readings
from darkroom.evaluation.evaluate import KEPT
from darkroom.evaluation.page import with_part
from darkroom.events import Event, Noted
from darkroom.networks.saved import read_card
from darkroom.networks.weights import with_weights
from darkroom.refs import digest_of, replaced
from tasks.job import Job

PAGE = Path("reports/champion")  # the evaluation's page with the champion in it; of no stage: a champion is no file of DVC's
SHOWN = 24  # pairs in a picture


def with_champion(job: Job, version: Version, rival: Rival) -> Generator[Event, None, Comparison | None]:
    """A model beside a version of the registry, as each would be served; None, and told why, where they do not compare."""
    at, section = job.workspace, job.settings.evaluate
    terms = Terms(section.features, section.images, section.seed, section.batch, section.bootstrap)
    champion = as_served(f"champion {version.number}", mlflow_registry.model_folder(at, version))
    try:
        return (yield from compare(rival, champion, at / "data/curated", terms, at / KEPT))
    except NotComparable as error:
        yield Noted(f"{rival.name} is not shown beside {champion.name}: {error}")
        return None


def evaluated_beside(job: Job) -> Generator[Event, None, None]:
    """The page of an evaluation just made with the champion in it, in `PAGE`; none where there is no other champion."""
    at, section = job.workspace, job.settings.evaluate
    shutil.rmtree(at / PAGE, ignore_errors=True)
    try:
        champion = mlflow_registry.version_at(at, job.settings.register_.name, CHAMPION)
    except TrackingError as error:
        yield Noted(f"no champion beside this evaluation: {error}")
        return
    if champion is None:
        return
    with with_weights(at / "models/tuned", section.weights, at / ".darkroom") as folder:
        rival = Rival("tuned", folder, section.drawing.of(read_card(folder)))
        found = yield from with_champion(job, champion, rival)
    if found is None:
        return
    names, evaluated = (rival.name, f"champion {champion.number}"), at / "reports/evaluate"
    with replaced(at / PAGE) as fresh:
        whole = with_part((evaluated / "report.html").read_text(encoding="utf-8"), part_of(found, names, _scale(found)))
        (fresh / "report.html").write_text(whole, encoding="utf-8")
        (fresh / "of.json").write_text(json.dumps({"scores.sha256": digest_of(evaluated / "scores.json")}), encoding="utf-8")
    prefect_runs.show_page("evaluate-champion", told(job, found, names), "The tuned model beside the champion")


def page_beside(job: Job) -> Path | None:
    """The page with the champion in it, where it is of the scores that lie in the workspace."""
    file = job.workspace / PAGE / "of.json"
    if not file.exists():
        return None
    of = json.loads(file.read_text(encoding="utf-8"))["scores.sha256"]
    return file.with_name("report.html") if of == digest_of(job.workspace / "reports/evaluate/scores.json") else None


def told(job: Job, found: Comparison, names: tuple[str, str]) -> str:
    """A comparison as Markdown: each difference with its interval and how sure it is, and pairs from the same noise."""
    first, second = names
    rows = [
        f"\n### {first} beside {second}\n",
        f"{found.n} images of each, the same labels from the same noise. P: the probability that {first} is better.\n",
        f"| score | {first} | {second} | difference (95 % interval) | P | reading |",
        "|---|---|---|---|---|---|",
    ]
    for one, words in zip(found.contests, readings(found, names), strict=True):
        apart = f"{one.difference.value:.4g} ({one.difference.low:.4g} to {one.difference.high:.4g})"
        rows.append(f"| {one.metric} | {one.first:.4g} | {one.second:.4g} | {apart} | {one.first_better:.3f} | {words} |")
    sheet = job.workspace / ".darkroom/compared.png"
    found.sheet(SHOWN, _scale(found)).save(sheet)
    caption = f"each pair from the same noise: {first} left, {second} right"
    return "\n".join([*rows, "", prefect_runs.embedded(sheet, caption), "", caption])


def _scale(found: Comparison) -> int:
    return max(1, 96 // found.made[0].shape[1])
