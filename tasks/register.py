"""The task `register`."""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import task

from adapters import mlflow_registry, mlflow_run, prefect_runs, workspace
from adapters.model_card import model_card
from darkroom.networks.saved import copy_drawn, read_card
from darkroom.networks.weights import with_weights
from darkroom.refs import digest_of
from tasks.beside import page_beside
from tasks.job import STEP, Done, Job, identities, run_id_of


@task(task_run_name="register the tuned model", **STEP)
def register(job: Job) -> Done:
    """Make the tuned model a version of the registered model, alias `challenger`; not again for the same weights and scores:
    then the version there is becomes `challenger` again, where another was since."""
    started = time.perf_counter()
    at, name, section = job.workspace, job.settings.register_.name, job.settings.evaluate
    made_of = {
        "weights.sha256": digest_of(at / "models/tuned"),
        "scores.sha256": digest_of(at / "reports/evaluate/scores.json"),
        "drawing": section.drawing.model_dump_json(),
        "weights": section.weights.model_dump_json(),
    }
    version = mlflow_registry.version_with(at, name, made_of)
    how, why = "unchanged", "these weights with these scores are registered already"
    if version is None:
        how, why = "computed", "new weights or scores"
        subject = mlflow_run.Subject(at, "register", job.lifecycle, {"name": name}, identities(job), at / "data/curated")
        with mlflow_run.run_of(subject), TemporaryDirectory(dir=at / ".darkroom") as scratch:
            version = mlflow_registry.register(at, name, _candidate(job, _model(job, Path(scratch)), made_of))
    elif mlflow_registry.CHALLENGER not in version.aliases:
        why = f"{why}, and are `challenger` again"
        mlflow_registry.challenge(at, version)
    prefect_runs.say(f"{name} version {version.number}: {why}")
    return Done("register", how, why, time.perf_counter() - started, {"name": name, "version": version.number})


def _model(job: Job, scratch: Path) -> Path:
    """The tuned model as it was scored, in a folder in `scratch`: the version draws so, and with these weights, wherever it
    serves."""
    section, made = job.settings.evaluate, scratch / "model"
    with with_weights(job.workspace / "models/tuned", section.weights, scratch) as tuned:
        copy_drawn(tuned, section.drawing.of(read_card(tuned)), made)
    return made


def _choice(job: Job) -> dict[str, Path]:
    """What `darkroom choose` measured, where its choice was of these weights: scores of every drawing, speed against quality."""
    measured = job.workspace / "reports/choose"
    if not (measured / "choice.json").exists():
        return {}
    chosen = json.loads((measured / "choice.json").read_text(encoding="utf-8"))
    if chosen["weights_digest"] != digest_of(job.workspace / "models/tuned/weights.safetensors"):
        return {}
    return {name: measured / name for name in ("choice.json", "curve.png")}


def _candidate(job: Job, model: Path, made_of: dict[str, str]) -> mlflow_registry.Candidate:
    at, card = job.workspace, read_card(model)
    scores = json.loads((at / "reports/evaluate/scores.json").read_text(encoding="utf-8"))["tuned"]
    held_out = json.loads((at / "reports/finetune/metrics.json").read_text(encoding="utf-8"))["held_out_loss"]
    scores |= {"held_out_loss": {"value": held_out}} if held_out is not None else {}
    base = at / "models/base"
    tags = {
        **made_of,
        **identities(job),
        "base.sha256": digest_of(base),
        "model.sha256": digest_of(model),  # of what is registered: a training that starts from it records that
        "start.sha256": read_card(base).parent_digest,  # of the weights that its training began from; empty for none
        "evaluated_by": workspace.code_digest("evaluate"),
        "trained_in": run_id_of(job, "finetune") or "",
    }
    files = {part: at / "reports/evaluate" / part for part in ("scores.json", "report.html", "samples_tuned.png")}
    files["report.html"] = page_beside(job) or files["report.html"]
    return mlflow_registry.Candidate(
        model=model,
        labels=card.focus or card.labels,
        drawing=(card.drawing.steps, card.drawing.guidance, card.drawing.away),
        scores=scores,
        identities=tags,
        card=model_card(at, job.settings.model_dump(mode="json", by_alias=True), scores, tags),
        files={
            **files,
            **_choice(job),
            "manifest.parquet": at / "data/curated/manifest.parquet",
            "params.yaml": at / "params.yaml",
        },
    )
