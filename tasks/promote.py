"""The task `promote`, and the picture of what serves after it."""

import time

import numpy as np
from prefect import task

from adapters import mlflow_registry, prefect_runs
from darkroom.gates import verdicts
from darkroom.images import contact_sheet
from darkroom.networks.saved import read_card
from darkroom.sampling import generate
from tasks.job import STEP, Done, Job


@task(task_run_name="promote, if the gates agree", **STEP)
def promote(job: Job) -> Done:
    """Make the challenger the champion where every gate passes; otherwise say which refused, with the figures."""
    started = time.perf_counter()
    at, name = job.workspace, job.settings.register_.name
    challenger = mlflow_registry.version_at(at, name, mlflow_registry.CHALLENGER)
    champion = mlflow_registry.version_at(at, name, mlflow_registry.CHAMPION)
    if challenger is None:
        raise LookupError(f"no version of {name} is `challenger`; the flow `tuned model` registers one")
    if champion is not None and champion.number == challenger.number:
        return _done("unchanged", f"version {champion.number} is the champion already", started, champion.number)
    found = verdicts(job.settings.promote, challenger.scores, champion.scores if champion else None)
    page = "\n".join(f"- {'passed' if one.passed else '**refused**'}: {one.gate}: {one.text}" for one in found)
    prefect_runs.show_page("promotion", f"## {name} version {challenger.number}\n\n{page}", "The gates' verdicts")
    refusals = "; ".join(one.text for one in found if not one.passed)
    mlflow_registry.note(at, challenger, "gates", refusals or "passed")
    if refusals:
        prefect_runs.say(f"version {challenger.number} is not promoted: {refusals}")
        return _done("refused", refusals, started, challenger.number)
    mlflow_registry.move_champion(at, challenger, "all gates passed")
    return _done("computed", "all gates passed", started, challenger.number)


@task(task_run_name="draw from the champion", **STEP)
def draw_champion(job: Job) -> Done:
    """A sheet of images from the registered champion: reports/champion.png."""
    started = time.perf_counter()
    champion = mlflow_registry.version_at(job.workspace, job.settings.register_.name, mlflow_registry.CHAMPION)
    sheet = job.workspace / "reports/champion.png"
    if champion is None:
        return Done("draw", "unchanged", "there is no champion yet", time.perf_counter() - started)
    drawn_from = sheet.with_suffix(".version")
    if sheet.exists() and drawn_from.exists() and drawn_from.read_text(encoding="utf-8") == champion.number:
        return Done("draw", "unchanged", "drawn already", time.perf_counter() - started, {"picture": str(sheet)})
    folder = mlflow_registry.model_folder(job.workspace, champion.name, mlflow_registry.CHAMPION)
    card, section = read_card(folder), job.settings.evaluate
    names = card.focus or card.labels
    labels = sorted(card.labels.index(names[index % len(names)]) for index in range(32))
    events = generate(folder, labels, len(labels), section.seed, card.drawing.steps, card.drawing.guidance, section.batch)
    pixels = prefect_runs.followed(events)
    contact_sheet(np.asarray(pixels), columns=8, scale=max(1, 96 // card.image_size)).save(sheet)
    drawn_from.write_text(champion.number, encoding="utf-8")
    prefect_runs.show_picture("champion", sheet, f"{champion.name} version {champion.number}")
    return Done("draw", "computed", "", time.perf_counter() - started, {"picture": str(sheet)})


def _done(how: str, why: str, started: float, version: str) -> Done:
    return Done("promote", how, why, time.perf_counter() - started, {"version": version})
