"""Flows as Prefect deployments: started, scheduled, paused and cancelled from its UI. What a person changes there stays."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from adapters.resuming import put_back, supersede

CHANGED = "darkroom.data.changed"
AS_IT_IS = ("retraining", "promotion", "champion check")  # these take params.yaml as it is; the others show it in their forms
AT_ONCE = 20  # runs of one workspace: those that wait for a person, or for the workspace's lock, count
SERVED = Path(".darkroom/served.json")  # what was served last: the cron line of params.yaml, and who was paused by our ending


class ServeError(RuntimeError):
    """The flows of a workspace cannot be served. The text says why and what to do."""


def serve(flows: Sequence[Any], workspace: Path, settings: dict[str, Any], schedule: str) -> None:
    """Serve flows as deployments of a workspace until interrupted; `retraining` also follows the event and the cron line.

    Runs that were under way when an earlier server of flows died are put back: they go on from their checkpoints. Schedules,
    pauses and the automation that were changed in the UI stay as they are there. Raises ServeError.
    """
    from prefect import serve as serve_deployments

    there = {flow.name: _read(f"{flow.name}/{workspace.name}") for flow in flows}
    _check_owner(workspace, [one for one in there.values() if one is not None])
    before = _served(workspace)
    served = []
    for flow in flows:
        known = there[flow.name]
        cron = schedule if flow.name == "retraining" and (known is None or schedule != before["schedule"]) else ""
        paused = known is not None and known.paused and flow.name not in before["paused"]
        served.append(_deployment(flow, workspace, settings, cron, paused))
    if there.get("retraining") is not None and schedule != before["schedule"]:
        _forget_schedules(there["retraining"].id)  # of the line that stood in params.yaml before
    put_back([f"{one.flow_name}/{one.name}" for one in served])
    _keep(workspace, schedule, [])
    for one in served:
        one.schedules = one.schedules or _schedules(f"{one.flow_name}/{one.name}")  # Prefect deletes those it is not given again
        identity = one.apply()
        if one.flow_name == "retraining":
            _follow_changes(workspace, identity)
    try:
        serve_deployments(*served, limit=AT_ONCE, pause_on_shutdown=False)
    finally:
        _keep(workspace, schedule, _pause([f"{one.flow_name}/{one.name}" for one in served]))


def _deployment(flow: Any, workspace: Path, settings: dict[str, Any], cron: str, paused: bool) -> Any:
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.types.entrypoint import EntrypointType

    parameters: dict[str, Any] = {"workspace": str(workspace)}
    if flow.name not in AS_IT_IS:
        parameters["settings"] = settings
    more: dict[str, Any] = {"cron": cron} if cron else {}
    if flow.name != "promotion":  # a paused run gives its slot back, and Prefect then ends it when it cannot renew its lease
        more["concurrency_limit"] = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
    return flow.to_deployment(
        name=workspace.name,
        parameters=parameters,
        entrypoint_type=EntrypointType.MODULE_PATH,
        tags=["darkroom"],
        description=flow.description,
        paused=paused,
        **more,
    )


def _follow_changes(workspace: Path, deployment: Any) -> None:
    """The automation that starts a retraining: made once, so that it can be changed or switched off in the UI."""
    from prefect.client.orchestration import get_client
    from prefect.events.actions import RunDeployment
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    made = AutomationCore(
        name=f"retrain {workspace.name} when its data change",
        description="Change it as you like: it is made again only where it is gone.",
        trigger=EventTrigger(
            expect={CHANGED},
            match={"prefect.resource.id": resource(workspace)},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=deployment,
                parameters={"why": "{{ event.payload.change }}"},
                job_variables=None,
            )
        ],
    )
    with get_client(sync_client=True) as client:
        for one in client.read_automations_by_name(made.name):
            if any(getattr(action, "deployment_id", None) == deployment for action in one.actions):
                return
            client.delete_automation(one.id)  # of a deployment that was deleted
        client.create_automation(made)


def show_settings(workspace: Path, settings: dict[str, Any]) -> None:
    """Put params.yaml as it is now into the forms: a run started with the form as it stands must not undo what was edited."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.client.schemas.filters import DeploymentFilter

    with get_client(sync_client=True) as client:
        ours = DeploymentFilter.model_validate({"tags": {"all_": ["darkroom"]}})
        for one in client.read_deployments(deployment_filter=ours):
            known = one.parameters
            if known.get("workspace") == str(workspace) and known.get("settings", settings) != settings:
                client.update_deployment(one.id, DeploymentUpdate(parameters={**known, "settings": settings}))


def resource(workspace: Path) -> str:
    """The workspace as Prefect's events name it."""
    return f"darkroom.workspace.{workspace.name}"


def tell_change(workspace: Path, change: str) -> None:
    """The event that starts a retraining. One that an earlier event asked for and that has not begun is superseded."""
    from prefect.events import emit_event

    supersede("retraining", workspace, f"superseded by a newer change: {change}")
    about = {"prefect.resource.id": resource(workspace), "prefect.resource.name": workspace.name}
    emit_event(CHANGED, resource=about, payload={"change": change})


def _read(name: str) -> Any:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(name)
        except ObjectNotFound:
            return None


def _check_owner(workspace: Path, known: Sequence[Any]) -> None:
    """Two workspaces of one name would take each other's runs."""
    for other in {Path(str(one.parameters.get("workspace", workspace))) for one in known} - {workspace}:
        if other.is_dir():
            raise ServeError(
                f"this Prefect server has flows of another workspace named {workspace.name}: {other}. Rename one of the two "
                "folders, or delete those deployments in the Prefect UI"
            )


def _schedules(name: str) -> list[Any]:
    """Those that a deployment has now, to be given again."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate

    known = _read(name)
    kept = ("schedule", "active", "max_scheduled_runs", "parameters", "slug")
    return [DeploymentScheduleCreate(**{part: getattr(one, part) for part in kept}) for one in (known.schedules if known else ())]


def _forget_schedules(deployment: Any) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for one in client.read_deployment_schedules(deployment):
            client.delete_deployment_schedule(deployment, one.id)


def _pause(names: Sequence[str]) -> list[str]:
    """Pause deployments, so that their schedules do not pile up runs while nobody runs them. Returns the flows that were not."""
    from prefect.client.orchestration import get_client

    paused = []
    for name in names:
        known = _read(name)
        if known is not None and not known.paused:
            with get_client(sync_client=True) as client:
                client.pause_deployment(known.id)
            paused.append(name.partition("/")[0])
    return paused


def _served(workspace: Path) -> dict[str, Any]:
    file = workspace / SERVED
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"schedule": "", "paused": []}


def _keep(workspace: Path, schedule: str, paused: list[str]) -> None:
    (workspace / SERVED).write_text(json.dumps({"schedule": schedule, "paused": paused}), encoding="utf-8")
