"""The flow `promotion`."""

from pathlib import Path

from prefect import flow

from darkroom.params import Params
from tasks.job import Done, opened
from tasks.promote import draw_champion, promote


@flow(name="promotion", flow_run_name="promotion of {workspace.name}")
def promotion(workspace: Path, settings: Params) -> list[Done]:
    """Make the challenger the champion where every gate passes.

    Args:
        workspace: The folder of the workspace on the machine that runs the flow.
        settings: What to run it with; what differs is written to the workspace's params.yaml.
    """
    with opened(workspace, settings) as job:
        return [promote(job), draw_champion(job)]
