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
        self.seed, self.length = seed, images  # of a pass
        self._number, self._pass = -1, np.empty(0, np.int64)

    def take(self, images_seen: int, count: int) -> NDArray[np.int64]:
        """Indices [count] of the images that come after `images_seen` others."""
        positions = range(images_seen, images_seen + count)
        return np.array([self._at(*divmod(position, self.length)) for position in positions], np.int64)

    def _at(self, number: int, place: int) -> int:
        if number != self._number:
            self._number, self._pass = number, self._shuffled(generator_for(self.seed, ORDER, number))
        return int(self._pass[place])

    def _shuffled(self, chance: np.random.Generator) -> NDArray[np.int64]:
        return chance.permutation(self.length)


class BucketOrder(DataOrder):
    """The same in batches of `batch` images of one bucket each. A pass has each image once; a bucket's last batch is filled up
    with images of that bucket that come a second time."""

    def __init__(self, buckets: NDArray[np.int64], seed: int, batch: int) -> None:
        self._rows = [np.flatnonzero(buckets == one) for one in np.unique(buckets)]
        self._batch = batch
        super().__init__(sum(-(-len(rows) // batch) * batch for rows in self._rows), seed)

    def _shuffled(self, chance: np.random.Generator) -> NDArray[np.int64]:
        filled = [np.resize(chance.permutation(rows), -(-len(rows) // self._batch) * self._batch) for rows in self._rows]
        return chance.permutation(np.concatenate(filled).reshape(-1, self._batch)).reshape(-1)
