"""What a course leaves to look at: the loss as a table and a plot, its last figures, the film strip of its samples."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from darkroom.images import ImageSet, spread
from darkroom.training.batches import order_of
from darkroom.training.checkpoints import Moment, State
from darkroom.training.course import Course
from darkroom.training.coverage import times_seen
from darkroom.training.held_out import BANDS
from darkroom.training.quick import NAME

STRIPS = 32  # sheets of which the film strip shows a part: of hundreds, nobody would see one


def write_report(report: Path, state: State, parameters: int, course: Course, images: ImageSet) -> None:
    """loss.csv, scores.csv and coverage.csv (for `dvc plots` and spreadsheets), loss.png, metrics.json."""
    heads = [f"{split}_loss {band}" for split in ("held_out", "training") for band in BANDS]
    rows = [",".join(["images_seen,loss,learning_rate,held_out_loss", *heads])]
    for m in state.history:
        bands = [str(of.get(band, "")) for of in (m.bands, m.training_bands) for band in BANDS]
        rows.append(",".join([f"{m.images_seen},{m.loss},{m.learning_rate:.6g},{m.held_out or ''}", *bands]))
    scores = [f"images_seen,{NAME},real", *(f"{seen},{score},{floor}" for seen, score, floor in state.scores)]
    (report / "scores.csv").write_text("\n".join(scores) + "\n", encoding="utf-8")
    (report / "loss.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    measured = {moment.images_seen: moment.held_out for moment in state.history if moment.held_out is not None}
    order = order_of(images, course.seed, course.batch_size)
    times = times_seen(order, state.images_seen, course.batch_size, state.skipped)
    lines = sorted(f"{json.dumps(path, ensure_ascii=False)},{count}" for path, count in zip(images.paths, times, strict=True))
    (report / "coverage.csv").write_text("\n".join(["path,times_seen", *lines]) + "\n", encoding="utf-8")
    figures = {
        "images_seen": state.images_seen,
        "weights_at": state.taken_at or state.images_seen,  # images seen by them: fewer, where patience ended the course
        "loss": state.history[-1].loss,
        "held_out_loss": measured.get(state.taken_at or max(measured, default=0)),
        "parameters": parameters,
        "times_seen": {"least": int(times.min()), "most": int(times.max())},
        "batches_left_out": len(state.skipped),
    }
    (report / "metrics.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    _plot(report / "loss.png", state.history)


def _plot(path: Path, history: list[Moment]) -> None:
    from matplotlib.figure import Figure  # imported here: it takes a second, and only the end of a course needs it

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([m.images_seen for m in history], [m.loss for m in history], color="#9ab", label="training")
    measured = [m for m in history if m.held_out is not None]
    held_out = [m.held_out or 0.0 for m in measured]
    axes.plot([m.images_seen for m in measured], held_out, "o-", color="#c40", label="held out, averaged weights")
    axes.set(xlabel="images seen", ylabel="denoising loss", ylim=(0.9 * min(m.loss for m in history), None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def film_strip(sheets: list[Path], report: Path) -> None:
    """The last sheet as samples.png; the first row of others, oldest on top, as film_strip.png: of at most `STRIPS`."""
    shutil.copyfile(sheets[-1], report / "samples.png")
    rows = []
    for place in spread(len(sheets), STRIPS):
        with Image.open(sheets[place]) as image:
            rows.append(np.asarray(image)[: image.height // 3])
    Image.fromarray(np.concatenate(rows)).save(report / "film_strip.png")
