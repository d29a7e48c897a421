"""Flows as Prefect deployments: started, scheduled, paused and cancelled from its UI; events that start them; lost runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHANGED = "darkroom.data.changed"


def serve(flows: Sequence[Any], workspace: Path, settings: dict[str, Any], schedule: str) -> None:
    """Serve flows as deployments of a workspace until interrupted; `retraining` also follows the event and the cron line.

    Runs that were under way when an earlier server of flows died are put back: they go on from their checkpoints.
    """
    from prefect import serve as serve_deployments

    served = [_deployment(flow, workspace, settings, schedule) for flow in flows]
    put_back([f"{one.flow_name}/{one.name}" for one in served])
    serve_deployments(*served)


def _deployment(flow: Any, workspace: Path, settings: dict[str, Any], schedule: str) -> Any:
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.events import DeploymentEventTrigger
    from prefect.types.entrypoint import EntrypointType

    parameters: dict[str, Any] = {"workspace": str(workspace)}
    if flow.name not in ("retraining", "promotion"):  # these take params.yaml as it is when they start
        parameters["settings"] = settings
    more: dict[str, Any] = {}
    if flow.name == "retraining":
        more["triggers"] = [
            DeploymentEventTrigger(
                name=f"retrain {workspace.name} when its data change",
                expect={CHANGED},
                match={"prefect.resource.id": resource(workspace)},
                parameters={"why": "{{ event.payload.change }}"},
            )
        ]
        more |= {"cron": schedule} if schedule else {}
    if flow.name != "promotion":  # a paused run gives its slot back, and Prefect then ends it when it cannot renew its lease
        more["concurrency_limit"] = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
    return flow.to_deployment(
        name=workspace.name,
        parameters=parameters,
        entrypoint_type=EntrypointType.MODULE_PATH,
        tags=["darkroom"],
        description=flow.description,
        **more,
    )


def resource(workspace: Path) -> str:
    """The workspace as Prefect's events name it."""
    return f"darkroom.workspace.{workspace.name}"


def tell_change(workspace: Path, change: str) -> None:
    """The event that starts a retraining."""
    from prefect.events import emit_event

    about = {"prefect.resource.id": resource(workspace), "prefect.resource.name": workspace.name}
    emit_event(CHANGED, resource=about, payload={"change": change})


def put_back(names: Sequence[str]) -> list[str]:
    """Put the runs of these deployments that nobody runs any more back into the queue. Returns the runs' names. One that
    waited for a person's answer asks again.

    Only for a time when none of them can be running: before they are served. A run's process that outlived its server holds
    the workspace's lock, so that the one put back waits for it and then finds its work done.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.objects import StateType
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Scheduled

    under_way = [StateType.RUNNING, StateType.PENDING, StateType.PAUSED]
    lost = []
    with get_client(sync_client=True) as client:
        for name in names:
            try:
                deployment = client.read_deployment_by_name(name)
            except ObjectNotFound:
                continue
            wanted = FlowRunFilter.model_validate(
                {"deployment_id": {"any_": [deployment.id]}, "state": {"type": {"any_": under_way}}}
            )
            for run in client.read_flow_runs(flow_run_filter=wanted):
                state: Any = Scheduled(message="its process ended; it goes on from its last checkpoint")
                client.set_flow_run_state(run.id, state, force=True)
                lost.append(run.name)
    return lost
