"""Prefect: what a step tells becomes log lines, progress bars, pictures and pages in the Prefect UI."""

import base64
import logging
import signal
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

from PIL import Image

from adapters.resuming import served
from darkroom.events import Event, Progressed, SamplesDrawn, StepTaken
from darkroom.stage import Pace, Throttle, sentence


class Teller:
    """Shows events in the task run that is under way."""

    def __init__(self, stage: str) -> None:
        from prefect import get_run_logger
        from prefect.artifacts import create_progress_artifact

        self.stage, self._key = stage, stage.replace("_", "-")
        self._log: logging.Logger | logging.LoggerAdapter[Any] = get_run_logger()
        self._bar: Any = create_progress_artifact(progress=0.0, key=f"{self._key}-progress", description=f"Progress of {stage}")
        self._logged, self._moved, self._pace = Throttle(5.0), Throttle(3.0), Pace()

    def tell(self, event: Event) -> None:
        """Log the event; move the bar; show the picture."""
        from prefect.artifacts import update_progress_artifact

        event = self._pace.of(event)
        if self._logged.passes(event):
            self._log.info(sentence(event))
        share = _share(event)
        if share is not None and self._moved.passes(event):
            update_progress_artifact(self._bar, progress=round(100 * share, 1))
        if isinstance(event, SamplesDrawn):
            self.picture("samples", Path(event.path), f"After {event.images_seen:,} images seen")

    def done(self) -> None:
        """Fill the bar."""
        from prefect.artifacts import update_progress_artifact

        update_progress_artifact(self._bar, progress=100.0)

    def picture(self, name: str, path: Path, description: str) -> None:
        """Show a picture of modest size."""
        show_picture(f"{self._key}-{name}", path, description)


def show_picture(key: str, path: Path, description: str) -> None:
    """A picture, on a page: Prefect's image artifacts fetch an address, and the UI may not reach this machine's files."""
    show_page(key, embedded(path, description), description)


def embedded(path: Path, description: str) -> str:
    """Markdown that carries a picture's pixels."""
    image = Image.open(path).convert("RGB")
    image.thumbnail((800, 800))
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=85)
    return f"![{description}](data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()})"


def show_page(key: str, markdown: str, description: str) -> None:
    """A page artifact."""
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact(markdown, key=key.replace("_", "-"), description=description)


def say(text: str) -> None:
    """A line in the log of the run under way; outside a run, in the program's own log."""
    from prefect import get_run_logger
    from prefect.exceptions import MissingContextError

    try:
        get_run_logger().info(text)
    except MissingContextError:
        logging.getLogger("darkroom").info(text)


def start_flow(flow: str, workspace: Path) -> bool:
    """Start a flow that is served for a workspace, and go on. Whether one is."""
    from prefect.client.orchestration import get_client
    from prefect.deployments import run_deployment

    with get_client(sync_client=True) as client:
        found = served(client, flow, workspace)
    if found:
        run_deployment(found[0].id, timeout=0, as_subflow=False)
    return bool(found)


def end_stopped(stopped: Exception) -> NoReturn:
    """End the run that saved its work and stopped: as cancelled where a person cancelled it; where its process has to go, as one
    that goes on later (`put_back`). Outside a served run: the error itself."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import TerminationSignal
    from prefect.runtime import deployment, flow_run

    if deployment.get_id() is None:
        raise stopped
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(str(flow_run.get_id()))).state
    if state is not None and state.is_cancelling():
        raise stopped
    raise TerminationSignal(signal.SIGTERM) from stopped


def flow_run_name() -> str:
    """The name of the flow run under way."""
    from prefect.runtime import flow_run

    return str(flow_run.get_name())


def _share(event: Event) -> float | None:
    match event:
        case Progressed():
            return event.done / max(event.total, 1)
        case StepTaken():
            return event.images_seen / event.images_total
    return None


def show_plainly() -> None:
    """On the terminal: what runs say, a line each, without tracebacks (the Prefect UI keeps those)."""
    from prefect.logging.configuration import PROCESS_LOGGING_CONFIG, setup_logging

    if not PROCESS_LOGGING_CONFIG:
        setup_logging()
    known = [logging.getLogger(), *(one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger))]
    for logger in known:
        for handler in [one for one in logger.handlers if "Console" in type(one).__name__]:
            logger.removeHandler(handler)
    plain = logging.StreamHandler()
    plain.setFormatter(_Plain("%(asctime)s  %(message)s", "%H:%M:%S"))
    plain.addFilter(lambda record: record.levelno < logging.ERROR and _is_said(record))
    for logger in (logging.getLogger("prefect.flow_runs"), logging.getLogger("prefect.task_runs")):
        logger.handlers = [*(one for one in logger.handlers if not isinstance(one.formatter, _Plain)), plain]


class _Plain(logging.Formatter):
    """The sentence alone."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        return ""


def _is_said(record: logging.LogRecord) -> bool:
    """Prefect's own remarks on states are left to its UI."""
    return not record.getMessage().startswith(("Finished in state", "Beginning flow run", "View at", "Created task run"))
