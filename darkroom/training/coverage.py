"""How often each image was trained on: known from the data order and the batches left out, without having counted."""

import numpy as np
from numpy.typing import NDArray

from darkroom.randomness import DataOrder


def times_seen(images: int, seed: int, images_seen: int, batch_size: int, skipped: list[int]) -> NDArray[np.int64]:
    """Times each was trained on [images]. A whole pass sees each once; the rest, and what was left out, are looked up."""
    passes, rest = divmod(images_seen, images)
    order = DataOrder(images, seed)
    times = np.full(images, passes, np.int64)
    np.add.at(times, order.take(passes * images, rest), 1)
    for seen in skipped:
        np.subtract.at(times, order.take(seen, min(batch_size, images_seen - seen)), 1)
    return times
