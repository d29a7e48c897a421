"""Generating: a folder of images out of a model, each naming what made it. Asked again, it goes on: none is drawn twice."""

import json
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from darkroom.events import Event, Noted, Progressed
from darkroom.images import Pixels, contact_sheet
from darkroom.networks.captioned import ReadsCaptions
from darkroom.networks.denoiser import DenoiserContract
from darkroom.networks.saved import WEIGHTS, Drawing, ModelCard, device_named, load_model, read_card, weaker_digest
from darkroom.provenance import Provenance, ProvenanceError, Signer, encoded, read_provenance
from darkroom.refs import digest_of, write_whole
from darkroom.sampling import Autoguided, Tiled, draw, label_at, noise_for, shape_at, told_of
from darkroom.shapes import Shape, by_shape, in_words

RECORD, SHEET = "generated.json", "sheet.png"
ORIGIN = "origin.json"  # in an exported model: its name and version in the registry it came from
TILE = {"cpu": 8, "cuda": 64}  # images that the model sees at once; see `Tiled`
SHOWN = 64  # images on the contact sheet


class GeneratingError(ValueError):
    """Images that cannot be drawn, or not into this folder. The text says why and what to do."""


@dataclass(frozen=True)
class Source:
    """A model folder, and what the images it draws shall name it."""

    folder: Path
    name: str
    version: str


@dataclass(frozen=True)
class Weaker:
    """A weaker model, and by how much its answers are left behind: see `sampling.Autoguided`."""

    model: Source
    scale: float


@dataclass(frozen=True)
class Wish:
    """Which images: `label` None takes the proportions trained on; a `prompt` needs a model that reads captions."""

    count: int
    seed: int
    label: str | None
    prompt: str | None
    drawing: Drawing
    weaker: Weaker | None = None  # in place of the model's own earlier weights
    shape: Shape | None = None  # of all images; None for shapes as common as in training

    @property
    def way(self) -> Drawing:
        """How: what is led away from another model is not led away from the model's own earlier weights too."""
        return self.drawing if self.weaker is None else self.drawing.alone


@dataclass(frozen=True)
class _Job:
    """A wish, whom it is made of, and what all its images share."""

    wish: Wish
    card: ModelCard
    out: Path
    shared: Mapping[str, Any]

    def file(self, index: int) -> Path:
        return self.out / f"seed{self.wish.seed}-{index:06d}.png"

    def label(self, index: int) -> int:
        """Its number, -1 where none is told."""
        if self.wish.prompt is not None:
            return -1
        if self.wish.label is None:
            return label_at(self.card, self.wish.seed, index)
        return self.card.labels.index(self.wish.label)

    def shape(self, index: int) -> Shape:
        return self.wish.shape or shape_at(self.card, self.wish.seed, index, self.label(index))

    def made(self, index: int) -> Provenance:
        label = self.label(index)
        named = self.card.labels[label] if label >= 0 else ""
        return Provenance.model_validate({**self.shared, "index": index, "label": named, "caption": self.wish.prompt})

    def is_there(self, index: int, signer: Signer | None) -> bool:
        """Whether an image is whole and was made so; one that is damaged, or lacks the signature, is drawn again."""
        if not self.file(index).exists():
            return False
        try:
            found = read_provenance(self.file(index))
        except ProvenanceError:
            return False
        signed = found.whole is not False and (signer is None or found.signer == signer.name)
        return signed and found.made == self.made(index).model_copy(update={"darkroom": found.made.darkroom})


def source_of(folder: Path) -> Source:
    """A model folder, or an exported one, which keeps the name it had in the registry. Raises ModelError."""
    read_card(folder)
    if (folder / ORIGIN).exists():
        origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        return Source(folder, str(origin["model"]), str(origin["version"]))
    return Source(folder, folder.absolute().name, "")


def generate_folder(
    source: Source, wish: Wish, out: Path, batch: int, signer: Signer | None = None
) -> Generator[Event, None, int]:
    """Draw what is not yet there into `out`: a PNG per image, a contact sheet. Returns how many were drawn.

    An image follows from the model, the seed, its index and how it is drawn: not from `batch`, `count` or earlier runs.
    Raises GeneratingError, ModelError, OSError.
    """
    card = read_card(source.folder)
    _check(card, wish)
    if isinstance(card.network, ReadsCaptions) and len((wish.prompt or "").encode()) > card.network.length:
        yield Noted(f"the model reads the first {card.network.length} bytes of the prompt; the rest is not read")
    job = _Job(wish, card, out, _shared(source, card, wish))
    _claim(job)
    missing = [index for index in range(wish.count) if not job.is_there(index, signer)]
    if len(missing) < wish.count:
        yield Noted(f"{wish.count - len(missing):,} of {wish.count:,} images are there already")
    if missing:
        yield from _draw(job, source.folder, missing, batch, signer)
    write_whole(out / SHEET, _sheet(job))
    return len(missing)


def _draw(job: _Job, folder: Path, missing: Sequence[int], batch: int, signer: Signer | None) -> Generator[Event, None, None]:
    device = device_named("auto")
    model, card = load_model(folder, device)
    weaker = job.wish.weaker
    levels = job.wish.way.guided_levels
    asked: DenoiserContract = model
    if weaker is not None:
        other, _ = load_model(weaker.model.folder, device)
        asked = Autoguided(model, other, weaker.scale, levels.least, levels.most)
    tiled, batch = Tiled(asked, TILE[device.type]), max(batch, TILE[device.type])  # fewer would be filled up
    yield Progressed("drawing", 0, len(missing))
    done = 0
    for rows in _alike(job, missing, batch):
        labels = torch.tensor([job.label(row) for row in rows], device=device)
        captions = None if job.wish.prompt is None else [job.wish.prompt] * len(rows)
        noise = noise_for(job.wish.seed, rows, job.shape(rows[0])).to(device)
        for row, pixels in zip(rows, draw(tiled, card, labels, noise, job.wish.way, captions), strict=True):
            write_whole(job.file(row), encoded(pixels, job.made(row), "png", signer))
        done += len(rows)
        yield Progressed("drawing", done, len(missing))


def _alike(job: _Job, missing: Sequence[int], batch: int) -> Iterator[list[int]]:
    """What is missing in batches of one shape."""
    for places in by_shape([job.shape(index) for index in missing]).values():
        yield from ([missing[place] for place in places[start : start + batch]] for start in range(0, len(places), batch))


def _check(card: ModelCard, wish: Wish) -> None:
    """Refuse what cannot be drawn before anything is written. Raises GeneratingError, ModelError."""
    if wish.count < 1 or wish.seed < 0:
        raise GeneratingError(f"{wish.count} images of seed {wish.seed}: there must be one at least, and a seed of 0 or more")
    if wish.label is not None and wish.label not in card.labels:
        near = get_close_matches(wish.label, card.labels, n=1, cutoff=0.5)
        meant = f"; did you mean `{near[0]}`?" if near else "."
        raise GeneratingError(f"the model knows no class `{wish.label}`{meant} It knows: {', '.join(card.labels)}")
    if wish.shape is not None and wish.shape not in card.shapes:
        there = ", ".join(map(in_words, card.shapes))
        raise GeneratingError(f"the model draws no images of {in_words(wish.shape)} pixels; it draws: {there}")
    if wish.way.away != 1 and not card.keeps_weaker:
        raise GeneratingError(
            f"{wish.way.away:g} times away from the model's own earlier weights: it keeps none; name a weaker model, or give 1"
        )
    if wish.weaker is not None:
        if not 0 <= wish.weaker.scale <= 20:  # as for guidance; not-a-number is in no range
            raise GeneratingError(
                f"{wish.weaker.scale:g} times away from {wish.weaker.model.name}: give 0 to 20; 1 is not at all"
            )
        other = read_card(wish.weaker.model.folder)
        for name in ("image_size", "labels", "augmentations"):
            if getattr(card, name) != getattr(other, name):
                raise GeneratingError(
                    f"{wish.weaker.model.name} cannot guide this model: its {name} is {getattr(other, name)}, not "
                    f"{getattr(card, name)}; take an earlier or smaller model of the same images"
                )
    if wish.prompt is not None:
        told_of(card, torch.zeros(1, dtype=torch.long), torch.zeros(1), [wish.prompt])


def _shared(source: Source, card: ModelCard, wish: Wish) -> dict[str, Any]:
    """What all images of one folder share."""
    return {
        "model": source.name,
        "version": source.version,
        "weights_digest": digest_of(source.folder / WEIGHTS),
        "weaker_digest": weaker_digest(source.folder, card) if wish.way.away != 1 else None,
        "data_digest": card.data_digest,
        "seed": wish.seed,
        "class": wish.label,
        "prompt": wish.prompt,
        "drawing": wish.way.model_dump(mode="json"),
        "away_from": wish.weaker and _named(wish.weaker),
        "shape": wish.shape and list(wish.shape),
    }


def _named(weaker: Weaker) -> dict[str, Any]:
    digest = digest_of(weaker.model.folder / WEIGHTS)
    return {"model": weaker.model.name, "version": weaker.model.version, "weights_digest": digest, "scale": weaker.scale}


def _claim(job: _Job) -> None:
    """Make the folder this wish's, if it is nobody else's and the disk has room. Raises GeneratingError, OSError."""
    out, record = job.out, job.out / RECORD
    if out.exists() and not out.is_dir():
        raise GeneratingError(f"{out} is not a folder; choose another name")
    out.mkdir(parents=True, exist_ok=True)
    if record.exists():
        differing = _differing(_read_record(record), job.shared)
        if differing:
            raise GeneratingError(f"{out} holds images of other settings: {'; '.join(differing)}. Choose another folder")
    elif any(out.iterdir()):
        raise GeneratingError(f"{out} is not empty, and holds no images of `darkroom generate`; choose another folder")
    needed, free = job.wish.count * (3 * job.card.image_size**2 + 2048), shutil.disk_usage(out).free
    if needed > free:
        raise GeneratingError(
            f"{job.wish.count:,} images of {job.card.image_size} pixels may take {needed / 1e9:,.1f} GB, and {out} has "
            f"{free / 1e9:,.1f} GB free; ask for fewer, or choose a folder on another disk"
        )
    write_whole(record, (json.dumps(job.shared, indent=1) + "\n").encode())


def _read_record(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise GeneratingError(f"{file} is damaged: choose another folder, or empty it if its images may be drawn again") from None


def _differing(before: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> list[str]:
    """Each setting that is not what it was, by its path."""
    found = []
    for name in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differing(old, new, f"{above}{name}.")
        elif old != new:
            found.append(f"{above}{name} was {json.dumps(old, ensure_ascii=False)}, now {json.dumps(new, ensure_ascii=False)}")
    return found


def _sheet(job: _Job) -> bytes:
    """The first images side by side, as a PNG."""
    pixels: list[Pixels] = []
    for index in range(min(job.wish.count, SHOWN)):
        with Image.open(job.file(index)) as image:
            pixels.append(np.asarray(image.convert("RGB")))
    columns, file = max(1, round(len(pixels) ** 0.5)), BytesIO()
    contact_sheet(pixels, columns, scale=max(1, 96 // job.card.image_size)).save(file, "PNG")
    return file.getvalue()
