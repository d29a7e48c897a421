"""What a change of the data calls for: which training, or none. Pure functions of file lists; nothing is hashed here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from darkroom.sections import Section

Stamp = tuple[int, int]  # size in bytes, time of change in nanoseconds
Look = Mapping[str, Stamp]


class RetrainSection(Section):
    """What a change of the data leads to."""

    little: Annotated[
        float, Field(ge=0, le=1, description="new images, as a share of all, up to which training starts from the champion")
    ]
    warm_images: Annotated[float, Field(gt=0, le=1, description="share of train_base.images that such a training sees")]
    look_every: Annotated[PositiveInt, Field(description="seconds between two looks at the folder of images")]
    quiet: Annotated[NonNegativeInt, Field(description="seconds without a further change before anything starts")]
    schedule: Annotated[str, Field(pattern=r"^(\S+( \S+){4})?$", description="cron line for runs at set times; empty for none")]


class SourceGone(ValueError):
    """The folder of images cannot be looked at. The text names it."""


class Course(StrEnum):
    """The training that a change calls for."""

    NONE = "none"
    WARM = "warm start from the champion"
    SCRATCH = "from scratch"
    FINETUNE = "fine-tuning only"


@dataclass(frozen=True, slots=True)
class Plan:
    """A course and the reason for it, in words with the figures."""

    course: Course
    why: str


def look(folder: Path) -> dict[str, Stamp]:
    """Every file below `folder` (hidden ones left out), or an archive, with size and time of change: nothing is opened.

    Raises SourceGone where the folder is not there: an absent disk must not look like deleted images.
    """
    if folder.is_file():
        state = folder.stat()
        return {folder.name: (state.st_size, state.st_mtime_ns)}
    if not folder.is_dir():
        raise SourceGone(f"{folder}: the watched folder is not there; nothing is retrained until it is back")
    found: dict[str, Stamp] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                file = Path(place) / name
                try:
                    state = file.stat()
                except FileNotFoundError:  # gone between listing and looking, or a link to nothing
                    continue
                found[file.relative_to(folder).as_posix()] = (state.st_size, state.st_mtime_ns)
    return found


def difference(before: Look, now: Look) -> str:
    """What differs, in words with figures; empty where nothing does."""
    added, removed = len(now.keys() - before.keys()), len(before.keys() - now.keys())
    altered = sum(before[path] != now[path] for path in before.keys() & now.keys())
    parts = [f"{count} files {what}" for count, what in ((added, "added"), (removed, "removed"), (altered, "changed")) if count]
    return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a curation kept: label and caption of each image, by the digest of its file."""

    images: Mapping[str, tuple[str, str]]


def plan(section: RetrainSection, before: Kept | None, now: Kept) -> Plan:
    """The course for data that were `before` (what the champion was trained on; None: no champion) and are `now`."""
    if before is None:
        return Plan(Course.SCRATCH, "there is no champion to start from")
    added, removed = now.images.keys() - before.images.keys(), before.images.keys() - now.images.keys()
    relabelled = [digest for digest in now.images.keys() & before.images.keys() if now.images[digest] != before.images[digest]]
    if removed:
        return Plan(Course.SCRATCH, f"{len(removed)} images were taken out: a model must not start from weights that saw them")
    if not added and not relabelled:
        return Plan(Course.NONE, "the same images and labels survive curation as the champion was trained on")
    names = [{label for label, _ in one.images.values()} for one in (before, now)]
    if names[0] != names[1]:
        return Plan(Course.SCRATCH, "the set of labels changed")
    if not added:
        return Plan(Course.FINETUNE, f"{len(relabelled)} images have other labels or captions, no image is new")
    share = len(added) / len(now.images)
    figures = f"{len(added)} of {len(now.images)} images are new ({share:.0%}; little is up to {section.little:.0%})"
    return Plan(Course.WARM if share <= section.little else Course.SCRATCH, figures)
