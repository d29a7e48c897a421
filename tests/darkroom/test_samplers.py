"""Samplers against exact solutions, against the programs of `diffusers`, and against the statistics that chains must keep."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import scheduling_ddpm
from pydantic import TypeAdapter
from scipy.integrate import solve_ivp
from torch import Tensor

from darkroom.noise import FlowTime, Karras
from darkroom.samplers import Sampler

DEVIATION = 0.5
NOISE = torch.randn(4, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
KINDS: list[dict[str, Any]] = [
    {"kind": "euler"},
    {"kind": "heun"},
    {"kind": "ddim", "eta": 0.0},
    {"kind": "ddim", "eta": 0.7},
    {"kind": "ddpm", "variance": "small"},
    {"kind": "ddpm", "variance": "large"},
    *({"kind": kind, "order": order} for kind in ("dpmpp", "unipc") for order in (1, 2, 3)),
    {"kind": "ipndm"},
]
Answer = Callable[[Tensor, float], Tensor]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within diffusers


def sampler(kind: dict[str, Any]) -> Any:
    return TypeAdapter(Sampler).validate_python(kind)


def end_of(kind: dict[str, Any], denoise: Answer, levels: list[float], images: Tensor, fresh: Iterator[Tensor]) -> Tensor:
    """Where the walk from `images` ends."""
    steps = list(sampler(kind).steps(denoise, images, levels, lambda: next(fresh)))
    assert len(steps) == len(levels) - 1
    return steps[-1][0]


def test_every_sampler_is_tested_here() -> None:
    assert {type(sampler(kind)) for kind in KINDS} == set(get_args(get_args(Sampler)[0]))


# Exact solutions.


def gaussian(noisy: Tensor, sigma: float) -> Tensor:
    """The best denoiser there is for images that are independent Gaussian numbers."""
    return noisy * DEVIATION**2 / (DEVIATION**2 + sigma**2)


def mixture(noisy: Tensor, sigma: float) -> Tensor:
    """The best denoiser there is where a number is -0.8 or 0.8, more or less 0.3."""
    width = 0.3**2 + sigma**2
    centre = 0.8 * torch.tanh(0.8 * noisy / width)
    return centre + 0.3**2 / width * (noisy - centre)


def spaced(spacing: str, steps: int) -> list[float]:
    """Levels that do not end in 0, where every method of one evaluation becomes Euler's."""
    if spacing == "karras":
        return Karras(kind="karras", least=0.02, most=80.0, rho=7.0).levels(steps + 1)[:-1].double().tolist()
    ramp = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    if spacing == "even":
        return (4 - 3.5 * ramp).tolist()
    return (80 * (0.02 / 80) ** ramp).tolist()


ORDERS = [
    ({"kind": "euler"}, "karras", 1),
    ({"kind": "heun"}, "karras", 2),
    ({"kind": "ddim", "eta": 0.0}, "log", 1),
    ({"kind": "dpmpp", "order": 1}, "log", 1),
    ({"kind": "dpmpp", "order": 2}, "log", 2),
    ({"kind": "dpmpp", "order": 2}, "karras", 2),
    ({"kind": "dpmpp", "order": 3}, "karras", 3),
    ({"kind": "unipc", "order": 1}, "log", 2),  # the correction adds one
    ({"kind": "unipc", "order": 2}, "log", 3),
    ({"kind": "unipc", "order": 3}, "karras", 4),
    ({"kind": "ipndm"}, "karras", 2),
    ({"kind": "ipndm"}, "even", 3.5),  # 4, but for its first three steps
]


@pytest.mark.parametrize(("kind", "spacing", "order"), ORDERS)
def test_order_of_convergence_on_a_gaussian(kind: dict[str, Any], spacing: str, order: float) -> None:
    errors = []
    for steps in (48, 96, 192):
        levels = spaced(spacing, steps)
        exact = NOISE * levels[0] * math.hypot(DEVIATION, levels[-1]) / math.hypot(DEVIATION, levels[0])
        made = end_of(kind, gaussian, levels, NOISE * levels[0], iter(()))
        errors.append((made - exact).abs().max().item())
    slopes = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert slopes == pytest.approx([order] * 2, abs=0.2)


@pytest.mark.parametrize(
    ("kind", "order"),
    [({"kind": "euler"}, 1), ({"kind": "heun"}, 2), ({"kind": "dpmpp", "order": 2}, 2), ({"kind": "dpmpp", "order": 3}, 3)],
)
def test_order_of_convergence_on_a_mixture(kind: dict[str, Any], order: int) -> None:
    start = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None, None, None] * 30

    def slope(sigma: float, place: Any) -> Any:
        noisy = torch.from_numpy(place)
        return ((noisy - mixture(noisy, sigma)) / sigma).numpy()

    exact = solve_ivp(slope, (30.0, 0.05), start.flatten().numpy(), method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    errors = []
    for steps in (100, 200, 400):
        levels = Karras(kind="karras", least=0.05, most=30.0, rho=7.0).levels(steps + 1)[:-1].double().tolist()
        made = end_of(kind, mixture, [30.0, *levels[1:-1], 0.05], start, iter(()))
        errors.append((made.flatten() - torch.from_numpy(exact)).abs().max().item())
    assert [math.log2(coarse / fine) for coarse, fine in pairwise(errors)] == pytest.approx([order] * 2, abs=0.3)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("steps", [1, 2, 3, 12])
def test_every_walk_is_finite_and_ends_in_the_images(kind: dict[str, Any], steps: int) -> None:
    """Where there is one image only, that image is the end, whatever was added on the way."""
    levels = Karras(kind="karras", least=0.002, most=80.0, rho=7.0).levels(steps).tolist()
    fresh = iter(torch.randn(40, *NOISE.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    made = end_of(kind, lambda noisy, sigma: torch.full_like(noisy, 0.3), levels, NOISE * levels[0], fresh)
    torch.testing.assert_close(made, torch.full_like(made, 0.3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "kind", [{"kind": "ddpm", "variance": "small"}, {"kind": "ddim", "eta": 1.0}, {"kind": "ddim", "eta": 0.5}]
)
def test_a_chain_keeps_the_variance(kind: dict[str, Any]) -> None:
    """Stochastic walks of many steps draw from the distribution itself, here of deviation 0.5."""
    chance = torch.Generator().manual_seed(2)
    levels = [*spaced("log", 500), 0.0]
    start = torch.randn(4000, dtype=torch.float64, generator=chance) * math.hypot(DEVIATION, levels[0])
    fresh = (torch.randn(4000, dtype=torch.float64, generator=chance) for _ in levels)
    made = end_of(kind, gaussian, levels, start, fresh)
    assert made.std().item() == pytest.approx(DEVIATION, rel=0.04)
    assert made.mean().item() == pytest.approx(0, abs=0.03)


def test_eta_one_is_the_ancestral_chain() -> None:
    levels = Karras(kind="karras", least=0.02, most=80.0, rho=7.0).levels(9).tolist()
    noise = torch.randn(9, *NOISE.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    one, other = (
        end_of(kind, gaussian, levels, NOISE * levels[0], iter(noise))
        for kind in ({"kind": "ddim", "eta": 1.0}, {"kind": "ddpm", "variance": "small"})
    )
    torch.testing.assert_close(one, other)


# The same numbers as the programs of diffusers.


def bent(noisy: Tensor, sigma: float) -> Tensor:
    """Some denoiser: bounded, not linear, not deaf to the level."""
    return torch.tanh(2 * noisy / math.sqrt(1 + sigma**2) + 0.3 - 0.05 * math.log(sigma))


def by_variance_preserving(oracle: Any, levels: list[float], **told: Any) -> Tensor:
    """The oracle's walk, its network answering the noise. Its images are ours over sqrt(1 + sigma^2)."""
    images = NOISE * levels[0] / math.sqrt(1 + levels[0] ** 2)
    for moment, sigma in zip(oracle.timesteps, levels, strict=False):
        width = math.sqrt(1 + sigma**2)
        noise = (images * width - bent(images * width, sigma)) / sigma
        images = oracle.step(noise, moment, images, **{name: next(value) for name, value in told.items()}).prev_sample
    return images


CHAIN = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def matches(kind: dict[str, Any], theirs: Tensor, levels: list[float], fresh: Iterable[Tensor] = ()) -> None:
    made = end_of(kind, bent, levels, NOISE * levels[0], iter(fresh))
    torch.testing.assert_close(made, theirs.double(), rtol=1e-4, atol=1e-4)  # some of their levels are float32


@pytest.mark.parametrize("steps", [3, 10, 20])
@pytest.mark.parametrize("order", [1, 2])
def test_dpmpp_is_that_of_diffusers(steps: int, order: int) -> None:
    oracle = DPMSolverMultistepScheduler(**CHAIN, solver_order=order, lower_order_final=True)
    oracle.set_timesteps(steps)
    levels = oracle.sigmas.tolist()
    matches({"kind": "dpmpp", "order": order}, by_variance_preserving(oracle, levels), levels)


@pytest.mark.parametrize("steps", [4, 10, 20])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_is_that_of_diffusers(steps: int, order: int) -> None:
    oracle = UniPCMultistepScheduler(**CHAIN, solver_order=order, solver_type="bh2", final_sigmas_type="zero")
    oracle.set_timesteps(steps)
    levels = oracle.sigmas.tolist()
    matches({"kind": "unipc", "order": order}, by_variance_preserving(oracle, levels), levels)


def levels_of(oracle: Any) -> list[float]:
    kept = oracle.alphas_cumprod[oracle.timesteps].double()
    return [*((1 - kept) / kept).sqrt().tolist(), 0.0]


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim_is_that_of_diffusers(eta: float) -> None:
    oracle = DDIMScheduler(**CHAIN, clip_sample=False)
    oracle.set_timesteps(10)
    levels, noise = levels_of(oracle), torch.randn(10, *NOISE.shape, generator=torch.Generator().manual_seed(3))
    told = by_variance_preserving(oracle, levels, eta=iter([eta] * 10), variance_noise=iter(noise))
    # What they add is unit noise in their scale, which is ours over sqrt(1 + sigma^2) of the level it is added at: the same.
    matches({"kind": "ddim", "eta": eta}, told, levels, noise)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm_is_that_of_diffusers(variance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.randn(10, *NOISE.shape, generator=torch.Generator().manual_seed(3))
    added = iter(noise)
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *place, **told: next(added))
    oracle = DDPMScheduler(**CHAIN, clip_sample=False, variance_type=f"fixed_{variance}")
    oracle.set_timesteps(10)
    levels = levels_of(oracle)
    matches({"kind": "ddpm", "variance": variance}, by_variance_preserving(oracle, levels), levels, noise)


def test_ipndm_is_that_of_diffusers() -> None:
    """Their levels start at infinity; given ours, with a network that answers the velocity, the steps are the same."""
    oracle, levels = IPNDMScheduler(), Karras(kind="karras", least=0.02, most=80.0, rho=7.0).levels(9).double()
    oracle.set_timesteps(9)
    oracle.alphas, oracle.betas = (1 + levels**2).rsqrt(), levels * (1 + levels**2).rsqrt()
    images = NOISE * oracle.betas[0]
    for moment, sigma, alpha in zip(oracle.timesteps, levels.tolist(), oracle.alphas.tolist(), strict=False):
        clean = bent(images / alpha, sigma)
        velocity = ((images - alpha * clean) / sigma) - sigma * alpha * clean  # alpha * noise - sigma * alpha * image
        images = oracle.step(velocity, moment, images).prev_sample
    matches({"kind": "ipndm"}, images, levels.tolist())


def test_euler_on_edm_is_that_of_diffusers() -> None:
    oracle = EDMEulerScheduler(sigma_min=0.02, sigma_max=80.0, rho=7.0, sigma_data=DEVIATION)
    oracle.set_timesteps(9)
    images = NOISE * 80.0
    levels = Karras(kind="karras", least=0.02, most=80.0, rho=7.0).levels(9).tolist()
    for moment, sigma in zip(oracle.timesteps, levels, strict=False):
        width = sigma**2 + DEVIATION**2
        answer = (bent(images, sigma) - DEVIATION**2 / width * images) / (sigma * DEVIATION / math.sqrt(width))
        images = (
            oracle.step(answer, moment, images).prev_sample if oracle.scale_model_input(images, moment) is not None else images
        )
    matches({"kind": "euler"}, images, levels)


def test_euler_on_a_flow_is_that_of_diffusers() -> None:
    oracle = FlowMatchEulerDiscreteScheduler(shift=3.0)
    oracle.set_timesteps(sigmas=torch.linspace(0.98, 0, 9)[:-1].tolist())
    levels = FlowTime(kind="flow_time", most=0.98, shift=3.0).levels(8).tolist()
    images = NOISE * oracle.sigmas[0]
    for moment, sigma in zip(oracle.timesteps, levels, strict=False):
        clean = bent(images * (1 + sigma), sigma)
        images = oracle.step((images - clean) * (1 + sigma) / sigma, moment, images).prev_sample
    matches({"kind": "euler"}, images, levels)


@pytest.mark.parametrize(("kind", "program"), [("euler", EulerDiscreteScheduler), ("heun", HeunDiscreteScheduler)])
def test_euler_and_heun_on_a_chain_are_those_of_diffusers(kind: str, program: Any) -> None:
    oracle = program(**CHAIN)
    oracle.set_timesteps(11)
    images = NOISE * oracle.sigmas[0]
    for place, moment in enumerate(oracle.timesteps):
        oracle.scale_model_input(images, moment)
        sigma = oracle.sigmas[place].item()
        images = oracle.step((images - bent(images, sigma)) / sigma, moment, images).prev_sample
    levels = oracle.sigmas.unique_consecutive().tolist()
    assert len(levels) == 12
    matches({"kind": kind}, images, levels)


def test_heun_asks_once_in_its_last_step() -> None:
    asked: list[float] = []

    def counting(noisy: Tensor, sigma: float) -> Tensor:
        asked.append(sigma)
        return gaussian(noisy, sigma)

    end_of({"kind": "heun"}, counting, [4.0, 2.0, 1.0, 0.0], NOISE, iter(()))
    assert asked == [4, 2, 2, 1, 1]
