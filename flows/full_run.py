"""The flow `full run`."""

from pathlib import Path

from prefect import flow

from darkroom.params import Params
from tasks.augment import augment
from tasks.curate import curate
from tasks.evaluate import evaluate
from tasks.finetune import finetune
from tasks.job import FLOW, Done, opened
from tasks.promote import draw_champion, promote
from tasks.register import register
from tasks.train_base import train_base


@flow(name="full run", flow_run_name="full run of {workspace.name}", **FLOW)
def full_run(workspace: Path, settings: Params | None = None) -> list[Done]:
    """The whole life of a model, from a folder of images to a promoted version and pictures drawn from it.

    Args:
        workspace: The folder of the workspace on the machine that runs the flow.
        settings: What to run it with; what differs is written to the workspace's params.yaml. None leaves it as it is.
    """
    with opened(workspace, settings) as job:
        return [
            curate(job),
            augment(job),
            train_base(job),
            finetune(job),
            evaluate(job),
            register(job),
            promote(job),
            draw_champion(job),
        ]
