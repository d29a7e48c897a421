"""The task `finetune`."""

import json

from prefect import task

from darkroom.finetuning import finetune as finetuning
from darkroom.stage import CHECKPOINTS
from darkroom.training.course import IRRELEVANT
from darkroom.training.session import Places
from tasks.job import STEP, Done, Job, brought_up_to_date, steered, trained


@task(task_run_name="fine-tune on the focus", **STEP)
def finetune(job: Job) -> Done:
    """Fine-tune the base on its focus: models/tuned."""
    at = job.workspace
    report = at / "reports/finetune"
    places = Places(at / "data/curated", at / "data/augmented", at / "models/tuned", report, at / CHECKPOINTS / "finetune")
    with steered() as conduct:
        done = brought_up_to_date(
            job,
            "finetune",
            lambda: trained(
                job,
                "finetune",
                "darkroom.finetuning",
                conduct,
                lambda: finetuning.finetune(job.settings.finetune, at / "models/base", places, conduct),
            ),
            files={"training": report, "model": places.out},
            data=places.data,
            irrelevant=IRRELEVANT,
        )
    return Done(done.stage, done.how, done.why, done.seconds, json.loads((report / "metrics.json").read_text(encoding="utf-8")))
