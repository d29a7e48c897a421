"""The task `evaluate`."""

import json
from collections.abc import Generator

from prefect import task

from adapters import prefect_runs
from darkroom.evaluation.evaluate import evaluate_workspace
from darkroom.evaluation.examining import told
from darkroom.events import Event
from darkroom.refs import ScoresRef
from tasks.beside import PAGE, evaluated_beside
from tasks.job import STEP, Done, Job, brought_up_to_date


@task(task_run_name="evaluate both models", **STEP)
def evaluate(job: Job) -> Done:
    """Generate, describe, score: reports/evaluate."""
    at = job.workspace
    report = at / "reports/evaluate"
    done = brought_up_to_date(
        job,
        "evaluate",
        lambda: _steps(job),
        files={"evaluation": report, "champion": at / PAGE},
        data=at / "data/curated",
    )
    scores = json.loads((report / "scores.json").read_text(encoding="utf-8"))
    findings = json.loads((report / "diagnosis.json").read_text(encoding="utf-8"))
    prefect_runs.say("; ".join(f"{model}: {one['verdict']}" for model, one in findings.items()))
    if done.how == "computed":
        prefect_runs.show_page("evaluate-diagnosis", told(findings), "What ails both models, and what to change")
        prefect_runs.show_picture("evaluate-samples", report / "samples_tuned.png", "Samples of the tuned model")
        prefect_runs.show_page("evaluate-scores", _page(scores), "Scores of both models")
    return Done(done.stage, done.how, done.why, done.seconds, scores)


def _steps(job: Job) -> Generator[Event, None, ScoresRef]:
    ref = yield from evaluate_workspace(job.settings.evaluate, job.workspace, job.settings.model_dump(mode="json", by_alias=True))
    yield from evaluated_beside(job)
    return ref


def _page(scores: dict[str, dict[str, dict[str, float]]]) -> str:
    rows = ["| model | score | value | interval | real against real | n | better |", "|---|---|---|---|---|---|---|"]
    for model, figures in scores.items():
        rows += [
            f"| {model} | {one['name'] or name} | {one['value']:.4g} | {one['low']:.4g} to {one['high']:.4g} "
            f"| {one['floor']:.4g} | {one['n']} | {one['better']} |"
            for name, one in figures.items()
        ]
    whole = (
        "\nThe whole report: `reports/evaluate/report.html` (with the champion: `reports/champion/report.html`), also in the "
        "MLflow run of this step."
    )
    return "\n".join([*rows, whole])
