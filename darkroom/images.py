"""Image conventions: safe decoding to sRGB, uint8 <-> [-1, 1], contact sheets, and how a split of a data set lies on disk."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

Pixels = NDArray[np.uint8]
Numbers = TypeVar("Numbers", bound=Any)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
MOST_PIXELS = 178_956_970  # what Pillow calls a decompression bomb: beyond it nothing is decoded
SPLITS = ("train", "validation", "test")


class UnreadableImage(ValueError):
    """A file that is not a whole image. `reason` is one word for counting, the text says what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def decode(content: bytes, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """Bytes of a file as an RGB image in sRGB: upright, alpha composed over `background`, first frame of an animation.

    Raises UnreadableImage: `empty`, `not_an_image`, `too_large`, `truncated`.
    """
    if not content:
        raise UnreadableImage("empty", "the file has no bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what matters is raised below
        try:
            image = Image.open(BytesIO(content), formats=FORMATS)
        except UnidentifiedImageError:
            raise UnreadableImage("not_an_image", f"no image of a known kind ({', '.join(FORMATS)})") from None
        except Image.DecompressionBombError:
            raise UnreadableImage("too_large", f"more than {MOST_PIXELS:,} pixels") from None
        except Exception as error:  # Pillow's plug-ins raise anything on damaged headers; the file is named and set aside
            raise UnreadableImage("truncated", f"{type(error).__name__}: {error}") from None
        if image.width * image.height > MOST_PIXELS:
            raise UnreadableImage("too_large", f"{image.width} x {image.height} pixels")
        try:
            image.load()
            return _in_srgb(_without_alpha(_eight_bit(ImageOps.exif_transpose(image)), background))
        except Exception as error:  # as above: decoders raise anything on damaged data
            raise UnreadableImage("truncated", f"{type(error).__name__}: {error}") from None


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits (Pillow's own conversion clips at 255)."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.clip(values / 257, 0, 255).round().astype(np.uint8))
    return image


def _without_alpha(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        whole = Image.alpha_composite(Image.new("RGBA", layer.size, (*background, 255)), layer).convert("RGB")
        whole.info = image.info
        return whole
    return image


def _in_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):  # a damaged profile: the numbers are read as sRGB, as browsers do
            return image.convert("RGB")
        return converted if converted is not None else image.convert("RGB")
    return image.convert("RGB")


def to_square(image: Image.Image, size: int) -> Pixels:
    """The middle square of an image at `size` x `size` pixels. uint8 [size, size, 3]."""
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS))


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


@dataclass(frozen=True)
class ImageSet:
    """One split: pixels uint8 [n, size, size, 3] (memory-mapped), labels int64 [n] into `names`; paths of the sources."""

    pixels: Pixels
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    paths: tuple[str, ...]

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
        rows = np.flatnonzero(np.isin(self.labels, [self.names.index(name) for name in names]))
        return self.rows(rows)

    def rows(self, rows: NDArray[np.int64]) -> "ImageSet":
        """These images, in this order; one may come several times."""
        return ImageSet(self.pixels[rows], self.labels[rows], self.names, tuple(self.paths[row] for row in rows))


def write_split(folder: Path, split: str, images: ImageSet) -> None:
    """Write `folder/split.npy` (pixels) and `folder/split.json` (labels, names, paths)."""
    np.save(folder / f"{split}.npy", images.pixels)
    index = {"names": images.names, "labels": images.labels.tolist(), "paths": images.paths}
    (folder / f"{split}.json").write_text(json.dumps(index, ensure_ascii=False, indent=0), encoding="utf-8")


def read_split(folder: Path, split: str) -> ImageSet:
    """Read what `write_split` wrote; pixels stay on disk until used. Raises FileNotFoundError."""
    index = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
    pixels = np.load(folder / f"{split}.npy", mmap_mode="r")
    return ImageSet(pixels, np.asarray(index["labels"], np.int64), tuple(index["names"]), tuple(index["paths"]))
