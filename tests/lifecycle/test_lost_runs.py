"""Runs of served flows whose process died: which of them go on when the flows are served again. On a real Prefect server."""

import os
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Cancelling, Crashed, Pending, Running

from adapters import local_servers, resuming
from adapters.resuming import STARTS, go_on, put_back

pytestmark = pytest.mark.servers


@flow
def lived() -> None: ...


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[Any]:
    with patch.dict(os.environ), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Prefect's own
        url = local_servers.prefect_api(print)
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            yield client


def after(client: Any, *states: Any) -> Any:
    """A run of the deployment `lived/here` that went through these states."""
    deployment: Any = lived.to_deployment("here")
    run = client.create_flow_run_from_deployment(deployment.apply())
    for state in states:
        client.set_flow_run_state(run.id, state, force=True)
    return client.read_flow_run(run.id)


def kind(client: Any, run: Any) -> str:
    return str(client.read_flow_run(run.id).state.type.value)


def test_runs_that_nobody_runs_any_more_are_put_back(client: Any) -> None:
    killed = after(client, Pending(), Running())
    crashed = after(client, Pending(), Running(), Crashed(message="it reported its own death, and no hook heard of it"))
    cancelled = after(client, Pending(), Running(), Cancelling(), Crashed())
    ended = after(client, Pending(), Running(), Cancelled())
    assert put_back(["lived/here", "lived/nowhere"]) == [killed.name], "another run began after the one that crashed"
    assert [kind(client, one) for one in (killed, crashed)] == ["SCHEDULED", "CRASHED"]
    assert [kind(client, one) for one in (cancelled, ended)] == ["CRASHED", "CANCELLED"]


def test_the_latest_run_is_put_back_where_it_crashed_lately_and_nobody_cancelled_it(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed = after(client, Pending(), Running(), Crashed(message="it reported its own death, and no hook heard of it"))
    monkeypatch.setattr(resuming, "LATELY", timedelta(0))
    assert put_back(["lived/here"]) == [] and kind(client, crashed) == "CRASHED"
    monkeypatch.undo()
    assert put_back(["lived/here"]) == [crashed.name] and kind(client, crashed) == "SCHEDULED"
    cancelled = after(client, Pending(), Running(), Cancelling(), Crashed())
    assert put_back(["lived/here"]) == [] and kind(client, cancelled) == "CRASHED"


@pytest.mark.parametrize("life", [(Pending, Running, Crashed), (Pending, Crashed)], ids=["while it runs", "before it runs"])
def test_what_crashes_again_and_again_is_left(client: Any, life: tuple[Any, ...]) -> None:
    run = after(client, *(state() for state in life))
    for _ in range(STARTS - 1):
        go_on(lived, run, run.state)
        assert kind(client, run) == "SCHEDULED"
        for state in life:
            client.set_flow_run_state(run.id, state(), force=True)
    go_on(lived, run, run.state)
    assert run.name not in put_back(["lived/here"])
    assert kind(client, run) == "CRASHED"
