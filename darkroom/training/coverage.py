"""How often each image was trained on: known from the data order and the batches left out, without having counted."""

import numpy as np
from numpy.typing import NDArray

from darkroom.randomness import BucketOrder, DataOrder


def times_seen(order: DataOrder | BucketOrder, images_seen: int, batch_size: int, skipped: list[int]) -> NDArray[np.int64]:
    """Times each was trained on [images], without the batches that were left out."""
    times = order.times(images_seen)
    for seen in skipped:
        np.subtract.at(times, order.take(seen, min(batch_size, images_seen - seen)), 1)
    return times
