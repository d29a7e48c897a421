"""The flow `dataset refresh`."""

from pathlib import Path

from prefect import flow

from darkroom.params import Params
from tasks.augment import augment
from tasks.curate import curate
from tasks.job import FLOW, Done, opened


@flow(name="dataset refresh", flow_run_name="dataset refresh of {workspace.name}", **FLOW)
def dataset_refresh(workspace: Path, settings: Params | None = None) -> list[Done]:
    """Curate the images and declare their augmentation.

    Args:
        workspace: The folder of the workspace on the machine that runs the flow.
        settings: What to run it with; what differs is written to the workspace's params.yaml. None leaves it as it is.
    """
    with opened(workspace, settings) as job:
        return [curate(job), augment(job)]
