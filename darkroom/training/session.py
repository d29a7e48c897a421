"""A course of training from its materials to a model folder and a report. Base training and fine-tuning are both this."""

import hashlib
import json
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from darkroom.augmentation import read_recipe
from darkroom.events import Event, Noted
from darkroom.images import ImageSet, contact_sheet
from darkroom.networks.denoiser import Denoiser
from darkroom.networks.saved import ModelCard, device_named, save_model
from darkroom.refs import WeightsRef, digest_of, replaced
from darkroom.sampling import draw, noise_for
from darkroom.training.checkpoints import Moment, State, forget_checkpoints
from darkroom.training.loop import Course, Materials, train

SHEET = 24  # images on a sample sheet


@dataclass(frozen=True)
class Places:
    """Where a course finds and leaves things: data and recipe in, model and report out, checkpoints in between."""

    data: Path
    augmented: Path
    out: Path
    report: Path
    checkpoints: Path


def run_course(
    model: Denoiser, card: ModelCard, course: Course, images: ImageSet, held_out: ImageSet, places: Places
) -> Generator[Event, None, WeightsRef]:
    """Train, then write the averaged weights to `places.out` and the curves and samples to `places.report`."""
    device = device_named(course.device)
    checkpoints = places.checkpoints / _fingerprint(course, card, digest_of(places.augmented))

    def draw_sheet(averaged: Denoiser, images_seen: int) -> Path:
        return _draw_sheet(averaged, card, course.seed, checkpoints / "samples" / f"{images_seen:012d}.png", device)

    parameters = sum(value.numel() for value in model.parameters())
    yield Noted(f"{parameters / 1e6:.1f} million parameters, {len(images):,} images, {len(held_out):,} held out, on {device}")
    materials = Materials(images, held_out, read_recipe(places.augmented), checkpoints, draw_sheet)
    state = yield from train(model, course, materials, device)
    done = card.model_copy(update={"images_seen": card.images_seen + state.images_seen})
    with replaced(places.report) as report, replaced(places.out) as out:
        save_model(out, state.averaged.state_dict(), done)
        _write_report(report, state, parameters)
        _film_strip(sorted((checkpoints / "samples").glob("*.png")), report)
    forget_checkpoints(checkpoints)
    return WeightsRef(str(places.out), digest_of(places.out), parameters)


def _fingerprint(course: Course, card: ModelCard, recipe: str) -> str:
    """Names a course: the same settings on the same data from the same weights go on, anything else begins anew."""
    text = json.dumps([course.model_dump(mode="json"), card.model_dump(mode="json"), recipe], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _draw_sheet(model: Denoiser, card: ModelCard, seed: int, path: Path, device: torch.device) -> Path:
    """A sheet from fixed noise, each label in turn: differences between two sheets are the model's."""
    names = [card.labels.index(name) for name in card.focus] or list(range(len(card.labels)))
    labels = torch.tensor(sorted(names[index % len(names)] for index in range(SHEET)), device=device)
    pixels = draw(model, card, labels, noise_for(seed, range(SHEET), card.image_size).to(device), card.drawing)
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(pixels, columns=8, scale=max(1, 96 // card.image_size)).save(path)
    return path


def _write_report(report: Path, state: State, parameters: int) -> None:
    """loss.csv (for `dvc plots` and spreadsheets), loss.png, metrics.json."""
    rows = ["images_seen,loss,learning_rate,held_out_loss"]
    rows += [f"{m.images_seen},{m.loss},{m.learning_rate:.6g},{m.held_out or ''}" for m in state.history]
    (report / "loss.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    measured = [moment.held_out for moment in state.history if moment.held_out is not None]
    figures = {
        "images_seen": state.images_seen,
        "loss": state.history[-1].loss,
        "held_out_loss": measured[-1] if measured else None,
        "parameters": parameters,
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


def _film_strip(sheets: list[Path], report: Path) -> None:
    """The last sheet as samples.png; the first row of every sheet, oldest on top, as film_strip.png."""
    shutil.copyfile(sheets[-1], report / "samples.png")
    rows = []
    for sheet in sheets:
        with Image.open(sheet) as image:
            rows.append(np.asarray(image)[: image.height // 3])
    Image.fromarray(np.concatenate(rows)).save(report / "film_strip.png")
