"""From a folder of images to a model folder, in one process, within a budget: no workspace, no servers, no version control.

What is half done lies in `work` inside the model folder: the same request goes on there. One that is fulfilled is not done again.
"""

import hashlib
import json
import shutil
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from darkroom.augmentation import AugmentSection, augment
from darkroom.curation.curate import CurateSection, curate
from darkroom.curation.walking import files_of, found_at
from darkroom.events import Event, Noted, kept
from darkroom.networks.captioned import PretrainedCaptionedSettings
from darkroom.networks.pretrained_text import FOLDER as TEXT_ENCODER
from darkroom.networks.pretrained_text import digests_of, folder_of
from darkroom.networks.profiles import FOLDER as AVERAGES
from darkroom.networks.saved import check_sides, device_named
from darkroom.refs import WeightsRef, digest_of
from darkroom.sampling import evaluations
from darkroom.training.beginning import begin
from darkroom.training.course import UNSTEERED, WATCHING, Conduct
from darkroom.training.memory import in_precision
from darkroom.training.parallel import agreed, leads, wait_for_all
from darkroom.training.planning import images_per_second
from darkroom.training.rehearsal import materials_of
from darkroom.training.session import SHEET, Places
from darkroom.training.train_base import TrainBaseSection, fresh, splits_of, train_base

WORK, REQUEST, EVENTS = "work", "request.json", "events.jsonl"
MEASURED = 5.0  # seconds of training before a course by minutes, to know its images
BETWEEN_SAVES = 300.0  # seconds at most between two checkpoints
DRAWING = 0.05  # share of the time that drawing sample sheets may take
TRAINING = 3  # evaluations of the network that training on an image costs: forward, and twice that backward


@dataclass(frozen=True)
class Request:
    """What to train on what: the settings of the three steps; a budget of `minutes`, or else the training's images."""

    source: Path
    curate: CurateSection
    augment: AugmentSection
    train: TrainBaseSection
    minutes: float | None

    def facts(self) -> dict[str, Any]:
        """All that decides the model, as JSON; the images by their names, sizes and times."""
        if self.source.is_file():  # an archive
            found = [found_at(self.source, self.source.name)]
        else:
            found = [one for _, files in files_of(self.source, []) for one in files]
        text = json.dumps(sorted((one.path, *one.stamp.split()[:2]) for one in found))
        sections = {name: getattr(self, name).model_dump(mode="json") for name in ("curate", "augment", "train")}
        network = self.train.network
        if isinstance(network, PretrainedCaptionedSettings):
            sections["encoder"] = digests_of(folder_of(network.encoder))
        return {**sections, "minutes": self.minutes, "images": hashlib.sha256(text.encode()).hexdigest()}


def train_folder(request: Request, out: Path, conduct: Conduct = UNSTEERED) -> Generator[Event, None, WeightsRef]:
    """Curate, augment, train; the model, its samples, plots and events end up in `out`. The images are never changed.

    Raises FileExistsError where `out` holds something else, ValueError where sizes do not fit or `out` lies among the images,
    CurationError, ModelError, TrainingStopped, StoppedOnRequest.
    """
    _check(request, out)
    facts, work = request.facts(), out / WORK
    if _recorded(out) == facts:
        yield Noted(f"{out}: unchanged, the same request has been fulfilled")
        return _made(out)
    wait_for_all()  # until here nobody has changed anything
    if not leads():
        wait_for_all()
        yield from _trained_once(request, work, conduct)
    else:
        before = _recorded(work)
        goes_on = _deciding(before) == _deciding(facts)
        if not goes_on:
            _clear(work, before, facts)
        if before != facts:
            (work / REQUEST).write_text(json.dumps(facts), encoding="utf-8")
        yield from kept(_steps(request, work, conduct), work / EVENTS, anew=not goes_on)
        _move(work, out)
    wait_for_all()
    return _made(out)


def _check(request: Request, out: Path) -> None:
    """Refuse what cannot be before an image is read: a large folder takes its time."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is not a folder; choose another name")
    if out.exists() and any(out.iterdir()) and not ((out / WORK).is_dir() or (out / REQUEST).exists()):
        raise FileExistsError(f"{out} is not empty, and holds no model of `darkroom train`; choose another folder")
    if request.source.is_dir() and out.resolve().is_relative_to(request.source.resolve()):
        raise ValueError(f"{out} lies inside {request.source}, whose images are only read; choose a folder outside it")
    check_sides(request.train.network, request.curate.aspect_buckets.shapes(request.curate.image_size))
    with torch.device("meta"):
        request.train.network.build(request.curate.image_size, 1, 0)


def _clear(work: Path, before: Any, now: dict[str, Any]) -> None:
    """Make room for another request. What was prepared of the same images in the same way stays, and so do checkpoints: each
    course has its own, tells what differs, and can be gone back to."""
    work.mkdir(parents=True, exist_ok=True)
    places, kept = places_in(work), {places_in(work).checkpoints}
    same = {name for name in ("images", "curate", "augment") if isinstance(before, dict) and before.get(name) == now[name]}
    if {"images", "curate"} <= same:
        kept.add(places.data)
        if "augment" in same:
            kept.add(places.augmented)
    for file in work.iterdir():
        if file.is_dir() and file not in kept:
            shutil.rmtree(file)
        elif file.is_file():
            file.unlink()


def _steps(request: Request, work: Path, conduct: Conduct) -> Generator[Event, None, None]:
    yield from prepared(request, work)
    wait_for_all()
    yield from _trained_once(request, work, conduct)


def _trained_once(request: Request, work: Path, conduct: Conduct) -> Generator[Event, None, None]:
    """Train, but where that is done and the program was stopped while the files were moved."""
    if agreed(not places_in(work).report.exists()):
        yield from trained(request, work, conduct)


def _move(work: Path, out: Path) -> None:
    """The model, what shows it and what was told, out of the work folder, which goes."""
    for former in (out / AVERAGES, out / TEXT_ENCODER):  # of another request, which the new model may not have
        shutil.rmtree(former, ignore_errors=True)
    for made in (work / "report", work / "model"):
        for file in sorted(made.iterdir()):
            if (out / file.name).is_dir():
                shutil.rmtree(out / file.name)
            file.replace(out / file.name)
    for name in (EVENTS, REQUEST):  # the request comes last: it vouches
        (work / name).replace(out / name)
    shutil.rmtree(work)


def places_in(work: Path) -> Places:
    """Where a course from a folder finds and leaves things."""
    return Places(work / "data", work / "augmented", work / "model", work / "report", work / "checkpoints")


def prepared(request: Request, work: Path) -> Generator[Event, None, None]:
    """Curate and augment, where that is not yet done: both come into being whole."""
    places = places_in(work)
    if not places.data.exists():
        yield from curate(request.curate, request.source, places.data, work / "curation")
    if not places.augmented.exists():
        yield from augment(request.augment, places.data, places.augmented, work / "augmentation")


def trained(request: Request, work: Path, conduct: Conduct) -> Generator[Event, None, WeightsRef]:
    """Train on what was prepared."""
    places = places_in(work)
    section = yield from _fitted(request, places, conduct.sharded)
    return (yield from train_base(section, places, replace(conduct, minutes=request.minutes)))


def _fitted(request: Request, places: Places, sharded: bool) -> Generator[Event, None, TrainBaseSection]:
    """The settings stretched to the budget. For minutes, this device's speed is measured once, and kept for when it goes on."""
    if request.minutes is None:
        return request.train
    record = places.out.parent / "speed.json"
    if agreed(not record.exists()):
        yield Noted("measuring the speed of this machine")
        measured = _speed(request, places, sharded)
        if leads():
            record.with_suffix(".partial").write_text(json.dumps(measured), encoding="utf-8")
            record.with_suffix(".partial").replace(record)
        wait_for_all()
    speed = float(json.loads(record.read_text(encoding="utf-8")))
    images = max(request.train.batch_size, round(speed * 60 * request.minutes))
    yield Noted(f"{speed:.0f} images/s: some {images:,} images in {request.minutes:g} minutes; the clock ends it")
    fitted = request.train.stretched(images)
    often = max(fitted.batch_size, min(fitted.checkpoint_every, round(speed * BETWEEN_SAVES)))
    sheet = SHEET * evaluations(fitted.drawing.alone) / TRAINING  # images that could be trained on while a sheet is drawn
    seldom = max(fitted.samples_every, round(sheet / DRAWING))
    return fitted.model_copy(update={"checkpoint_every": often, "samples_every": seldom})


def _speed(request: Request, places: Places, sharded: bool) -> float:
    section = request.train
    splits = splits_of(places.data)
    model, _ = fresh(section, splits, places)
    materials = materials_of(splits, request.augment, places.checkpoints)
    state = begin(model.to(device_named(section.device)), section, sharded)
    return images_per_second(state, section, materials, MEASURED, manner=in_precision(section.precision))


def _made(out: Path) -> WeightsRef:
    parameters = sum(value.numel() for value in load_file(out / "weights.safetensors").values())
    return WeightsRef(str(out), digest_of(out / "weights.safetensors"), parameters)


def _deciding(facts: Any) -> Any:
    """What of a request decides what is learned."""
    if not isinstance(facts, dict):
        return facts
    return {**facts, "train": {name: value for name, value in facts["train"].items() if name not in WATCHING | {"drawing"}}}


def _recorded(folder: Path) -> Any:
    """What a folder was made for; None where that is not said, or was half written when the program was killed."""
    file = folder / REQUEST
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    except ValueError:
        return None
