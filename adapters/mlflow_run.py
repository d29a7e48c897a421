"""MLflow tracking: what a step tells becomes a run. MLflow decides nothing, and its absence stops nothing."""

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters import machine
from adapters.dvc_data import flattened
from adapters.local_servers import masked
from darkroom.events import Event, HeldOutMeasured, SamplesDrawn, ScoreMeasured, StepTaken

EXPERIMENT = "darkroom"
SEND_EVERY = 5.0  # seconds: metrics go in batches
RETRY_EVERY = 60.0


class TrackingError(RuntimeError):
    """The tracking server does not answer. The text names it and says what to do."""


def store_of(workspace: Path) -> str:
    """The tracking store: MLFLOW_TRACKING_URI where set, else a SQLite file in the workspace."""
    given = machine.setting("MLFLOW_TRACKING_URI")
    return given or f"sqlite:///{workspace / '.darkroom' / 'mlflow.db'}"


def connected(workspace: Path) -> Any:
    """An MLflow client on the workspace's store, its experiment made. Raises TrackingError where no server answers."""
    machine.set_quiet()
    import mlflow

    given, store = machine.setting("MLFLOW_TRACKING_URI"), store_of(workspace)
    (workspace / ".darkroom").mkdir(exist_ok=True)
    mlflow.set_tracking_uri(store)
    if (
        given is None
    ):  # MLflow has exported it; to the next workspace, and to child processes, it would look like a person's choice
        machine.unset_setting("MLFLOW_TRACKING_URI")
    try:
        if mlflow.get_experiment_by_name(EXPERIMENT) is None:
            local = store.startswith("sqlite:")
            artifacts = (workspace / ".darkroom" / "mlflow-artifacts").as_uri() if local else None
            mlflow.create_experiment(EXPERIMENT, artifact_location=artifacts)
        mlflow.set_experiment(EXPERIMENT)
        return mlflow.MlflowClient()
    except Exception as error:  # the client raises many kinds for a server that is away
        said = str(error).splitlines()[0].replace(store, masked(store))
        raise TrackingError(
            f"MLflow does not answer at {masked(store)}: {said}. Start that server, or unset "
            "MLFLOW_TRACKING_URI: darkroom then keeps its records in the workspace"
        ) from error


@dataclass(frozen=True)
class Subject:
    """What a run is about."""

    workspace: Path
    stage: str
    lifecycle: str  # names the lifecycle that the run belongs to
    settings: Mapping[str, Any]
    identities: Mapping[str, str]  # digests and commits, kept as tags
    data: Path | None  # the data set used, logged as the run's input


class Sender:
    """Sends events to one run in batches. When MLflow is away it says so once, keeps what it could not send, and tries again."""

    def __init__(self, client: Any, run_id: str) -> None:
        self.client, self.run_id = client, run_id
        self.trouble = ""
        self._waiting: list[Any] = []
        self._last, self._quiet_until = time.monotonic(), 0.0

    def tell(self, event: Event) -> None:
        """Note an event; send what waits when it is time."""
        self._waiting += self._metrics(event)
        if isinstance(event, SamplesDrawn):
            self._try(lambda: self.client.log_artifact(self.run_id, event.path, "samples"))
        if time.monotonic() - self._last > SEND_EVERY:
            self.send()

    def send(self) -> None:
        """Send what waits."""
        self._last = time.monotonic()
        if self._waiting:
            batch = self._waiting[:1000]
            if self._try(lambda: self.client.log_batch(self.run_id, metrics=batch, synchronous=True)):
                self._waiting = self._waiting[1000:]

    def _try(self, act: Any) -> bool:
        if time.monotonic() < self._quiet_until:
            return False
        try:
            act()
        except Exception as error:  # training goes on whatever the tracker does; the events are in events.jsonl
            self.trouble = f"MLflow is away ({str(error).splitlines()[0][:200]}); its records wait, the run goes on"
            self._quiet_until = time.monotonic() + RETRY_EVERY
            return False
        self.trouble, self._quiet_until = "", 0.0
        return True

    def _metrics(self, event: Event) -> list[Any]:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        match event:
            case StepTaken():
                names = ("loss", "learning_rate", "gradient_norm", "images_per_second")
                return [Metric(name, getattr(event, name), now, event.images_seen) for name in names]
            case HeldOutMeasured(images_seen, loss):
                return [Metric("held_out_loss", loss, now, images_seen)]
            case ScoreMeasured():
                extra = {"floor": event.floor, "low": event.low, "high": event.high}
                found = [Metric(event.name, event.value, now, 0)]
                return found + [Metric(f"{event.name}_{key}", value, now, 0) for key, value in extra.items() if value is not None]
        return []


@contextmanager
def run_of(subject: Subject) -> Iterator[Sender]:
    """A run for a stage, nested under its lifecycle's run. Metrics of the system are taken while it is open."""
    import mlflow

    client = connected(subject.workspace)
    parent = _lifecycle_run(client, subject.lifecycle)
    run = mlflow.start_run(
        run_name=subject.stage, nested=True, parent_run_id=parent, log_system_metrics=True, tags=dict(subject.identities)
    )
    sender = Sender(client, run.info.run_id)
    status = "FAILED"
    try:
        sender._try(lambda: _describe(client, run.info.run_id, subject))
        yield sender
        status = "FINISHED"
    finally:
        sender._quiet_until = 0.0
        while sender._waiting and not sender.trouble:
            sender.send()
        try:
            mlflow.end_run(status)
        except Exception as error:  # as above: an absent tracker fails nothing
            sender.trouble = f"MLflow is away, its run {run.info.run_id} stays open: {error}"


def log_files(workspace: Path, run_id: str, files: Mapping[str, Path]) -> str:
    """Attach files (or folders) to a run, by the name of the artifact folder. Returns trouble, or nothing."""
    sender = Sender(connected(workspace), run_id)
    for name, path in files.items():
        act = sender.client.log_artifacts if path.is_dir() else sender.client.log_artifact
        sender._try(lambda act=act, path=path, name=name: act(run_id, str(path), name))
    return sender.trouble


def _describe(client: Any, run_id: str, subject: Subject) -> None:
    import mlflow
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import Param

    flat = [Param(name, str(value)[:6000]) for name, value in flattened(subject.settings).items()]
    client.log_batch(run_id, params=flat)
    if subject.data is not None:
        digest = subject.identities.get("data.md5", "")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The specified dataset source can be interpreted in multiple ways")
            source = resolve_dataset_source(str(subject.data))
        dataset = MetaDataset(source=source, name=subject.data.name, digest=digest[:36] or None)
        mlflow.log_input(dataset, context="training", tags={"dvc_md5": digest or "not recorded"})


def _lifecycle_run(client: Any, lifecycle: str) -> str:
    """The run of a whole lifecycle, found or made."""
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    name = lifecycle.replace("'", "")
    found = client.search_runs([experiment], f"tags.`darkroom.lifecycle` = '{name}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    made = client.create_run(experiment, run_name=name, tags={"darkroom.lifecycle": name})
    client.set_terminated(made.info.run_id, "FINISHED")
    return str(made.info.run_id)
