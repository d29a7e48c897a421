"""A folder of images becomes a data set: every file is kept or rejected with a reason; the folder is never changed."""

import gc
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast

import numpy as np
from filelock import FileLock, Timeout
from pydantic import Field, field_validator, model_validator

from darkroom.curation import ledger, pictures
from darkroom.curation.archives import is_archive
from darkroom.curation.card import card
from darkroom.curation.cautions import warnings_of
from darkroom.curation.choices import Choice, Word
from darkroom.curation.decoding import IMAGE_SUFFIXES
from darkroom.curation.duplicates import Duplicate, find_duplicates, find_same_content
from darkroom.curation.embedding import Described, EmbeddingSettings, described, outlier_scores, same_content
from darkroom.curation.examining import Examined, Way
from darkroom.curation.filters import Filter, Outlier, fault, first_failed, with_values
from darkroom.curation.gathering import gather
from darkroom.curation.memory import Memory, first_come, key_of, opened, remember_order
from darkroom.curation.page import page
from darkroom.curation.pairs import DuplicateSettings, compared
from darkroom.curation.parquet import is_table
from darkroom.curation.reading import Listing, as_text, list_images
from darkroom.curation.splitting import SplitSettings
from darkroom.curation.workers import Looks
from darkroom.events import Event, ImageRejected, Noted
from darkroom.images import SPLITS, ImageSet, Pixels, Rows, digest_of_images, write_split
from darkroom.refs import DatasetRef, replaced
from darkroom.sections import Section
from darkroom.shapes import AspectBuckets, Shape, by_shape, shape_for

MEMORY = Path(".darkroom/curation")  # in a workspace: what earlier runs saw
LEAST_KEPT = 16  # images; fewer cannot be split and learned from
Colour = tuple[Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]]


class CurationError(ValueError):
    """No data set can be made of this folder: what was found, and what to do."""


class CurateSection(Section):
    """`source`: folder of images, archive or Parquet file; `choices`: the keep/drop list, beside params.yaml;
    `image_size`: side of the squares, pixels; `aspect_buckets`: shapes beside it; `background`: put behind transparency."""

    source: str
    choices: str
    image_size: int = Field(ge=8, le=1024)
    aspect_buckets: AspectBuckets
    background: Colour
    filters: list[Filter]
    duplicates: DuplicateSettings
    embedding: EmbeddingSettings
    split: SplitSettings

    @model_validator(mode="after")
    def _has_buckets(self) -> "CurateSection":
        if self.aspect_buckets.most > 1 and len(self.aspect_buckets.shapes(self.image_size)) == 1:
            raise ValueError(
                f"`aspect_buckets`: no shape up to {self.aspect_buckets.most:g} to 1 has sides that are multiples of "
                f"{self.aspect_buckets.multiple} and the area of {self.image_size} x {self.image_size}; give a smaller `multiple`"
            )
        return self

    @field_validator("filters")
    @classmethod
    def _one_of_a_kind(cls, filters: list[Filter]) -> list[Filter]:
        kinds = [one.kind for one in filters]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ValueError(f"a kind of filter may stand here once; more than once: {', '.join(twice)}")
        return filters


def curate(
    section: CurateSection,
    source: Path,
    out: Path,
    report: Path,
    memory: Path | None = None,
    choices: Sequence[Choice] = (),
    looks: Looks | None = None,
) -> Generator[Event, None, DatasetRef]:
    """Read `source`, write the data set to `out` and the report into `report`.

    `out`: train, validation and test (.json) with their shards, manifest.parquet (a row for every file), dataset.json,
    README.md (the card). `report`: index.html, metrics.json, classes.csv, rejected.png, duplicates.png; other files there stay.
    `memory`: a folder in which runs remember what they saw, so that the next is short; a run waits for another that uses it.
    `looks`: who has the images looked at, if not processes of this machine.
    Raises CurationError, and then leaves what `out` and `report` hold as it was.
    """
    with ExitStack() as stack:
        yield from _alone(memory, stack)
        stack.enter_context(_collector_at_rest())
        listing = _listed(source)
        yield from _notes(listing)
        with replaced(out) as fresh:
            unkept = fresh / "memory"
            of_images = tuple(one for one in section.filters if not isinstance(one, Outlier))
            way = Way(of_images, section.aspect_buckets.shapes(section.image_size), section.background)
            key = key_of(str(sorted(one.kind for one in of_images)), str(way.shapes), str(section.background))
            with opened(memory or unkept, key, section.image_size) as known:
                top = source if source.is_dir() else source.parent
                examined, squares = yield from gather(top, listing.candidates, way, known, looks=looks)
                listing = replace(listing, candidates=())  # of a million, a third of the memory
                examined, content = yield from _with_content(section, examined, squares, known.database.parent)
                filters = with_values(section.filters, _scores(examined))
                examined = yield from _after_filters(examined, section.filters, filters)
                examined = yield from _after_choices(examined, choices)
                yield Noted(f"comparing {sum(not one.reason for one in examined):,} images for duplicates")
                duplicates = yield from _duplicates(examined, section.duplicates, choices, content, known)
                yield from (ImageRejected(one.path, one.reason, one.detail) for one in duplicates)
                entries = ledger.entries_of(examined, duplicates, section.split)
                _refuse_too_few(source, entries)
                yield from (Noted(f"mind: {warning}") for warning in warnings_of(entries, way.shapes))
                with _files_put_into(report) as sheets:
                    _write_report(sheets, way.shapes, filters, entries, squares, listing.notes)
                    orders = _write_dataset(fresh, section, filters, entries, squares, memory)
            shutil.rmtree(unkept, ignore_errors=True)
        if memory:
            for split, order in orders.items():
                remember_order(memory, split, order)
    kept = sum(entry.kept for entry in entries)
    return DatasetRef(out.as_posix(), digest_of_images(out), kept)


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """A million images are millions of objects, none in a cycle: to walk over them again and again takes a quarter of a run."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _alone(memory: Path | None, stack: ExitStack) -> Iterator[Event]:
    """Hold a memory until the stack is left; while another run holds it this one waits, and says so."""
    if memory is None:
        return
    memory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(memory / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield Noted(f"another run curates with {memory}; this one goes on when it ends")
        lock.acquire()
    stack.callback(lock.release)


def _listed(source: Path) -> Listing:
    remedy = "set `curate.source` to a folder of images (or an archive, or a Parquet file)"
    if not source.exists():
        raise CurationError(f"{source}: there is no such folder; {remedy}")
    if not source.is_dir() and not is_archive(source.name) and not is_table(source.name):
        raise CurationError(f"{source}: this is a file, not a folder; {remedy}")
    listing = list_images(source)
    if not listing.candidates:
        others = ", ".join(f"{count} {suffix}" for suffix, count in listing.others.items())
        told = [*([f"it holds other files: {others}"] if others else []), *listing.notes]
        held = "; ".join(told) or "it is empty"
        raise CurationError(
            f"{source}: no image files in it; {held}. Images end in {', '.join(sorted(IMAGE_SUFFIXES))}; {remedy}"
        )
    return listing


def _notes(listing: Listing) -> Iterator[Event]:
    yield from (Noted(note) for note in listing.notes)
    if listing.others:
        what = ", ".join(f"{count} {suffix}" for suffix, count in listing.others.items())
        yield Noted(f"passed over files that are not images: {what}")


def _scores(examined: Sequence[Examined]) -> dict[str, list[float]]:
    """All scores of all images that could be decoded, by filter."""
    scores: dict[str, list[float]] = {}
    for one in examined:
        for kind, score in one.scores.items():
            scores.setdefault(kind, []).append(score)
    return scores


def _after_filters(
    examined: Sequence[Examined], asked: Sequence[Filter], filters: Sequence[Filter]
) -> Generator[Event, None, list[Examined]]:
    """Reject what fails a filter. `asked` may hold thresholds in per cent, `filters` hold the same as values."""
    shares = {one.kind: _shares(one) for one in asked}
    decoded = [index for index, one in enumerate(examined) if one.fingerprint is not None]
    found = list(examined)
    for index, failed in zip(decoded, first_failed(filters, (found[index].scores for index in decoded)), strict=True):
        if failed is not None:
            one = found[index]
            detail = f"{fault(failed, one.scores[failed.kind])}{shares[failed.kind]}"
            found[index] = one = replace(one, reason=failed.kind, detail=detail)
            yield ImageRejected(one.path, one.reason, one.detail)
    return found


def _shares(one: Filter) -> str:
    """What a threshold in per cent was, in words; "" for values."""
    said = [f"`{name}: {limit}`" for name, limit in one.model_dump(exclude={"kind"}).items() if isinstance(limit, str)]
    return f" ({', '.join(said)} of all images)" if said else ""


def _after_choices(examined: Sequence[Examined], choices: Sequence[Choice]) -> Generator[Event, None, list[Examined]]:
    """What a person dropped is rejected, what a person keeps goes past the filters (if it could be decoded)."""
    word, used, found = Word(choices), set[str | None](), []
    for one in examined:
        choice = word.on(one.path, one.digest)
        if choice is not None:
            used |= {choice.sha256, choice.path}
            if choice.choice == "drop":
                one = replace(one, reason="dropped", detail=choice.reason or "on the keep/drop list")
                yield ImageRejected(one.path, one.reason, one.detail)
            elif one.fingerprint is not None:
                one = replace(one, reason="", detail="")
        found.append(one)
    idle = [choice for choice in choices if (choice.sha256 or choice.path) not in used]
    if idle:
        yield Noted(f"the keep/drop list names {len(idle)} images that are not here: {idle[0].path or idle[0].sha256}, ...")
    return found


def _with_content(
    section: CurateSection, examined: Sequence[Examined], squares: Rows, memory: Path
) -> Generator[Event, None, tuple[list[Examined], Described | None]]:
    """The same with the score of the filter `outlier`; and the features of all, in this order. Where asked for."""
    outlier = next((one for one in section.filters if isinstance(one, Outlier)), None)
    rows = [index for index, one in enumerate(examined) if one.fingerprint is not None]
    if not rows or (outlier is None and section.duplicates.same_content is None):
        return list(examined), None
    digests, found = [examined[index].digest for index in rows], list(examined)
    features = yield from described(digests, squares.only(np.array(rows, np.int64)), section.embedding, memory)
    if outlier is not None:
        for index, score in zip(rows, outlier_scores(features, digests), strict=True):
            found[index] = replace(examined[index], scores={**examined[index].scores, outlier.kind: score})
    place = np.full(len(examined), -1, np.int64)
    place[rows] = features.place
    return found, Described(features.records, place)


def _duplicates(
    examined: Sequence[Examined],
    settings: DuplicateSettings,
    choices: Sequence[Choice],
    content: Described | None,
    memory: Memory,
) -> Generator[Event, None, list[Duplicate]]:
    """Among the images that passed every filter; those a person keeps come first and are not rejected."""
    word = Word(choices)
    prints, kept, contents, rows = [], set(), set[str](), dict[str, int]()
    for row, one in enumerate(examined):
        if one.fingerprint is None or one.reason:
            continue
        rows[one.path] = row
        if (choice := word.on(one.path, one.digest)) and not (choice.sha256 and one.digest in contents):
            kept.add(one.path)  # a row by content means one of the files that hold it
            contents.add(one.digest)
        prints.append(one.fingerprint)
    key = settings.model_dump_json(exclude={"same_content"})
    known = yield from compared(prints, settings, memory.compared(key))
    if known.complete:
        memory.remember(known, key)
    copies = find_duplicates(prints, settings, kept, known)
    if content is None or settings.same_content is None:
        return copies
    gone = {one.path for one in copies}
    stay = [one for one in prints if one.path not in gone]
    features = Described(content.records, content.place[[rows[one.path] for one in stay]])
    alike = same_content(features, settings.same_content)
    more = {one.path: one for one in find_same_content(stay, alike, kept)}
    copies = [_passed_on(one, more.get(one.of)) for one in copies]
    return sorted([*copies, *more.values()], key=lambda one: one.path)


def _passed_on(copy: Duplicate, original: Duplicate | None) -> Duplicate:
    """A copy of an image that goes as well: it names the one that stays."""
    return replace(copy, of=original.of, detail=f"{copy.detail}; that {original.detail}") if original else copy


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


def _write_dataset(
    folder: Path,
    section: CurateSection,
    filters: Sequence[Filter],
    entries: Sequence[ledger.Entry],
    squares: Rows,
    memory: Path | None,
) -> dict[str, list[str]]:
    """Returns the order in which images first came, by split and shape, to remember."""
    names, orders = ledger.label_names(entries), dict[str, list[str]]()
    number = {name: place for place, name in enumerate(names)}
    shapes = section.aspect_buckets.shapes(section.image_size)
    for split in SPLITS:
        rows = [index for index, entry in enumerate(entries) if entry.kept and entry.split == split]
        labels = np.array([number[entries[row].label] for row in rows], np.int64)
        paths, captions = tuple(entries[row].path for row in rows), tuple(entries[row].caption for row in rows)
        pixels = squares.only(np.array(rows, np.int64))
        numbers = np.zeros(len(rows), np.int64)
        for shape, places in by_shape([shape_for(entries[row].width, entries[row].height, shapes) for row in rows]).items():
            order = split if shape == shapes[0] else f"{split}-{shape[1]}x{shape[0]}"
            numbers[places], orders[order] = first_come(memory, order, [entries[rows[place]].digest for place in places])
        write_split(folder, split, ImageSet(cast(Pixels, pixels), labels, names, paths, captions), numbers.tolist())
    ledger.write_manifest(folder / "manifest.parquet", entries, [one.kind for one in section.filters])
    values = [one.model_dump() for one in filters]
    about = {"image_size": section.image_size, "labels": list(names), "filters": values, **ledger.summary(entries)}
    if len(shapes) > 1:
        about["kept_by_shape"] = ledger.kept_by_shape(entries, shapes)
    ledger.write_json(folder / "dataset.json", about)
    settings = {"duplicates": section.duplicates.model_dump(), "background": list(section.background)}
    text = card(as_text(Path(section.source).resolve().name), shapes, filters, settings, entries)
    (folder / "README.md").write_text(text, encoding="utf-8")
    return orders


def _write_report(
    folder: Path,
    shapes: Sequence[Shape],
    filters: Sequence[Filter],
    entries: Sequence[ledger.Entry],
    squares: Rows,
    notes: Sequence[str],
) -> None:
    ledger.write_json(folder / "metrics.json", ledger.summary(entries))
    ledger.write_classes(folder / "classes.csv", entries)
    pictures.rejected_sheet(entries, cast(Pixels, squares)).save(folder / "rejected.png")
    pictures.duplicates_sheet(entries, cast(Pixels, squares)).save(folder / "duplicates.png")
    (folder / "index.html").write_text(page(entries, squares, filters, shapes, notes), encoding="utf-8")


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
