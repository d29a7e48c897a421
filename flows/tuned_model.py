"""The flow `tuned model`."""

from pathlib import Path

from prefect import flow

from darkroom.params import Params
from tasks.augment import augment
from tasks.curate import curate
from tasks.evaluate import evaluate
from tasks.finetune import finetune
from tasks.job import FLOW, Done, opened
from tasks.planning import take_as_base
from tasks.register import register
from tasks.train_base import train_base


@flow(name="tuned model", flow_run_name="tuned model of {workspace.name}", **FLOW)
def tuned_model(workspace: Path, settings: Params | None = None, start: str = "") -> list[Done]:
    """Everything up to a registered challenger: data, base, fine-tuning, evaluation, registration.

    Args:
        workspace: The folder of the workspace on the machine that runs the flow.
        settings: What to run it with; what differs is written to the workspace's params.yaml. None leaves it as it is.
        start: A registered model to fine-tune as it is, MODEL@ALIAS or MODEL@NUMBER; empty for the base of params.yaml.
    """
    with opened(workspace, settings) as job:
        job = take_as_base(job, start) if start else job
        return [curate(job), augment(job), train_base(job), finetune(job), evaluate(job), register(job)]
