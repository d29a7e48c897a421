"""The flow `champion check`: a champion moved in the MLflow UI is noticed, recorded, and warned of if it fails its gates."""

from pathlib import Path

from prefect import flow

from tasks.job import FLOW, Done, looked_at
from tasks.promote import check_champion


@flow(name="champion check", flow_run_name="champion check in {workspace.name}", **FLOW)
def champion_check(workspace: Path) -> list[Done]:
    """Look whether someone moved the alias `champion` elsewhere. `darkroom up` starts it when that happened.

    Args:
        workspace: The folder of the workspace on the machine that runs the flow.
    """
    return [check_champion(looked_at(workspace))]
