"""The training images of a workspace, to find those that an image is most like."""

import threading
from base64 import b64encode
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel

from darkroom.evaluation.memorisation import GAP
from darkroom.evaluation.nearest import MOST_SIDE, Shrunk, nearest_few
from darkroom.images import ImageSet, Pixels, digest_of_images, read_split
from darkroom.shapes import framed
from serving.loaded import Loaded
from serving.problems import Problem

SHOWN = 4


class NeighbourTold(BaseModel):
    """A training image. `distance` is that of pixels, root mean square, 0 (the same) to 1."""

    distance: float
    label: str
    path: str
    image: str


class NeighboursTold(BaseModel):
    """The nearest training images, nearest first.

    `copy_likely`: it is so much nearer to the first than to the second that it may well be a copy. `same_data`: whether these are
    the very images that the version was trained on; they are not where the data have changed since.
    """

    copy_likely: bool
    same_data: bool
    nearest: list[NeighbourTold]


class Neighbours:
    """The curated data of a workspace, read when first asked for, and again when they have changed."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._one_at_a_time = threading.Lock()
        self._read: tuple[int, ImageSet, Shrunk, str] | None = None

    def of(self, pixels: Pixels, model: Loaded) -> NeighboursTold:
        """What is nearest to an image [h, w, 3]. Raises Problem where there are no images to compare with."""
        with self._one_at_a_time:
            images, small, digest = self._current()
            if len(images) < 2 or images.buckets != model.card.shapes:
                size = model.card.image_size
                raise Problem(409, "Nothing to compare with", f"this needs two training images or more of {size} pixels")
            pixels = framed(pixels[None], images.pixels.shape[1])[0]
            index, distance, _ = nearest_few(pixels[None], small, min(SHOWN, len(images)))
            numbers = 3 * min(len(pixels), MOST_SIDE) ** 2
            found = [
                NeighbourTold(
                    distance=float(far) / numbers**0.5,
                    label=images.names[images.labels[row]],
                    path=images.paths[row],
                    image=_png(images.exact(np.array([row]))[0]),
                )
                for row, far in zip(index[0].tolist(), distance[0].tolist(), strict=True)
            ]
        near, second = distance[0, 0], distance[0, 1]
        same = digest == model.card.data_digest
        return NeighboursTold(copy_likely=bool(near < GAP * second or near == 0), same_data=same, nearest=found)

    def _current(self) -> tuple[ImageSet, Shrunk, str]:
        try:
            stamp = (self._data / "train.json").stat().st_mtime_ns
            if self._read is None or self._read[0] != stamp:
                images = read_split(self._data, "train")
                self._read = (stamp, images, Shrunk(images.pixels), digest_of_images(self._data))
        except (OSError, ValueError, KeyError):
            raise Problem(404, "No training images", "this service has no training images to compare with") from None
        return self._read[1:]


def _png(pixels: Pixels) -> str:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return b64encode(file.getvalue()).decode()
