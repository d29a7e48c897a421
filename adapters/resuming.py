"""Runs of flows that lost their process, or their reason: put back into the queue, or taken out of it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

LATELY = timedelta(days=1)
BEGUN = ("RUNNING", "PENDING", "PAUSED", "CANCELLING", "CANCELLED", "COMPLETED", "FAILED", "CRASHED")
STARTS = 4  # of one run: what crashes again and again (out of memory, say) is left for a person to look at


def go_on(flow: Any, flow_run: Any, state: Any) -> None:
    """A hook on Crashed: a served run whose process died goes on in another, from its last checkpoint."""
    from prefect.client.orchestration import get_client

    if flow_run.deployment_id is None:  # started by a command: the person who typed it sees it end
        return
    with get_client(sync_client=True) as client:
        now = client.read_flow_run(flow_run.id)
        if _may_go_on(client, now):
            _again(client, now)


def _may_go_on(client: Any, run: Any) -> bool:
    """Whether a run that crashed is to be started again: not too often, and not against the will of a person."""
    states = client.read_flow_run_states(run.id)
    crashes = sum(one.is_crashed() for one in states)  # those that die before they begin are no starts
    return max(run.run_count, crashes) < STARTS and not _was_cancelled(states)


def _again(client: Any, run: Any) -> None:
    """Put a run back into the queue. One that asked a person is replaced by a new one, which asks anew: Prefect takes a pause
    that it has seen for answered, and the answer for no."""
    from prefect.states import Cancelled, Scheduled

    state: Any = Scheduled(message="its process ended; it goes on from its last checkpoint")
    if any(one.is_paused() for one in client.read_flow_run_states(run.id)):
        another = client.create_flow_run_from_deployment(run.deployment_id, parameters=run.parameters)
        state = Cancelled(message=f"its process ended; the run {another.id} asks in its place")
    client.set_flow_run_state(run.id, state, force=True)


def _was_cancelled(states: Sequence[Any]) -> bool:
    """Whether a person cancelled a run with this history since it last began."""
    cancelled = False
    for state in sorted(states, key=lambda one: one.timestamp):
        cancelled = state.is_cancelling() or (cancelled and not state.is_running())
    return cancelled


def put_back(names: Sequence[str]) -> list[str]:
    """Put the runs of these deployments that nobody runs any more back into the queue. Returns the runs' names. One that
    waited for a person's answer asks again; one that was being cancelled is cancelled. A deployment's latest run goes on, too, if
    it crashed lately: what outlives its server for a moment and writes a line into the pipe that nobody reads ends so, and no
    hook hears of it.

    Only for a time when none of them can be running: before they are served. A run's process that outlived its server holds
    the workspace's lock, so that the one put back waits for it and then finds its work done.
    """
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled

    lost = []
    with get_client(sync_client=True) as client:
        left = [one for name in names for one in _runs(client, name, "RUNNING", "PENDING", "PAUSED", "CANCELLING")]
        latest = [one for name in names for one in _runs(client, name, *BEGUN)[:1]]
        for run in left + [one for one in latest if _crashed_lately(one) and _may_go_on(client, one)]:
            if run.state.is_cancelling():
                state: Any = Cancelled(message="its process ended while it was being cancelled")
                client.set_flow_run_state(run.id, state, force=True)
            else:
                _again(client, run)
            lost.append(run.name)
    return lost


def _crashed_lately(run: Any) -> bool:
    return bool(run.state.is_crashed()) and run.state.timestamp > datetime.now(UTC) - LATELY


def supersede(flow: str, workspace: Path, why: str) -> list[str]:
    """Cancel the runs of a workspace's flow that an automation asked for and that have not begun. Returns their names."""
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled

    with get_client(sync_client=True) as client:
        names = [f"{flow}/{one.name}" for one in served(client, flow, workspace)]
        queued = [run for name in names for run in _runs(client, name, "SCHEDULED")]
        waiting = [run for run in queued if run.created_by and str(run.created_by.type).upper() == "AUTOMATION"]
        for run in waiting:
            state: Any = Cancelled(message=why)
            client.set_flow_run_state(run.id, state, force=True)
    return [run.name for run in waiting]


def served(client: Any, flow: str, workspace: Path) -> list[Any]:
    """The deployments of a flow that are for a workspace, whoever serves them: `darkroom up`, or a team's worker."""
    from prefect.client.schemas.filters import FlowFilter

    found = client.read_deployments(flow_filter=FlowFilter.model_validate({"name": {"any_": [flow]}}))
    return [one for one in found if one.parameters.get("workspace") == str(workspace)]


def _runs(client: Any, name: str, *kinds: str) -> list[Any]:
    """The latest runs of a deployment in these states; none where there is no such deployment."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.exceptions import ObjectNotFound

    try:
        deployment = client.read_deployment_by_name(name)
    except ObjectNotFound:
        return []
    wanted = {"deployment_id": {"any_": [deployment.id]}, "state": {"type": {"any_": list(kinds)}}}
    latest = FlowRunSort.EXPECTED_START_TIME_DESC
    return list(client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted), sort=latest))
