"""MLflow tracking: what a step tells becomes a run. MLflow decides nothing, and its absence stops nothing."""

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters import machine
from adapters.dvc_data import flattened
from adapters.local_servers import masked
from adapters.moving import ARTIFACTS, DATABASE
from darkroom.events import Event, HeldOutMeasured, SamplesDrawn, ScoreMeasured, SheetScored, StepTaken
from darkroom.stage import EVENTS, StoppedOnRequest

EXPERIMENT = "darkroom"
SEND_EVERY = 5.0  # seconds: metrics go in batches
RETRY_EVERY = 60.0
PATIENCE = 120.0  # seconds that the end of a stage waits in all for an MLflow that was there before: its records have no later


class TrackingError(RuntimeError):
    """The tracking server does not answer. The text names it and says what to do."""


def store_of(workspace: Path) -> str:
    """The tracking store: MLFLOW_TRACKING_URI where set, else a SQLite file in the workspace.

    A relative SQLite file is one in the folder that the command is given in, for the server as well. Raises TrackingError.
    """
    given = machine.setting("MLFLOW_TRACKING_URI")
    if not given:
        if "?" in str(workspace):  # there, the address of a database ends and its options begin
            raise TrackingError(f"{workspace}: MLflow's database cannot lie in a folder with a question mark in its name")
        return f"sqlite:///{workspace / DATABASE}"
    scheme, is_file, name = given.partition("sqlite:///")
    return f"sqlite:///{Path(name).absolute()}" if is_file and not scheme and not name.startswith(":") else given


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
            artifacts = (workspace / ARTIFACTS).as_uri() if local else None
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

    def __init__(self, client: Any, run_id: str, begin: Callable[[], tuple[Any, str]] | None = None) -> None:
        self.client, self.run_id, self._begin = client, run_id, begin  # with no run yet, `begin` makes one
        self.trouble = ""
        self._waiting, self._pictures = list[Any](), list[str]()
        self._last, self._quiet_until, self._patient_until = time.monotonic(), 0.0, 0.0

    def tell(self, event: Event) -> None:
        """Note an event; send what waits when it is time."""
        self._waiting += self._metrics(event)
        if isinstance(event, SamplesDrawn):
            self._pictures.append(event.path)
        if isinstance(event, SamplesDrawn) or time.monotonic() - self._last > SEND_EVERY:
            self.send()

    def send(self) -> None:
        """Send what waits."""
        self._last = time.monotonic()
        if self._waiting or self._pictures:
            self._try(self._send)

    def _send(self) -> None:
        while self._waiting:
            self.client.log_batch(self.run_id, metrics=self._waiting[:1000], synchronous=True)
            self._waiting = self._waiting[1000:]
        while self._pictures:
            if Path(self._pictures[0]).exists():  # else it went with the checkpoints of a training that is done
                self.client.log_artifact(self.run_id, self._pictures[0], "samples")
            self._pictures.pop(0)

    def reach(self) -> bool:
        """Begin the run, if it is not. Whether MLflow is there."""
        return self._try(lambda: None)

    def last_words(self, patient: bool) -> None:
        """Send all that waits; `patient`: wait for an MLflow that is away, if it was there before."""
        if self._waiting or self._pictures:
            self._quiet_until = 0.0
            (self._insist if patient else self._try)(self._send)

    def attach(self, files: Mapping[str, Path]) -> None:
        """Keep files (or folders) with the run, by the name of the artifact folder."""
        for name, path in files.items():
            self._insist(lambda path=path, name=name: self._attach(path, name))

    def _attach(self, path: Path, name: str) -> None:
        act = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        act(self.run_id, str(path), name)

    def identify(self, identities: Mapping[str, str]) -> None:
        """Set the run's tags anew."""
        for name, value in identities.items():
            self._insist(lambda name=name, value=value: self.client.set_tag(self.run_id, name, value))

    def _insist(self, act: Any) -> bool:
        """As `_try`, but at once; and again for a while, all such acts together, where the run has begun."""
        if self.run_id and not self._patient_until:
            self._patient_until = time.monotonic() + PATIENCE
        self._quiet_until = 0.0
        while not (done := self._try(act)) and time.monotonic() < self._patient_until:
            self._quiet_until = 0.0
            time.sleep(1)
        return done

    def _try(self, act: Any) -> bool:
        if time.monotonic() < self._quiet_until:
            return False
        try:
            if not self.run_id and self._begin is not None:
                self.client, self.run_id = self._begin()
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
                found = [Metric("held_out_loss", loss, now, images_seen)]
                for band, seen in event.training_bands.items():
                    if band in event.bands and seen > 0:
                        found.append(Metric(f"held_out_over_training {band}", event.bands[band] / seen, now, images_seen))
                return found
            case SheetScored(images_seen, name, value, floor):
                return [Metric(f"sheet_{name}{end}", one, now, images_seen) for end, one in (("", value), ("_real", floor))]
            case ScoreMeasured():
                extra = {"floor": event.floor, "low": event.low, "high": event.high}
                found = [Metric(event.name, event.value, now, 0)]
                return found + [Metric(f"{event.name}_{key}", value, now, 0) for key, value in extra.items() if value is not None]
        return []


class _Begun:
    """Which run a stage has begun: kept in the workspace until the stage has ended well."""

    def __init__(self, subject: Subject) -> None:
        self.file = subject.workspace / EVENTS / f"{subject.stage}.begun"
        self._of = {
            "settings": subject.settings,
            "data": subject.identities.get("data.md5", ""),
            "store": masked(store_of(subject.workspace)),
        }

    def still_open(self, client: Any) -> str | None:
        """The run that began with these settings on these data, and did not end well; None for none."""
        try:
            kept = json.loads(self.file.read_text(encoding="utf-8"))
            if kept["of"] != json.loads(json.dumps(self._of)):
                return None
            info = client.get_run(kept["run"]).info
            return str(info.run_id) if info.lifecycle_stage == "active" else None
        except Exception:  # no such file, half a file, a run that was deleted: another run is begun
            return None

    def write(self, run_id: str) -> None:
        """Keep it."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps({"run": run_id, "of": self._of}), encoding="utf-8")


@contextmanager
def run_of(subject: Subject) -> Iterator[Sender]:
    """A run for a stage, nested under its lifecycle's run. Metrics of the system are taken while it is open.

    A training that was stopped or died goes on in the run that it began in. Where MLflow is away, the run begins when it is back.
    """
    import mlflow

    begun = _Begun(subject)
    sender = Sender(None, "", lambda: _begin(subject, begun))
    status = "FAILED"
    try:
        sender.reach()
        yield sender
        status = "FINISHED"
        begun.file.unlink(missing_ok=True)
    except StoppedOnRequest:
        status = "KILLED"
        raise
    finally:
        sender.last_words(patient=status == "FINISHED")  # who asked it to stop, or sees it fail, waits for nothing
        try:
            mlflow.end_run(status)
        except Exception as error:  # as above: an absent tracker fails nothing
            sender.trouble = f"MLflow is away, its run {sender.run_id} stays open: {error}"


def _begin(subject: Subject, begun: _Begun) -> tuple[Any, str]:
    import mlflow

    client = connected(subject.workspace)
    parent = _lifecycle_run(client, subject.lifecycle)
    run = mlflow.start_run(
        run_id=begun.still_open(client),
        run_name=subject.stage,
        nested=True,
        parent_run_id=parent,
        log_system_metrics=True,
        tags=dict(subject.identities),
    )
    begun.write(run.info.run_id)
    _describe(client, run.info.run_id, subject)
    return client, str(run.info.run_id)


def runs_of(workspace: Path, stage: str) -> list[tuple[str, dict[str, str]]]:
    """Every finished run of a stage, oldest first: when it began (UTC, ISO) and its tags."""
    client = connected(workspace)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    wanted = f"attributes.run_name = '{stage}' and attributes.status = 'FINISHED'"
    found, page = [], None
    while True:
        part = client.search_runs([experiment], wanted, order_by=["attributes.start_time ASC"], page_token=page)
        for run in part:
            began = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
            found.append((began.isoformat(timespec="seconds"), dict(run.data.tags)))
        page = part.token
        if not page:
            return found


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
