"""A labelled sample data set: robots, monsters, robot heads and cats put together from the layered art of `robohash`.

The art is by Zikri Kader, Hrvoje Novakovic, Julian Peter Arias and David Revoy (Creative Commons Attribution). Each
layer is resized once and kept, so that thousands of images take seconds. With `dirt`, known faults are planted among
them and listed in `planted.json`, so that curation can be measured: what was planted, and what was caught.
"""

import hashlib
import importlib.util
import json
import random
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

from PIL import Image, ImageFilter

from darkroom.events import Event, Noted, Progressed
from darkroom.refs import replaced

Kind = Literal["reencoded", "resized", "exact_copy", "blurred", "truncated", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Figures = dict[str, Iterator[Image.Image]]
LABELS = {"robot": "set1", "monster": "set2", "robot_head": "set3", "cat": "set4"}
SHARE_OF_EACH_KIND = 0.01  # of `count`: six kinds, so about 6 % of dirt on top of the clean images
FEWEST, MOST = 4, 100_000
SMALLEST, LARGEST = 16, 1024
MARK = "darkroom sample data 1"

CREDITS = """\
The images in this folder were put together by Darkroom from the layered art of the Python package `robohash`
(https://github.com/e1ven/Robohash): robots lovingly delivered by Robohash.org. Layers were chosen at random, resized
and composed over plain colours. The art is under Creative Commons Attribution licences; please pass the names on:

robot       set1  Zikri Kader          CC-BY-3.0 or CC-BY-4.0
monster     set2  Hrvoje Novakovic     CC-BY-3.0
robot_head  set3  Julian Peter Arias   CC-BY-3.0
cat         set4  David Revoy          CC-BY-4.0  https://www.peppercarrot.com/extras/html/2016_cat-generator/
"""


class SampleDataError(ValueError):
    """The sample data cannot be made here, and why."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault put in on purpose: the file, what is wrong with it, and the clean file it was made from (or "")."""

    path: str
    kind: Kind
    source: str


@dataclass(frozen=True, slots=True)
class SampleData:
    """What lies in the folder: `images` clean images and the planted faults on top of them."""

    path: str
    images: int
    planted: tuple[Planted, ...]


def make_sample_data(folder: Path, count: int, seed: int, size: int, dirt: bool) -> Generator[Event, None, SampleData]:
    """Write `count` distinct images of `size` x `size` pixels; the same arguments give the same bytes.

    The first images of a label do not depend on `count`: a larger set holds the smaller one. A folder that already
    holds this very set is left untouched; another sample set without files of the user's own is replaced. Raises
    SampleDataError: robohash is not installed, arguments out of range, or a folder that holds anything else.
    """
    if not FEWEST <= count <= MOST:
        raise SampleDataError(f"sample data: count must be {FEWEST:,} to {MOST:,} images (it is {count:,})")
    if not SMALLEST <= size <= LARGEST:
        raise SampleDataError(f"sample data: size must be {SMALLEST} to {LARGEST} pixels (it is {size})")
    folder = folder.absolute()
    arguments = {"made_by": MARK, "count": count, "seed": seed, "size": size, "dirt": dirt}
    if _holds(folder, arguments):
        yield Noted(f"{folder.name}: the sample data set is already there; nothing was changed")
        return SampleData(str(folder), count, _read_planted(folder))
    art = _art_folder()
    with replaced(folder) as fresh:
        figures = {label: _figures(art / part, label, seed, size) for label, part in LABELS.items()}
        yield from _write_clean(fresh, figures, count)
        planted = tuple(_plant(fresh, figures, count, seed)) if dirt else ()
        (fresh / "CREDITS.txt").write_text(CREDITS, encoding="utf-8")
        _write_json(fresh / "planted.json", [asdict(item) for item in planted])
        _write_json(fresh / "sample.json", arguments | {"files": [*_files_in(fresh), "sample.json"]})
    return SampleData(str(folder), count, planted)


def planted_and_caught(manifest: Path, planted: Path) -> dict[str, tuple[int, int]]:
    """For each kind of planted fault: how many were planted, and how many curation rejected.

    A copy counts as caught when it or its original was rejected as the other's duplicate: one of the two stays.
    `manifest` is curation's manifest.parquet, `planted` the sample set's planted.json.
    """
    import pyarrow.parquet  # here, since only this question needs it

    rows = {row["path"]: row for row in pyarrow.parquet.read_table(manifest).to_pylist()}
    found: dict[str, tuple[int, int]] = {}
    for item in json.loads(planted.read_text(encoding="utf-8")):
        row, source = rows.get(item["path"]), rows.get(item["source"])
        caught = row is not None and not row["kept"]
        caught = caught or (source is not None and source["duplicate_of"] == item["path"])
        before = found.get(item["kind"], (0, 0))
        found[item["kind"]] = (before[0] + 1, before[1] + caught)
    return found


def _holds(folder: Path, arguments: dict[str, Any]) -> bool:
    """True where `folder` holds this very set, False where it may be written; raises where it holds anything else."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise SampleDataError(f"{folder}: this is a file; name a folder for the sample data")
    there = _files_in(folder)
    if not there:
        return False
    record = _read_record(folder)
    if record is None:
        raise SampleDataError(
            f"{folder}: the folder is not empty and holds no sample data set; nothing was written. Name another folder"
        )
    own = set(record.pop("files"))
    if record == arguments and own <= set(there):
        return True
    foreign = sorted(set(there) - own)
    if foreign:
        raise SampleDataError(
            f"{folder}: holds another sample data set and {len(foreign)} files of your own ({', '.join(foreign[:3])}), "
            "which would be lost; nothing was written. Name another folder"
        )
    return False


def _files_in(folder: Path) -> list[str]:
    return sorted(item.relative_to(folder).as_posix() for item in folder.rglob("*") if not item.is_dir())


def _read_record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("made_by") == MARK and "files" in record else None


def _read_planted(folder: Path) -> tuple[Planted, ...]:
    return tuple(Planted(**item) for item in json.loads((folder / "planted.json").read_text(encoding="utf-8")))


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _art_folder() -> Path:
    """Where robohash keeps its layers. The package is looked up, never imported."""
    found = importlib.util.find_spec("robohash")
    if found is None or found.origin is None:
        raise SampleDataError("the sample data is made from the art of the package `robohash`: pip install robohash")
    return Path(found.origin).parent / "sets"


def _write_clean(folder: Path, figures: Figures, count: int) -> Generator[Event, None, None]:
    done = 0
    for label, wanted in _shares(count).items():
        (folder / label).mkdir()
        for number in range(1, wanted + 1):
            (folder / _name(label, number)).write_bytes(_png(next(figures[label])))
            done += 1
            if done % 100 == 0 or done == count:
                yield Progressed("drawing", done, count)


def _shares(count: int) -> dict[str, int]:
    """Images per label, as equal as can be."""
    return {label: (count + len(LABELS) - 1 - place) // len(LABELS) for place, label in enumerate(LABELS)}


def _name(label: str, number: int, suffix: str = ".png") -> str:
    return f"{label}/{label}-{number:05d}{suffix}"


def _figures(art: Path, label: str, seed: int, size: int) -> Iterator[Image.Image]:
    """Figures of one label, endlessly: distinct combinations of layers, no two with the same visible pixels."""
    choice = random.Random(f"{seed}/{label}")
    seen: set[bytes] = set()
    colours = sorted(item for item in art.iterdir() if item.is_dir() and "#" not in item.name) or [art]
    while True:
        layers = [choice.choice(part) for part in _parts(choice.choice(colours))]
        ground = _soft_colour(choice)
        figure = Image.new("RGBA", (size, size))
        for layer in layers:
            figure.alpha_composite(_layer(layer, size))
        visible = hashlib.sha256(figure.tobytes()).digest()  # a part may be hidden wholly behind another
        if visible not in seen:
            seen.add(visible)
            yield Image.alpha_composite(Image.new("RGBA", figure.size, ground), figure).convert("RGB")


@lru_cache(maxsize=64)
def _parts(art: Path) -> tuple[tuple[Path, ...], ...]:
    """The parts of a figure, each a row of files, lowest first: robohash stacks by what follows '#' in its name."""
    folders = sorted((item for item in art.iterdir() if item.is_dir()), key=lambda item: item.name.split("#")[1])
    return tuple(tuple(sorted(folder.glob("*.png"))) for folder in folders)


@lru_cache(maxsize=1024)
def _layer(file: Path, size: int) -> Image.Image:
    with Image.open(file, formats=("PNG",)) as layer:
        whole = layer.convert("RGBA").convert("RGBa")  # premultiplied: hidden colours must not bleed into the edges
        return whole.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0).convert("RGBA")


def _soft_colour(choice: random.Random) -> tuple[int, int, int, int]:
    """A pale plain colour of any hue."""
    pale = choice.randint(150, 200)
    red, green, blue = (choice.randint(pale, 255) for _ in range(3))
    return red, green, blue, 255


def _png(image: Image.Image) -> bytes:
    return _encoded(image, "PNG")


def _encoded(image: Image.Image, kind: str, **settings: Any) -> bytes:
    content = BytesIO()
    image.save(content, kind, **settings)
    return content.getvalue()


def _plant(folder: Path, figures: Figures, count: int, seed: int) -> Iterator[Planted]:
    """Write the faults beside the clean images, numbered on from them, and tell each."""
    choice = random.Random(f"{seed}/dirt")
    each = max(1, round(count * SHARE_OF_EACH_KIND))
    shares = _shares(count)
    clean = [(label, number) for label, wanted in shares.items() for number in range(1, wanted + 1)]
    copied: tuple[Kind, ...] = ("reencoded", "resized", "exact_copy", "truncated")
    sources = choice.sample(clean, each * len(copied))
    for kind in KINDS:
        for _ in range(each):
            label, number = sources.pop() if kind in copied else (choice.choice(list(LABELS)), 0)
            source = _name(label, number) if kind in copied else ""
            content = _spoiled(kind, folder / source, next(figures[label]) if kind == "blurred" else None, choice)
            shares[label] += 1
            name = _name(label, shares[label], ".jpg" if kind == "reencoded" else ".png")
            (folder / name).write_bytes(content)
            yield Planted(name, kind, source)


def _spoiled(kind: Kind, source: Path, fresh: Image.Image | None, choice: random.Random) -> bytes:
    """The bytes of one fault, made from the clean file `source`, or from a fresh figure."""
    if fresh is not None:
        return _png(fresh.filter(ImageFilter.GaussianBlur(fresh.width * choice.uniform(0.03, 0.06))))
    if kind == "text":
        return b"This is a line of text in a file whose name says it is an image.\n"
    content = source.read_bytes()
    if kind == "exact_copy":
        return content
    if kind == "truncated":
        return content[: int(len(content) * choice.uniform(0.2, 0.8))]
    with Image.open(BytesIO(content), formats=("PNG",)) as image:
        if kind == "reencoded":
            return _encoded(image, "JPEG", quality=choice.randint(60, 92))
        side = max(8, round(image.width * choice.uniform(0.55, 0.9)))
        return _png(image.resize((side, side), Image.Resampling.LANCZOS))
