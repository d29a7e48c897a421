"""What every task of one run shares, and how a step is brought up to date: unchanged, taken back, or computed."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect.cache_policies import NO_CACHE

from adapters import dvc_data, launching, machine, mlflow_run, prefect_runs, resuming, workspace
from darkroom.events import Event, Noted, followed, kept
from darkroom.params import Params, read_params
from darkroom.stage import EVENTS, StoppedOnRequest, stop_asked
from darkroom.training.course import Conduct

BUSY = "another training holds this machine's device"


@dataclass(frozen=True)
class Job:
    """One run over one workspace."""

    workspace: Path
    settings: Params
    lifecycle: str  # its name in Prefect and MLflow


@dataclass(frozen=True)
class Done:
    """How a step came to be up to date. `how` is "unchanged", "taken back" or "computed"."""

    stage: str
    how: str
    why: str
    seconds: float
    figures: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def opened(folder: Path, settings: Params | None) -> Iterator[Job]:
    """A workspace, held against other writers until the block ends; with these settings written to its params.yaml, if any."""
    found = workspace.opened(folder)

    def waiting() -> None:
        prefect_runs.say(f"another run writes to {found}; this one goes on when it ends")

    with workspace.writing(found, waiting):
        changed = workspace.change_params(found, settings.model_dump(mode="json", by_alias=True)) if settings else []
        if changed:
            prefect_runs.say(f"settings written to params.yaml: {', '.join(changed)}")
        yield Job(found, read_params(found / "params.yaml"), prefect_runs.flow_run_name())


def looked_at(folder: Path) -> Job:
    """A workspace that is only read: no other run is waited for."""
    found = workspace.opened(folder)
    return Job(found, read_params(found / "params.yaml"), prefect_runs.flow_run_name())


def brought_up_to_date(
    job: Job,
    stage: str,
    step: Callable[[], Generator[Event, None, Any]],
    files: Mapping[str, Path],
    data: Path | None,
    irrelevant: Sequence[str] = (),
) -> Done:
    """Ask DVC whether `stage` is current; if not, take back what an equal run made, or run `step` and record it with DVC.

    `files` are attached to the MLflow run, `data` is logged as the run's input; `irrelevant` are settings that what is done does
    not depend on.
    """
    started = time.perf_counter()
    reasons = dvc_data.changes(job.workspace, stage)
    if not reasons:
        prefect_runs.say(f"{stage}: unchanged")
        return Done(stage, "unchanged", "nothing it reads has changed", time.perf_counter() - started)
    why = ", ".join(reasons[:4]) + (" ..." if len(reasons) > 4 else "")
    if set(reasons) <= {dvc_data.setting_changed(f"{stage}.{name}") for name in irrelevant}:
        dvc_data.record(job.workspace, stage)
        prefect_runs.say(f"{stage}: unchanged ({why}: what is done stays as it is)")
        return Done(stage, "unchanged", f"{why}: what is done stays as it is", time.perf_counter() - started)
    prefect_runs.say(f"{stage}: out of date ({why})")
    if dvc_data.take_back(job.workspace, stage):
        prefect_runs.say(f"{stage}: taken back from an equal run")
        return Done(stage, "taken back", why, time.perf_counter() - started)
    events = kept(step(), job.workspace / EVENTS / f"{stage}.jsonl")
    bar = prefect_runs.Teller(stage)
    subject = mlflow_run.Subject(
        workspace=job.workspace,
        stage=stage,
        lifecycle=job.lifecycle,
        settings=getattr(job.settings, stage).model_dump(mode="json"),
        identities=identities(job),
        data=data,
    )
    with mlflow_run.run_of(subject) as sender, machine.device_held(lambda: prefect_runs.say(f"{stage} waits: {BUSY}")):
        followed(events, bar.tell, sender.tell, _Warnings(sender, bar).tell)
        dvc_data.record(job.workspace, stage)
        sender.identify(identities(job))  # curate has made another version of the data
        sender.attach({name: path for name, path in files.items() if path.exists()})
        (job.workspace / EVENTS / f"{stage}.run").write_text(sender.run_id, encoding="utf-8")
    bar.done()
    return Done(stage, "computed", why, time.perf_counter() - started)


def trained(
    job: Job, stage: str, module: str, conduct: Conduct, alone: Callable[[], Generator[Event, None, Any]]
) -> Generator[Event, None, Any]:
    """A training in this process, or its stage's `module` in as many as DARKROOM_PROCESSES says; DARKROOM_SHARDED as well."""
    count, sharded = int(machine.setting("DARKROOM_PROCESSES") or 1), machine.setting("DARKROOM_SHARDED") == "1"
    return launching.trained_together(count, module, stage, job.workspace, conduct.stopping, sharded) if count > 1 else alone()


@contextmanager
def steered() -> Iterator[Conduct]:
    """For a training: a cancel, Ctrl-C or the machine's end is asked first, so that it saves; then the run ends."""
    try:
        with stop_asked() as asked:
            yield Conduct(asked)
    except StoppedOnRequest as stopped:
        prefect_runs.say(str(stopped))
        prefect_runs.end_stopped(stopped)


def identities(job: Job) -> dict[str, str]:
    """What a run or a version was made from: data, weights and code."""
    return {
        "data.md5": dvc_data.md5(job.workspace, "data/curated"),
        "git.commit": machine.git_commit(job.workspace),
        "code": workspace.code(),
        "prefect.flow_run": job.lifecycle,
    }


def run_id_of(job: Job, stage: str) -> str | None:
    """The MLflow run that a stage was last computed in, on this machine."""
    file = job.workspace / EVENTS / f"{stage}.run"
    return file.read_text(encoding="utf-8") if file.exists() else None


def worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """Reading and writing may go better the next time; bad settings and bad data never do."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError | mlflow_run.TrackingError) and not isinstance(error, FileNotFoundError)


# Of every task: DVC decides what is stale, not Prefect's cache; reading and writing is tried again.
STEP: Any = {
    "cache_policy": NO_CACHE,
    "retries": 2,
    "retry_delay_seconds": [2, 10],
    "retry_condition_fn": worth_retrying,
}


# Of every flow: a served run whose process dies goes on in another.
FLOW: Any = {"on_crashed": [resuming.go_on]}


class _Warnings:
    """Tells once when MLflow goes away, and once when it is back."""

    def __init__(self, sender: mlflow_run.Sender, bar: prefect_runs.Teller) -> None:
        self.sender, self.bar, self.told = sender, bar, ""

    def tell(self, event: Event) -> None:
        """Called with every event; looks at the sender."""
        if bool(self.sender.trouble) != bool(self.told):
            self.bar.tell(Noted(self.sender.trouble or "MLflow is back; what waited was sent"))
            self.told = self.sender.trouble
