"""The trainings of two other projects by their own recipes, run by `benchmarks/quality.py` in an environment of their own.

`diffusers`: that of its `train_unconditional.py` - UNet2DModel, DDPM noise, AdamW, cosine rate after a warm-up, clipped
gradients, EMAModel, drawn by DDIM in 50 steps. Its network is of 6.5 million parameters, not the script's 113.7 million, and the
warm-up a tenth of the steps where its 500 would be more: both to its advantage in so short a time.
`lucidrains`: that of denoising-diffusion-pytorch - its Unet(64, (1, 2, 4, 8)), GaussianDiffusion, the settings of its Trainer
(Adam, flips, EMA every 10 steps), drawn by its own DDIM in 50 steps. Its module imports torchvision for the Trainer's files only:
where that is not installed, an empty one stands in, and the Trainer's loop is the one below.

Nothing of Darkroom is imported here. The schedule's length is what the speed of the first steps will come to in the time.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import Tensor, nn

BATCH, TRIED = 16, 4
Step = Callable[[Tensor], None]
Draw = Callable[[int], Tensor]  # images in [-1, 1]


def main() -> None:
    """Train for the time given, draw, write the images as uint8 [n, s, s, 3]; print what was done as JSON."""
    words = argparse.ArgumentParser()
    words.add_argument("recipe", choices=RECIPES)
    words.add_argument("--images", required=True, help=".npy, uint8 [n, s, s, 3]")
    words.add_argument("--minutes", type=float, required=True)
    words.add_argument("--seed", type=int, required=True)
    words.add_argument("--count", type=int, required=True, help="images to draw")
    words.add_argument("--out", required=True, help=".npy")
    given = words.parse_args()
    torch.manual_seed(given.seed)
    pixels = np.load(given.images)
    clean = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    budget = 60 * given.minutes
    parameters, step, draw = RECIPES[given.recipe](pixels.shape[1], budget)
    started, used, seen, order = time.perf_counter(), time.process_time(), 0, iter(())
    while time.perf_counter() - started < budget:
        rows = next(order, None)
        if rows is None or len(rows) < BATCH:
            order = iter(torch.randperm(len(clean)).split(BATCH))
            continue
        step(clean[rows])
        seen += BATCH
    told = {"images_seen": seen, "seconds": time.perf_counter() - started, "cpu": time.process_time() - used}
    with torch.inference_mode():
        made = torch.cat([draw(min(64, given.count - at)) for at in range(0, given.count, 64)])
    values = ((made.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    np.save(given.out, values)
    print(json.dumps({**told, "parameters": parameters}))


def steps_in(seconds: float, once: Callable[[], object]) -> int:
    """How many steps the time is enough for."""
    once()
    started = time.perf_counter()
    for _ in range(TRIED):
        once()
    return max(TRIED, int(seconds / (time.perf_counter() - started) * TRIED))


def diffusers(size: int, seconds: float) -> tuple[int, Step, Draw]:
    """Parameters, a training step, a way to draw."""
    from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel

    model = UNet2DModel(
        sample_size=size,
        layers_per_block=2,
        block_out_channels=(64, 128, 128),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    noising = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    trial = UNet2DModel.from_config(model.config)
    images = torch.zeros(BATCH, 3, size, size)
    steps = steps_in(seconds, lambda: trial(images, torch.zeros(BATCH, dtype=torch.long)).sample.mean().backward())
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    rate = get_scheduler("cosine", optimiser, num_warmup_steps=min(500, steps // 10), num_training_steps=steps)
    average = EMAModel(model.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)

    def step(clean: Tensor) -> None:
        noise, moment = torch.randn_like(clean), torch.randint(0, 1000, (len(clean),))
        answer = model(noising.add_noise(clean, noise, moment), moment).sample
        nn.functional.mse_loss(answer, noise).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rate.step()
        average.step(model.parameters())
        optimiser.zero_grad()

    def draw(count: int) -> Tensor:
        average.copy_to(model.parameters())
        walk = DDIMScheduler.from_config(noising.config)
        walk.set_timesteps(50)
        made = torch.randn(count, 3, size, size)
        for moment in walk.timesteps:
            made = walk.step(model(made, moment).sample, moment, made).prev_sample
        return made

    return sum(value.numel() for value in model.parameters()), step, draw


def lucidrains(size: int, seconds: float) -> tuple[int, Step, Draw]:
    """Parameters, a training step, a way to draw."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # the second, where it was built for another torch
        for name in ("", ".transforms", ".utils", ".datasets", ".models"):
            sys.modules[f"torchvision{name}"] = MagicMock()
        for name in ("", ".fid_score", ".inception"):
            sys.modules[f"pytorch_fid{name}"] = MagicMock()
    from denoising_diffusion_pytorch.denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA

    network = Unet(dim=64, dim_mults=(1, 2, 4, 8), flash_attn=False)
    model = GaussianDiffusion(network, image_size=size, timesteps=1000, sampling_timesteps=50)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.99))
    average = EMA(model, beta=0.995, update_every=10)

    def step(clean: Tensor) -> None:
        flipped = torch.where(torch.rand(len(clean), 1, 1, 1) < 0.5, clean, clean.flip(3))
        model((flipped + 1) / 2).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        average.update()

    def draw(count: int) -> Tensor:
        return average.ema_model.sample(batch_size=count) * 2 - 1

    return sum(value.numel() for value in network.parameters()), step, draw


RECIPES: dict[str, Callable[[int, float], tuple[int, Step, Draw]]] = {"diffusers": diffusers, "lucidrains": lucidrains}


if __name__ == "__main__":
    main()
