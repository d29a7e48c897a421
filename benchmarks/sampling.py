"""What each sampler makes of as many evaluations: `python -m benchmarks sampling`, in a workspace with a trained model.

Two figures: how far its images lie from the exact walk's out of the same noise (Heun in 100 steps; root mean square, of 255), and
the kernel distance of its images from training images. The first is what a sampler can be blamed for; it says nothing of the
ancestral ones, which walk elsewhere on purpose.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from darkroom.evaluation.comparing import Contest, kernel_contest
from darkroom.evaluation.figures import Estimate
from darkroom.evaluation.metrics import KernelDistance
from darkroom.evaluation.neighbourhoods import Described
from darkroom.features.features import EfficientNetLite0
from darkroom.images import Pixels, read_split, to_pixels
from darkroom.networks.denoiser import Denoiser, DenoiserContract
from darkroom.networks.saved import Drawing, GuidedLevels, ModelCard, load_model
from darkroom.networks.sizes import SIZES, cost_of
from darkroom.randomness import HELD_OUT, generator_for
from darkroom.samplers import Sampler
from darkroom.sampling import draw, evaluations, labels_for, noise_for, preset, told_of
from darkroom.sections import Section

MODEL, DATA = Path("models/base"), Path("data/curated")
PAIRED, SCORED, SEED, ROUNDS = 24, 256, 0, 1000
EVERY_LEVEL = 1000.0  # above all noise
SAMPLERS: list[tuple[dict[str, Any], int]] = [  # at 8 and at 16 steps; Heun takes two evaluations a step
    ({"kind": "euler"}, 1),
    ({"kind": "heun"}, 2),
    ({"kind": "dpmpp", "order": 2}, 1),
    ({"kind": "dpmpp", "order": 3}, 1),
    ({"kind": "unipc", "order": 2}, 1),
    ({"kind": "unipc", "order": 3}, 1),
    ({"kind": "ipndm"}, 1),
    ({"kind": "ddpm", "variance": "small"}, 1),
]


def run() -> None:
    """Print every figure of this room."""
    sizes()
    if MODEL.is_dir():
        walks(MODEL, DATA)
        against_ddim(MODEL, DATA)
        guidance(MODEL, DATA)
    else:
        print(f"samplers: no {MODEL} here; `darkroom run` makes one")


def sizes() -> None:
    """Parameters and operations of every size at 32 pixels."""
    for kind, members in SIZES.items():
        for name, size in members.items():
            cost = cost_of(size, 32)
            print(
                f"{kind} {name}: {cost.parameters / 1e6:.1f} M parameters, {cost.flops / 1e9:.2f} GFLOP an image, "
                f"{cost.activations / 2**20:.0f} MiB of activations an image"
            )


@dataclass(frozen=True)
class Ground:
    """A model, what is asked of it, and real images to hold the answers against."""

    model: Denoiser
    card: ModelCard
    labels: Tensor
    noise: Tensor
    features: EfficientNetLite0
    pictures: Pixels
    real: Described

    @classmethod
    def of(cls, model_folder: Path, data: Path) -> "Ground":
        """`SCORED` images are asked for, and held against as many of training."""
        model, card = load_model(model_folder, torch.device("cpu"))
        labels, noise = torch.tensor(labels_for(card, SEED, SCORED)), noise_for(SEED, range(SCORED), card.image_size)
        training = read_split(data, "train").pixels
        pictures = np.asarray(training[generator_for(SEED, HELD_OUT).permutation(len(training))[:SCORED]])
        features = EfficientNetLite0(kind="efficientnet_lite0", side=64)
        return cls(model, card, labels, noise, features, pictures, features.describe(pictures, 64))

    def drawn(self, drawing: Drawing, asked: DenoiserContract | None = None, count: int = SCORED) -> Pixels:
        """The first images in batches of 32, of the model or of what is asked in its place."""
        rows = [slice(start, min(start + 32, count)) for start in range(0, count, 32)]
        return np.concatenate([draw(asked or self.model, self.card, self.labels[row], self.noise[row], drawing) for row in rows])

    def distance(self, made: Described) -> float:
        """Kernel distance x 1000 from the real images."""
        return KernelDistance(kind="kernel_distance").score(self.real, made)

    def against(self, made: Described, other: Described) -> Contest:
        """The difference of two kernel distances, with its interval over resampled pairs: both began with the same noise."""
        return kernel_contest(self.real, made, other, ROUNDS, SEED)

    def contrast(self, made: Pixels) -> float:
        """By how many levels of 255 the deviation of a channel, over all pixels, exceeds that of real images, at most."""
        return float(max(made[..., channel].std() - self.pictures[..., channel].std() for channel in range(3)))


def walks(model_folder: Path, data: Path) -> None:
    """A line for each sampler, twice."""
    ground = Ground.of(model_folder, data)
    exact = ground.drawn(drawing_with(ground.card, {"kind": "heun"}, 100), count=PAIRED)
    print(f"error of {PAIRED} images, kernel distance of {SCORED} against {SCORED} real ones, seed {SEED}, {ground.card.drawing}")
    for steps in (8, 16):
        for sampler, each in SAMPLERS:
            chosen = drawing_with(ground.card, sampler, steps // each)
            made = ground.drawn(chosen)
            error = np.sqrt(np.square(made[:PAIRED].astype(float) - exact).mean())
            distance = ground.distance(ground.features.describe(made, 64))
            name = " ".join(str(value) for value in sampler.values())
            print(f"{name}: {evaluations(chosen)} evaluations, error {error:.1f}, kernel distance {distance:.0f}", flush=True)


def against_ddim(model_folder: Path, data: Path) -> None:
    """Images a second and kernel distance of our default sampler, by steps, beside diffusers' DDIM in 50 steps.

    One model, the same noise, no guidance, batches of the same size; diffusers walks its linear chain of 1,000 steps. The
    difference of the distances has its 95 % interval.
    """
    ground = Ground.of(model_folder, data)

    def measured(draw_all: Callable[[], Pixels]) -> tuple[float, Described]:
        started = time.perf_counter()
        made = draw_all()
        return SCORED / (time.perf_counter() - started), ground.features.describe(made, 64)

    speed, theirs = measured(lambda: drawn_by_diffusers(ground))
    distance = ground.distance(theirs)
    print(
        f"diffusers' DDIM, 50 steps: {speed:.1f} images/s, kernel distance {distance:.0f} (n = {SCORED}, no guidance)", flush=True
    )
    for steps in (4, 6, 8, 10, 12, 16, 20):
        chosen = preset("default", ground.card.drawing.alone).model_copy(update={"steps": steps, "guidance": 1.0})
        rate, ours = measured(lambda chosen=chosen: ground.drawn(chosen))
        contest = ground.against(ours, theirs)
        print(
            f"ours, {steps} steps: {rate:.1f} images/s, {rate / speed:.1f} times as many, kernel distance {contest.first:.0f}, "
            f"{_signed(contest.difference)}",
            flush=True,
        )


def guidance(model_folder: Path, data: Path) -> None:
    """What guidance towards the class, and away from the model's own earlier weights, make of kernel distance and contrast.

    Each with its difference from neither and the 95 % interval of that.
    """
    ground = Ground.of(model_folder, data)
    own = ground.card.drawing

    def drawn(towards: float, away: float, most: float) -> tuple[Described, str]:
        changes = {"guidance": towards, "away": away, "guided_levels": GuidedLevels(least=0.0, most=most)}
        made = ground.drawn(drawing := own.model_copy(update=changes))
        return ground.features.describe(made, 64), f"contrast {ground.contrast(made):+.1f}, {evaluations(drawing)} evaluations"

    plain, told = drawn(1.0, 1.0, EVERY_LEVEL)
    print(f"no guidance: kernel distance {ground.distance(plain):.0f}; {told} (n = {SCORED}, {own.steps} steps)")
    ways = [(towards, 1.0, EVERY_LEVEL) for towards in (1.5, 2.0, 3.0)]
    if ground.card.keeps_weaker:
        ways += [(1.0, away, most) for most in (EVERY_LEVEL, 4.0, 2.0) for away in (2.0, 2.5, 3.0)]
    for way in ways:
        described, told = drawn(*way)
        contest = ground.against(described, plain)
        words = "guidance {:g}, away {:g}, levels up to {:g}".format(*way)
        print(f"{words}: {contest.first:.0f}, {_signed(contest.difference)}; {told}", flush=True)


def _signed(one: Estimate) -> str:
    return f"{one.value:+.0f} ({one.low:+.0f} to {one.high:+.0f})"


@torch.inference_mode()
def drawn_by_diffusers(ground: Ground) -> Pixels:
    """The same model as a network that answers the noise in a chain, walked by diffusers."""
    from diffusers import DDIMScheduler

    walk = DDIMScheduler(num_train_timesteps=1000, beta_schedule="linear", clip_sample=True)
    walk.set_timesteps(50)
    parts = []
    for start in range(0, SCORED, 32):
        images, told = (
            ground.noise[start : start + 32],
            told_of(ground.card, ground.labels[start : start + 32], ground.noise[:32]),
        )
        for moment in walk.timesteps:
            kept = walk.alphas_cumprod[moment]
            sigma = ((1 - kept) / kept).sqrt().expand(len(images))
            clean = ground.model(images / kept.sqrt(), sigma, told)
            images = walk.step((images - kept.sqrt() * clean) / (1 - kept).sqrt(), moment, images).prev_sample
        parts.append(to_pixels(images.permute(0, 2, 3, 1).numpy()))
    return np.concatenate(parts)


def drawing_with(card: ModelCard, sampler: dict[str, Any], steps: int) -> Drawing:
    """The model's own drawing with another sampler."""
    return card.drawing.model_copy(update={"sampler": TypeAdapter[Section](Sampler).validate_python(sampler), "steps": steps})
