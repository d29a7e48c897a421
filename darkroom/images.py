"""Image conventions: shapes, uint8 <-> [-1, 1], contact sheets, and how a split of a data set lies on disk."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.shapes import GAP, Shape, by_shape, canvas_of, inside

Pixels = NDArray[np.uint8]
Numbers = TypeVar("Numbers", bound=Any)

BETWEEN = 2  # pixels between images on a sheet
SPLITS = ("train", "validation", "test")
FEWEST = 8  # real images, of those trained on and of those held out, below which no score says anything
LEAST_IN_SHARD = 32  # images; in the shards of the first 16,384 images
SHARDS_BEFORE = 256  # a shard holds at most this fraction of the images before it, rounded down to a power of two
MOST_SHARD_BYTES = 2**26
SPARE_FILES = 1024  # open beside shards


def cut_to(image: Image.Image, shape: Shape) -> Pixels:
    """The middle of an image, as much of it as has the ratio of sides of `shape`, at that many pixels. uint8 [h, w, 3]."""
    height, width = shape
    wide, high = float(image.width), float(image.height)
    if image.width * height > image.height * width:
        wide = image.height * width / height
    else:
        high = image.width * height / width
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    box = (left, top, min(left + wide, image.width), min(top + high, image.height))
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS, box, reducing_gap=3.0))


def spread(count: int, most: int) -> NDArray[np.int64]:
    """The numbers of at most `most` of `count` images, evenly spread over them."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def to_model(pixels: Numbers) -> Numbers:
    """0..255 -> [-1, 1] (arrays and tensors of floating point)."""
    return pixels / 127.5 - 1


def to_pixels(values: NDArray[np.floating]) -> Pixels:
    """[-1, 1] -> 0..255, rounded; what lies outside is clipped."""
    return ((values + 1) * 127.5).clip(0, 255).round().astype(np.uint8)


def contact_sheet(pixels: Sequence[Pixels] | Pixels, columns: int, scale: int = 1, gap: int = BETWEEN) -> Image.Image:
    """Images [h, w, 3] side by side, `columns` to a row, each pixel enlarged `scale` times; small ones in mid-cell."""
    count, height, width = len(pixels), max(len(one) for one in pixels), max(one.shape[1] for one in pixels)
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, image in enumerate(pixels):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        top, left = top + (height - len(image)) // 2, left + (width - image.shape[1]) // 2
        sheet[top : top + len(image), left : left + image.shape[1]] = image
    picture = Image.fromarray(sheet)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


class Rows:
    """Rows of several arrays, as if they were one array: pixels stay where they are until rows are asked for.

    `parts`: uint8 [n, h, w, 3] each; row i of the whole is row `rows[i]` of `parts[part[i]]`. `shapes` [n, 2]: height and width
    of each, where they differ; a row of a part may be longer than its image. Such images come in white squares that hold every
    shape of `buckets`.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(
        self,
        parts: Sequence[Pixels],
        part: NDArray[np.int32],
        rows: NDArray[np.int64],
        size: int,
        shapes: NDArray[np.int64] | None = None,
        buckets: Sequence[Shape] = (),
    ) -> None:
        self.parts, self.part, self.rows, self.size = parts, part, rows, size
        self.shapes, self.buckets = shapes, tuple(buckets) or ((size, size),)
        self.shape = (len(rows), canvas_of(self.buckets), canvas_of(self.buckets), 3)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: Any) -> Pixels:
        """A copy: [side, side, 3] for a whole number, [n, side, side, 3] for a slice, whole numbers or a mask."""
        part, rows = self.part[which], self.rows[which]
        if np.ndim(rows) == 0:
            return self[np.array([which])][0]
        if self.shapes is not None:
            found = np.full((len(rows), *self.shape[1:]), GAP, np.uint8)
            shapes = self.shapes[which].tolist()
            for square, one, row, (height, width) in zip(found, part.tolist(), rows.tolist(), shapes, strict=True):
                inside(square, (height, width))[:] = _whole(self.parts[one][row], height, width)
            return found
        found = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for index, (one, row) in enumerate(zip(part.tolist(), rows.tolist(), strict=True)):
            found[index] = self.parts[one][row]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def exact(self, which: NDArray[np.int64]) -> Pixels:
        """Some of the rows, all of one shape, without frames. A copy: [n, h, w, 3]"""
        if self.shapes is None:
            return self[which]
        height, width = self.shapes[which[0]].tolist()
        pairs = zip(self.part[which].tolist(), self.rows[which].tolist(), strict=True)
        return np.stack([_whole(self.parts[one][row], height, width) for one, row in pairs])

    @staticmethod
    def joined(sets: Sequence["Rows"]) -> "Rows":
        """The rows of several, one set after the other; of sets that may have the same shapes."""
        starts = np.cumsum([0, *(len(one.parts) for one in sets[:-1])])
        shapes = [one.shapes for one in sets if one.shapes is not None]
        return Rows(
            [part for one in sets for part in one.parts],
            np.concatenate([one.part + start for one, start in zip(sets, starts, strict=True)]).astype(np.int32),
            np.concatenate([one.rows for one in sets]),
            sets[0].size,
            np.concatenate(shapes) if len(shapes) == len(sets) else None,
            sets[0].buckets,
        )

    def only(self, which: NDArray[np.int64]) -> "Rows":
        """Some of the rows; pixels stay where they are."""
        shapes = None if self.shapes is None else self.shapes[which]
        return Rows(self.parts, self.part[which], self.rows[which], self.size, shapes, self.buckets)


def _whole(row: Pixels, height: int, width: int) -> Pixels:
    """The image [h, w, 3] with which a row of a part begins."""
    return row.reshape(-1)[: height * width * 3].reshape(height, width, 3)


@dataclass(frozen=True)
class ImageSet:
    """One split: pixels uint8 [n, side, side, 3], labels int64 [n] into `names`; paths of the sources, their captions.

    Of a set that was read, `pixels` is a `Rows`: like an array it has a length, a shape and a type, and `pixels[rows]` copies
    rows from the disk (or the memory that the system keeps of it). Images in aspect buckets come there in the middle of white
    squares, to be shown and compared; `exact` has them as they are.
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
        """Side of the square images in pixels; others have about its area."""
        return self.pixels.size if isinstance(self.pixels, Rows) else int(self.pixels.shape[1])

    @property
    def buckets(self) -> tuple[Shape, ...]:
        """The shapes that images may have, the square first."""
        return self.pixels.buckets if isinstance(self.pixels, Rows) else ((self.size, self.size),)

    @property
    def shapes(self) -> NDArray[np.int64]:
        """Height and width of each image. [n, 2]"""
        if isinstance(self.pixels, Rows) and self.pixels.shapes is not None:
            return self.pixels.shapes
        return np.broadcast_to(np.array(self.pixels.shape[1:3], np.int64), (len(self), 2))

    def exact(self, rows: NDArray[np.int64]) -> Pixels:
        """Images of one shape, as they are. uint8 [n, h, w, 3]"""
        return self.pixels.exact(rows) if isinstance(self.pixels, Rows) else self.pixels[rows]

    def runs(self, most: int) -> Iterator[NDArray[np.int64]]:
        """All rows, at most so many at once, those at once of one shape; in their order, if all have the same."""
        for places in by_shape([(height, width) for height, width in self.shapes.tolist()]).values():
            yield from (np.array(places[start : start + most], np.int64) for start in range(0, len(places), most))

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
    the digest of its content. `numbers`, of each shape its own, decide which images share a shard (`shard_of`), and the set is
    read back sorted by path; where None, images keep their order.
    """
    shards = folder / "shards"
    shards.mkdir(exist_ok=True)
    places, shapes = range(len(images)) if numbers is None else numbers, images.shapes.tolist()
    order: list[int] = list(range(len(images)))
    if numbers is not None:  # shapes apart, so that an image that is added rewrites the last shard of its own shape
        order.sort(key=lambda row: (shapes[row], numbers[row]))
    listed = []
    for _, group in groupby(order, lambda row: (shapes[row], shard_of(places[row], 3 * images.size**2))):
        rows = np.array(list(group))
        said = [
            {"path": images.paths[row], "label": images.names[images.labels[row]], "caption": images.captions[row]}
            for row in rows
        ]
        content = BytesIO()
        np.save(content, images.exact(rows))
        text = "[" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in said) + "]\n"  # an image a line
        listed.append(
            {
                "images": len(rows),
                "pixels": _kept(shards, content.getvalue(), ".npy"),
                "said": _kept(shards, text.encode(), ".json"),
            }
        )
    index = {"names": images.names, "size": images.size, "by_path": numbers is not None, "shards": listed}
    if len(images.buckets) > 1:
        index["buckets"] = images.buckets
    (folder / f"{split}.json").write_text(json.dumps(index, ensure_ascii=False, indent=0), encoding="utf-8")


def _kept(folder: Path, content: bytes, suffix: str) -> str:
    name = hashlib.sha256(content).hexdigest()[:32] + suffix
    (folder / name).write_bytes(content)
    return name


def digest_of_images(folder: Path) -> str:
    """What stands for all that a model is made from: the images of the splits `train` and `validation`, what is said of them, and
    their order. SHA-256 in hexadecimal, of the indexes, which name each shard by its content. Raises FileNotFoundError."""
    return hashlib.sha256(b"".join((folder / f"{split}.json").read_bytes() for split in SPLITS[:2])).hexdigest()


def _let_open(files: int) -> None:
    """A mapped file counts as open. Let this process have as many, and some beside, where the system allows it."""
    try:
        import resource
    except ImportError:  # Windows, which does not count so
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files + SPARE_FILES if hard == resource.RLIM_INFINITY else min(hard, files + SPARE_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def read_split(folder: Path, split: str) -> ImageSet:
    """Read what `write_split` wrote; pixels stay on disk until used. Raises FileNotFoundError."""
    index = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
    names, shards = tuple(index["names"]), folder / "shards"
    said = [row for one in index["shards"] for row in json.loads((shards / one["said"]).read_text(encoding="utf-8"))]
    counts = [one["images"] for one in index["shards"]]
    _let_open(len(SPLITS) * len(index["shards"]))
    # Memory-mapped; a plain array over the map is indexed twice as fast as numpy's own subclass.
    parts = [np.load(shards / one["pixels"], mmap_mode="r").view(np.ndarray) for one in index["shards"]]
    shapes = np.array([one.shape[1:3] for one in parts], np.int64).reshape(-1, 2)
    pixels = Rows(
        parts,
        np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        np.concatenate([np.arange(count) for count in counts]) if counts else np.empty(0, np.int64),
        index["size"],
        np.repeat(shapes, counts, axis=0) if "buckets" in index else None,
        [(height, width) for height, width in index.get("buckets", ())],
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
