"""A folder of images becomes a data set: every file is kept or rejected with a reason; the folder is never changed."""

import os
import shutil
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from darkroom.curation import ledger, pictures
from darkroom.curation.duplicates import Duplicate, DuplicateSettings, find_duplicates
from darkroom.curation.examining import Examined, examine
from darkroom.curation.filters import Filter
from darkroom.curation.reading import Candidate, Listing, list_images
from darkroom.curation.splitting import SplitSettings
from darkroom.events import Event, ImageRejected, Noted, Progressed
from darkroom.images import SPLITS, SUFFIXES, ImageSet, Pixels, write_split
from darkroom.refs import DatasetRef, digest_of, replaced
from darkroom.sections import Section

LEAST_KEPT = 16  # images; fewer cannot be split and learned from
BATCH = 64  # files read between two reports of progress
Colour = tuple[Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]]


class CurationError(ValueError):
    """No data set can be made of this folder: what was found, and what to do."""


class CurateSection(Section):
    """`source`: folder of images; `image_size`: side of the squares, pixels; `background`: put behind transparency."""

    source: str
    image_size: int = Field(ge=8, le=1024)
    background: Colour
    filters: list[Filter]
    duplicates: DuplicateSettings
    split: SplitSettings

    @field_validator("filters")
    @classmethod
    def _one_of_a_kind(cls, filters: list[Filter]) -> list[Filter]:
        kinds = [one.kind for one in filters]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ValueError(f"a kind of filter may stand here once; more than once: {', '.join(twice)}")
        return filters


def curate(section: CurateSection, source: Path, out: Path, report: Path) -> Generator[Event, None, DatasetRef]:
    """Read `source`, write the data set to `out` and the report into `report`.

    `out`: train, validation and test (.npy, .json), manifest.parquet (a row for every file), dataset.json. `report`:
    metrics.json, classes.csv, rejected.png, duplicates.png; other files there stay. Raises CurationError, and then
    leaves what `out` and `report` hold as it was.
    """
    listing = _listed(source)
    yield from _notes(listing)
    with replaced(out) as fresh:
        store = fresh / "squares.npy"  # every square, on disk rather than in memory, until the splits are written
        shape = (len(listing.candidates), section.image_size, section.image_size, 3)
        squares = np.lib.format.open_memmap(store, mode="w+", dtype=np.uint8, shape=shape)
        examined = yield from _examine_all(section, source, listing.candidates, squares)
        yield Noted(f"comparing {sum(not one.reason for one in examined):,} images for duplicates")
        duplicates = _duplicates(examined, section.duplicates)
        yield from (ImageRejected(one.path, one.reason, one.detail) for one in duplicates)
        entries = ledger.entries_of(examined, duplicates, section.split)
        _refuse_too_few(source, entries)
        with _files_put_into(report) as sheets:
            _write_report(sheets, entries, squares)
            _write_dataset(fresh, section, entries, squares)
            del squares
            store.unlink()
    kept = sum(entry.kept for entry in entries)
    return DatasetRef(out.as_posix(), digest_of(out), kept)


def _listed(source: Path) -> Listing:
    remedy = "set `curate.source` to a folder of images"
    if not source.exists():
        raise CurationError(f"{source}: there is no such folder; {remedy}")
    if not source.is_dir():
        raise CurationError(f"{source}: this is a file, not a folder; {remedy}")
    listing = list_images(source)
    if not listing.candidates:
        what = ", ".join(f"{count} {suffix}" for suffix, count in listing.others.items())
        held = f"it holds other files: {what}" if what else "it is empty"
        raise CurationError(f"{source}: no image files in it; {held}. Images end in {', '.join(sorted(SUFFIXES))}; {remedy}")
    return listing


def _notes(listing: Listing) -> Iterator[Event]:
    yield from (Noted(note) for note in listing.notes)
    if listing.others:
        what = ", ".join(f"{count} {suffix}" for suffix, count in listing.others.items())
        yield Noted(f"passed over files that are not images: {what}")


def _examine_all(
    section: CurateSection, source: Path, candidates: Sequence[Candidate], squares: Pixels
) -> Generator[Event, None, list[Examined]]:
    """Examine every file on all processors (Pillow decodes outside Python's lock); squares go to their rows."""
    look = partial(examine, source, filters=section.filters, size=section.image_size, background=section.background)
    done: list[Examined] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(candidates), BATCH):
            with warnings.catch_warnings():  # Pillow's warnings of odd files; `decode` cannot hold them back in threads
                warnings.simplefilter("ignore")
                batch = list(pool.map(look, candidates[start : start + BATCH]))
            for one in batch:
                if one.square is not None:
                    squares[len(done)] = one.square
                done.append(replace(one, square=None))
                if one.reason:
                    yield ImageRejected(one.candidate.path, one.reason, one.detail)
            yield Progressed("reading", len(done), len(candidates))
    return done


def _duplicates(examined: Sequence[Examined], settings: DuplicateSettings) -> list[Duplicate]:
    """Among the images that passed every filter."""
    return find_duplicates([one.fingerprint for one in examined if one.fingerprint and not one.reason], settings)


def _refuse_too_few(source: Path, entries: Sequence[ledger.Entry]) -> None:
    kept = sum(entry.kept for entry in entries)
    if kept >= LEAST_KEPT:
        return
    reasons = ledger.rejected_by_reason(entries)
    why = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none"
    judged = sorted(set(reasons) & {kind for entry in entries for kind in entry.scores})
    remedies = [f"loosen the filter `{kind}` in `curate.filters`" for kind in judged]
    if "near_duplicate" in reasons:
        remedies.append("raise `curate.duplicates.least_correlation`")
    raise CurationError(
        f"{source}: found {len(entries)} image files and kept {kept}; at least {LEAST_KEPT} are needed. "
        f"Rejected: {why}. {'; '.join([*remedies, 'add images']).capitalize()}"
    )


def _write_dataset(folder: Path, section: CurateSection, entries: Sequence[ledger.Entry], squares: Pixels) -> None:
    names = ledger.label_names(entries)
    for split in SPLITS:
        rows = [index for index, entry in enumerate(entries) if entry.kept and entry.split == split]
        labels = np.array([names.index(entries[row].label) for row in rows], np.int64)
        paths = tuple(entries[row].path for row in rows)
        write_split(folder, split, ImageSet(np.asarray(squares[rows]), labels, names, paths))
    ledger.write_manifest(folder / "manifest.parquet", entries, [one.kind for one in section.filters])
    about = {"image_size": section.image_size, "labels": list(names), **ledger.summary(entries)}
    ledger.write_json(folder / "dataset.json", about)


def _write_report(folder: Path, entries: Sequence[ledger.Entry], squares: Pixels) -> None:
    ledger.write_json(folder / "metrics.json", ledger.summary(entries))
    ledger.write_classes(folder / "classes.csv", entries)
    pictures.rejected_sheet(entries, squares).save(folder / "rejected.png")
    pictures.duplicates_sheet(entries, squares).save(folder / "duplicates.png")


@contextmanager
def _files_put_into(folder: Path) -> Iterator[Path]:
    """A fresh folder whose files replace those of the same name in `folder` when the block ends without an error."""
    with replaced(folder.with_name(folder.name + ".fresh")) as fresh:
        yield fresh
    made = folder.with_name(folder.name + ".fresh")
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(made.iterdir()):
        file.replace(folder / file.name)
    shutil.rmtree(made)
