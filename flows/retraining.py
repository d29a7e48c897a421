"""The flow `retraining`: what a change of the data calls for, and nothing more."""

from pathlib import Path

from prefect import flow

from darkroom.params import Params
from tasks.augment import augment
from tasks.curate import curate
from tasks.evaluate import evaluate
from tasks.finetune import finetune
from tasks.job import FLOW, Done, opened
from tasks.planning import note_retrained, plan_retraining
from tasks.promote import draw_champion, promote
from tasks.register import register
from tasks.train_base import train_base


@flow(name="retraining", flow_run_name="retraining of {workspace.name}", **FLOW)
def retraining(workspace: Path, settings: Params | None = None, why: str = "") -> list[Done]:
    """Curate; then train as far as the change calls for (params.yaml, `retrain`), evaluate, register, promote.

    Args:
        workspace: The folder of the workspace on the machine that runs the flow.
        settings: Settings to write to the workspace's params.yaml first; none leaves it as it is.
        why: What was seen to change; the flow looks for itself.
    """
    with opened(workspace, settings) as job:
        curated = curate(job)
        planned, job = plan_retraining(job)
        if planned.how == "unchanged":
            return [curated, planned]
        steps = [augment(job), train_base(job), finetune(job), evaluate(job), register(job)]
        steps += [promote(job), draw_champion(job)]
        note_retrained(job)
        return [curated, planned, *steps]
