"""What the base starts from, written into train_base.start: as a retraining calls for, or a registered model as it is."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from prefect import task

from adapters import dvc_data, lineage, mlflow_registry, prefect_runs, workspace
from adapters.mlflow_registry import CHAMPION, Version
from darkroom.networks.saved import read_card
from darkroom.params import read_params
from darkroom.refs import digest_of, replaced, write_whole
from darkroom.retraining import Course, Kept, Plan, plan
from darkroom.training.start import WEIGHTS_FOLDER
from tasks.job import STEP, Done, Job

DECIDED = Path(".darkroom/retrained.json")  # the data version that was decided on last, for what, and whether all of it is done


@task(task_run_name="plan the retraining", **STEP)
def plan_retraining(job: Job) -> tuple[Done, Job]:
    """The plan, and the job with the settings that it calls for. `how` is "unchanged" where nothing is to be trained."""
    started = time.perf_counter()
    at = job.workspace
    champion = mlflow_registry.version_at(at, job.settings.register_.name, CHAMPION)
    data = dvc_data.md5(at, "data/curated")
    decided = _decided(at)
    trained = decided.get("data") == data and dvc_data.changes(at, "train_base") == []
    if not trained:
        made = _plan(job, champion)
    elif decided.get("finished"):
        made = Plan(Course.NONE, "a model was trained on these images already")
    else:  # a run ended between its training and the gates
        made = Plan(Course(decided["course"]), f"the run before did not finish; {decided['why']}")
    prefect_runs.say(f"retraining: {made.course} ({made.why})")
    prefect_runs.show_page("retraining", f"**{made.course}**: {made.why}", "What the change of the data calls for")
    if made.course is Course.NONE:
        return Done("retrain", "unchanged", made.why, time.perf_counter() - started), job
    if not trained:
        workspace.change_params(at, {"train_base": {"start": _start(job, made.course, champion)}})
        write_whole(at / DECIDED, json.dumps({"data": data, "course": made.course, "why": made.why}).encode())
    settings = read_params(at / "params.yaml")
    done = Done("retrain", "computed", f"{made.course}: {made.why}", time.perf_counter() - started)
    return done, Job(at, settings, job.lifecycle)


@task(task_run_name="note that the retraining is done", **STEP)
def note_retrained(job: Job) -> None:
    """The same data call for nothing from now on."""
    write_whole(job.workspace / DECIDED, json.dumps(_decided(job.workspace) | {"finished": True}).encode())


@task(task_run_name="take {model} as the base", **STEP)
def take_as_base(job: Job, model: str) -> Job:
    """The job whose base is a registered model as it is, MODEL@ALIAS or MODEL@NUMBER. Raises LookupError, which names all."""
    if not job.settings.finetune.images:
        raise ValueError("finetune.images is 0 in params.yaml: nothing would be learned; set how many images tuning shall see")
    name, _, wanted = model.rpartition("@")
    version = mlflow_registry.version_named(job.workspace, name or job.settings.register_.name, wanted)
    digest = _keep_weights(job.workspace, mlflow_registry.model_folder(job.workspace, version))
    start = {"kind": "weights", "digest": digest, "budget": 0}
    if workspace.change_params(job.workspace, {"train_base": {"start": start}}):
        prefect_runs.say(
            f"{version.name} version {version.number} is the base from now on; for one trained here again, set train_base.start "
            "in params.yaml to {kind: scratch}"
        )
    return Job(job.workspace, read_params(job.workspace / "params.yaml"), job.lifecycle)


def _decided(at: Path) -> dict[str, Any]:
    return dict(json.loads((at / DECIDED).read_text(encoding="utf-8"))) if (at / DECIDED).exists() else {}


def _plan(job: Job, champion: Version | None) -> Plan:
    now = _kept(lineage.rows_of(job.workspace / "data/curated/manifest.parquet"))
    try:
        before = _kept(lineage.manifest(job.workspace, champion)) if champion else None
    except LookupError as error:
        return Plan(Course.SCRATCH, str(error))
    made = plan(job.settings.retrain, before, now)
    if champion and "forgotten" in champion.tags and made.course is not Course.SCRATCH:
        return Plan(Course.SCRATCH, "the champion's weights saw images since forgotten")
    return made


def _kept(rows: list[lineage.Row]) -> Kept:
    return Kept({row["sha256"]: (row["label"], row["caption"] or "") for row in rows if row["kept"]})


def _start(job: Job, course: Course, champion: Version | None) -> dict[str, object]:
    """`train_base.start`: where the champion's base is still here, from it; else from the champion, which is tuned to a focus."""
    if course is Course.SCRATCH or champion is None:
        return {"kind": "scratch"}
    folder = mlflow_registry.model_folder(job.workspace, champion)
    parent, base, weights = (
        read_card(folder).parent_digest,
        job.workspace / "models/base",
        job.workspace / ".darkroom" / WEIGHTS_FOLDER,
    )
    if parent and (weights / parent).is_dir():  # kept by an earlier start, or by this one before it was interrupted
        folder = weights / parent
    elif base.is_dir() and digest_of(base) == parent:
        folder = base
    digest = _keep_weights(job.workspace, folder)
    share = round(job.settings.train_base.images * job.settings.retrain.warm_images)
    few = job.settings.finetune.images or share  # 0: nothing is fine-tuned here, so the base itself must learn what changed
    budget = share if course is Course.WARM else min(share, few)
    return {"kind": "weights", "digest": digest, "budget": max(1, budget)}


def _keep_weights(at: Path, folder: Path) -> str:
    """Keep a copy of a model folder, where a training that starts from it finds it. Returns its digest."""
    digest = digest_of(folder)
    kept = at / ".darkroom" / WEIGHTS_FOLDER / digest
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replaced(kept) as fresh:
            shutil.copytree(folder, fresh, dirs_exist_ok=True)
    return digest
