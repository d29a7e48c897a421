"""Image conventions: squares, uint8 <-> [-1, 1], contact sheets, and how a split of a data set lies on disk."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Numbers = TypeVar("Numbers", bound=Any)

SPLITS = ("train", "validation", "test")
LEAST_IN_SHARD = 32  # images; in the shards of the first 16,384 images
SHARDS_BEFORE = 256  # a shard holds at most this fraction of the images before it, rounded down to a power of two
MOST_SHARD_BYTES = 2**26


def to_square(image: Image.Image, size: int) -> Pixels:
    """The middle square of an image at `size` x `size` pixels. uint8 [size, size, 3]."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, box, reducing_gap=3.0))


def to_model(pixels: Numbers) -> Numbers:
    """0..255 -> [-1, 1] (arrays and tensors of floating point)."""
    return pixels / 127.5 - 1


def to_pixels(values: NDArray[np.floating]) -> Pixels:
    """[-1, 1] -> 0..255, rounded; what lies outside is clipped."""
    return ((values + 1) * 127.5).clip(0, 255).round().astype(np.uint8)


def contact_sheet(pixels: Pixels, columns: int, scale: int = 1, gap: int = 2) -> Image.Image:
    """Images [n, height, width, 3] side by side, `columns` to a row, each pixel enlarged `scale` times."""
    count, height, width, _ = pixels.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, image in enumerate(pixels):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image
    picture = Image.fromarray(sheet)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


class Rows:
    """Rows of several arrays, as if they were one array: pixels stay where they are until rows are asked for.

    `parts`: uint8 [n, size, size, 3] each; row i of the whole is row `rows[i]` of `parts[part[i]]`.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, parts: Sequence[Pixels], part: NDArray[np.int32], rows: NDArray[np.int64], size: int) -> None:
        self.parts, self.part, self.rows = parts, part, rows
        self.shape = (len(rows), size, size, 3)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: Any) -> Pixels:
        """A copy: [size, size, 3] for a whole number, [n, size, size, 3] for a slice, whole numbers or a mask."""
        part, rows = self.part[which], self.rows[which]
        if np.ndim(rows) == 0:
            return np.array(self.parts[part][rows])
        found = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for index, (one, row) in enumerate(zip(part.tolist(), rows.tolist(), strict=True)):
            found[index] = self.parts[one][row]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def only(self, which: NDArray[np.int64]) -> "Rows":
        """Some of the rows; pixels stay where they are."""
        return Rows(self.parts, self.part[which], self.rows[which], self.shape[1])


@dataclass(frozen=True)
class ImageSet:
    """One split: pixels uint8 [n, size, size, 3], labels int64 [n] into `names`; paths of the sources, their captions.

    Of a set that was read, `pixels` is a `Rows`: like an array it has a length, a shape and a type, and `pixels[rows]` copies
    rows from the disk (or the memory that the system keeps of it).
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    paths: tuple[str, ...]
    captions: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.captions:
            object.__setattr__(self, "captions", (None,) * len(self.paths))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return int(self.pixels.shape[1])

    def only(self, names: Sequence[str]) -> "ImageSet":
        """The images with one of these labels; all of them where `names` is empty. Raises ValueError for an unknown one."""
        unknown = sorted(set(names) - set(self.names))
        if unknown:
            raise ValueError(f"no label {', '.join(unknown)} in this data set; it has: {', '.join(self.names)}")
        if not names:
            return self
        return self.at(np.flatnonzero(np.isin(self.labels, [self.names.index(name) for name in names])))

    def at(self, rows: NDArray[np.int64]) -> "ImageSet":
        """The images in these rows; pixels that lie on disk stay there."""
        pixels = self.pixels.only(rows) if isinstance(self.pixels, Rows) else self.pixels[rows]
        chosen = rows.tolist()
        return ImageSet(
            pixels=pixels,
            labels=self.labels[rows],
            names=self.names,
            paths=tuple(self.paths[row] for row in chosen),
            captions=tuple(self.captions[row] for row in chosen),
        )


def shard_of(number: int, image_bytes: int) -> int:
    """The first number of the shard that holds image `number` of a split (images are numbered as they first came).

    Shards are small where numbers are low and grow with them, to about 1/256 of what lies before: adding images rewrites the last
    shard and writes new ones, and a set of a million is 1,500 shards rather than 30,000.
    """
    most = max(1, MOST_SHARD_BYTES // image_bytes)
    width = min(max(LEAST_IN_SHARD, 1 << max(0, number // SHARDS_BEFORE).bit_length() >> 1), 1 << most.bit_length() >> 1)
    return number - number % width


def write_split(folder: Path, split: str, images: ImageSet, numbers: Sequence[int] | None = None) -> None:
    """Write `folder/split.json`, and shards into `folder/shards`: pixels as .npy, what is said of them as .json, each named by
    the digest of its content. `numbers` decide which images share a shard (`shard_of`), and the set is read back sorted by path;
    where None, images keep their order.
    """
    shards = folder / "shards"
    shards.mkdir(exist_ok=True)
    order = np.arange(len(images)) if numbers is None else np.argsort(np.asarray(numbers, np.int64), kind="stable")
    ordered = range(len(images)) if numbers is None else sorted(numbers)
    width = int(np.prod(images.pixels.shape[1:]))
    listed = []
    for _, group in groupby(zip(order.tolist(), ordered, strict=True), lambda one: shard_of(one[1], width)):
        rows = np.array([row for row, _ in group])
        said = [
            {"path": images.paths[row], "label": images.names[images.labels[row]], "caption": images.captions[row]}
            for row in rows
        ]
        content = BytesIO()
        np.save(content, np.asarray(images.pixels[rows]))
        text = json.dumps(said, ensure_ascii=False, indent=0).encode()
        listed.append(
            {"images": len(rows), "pixels": _kept(shards, content.getvalue(), ".npy"), "said": _kept(shards, text, ".json")}
        )
    index = {"names": images.names, "size": images.size, "by_path": numbers is not None, "shards": listed}
    (folder / f"{split}.json").write_text(json.dumps(index, ensure_ascii=False, indent=0), encoding="utf-8")


def _kept(folder: Path, content: bytes, suffix: str) -> str:
    name = hashlib.sha256(content).hexdigest()[:32] + suffix
    (folder / name).write_bytes(content)
    return name


def read_split(folder: Path, split: str) -> ImageSet:
    """Read what `write_split` wrote; pixels stay on disk until used. Raises FileNotFoundError."""
    index = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
    names, shards = tuple(index["names"]), folder / "shards"
    said = [row for one in index["shards"] for row in json.loads((shards / one["said"]).read_text(encoding="utf-8"))]
    counts = [one["images"] for one in index["shards"]]
    # Memory-mapped; a plain array over the map is indexed twice as fast as numpy's own subclass.
    parts = [np.load(shards / one["pixels"], mmap_mode="r").view(np.ndarray) for one in index["shards"]]
    pixels = Rows(
        parts,
        np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        np.concatenate([np.arange(count) for count in counts]) if counts else np.empty(0, np.int64),
        index["size"],
    )
    place = {name: number for number, name in enumerate(names)}
    images = ImageSet(
        pixels=cast(Pixels, pixels),  # what is asked of pixels here, `Rows` answers as an array does
        labels=np.array([place[row["label"]] for row in said], np.int64),
        names=names,
        paths=tuple(row["path"] for row in said),
        captions=tuple(row["caption"] for row in said),
    )
    if not index["by_path"]:
        return images
    return images.at(np.array(sorted(range(len(said)), key=images.paths.__getitem__), np.int64))
