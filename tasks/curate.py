"""The task `curate`."""

import json

from prefect import task

from adapters import machine, prefect_runs
from darkroom.cores import cores
from darkroom.curation import curate as curation
from darkroom.curation.choices import read_choices
from tasks.job import STEP, Done, Job, brought_up_to_date
from tasks.looking import looks_by


@task(task_run_name="curate the images", **STEP)
def curate(job: Job) -> Done:
    """Judge every image, find duplicates, split: data/curated."""
    section = job.settings.curate
    source, out, report = job.workspace / section.source, job.workspace / "data/curated", job.workspace / "reports/curate"
    memory, choices = job.workspace / curation.MEMORY, read_choices(job.workspace / section.choices)
    looks = looks_by(machine.curating_on(), cores())
    done = brought_up_to_date(
        job,
        "curate",
        lambda: curation.curate(section, source, out, report, memory, choices, looks),
        files={"curation": report},
        data=None,
    )
    if done.how == "computed":
        card = (out / "README.md").read_text(encoding="utf-8").split("---\n", 2)[-1]
        prefect_runs.show_page("curate-card", card, "The data set: splits, what was left out, warnings")
        prefect_runs.show_picture("curate-rejected", report / "rejected.png", "What was rejected, by reason")
    return Done(done.stage, done.how, done.why, done.seconds, json.loads((report / "metrics.json").read_text(encoding="utf-8")))
