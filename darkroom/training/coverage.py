"""How often each image was trained on: known from the data order and the batches left out, without having counted."""

import numpy as np
from numpy.typing import NDArray

from darkroom.randomness import BucketOrder, DataOrder


def times_seen(images: int, order: DataOrder, images_seen: int, batch_size: int, skipped: list[int]) -> NDArray[np.int64]:
    """Times each was trained on [images]. A whole pass in an `order` without buckets sees each once; the rest, and what was left
    out, are looked up."""
    passes, rest = divmod(images_seen, order.length)
    whole = 0 if isinstance(order, BucketOrder) else passes
    times = np.full(images, whole, np.int64)
    for number in range(whole, passes):
        np.add.at(times, order.take(number * order.length, order.length), 1)
    np.add.at(times, order.take(passes * order.length, rest), 1)
    for seen in skipped:
        np.subtract.at(times, order.take(seen, min(batch_size, images_seen - seen)), 1)
    return times
