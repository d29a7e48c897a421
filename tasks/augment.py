"""The task `augment`."""

from prefect import task

from adapters import prefect_runs
from darkroom import augmentation
from tasks.job import STEP, Done, Job, brought_up_to_date


@task(task_run_name="declare and preview augmentation", **STEP)
def augment(job: Job) -> Done:
    """Write the augmentation recipe and a sheet of what it does: data/augmented."""
    data, out, report = (job.workspace / part for part in ("data/curated", "data/augmented", "reports/augment"))
    done = brought_up_to_date(
        job,
        "augment",
        lambda: augmentation.augment(job.settings.augment, data, out, report),
        files={"augmentation": report},
        data=data,
    )
    if done.how == "computed":
        prefect_runs.show_picture("augment-preview", report / "preview.png", "Left: training images; right: variations of each")
    return done
