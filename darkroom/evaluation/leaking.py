"""Do generated images show the augmentations of the training images, as if they belonged to the subject?

The distribution of generated images is taken for a mixture: plain real images, real images augmented in each way, real images
blurred (so that vague images are not taken for turned ones). The shares are fitted to the sets' mean embeddings in the space of
a kernel, by least squares, none below 0. Held-out images give the floor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from darkroom.augmentation import Augmentation, AugmentSection, Recipe
from darkroom.evaluation.figures import Estimate, Numbers
from darkroom.evaluation.signs import MOST, ROUNDS, Sign
from darkroom.features.features import ShrunkPixels
from darkroom.images import Pixels
from darkroom.randomness import HELD_OUT, generator_for

SIDE = 16  # pixels a side at which augmentations are looked for
EXPLAINED = 0.5  # least share of the squared distance from plain images that the mixture has to explain
_LEAK = 20  # position in the stream of random numbers


@dataclass(frozen=True)
class _Part:
    """A set of images: where its rows stand, and which images they come from (`plain`, `source`, ...)."""

    rows: slice
    origin: str


def leaks(recipe: Recipe, real: Pixels, unseen: Pixels, made: Pixels, seed: int) -> dict[str, Sign]:
    """By augmentation: the share of generated images that look like augmented real ones; uint8 [.., s, s, 3] each.

    An augmentation that changes nothing that can be seen in these images is left out, as mirroring of symmetric things. Empty
    where no mixture comes near the generated images: they differ from real ones in another way.
    """
    kinds = [item for item in recipe.section.transforms if item.probability > 0]
    half = min(MOST, len(real) // 2)
    if not kinds or half < 2:
        return {}
    plain, source = np.asarray(real[:half]), np.asarray(real[half : 2 * half])
    ways = [_augmented(item, source, seed) for item in kinds] + [_blurred(source)]
    sets = [plain, *ways, np.asarray(made[:MOST]), np.asarray(unseen[:MOST])]
    origins = ["plain", *["source"] * len(ways), "made", "unseen"]
    ends = np.cumsum([0, *map(len, sets)]).tolist()
    parts = [_Part(slice(*ends[at : at + 2]), origin) for at, origin in enumerate(origins)]
    means = _means(_kernel(sets), parts, generator_for(seed, HELD_OUT, _LEAK))
    gram, of_made, of_unseen = _from_plain(means, len(ways))
    seen = np.quantile(gram[1:].diagonal(0, 1, 2), 0.025, axis=0) > 0
    shares = [np.array([_fitted(gram[0], one) for one in targets]) for targets in (of_made, of_unseen)]
    if _explained(means[0], gram[0], of_made[0], shares[0][0]) < EXPLAINED:
        return {}
    return {item.kind: Sign(*(_estimate(share[:, way]) for share in shares)) for way, item in enumerate(kinds) if seen[way]}


def _augmented(item: Augmentation, source: Pixels, seed: int) -> Pixels:
    always = item.model_copy(update={"probability": 1.0})
    return Recipe(AugmentSection(seed=seed, transforms=[always])).apply(source, 0)[0]


def _blurred(source: Pixels) -> Pixels:
    """Each pixel averaged with its eight neighbours."""
    padded = np.pad(source.astype(np.uint16), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = source.shape[1:3]
    total = np.zeros(source.shape, np.uint16)
    for y in range(3):
        for x in range(3):
            total += padded[:, y : y + height, x : x + width]
    return (total // 9).astype(np.uint8)


def _kernel(sets: Sequence[Pixels]) -> Numbers:
    """The cubic kernel between all images; around the plain ones' mean, in units of their spread."""
    described = [ShrunkPixels(kind="pixels", side=SIDE).describe(pixels, MOST).astype(np.float64) for pixels in sets]
    rows = np.concatenate(described) - described[0].mean(0)
    rows /= max(float(np.sqrt((rows[: len(sets[0])] ** 2).sum(1).mean())), 1e-9)
    kernel: Numbers = (rows @ rows.T + 1) ** 3
    return kernel


def _means(kernel: Numbers, parts: Sequence[_Part], chance: np.random.Generator) -> Numbers:
    """Mean of the kernel between each two sets: as they are, then of resampled ones, with the real ones as they are where
    generated or held-out images are compared with them. [1 + rounds, sets, sets]

    No image is compared with itself, also not in another form: the means are unbiased.
    """
    drawn: dict[str, Numbers] = {}
    for part in parts:
        n = part.rows.stop - part.rows.start
        if part.origin not in drawn:
            resampled = chance.multinomial(n, np.full(n, 1 / n), ROUNDS)
            drawn[part.origin] = np.vstack([np.ones(n), resampled]).astype(np.float64)
    means = np.empty((ROUNDS + 1, len(parts), len(parts)))
    for one, first in enumerate(parts):
        for other, second in enumerate(parts[one:], one):
            between, left, right = kernel[first.rows, second.rows], drawn[first.origin], drawn[second.origin]
            if second.origin in ("made", "unseen"):
                left = np.ones_like(left)
            total, pairs = np.einsum("ri,ri->r", left @ between, right), left.sum(1) * right.sum(1)
            if first.origin == second.origin:
                total, pairs = total - left**2 @ np.diag(between), pairs - (left**2).sum(1)
            means[:, one, other] = means[:, other, one] = total / pairs
    return means


def _from_plain(means: Numbers, ways: int) -> tuple[Numbers, Numbers, Numbers]:
    """Products of the differences from the plain set: of the ways among each other [1 + rounds, ways, ways], of the ways with
    the generated and with the held-out images [1 + rounds, ways].

    For the last two the real sets are held as they are: what chance there is in them shows in the floor as well.
    """
    apart = means[:, 1:, 1:] - means[:, 1:, :1] - means[:, :1, 1:] + means[:, :1, :1]
    held = means[:1, 1 : ways + 1, :1] - means[:1, :1, :1]
    drawn = [means[:, 1 : ways + 1, at] - means[:, :1, at] for at in (ways + 1, ways + 2)]
    return apart[:, :ways, :ways], drawn[0] - held[..., 0], drawn[1] - held[..., 0]


def _explained(means: Numbers, gram: Numbers, target: Numbers, share: Numbers) -> float:
    """By how much the mixture is nearer to the generated images than the plain ones are. [sets, sets], [ways] ... -> share"""
    made = len(target) + 1
    apart = float(means[made, made] - 2 * means[0, made] + means[0, 0])
    return float(2 * share @ target - share @ gram @ share) / apart if apart > 0 else 1.0


def _fitted(gram: Numbers, target: Numbers) -> Numbers:
    """The shares, none below 0, that come nearest to the target: of all choices of which are above 0, the best. [ways]"""
    best, least = np.zeros(len(target)), 0.0
    for count in range(1, len(target) + 1):
        for chosen in map(list, combinations(range(len(target)), count)):
            try:
                part = np.linalg.solve(gram[np.ix_(chosen, chosen)], target[chosen])
            except np.linalg.LinAlgError:
                continue
            distance = float(part @ gram[np.ix_(chosen, chosen)] @ part - 2 * part @ target[chosen])
            if (part >= 0).all() and distance < least:
                least, best = distance, np.zeros(len(target))
                best[chosen] = part
    return best


def _estimate(drawn: Numbers) -> Estimate:
    low, high = np.quantile(drawn[1:], [0.025, 0.975])
    return Estimate(float(drawn[0]), float(low), float(high))
