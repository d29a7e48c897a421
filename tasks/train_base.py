"""The task `train_base`."""

import json

from prefect import task

from darkroom.stage import CHECKPOINTS
from darkroom.training import train_base as training
from darkroom.training.course import IRRELEVANT
from darkroom.training.session import Places
from tasks.job import STEP, Done, Job, brought_up_to_date, steered, trained


@task(task_run_name="train the base model", **STEP)
def train_base(job: Job) -> Done:
    """Train a model from scratch: models/base."""
    at = job.workspace
    report = at / "reports/train_base"
    places = Places(at / "data/curated", at / "data/augmented", at / "models/base", report, at / CHECKPOINTS / "train_base")
    with steered() as conduct:
        done = brought_up_to_date(
            job,
            "train_base",
            lambda: trained(
                job,
                "train_base",
                "darkroom.training",
                conduct,
                lambda: training.train_base(job.settings.train_base, places, conduct),
            ),
            files={"training": report, "model": places.out},
            data=places.data,
            irrelevant=IRRELEVANT,
        )
    return Done(done.stage, done.how, done.why, done.seconds, json.loads((report / "metrics.json").read_text(encoding="utf-8")))
