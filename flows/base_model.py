"""The flow `base model`."""

from pathlib import Path

from prefect import flow

from darkroom.params import Params
from tasks.augment import augment
from tasks.curate import curate
from tasks.job import FLOW, Done, opened
from tasks.train_base import train_base


@flow(name="base model", flow_run_name="base model of {workspace.name}", **FLOW)
def base_model(workspace: Path, settings: Params | None = None) -> list[Done]:
    """Bring the data set up to date and train the base model.

    Args:
        workspace: The folder of the workspace on the machine that runs the flow.
        settings: What to run it with; what differs is written to the workspace's params.yaml. None leaves it as it is.
    """
    with opened(workspace, settings) as job:
        return [curate(job), augment(job), train_base(job)]
