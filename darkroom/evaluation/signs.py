"""Signs: what is measured of a model's images, beside held-out ones, before anything is said about its health.

Every sign has an interval and its floor: the same figure with held-out images in place of generated ones. Pure functions of
their arguments and a seed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.evaluation.figures import Estimate, Numbers, jackknife, wilson
from darkroom.evaluation.neighbourhoods import Described, distances
from darkroom.images import ImageSet, Pixels, to_model
from darkroom.networks.captioned import ReadsCaptions, longest_text, text_of
from darkroom.networks.denoiser import Condition, Denoiser
from darkroom.networks.saved import ModelCard, device_named, load_model
from darkroom.randomness import HELD_OUT, generator_for, torch_seed

MOST = 256  # images behind a sign: enough for its interval, and quick
AT_ONCE = 256  # images whose colours are summed up together
ROUNDS = 200  # resamplings behind an interval
GROUPS = 10  # left out in turn, for the interval of variety
BANDS = {"little noise": 0.2, "middle": 0.6, "much noise": 2.0}  # noise levels at which losses are compared
MUCH_NOISE = (2 / 32, 8 / 32)  # the same, a pixel of the side, at which a model can hear: little of the image is left
FEWEST_ASKED = 16  # images below which nothing is said of that
_VARIETY, _COLOUR, _LOSS, _HEARD = range(10, 14)  # positions in the stream of random numbers


@dataclass(frozen=True, slots=True)
class Sign:
    """A figure of generated images and the same figure of held-out ones."""

    made: Estimate
    floor: Estimate


def variety(unseen: Described, made: Described, seed: int) -> Estimate:
    """How many different images `made` amounts to, as a share of what as many real ones amount to.

    The number is the exponential of the entropy of a similarity matrix's eigenvalues (Vendi score: Friedman & Dieng 2022,
    arXiv 2210.02410), with a Gaussian kernel as wide as the median distance between real images. The interval comes from leaving
    out each tenth: an image drawn twice would count as little variety.
    """
    n = min(MOST, len(unseen), len(made))
    chance = generator_for(seed, HELD_OUT, _VARIETY)
    width = float(np.median(distances(unseen[:n], unseen[:n])[np.triu_indices(n, 1)])) or 1.0
    alike = [np.exp(-((distances(rows[:n], rows[:n]) / width) ** 2)) for rows in (unseen, made)]

    def ratio(rows: NDArray[np.int64]) -> float:
        real, drawn = (_effective(matrix[np.ix_(rows, rows)]) for matrix in alike)
        return drawn / real

    groups = np.array_split(chance.permutation(n), min(GROUPS, n))
    return jackknife(ratio(np.arange(n)), len(groups), lambda group: ratio(np.setdiff1d(np.arange(n), groups[group])))


def _effective(alike: Numbers) -> float:
    shares = np.linalg.eigvalsh(alike / len(alike)).clip(1e-12)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def colour(real: Pixels, unseen: Pixels, made: Pixels, seed: int) -> dict[str, Sign]:
    """By how many levels of 255 each channel's mean, and its standard deviation over all pixels, differ from real images'."""
    signs, chance = {}, generator_for(seed, HELD_OUT, _COLOUR)
    moments = [_moments(pixels) for pixels in (real, unseen, made)]
    for channel, name in enumerate(("red", "green", "blue")):
        for place, what in enumerate(("mean", "deviation")):
            base, floor, drawn = (one[:, channel] for one in moments)
            signs[f"{name} {what}"] = Sign(_shift(base, drawn, place, chance), _shift(base, floor, place, chance))
    return signs


def _moments(pixels: Pixels) -> Numbers:
    """Of each image and channel: the mean and the mean square. [n, 3, 2]"""
    blocks = [pixels[at : at + AT_ONCE].astype(np.float64) for at in range(0, len(pixels), AT_ONCE)]
    return np.concatenate([np.stack([one.mean((1, 2)), (one**2).mean((1, 2))], axis=2) for one in blocks])


def _shift(base: Numbers, other: Numbers, place: int, chance: np.random.Generator) -> Estimate:
    def figure(moments: Numbers) -> float:
        mean, square = moments.mean(0)
        return float(mean if place == 0 else max(square - mean**2, 0.0) ** 0.5)

    drawn = [
        figure(other[chance.integers(0, len(other), len(other))]) - figure(base[chance.integers(0, len(base), len(base))])
        for _ in range(ROUNDS)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(figure(other) - figure(base), float(low), float(high))


@torch.inference_mode()
def loss_gaps(model_folder: Path, training: ImageSet, held_out: ImageSet, seed: int) -> dict[str, Estimate]:
    """By band of noise levels: how many times as high the loss on held-out images is as on training images; 1 for a model that
    has learned nothing by heart. The same noise for both. Raises ModelError."""
    model, card = load_model(model_folder, device_named("auto"))
    gaps, chance = {}, generator_for(seed, HELD_OUT, _LOSS)
    chosen = [images.at(np.sort(chance.permutation(len(images))[:MOST])) for images in (training, held_out)]
    for band, sigma in BANDS.items():
        errors = [_errors(model, card, images, np.arange(len(images)), sigma, seed) for images in chosen]
        gaps[band] = _ratio(errors[1], errors[0], chance)
    return gaps


@torch.inference_mode()
def heard(model_folder: Path, held_out: ImageSet, seed: int) -> Estimate | None:
    """Share of held-out images that the model denoises better told what they are than told what another is: 0.5 for a model that
    does not listen, or whose captions and labels say nothing. The rule of Li et al. 2023 (arXiv 2303.16203), of two at a time.

    None where too few differ in what is said of them. Raises ModelError.
    """
    model, card = load_model(model_folder, device_named("auto"))
    chance = generator_for(seed, HELD_OUT, _HEARD)
    images = held_out.at(np.sort(chance.permutation(len(held_out))[:MOST]))
    said = np.array([images.names[label] for label in images.labels])
    if isinstance(card.network, ReadsCaptions):
        said = np.array([caption or name for caption, name in zip(images.captions, said, strict=True)])
    others = _of_another(said, chance)
    asked = np.flatnonzero(said != said[others])
    if len(asked) < FEWEST_ASKED:
        return None
    better = np.zeros(len(images))
    for sigma in (share * card.image_size for share in MUCH_NOISE):
        own, other = (_errors(model, card, images, told, sigma, seed) for told in (np.arange(len(images)), others))
        better += (other - own) / own.mean()  # levels count alike
    hits = int((better[asked] > 0).sum()) + int((better[asked] == 0).sum()) // 2  # deaf to it all, every other one is right
    return Estimate(hits / len(asked), *wilson(hits, len(asked)))


def _of_another(said: NDArray[np.str_], chance: np.random.Generator) -> NDArray[np.int64]:
    """For each image one of which something else is said, at random; itself where there is none."""
    others = [np.flatnonzero(said != words) for words in said]
    return np.array([chance.choice(rows) if len(rows) else row for row, rows in enumerate(others)], np.int64)


def _errors(model: Denoiser, card: ModelCard, images: ImageSet, told: NDArray[np.int64], sigma: float, seed: int) -> Numbers:
    """Squared error of each image denoised at a level, being told what image `told` is; always with the same noise. [n]"""
    device, length = next(model.parameters()).device, longest_text(images)
    noise = torch.Generator().manual_seed(torch_seed(seed, HELD_OUT, _LOSS))
    found = np.empty(len(images))
    for rows in images.runs(64):
        clean = to_model(torch.from_numpy(images.exact(rows).astype(np.float32)).permute(0, 3, 1, 2))
        noisy = (clean + sigma * torch.randn(clean.shape, generator=noise)).to(device)
        labels, text = torch.from_numpy(images.labels[told[rows]]), text_of(images, told[rows], length)
        condition = Condition(labels, torch.zeros(len(rows), card.augmentations), text).on(device)
        answer = model(noisy, noisy.new_full((len(rows),), sigma), condition)
        found[rows] = (answer.cpu() - clean).square().mean((1, 2, 3)).double().numpy()
    return found


def _ratio(above: Numbers, below: Numbers, chance: np.random.Generator) -> Estimate:
    """Ratio of two means, 1,000 at most, with the percentile interval of the bootstrap over both."""
    least = float(above.mean()) / 1000

    def ratio(over: Numbers, under: Numbers) -> float:
        return float(over.mean()) / max(float(under.mean()), least)

    drawn = [
        ratio(above[chance.integers(0, len(above), len(above))], below[chance.integers(0, len(below), len(below))])
        for _ in range(10 * ROUNDS)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(ratio(above, below), float(low), float(high))
