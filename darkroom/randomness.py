"""Every random number as a pure function of (seed, images seen): to stop and go on changes nothing."""

import numpy as np
from numpy.typing import NDArray

# Each purpose draws from a stream of its own, so that a change in how much one of them draws moves no other.
ORDER, NOISE, AUGMENTATION, HELD_OUT, SAMPLES, WEIGHTS, LABELS, SHAPES = range(8)


def generator_for(seed: int, purpose: int, position: int = 0) -> np.random.Generator:
    """The random generator of one purpose at one position (images seen, or the index of an image)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, purpose, position])))


def torch_seed(seed: int, purpose: int, position: int = 0) -> int:
    """A seed for a torch.Generator, mixed as above (63 bits)."""
    low, high = np.random.SeedSequence([seed, purpose, position]).generate_state(2, np.uint32)
    return (int(high) << 32 | int(low)) >> 1


class DataOrder:
    """Which image is the k-th to be seen: every pass over the set is a fresh permutation, known from its number alone."""

    def __init__(self, images: int, seed: int) -> None:
        self.images, self.seed = images, seed
        self._number, self._pass = -1, np.empty(0, np.int64)

    def take(self, images_seen: int, count: int) -> NDArray[np.int64]:
        """Indices [count] of the images that come after `images_seen` others."""
        positions = range(images_seen, images_seen + count)
        return np.array([self._at(*divmod(position, self.images)) for position in positions], np.int64)

    def times(self, images_seen: int) -> NDArray[np.int64]:
        """How often each image [images] is among the first `images_seen`: once in each whole pass; the rest is looked up."""
        passes, rest = divmod(images_seen, self.images)
        times = np.full(self.images, passes, np.int64)
        np.add.at(times, self.take(passes * self.images, rest), 1)
        return times

    def _at(self, number: int, place: int) -> int:
        if number != self._number:
            self._number, self._pass = number, generator_for(self.seed, ORDER, number).permutation(self.images)
        return int(self._pass[place])


class BucketOrder:
    """The same in batches of `batch` images of one bucket each, which come as often as the bucket has images.

    Each bucket has an order of its own that never ends, cut into batches. Of the bucket with n images, floor(k n / batch) batches
    lie in the first k passes; those of one pass are shuffled. A batch may reach from one pass over its bucket into the next.
    """

    def __init__(self, buckets: NDArray[np.int64], seed: int, batch: int) -> None:
        self.images, self.seed, self._batch = len(buckets), seed, batch
        self._rows = [np.flatnonzero(buckets == one) for one in np.unique(buckets)]
        self._orders = [DataOrder(len(rows), torch_seed(seed, ORDER, at)) for at, rows in enumerate(self._rows)]
        self._sizes = np.array([len(rows) for rows in self._rows], np.int64)
        self._number, self._pass = -1, np.empty((0, 2), np.int64)

    def take(self, images_seen: int, count: int) -> NDArray[np.int64]:
        """Indices [count] of the images that come after `images_seen` others."""
        found = [np.empty(0, np.int64)]
        while count:
            number, place = divmod(images_seen, self._batch)
            bucket, index = self._batches_from(number)[0]
            some = min(count, self._batch - place)
            found.append(self._rows[bucket][self._orders[bucket].take(int(index) * self._batch + place, some)])
            images_seen, count = images_seen + some, count - some
        return np.concatenate(found)

    def times(self, images_seen: int) -> NDArray[np.int64]:
        """How often each image [images] is among the first `images_seen`."""
        self._batches_from(images_seen // self._batch)
        before = self._before(self._number) * self._batch  # of each bucket, in the passes that are over
        times = np.empty(self.images, np.int64)
        for rows, order, count in zip(self._rows, self._orders, before.tolist(), strict=True):
            times[rows] = order.times(count)
        start = int(before.sum())
        np.add.at(times, self.take(start, images_seen - start), 1)
        return times

    def _before(self, passes: int) -> NDArray[np.int64]:
        """Batches of each bucket in the first passes."""
        return passes * self._sizes // self._batch

    def _batches_from(self, number: int) -> NDArray[np.int64]:
        """Bucket, and index in its own order, of the batches from this one to the end of the pass it lies in. [n, 2]"""
        passes = number * self._batch // self.images  # it lies in this pass or soon after
        while self._before(passes + 1).sum() <= number:
            passes += 1
        if passes != self._number:
            first, last = self._before(passes), self._before(passes + 1)
            buckets = np.repeat(np.arange(len(first)), last - first)
            indexes = np.concatenate([np.arange(start, stop) for start, stop in zip(first, last, strict=True)])
            self._number = passes
            self._pass = generator_for(self.seed, ORDER, passes).permutation(np.stack([buckets, indexes], 1))
        return self._pass[number - int(self._before(passes).sum()) :]
