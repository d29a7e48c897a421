"""Noise levels: properties of every density and schedule, and the same numbers as the schedulers of `diffusers`."""

from typing import Any, get_args

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EDMEulerScheduler, FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit

from darkroom.noise import (
    HIGHEST,
    Betas,
    Cosine,
    CosineBetas,
    Ddpm,
    Density,
    Exponential,
    FlowTime,
    Karras,
    LinearBetas,
    LogitNormal,
    LogNormal,
    ScaledLinearBetas,
    Schedule,
    SigmoidBetas,
    UniformTime,
)

DENSITIES, SCHEDULES = (get_args(get_args(family)[0]) for family in (Density, Schedule))
SMALL, LARGE = st.floats(1e-5, 1e-3), st.floats(2e-3, 0.03)
BETAS: dict[type, Any] = {
    LinearBetas: st.builds(LinearBetas, kind=st.just("linear"), first=SMALL, last=LARGE),
    ScaledLinearBetas: st.builds(ScaledLinearBetas, kind=st.just("scaled_linear"), first=SMALL, last=LARGE),
    CosineBetas: st.builds(CosineBetas, kind=st.just("cosine")),
    SigmoidBetas: st.builds(
        SigmoidBetas,
        kind=st.just("sigmoid"),
        start=st.floats(-4, 0),
        end=st.floats(0.5, 4),
        temperature=st.floats(0.3, 2),
    ),
}
DDPM = st.builds(
    Ddpm,
    kind=st.just("ddpm"),
    diffusion_steps=st.integers(1, 2000),
    betas=st.one_of(*BETAS.values()),
    zero_terminal_snr=st.booleans(),
)
SHIFT = st.floats(0.1, 20)
MEMBERS: dict[type, Any] = {
    LogNormal: st.builds(LogNormal, kind=st.just("log_normal"), mean=st.floats(-3, 3), deviation=st.floats(0.1, 3)),
    UniformTime: st.builds(UniformTime, kind=st.just("uniform_time"), least=st.floats(1e-4, 0.4), most=st.floats(0.5, 0.9999)),
    LogitNormal: st.builds(
        LogitNormal, kind=st.just("logit_normal"), mean=st.floats(-3, 3), deviation=st.floats(0.1, 3), shift=SHIFT
    ),
    Cosine: st.builds(Cosine, kind=st.just("cosine"), shift=SHIFT),
    Exponential: st.builds(Exponential, kind=st.just("exponential"), least=st.floats(1e-3, 0.5), most=st.floats(1, 200)),
    Ddpm: DDPM,
    Karras: st.builds(Karras, kind=st.just("karras"), least=st.floats(1e-3, 0.5), most=st.floats(1, 200), rho=st.floats(1, 12)),
    FlowTime: st.builds(FlowTime, kind=st.just("flow_time"), most=st.floats(0.5, 0.9999), shift=SHIFT),
}
quick = settings(max_examples=40, deadline=None, database=None, derandomize=True)


def test_every_member_of_the_unions_is_tested_here() -> None:
    assert set(MEMBERS) == {*DENSITIES, *SCHEDULES}
    assert set(BETAS) == set(get_args(get_args(Betas)[0]))


@pytest.mark.parametrize("member", DENSITIES)
def test_a_density_is_finite_positive_and_rises_with_the_quantile(member: type) -> None:
    @quick
    @given(density=MEMBERS[member], count=st.integers(2, 50))
    def holds(density: Any, count: int) -> None:
        sigmas = density.sigmas(torch.linspace(1e-5, 1 - 1e-5, count))
        assert sigmas.shape == (count,)
        assert sigmas.dtype == torch.float32
        assert sigmas.isfinite().all()
        assert (sigmas > 0).all()
        assert (sigmas.diff() >= 0).all()
        assert isinstance(density, Ddpm) or (sigmas.diff() > 0).all()

    holds()


@pytest.mark.parametrize("member", SCHEDULES)
def test_a_schedule_is_finite_falls_and_ends_in_zero(member: type) -> None:
    @quick
    @given(schedule=MEMBERS[member], steps=st.integers(1, 60))
    def holds(schedule: Any, steps: int) -> None:
        levels = schedule.levels(steps)
        assert levels.shape == (steps + 1,)
        assert levels.dtype == torch.float32
        assert levels.isfinite().all()
        assert levels[-1] == 0
        assert (levels[:-1] > 0).all()
        # A chain shorter than the walk repeats some levels (the walk skips them), as does one that has ended in noise.
        assert (levels.diff() <= 0).all() if isinstance(schedule, Ddpm) else (levels.diff() < 0).all()

    holds()


def test_a_schedule_starts_where_it_says() -> None:
    assert Karras(kind="karras", least=0.02, most=80, rho=7).levels(1).tolist() == [80, 0]
    assert Karras(kind="karras", least=0.02, most=80, rho=7).levels(9)[[0, -2]].tolist() == pytest.approx([80, 0.02])
    assert FlowTime(kind="flow_time", most=0.9, shift=1).levels(3)[0].item() == pytest.approx(9)
    assert Exponential(kind="exponential", least=0.02, most=80).levels(9)[[0, 4, -2]].tolist() == pytest.approx(
        [80, (80 * 0.02) ** 0.5, 0.02]
    )
    assert Cosine(kind="cosine", shift=0.5).levels(3).tolist() == pytest.approx(
        [HIGHEST, 0.5 * 3**0.5, 0.5 / 3**0.5, 0], rel=1e-3
    )
    chain = linear(100)
    assert chain.levels(5)[[0, -2]].tolist() == pytest.approx(chain.chain()[[-1, 0]].tolist())


@pytest.mark.parametrize(("least", "most", "rho", "steps"), [(0.002, 80.0, 7.0, 18), (0.02, 40.0, 3.0, 5), (0.5, 2.0, 1.0, 30)])
def test_karras_is_that_of_diffusers(least: float, most: float, rho: float, steps: int) -> None:
    oracle = EDMEulerScheduler(sigma_min=least, sigma_max=most, rho=rho)
    oracle.set_timesteps(steps)
    torch.testing.assert_close(Karras(kind="karras", least=least, most=most, rho=rho).levels(steps), oracle.sigmas)


def linear(steps: int, zero_terminal_snr: bool = False, first: float = 1e-4, last: float = 0.02) -> Ddpm:
    betas = LinearBetas(kind="linear", first=first, last=last)
    return Ddpm(kind="ddpm", diffusion_steps=steps, betas=betas, zero_terminal_snr=zero_terminal_snr)


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
@pytest.mark.parametrize(
    ("name", "betas"),
    [
        ("linear", LinearBetas(kind="linear", first=2e-4, last=0.015)),
        ("scaled_linear", ScaledLinearBetas(kind="scaled_linear", first=2e-4, last=0.015)),
        ("squaredcos_cap_v2", CosineBetas(kind="cosine")),
    ],
)
def test_ddpm_is_that_of_diffusers(name: str, betas: Any, zero_terminal_snr: bool) -> None:
    told = {"num_train_timesteps": 400, "beta_start": 2e-4, "beta_end": 0.015, "beta_schedule": name}
    oracle = DDIMScheduler(**told, rescale_betas_zero_snr=zero_terminal_snr).alphas_cumprod
    mine = Ddpm(kind="ddpm", diffusion_steps=400, betas=betas, zero_terminal_snr=zero_terminal_snr)
    torch.testing.assert_close(1 / (1 + mine.chain() ** 2), oracle.double(), rtol=1e-3, atol=1e-8)
    every_step = (torch.arange(400) + 0.5) / 400
    torch.testing.assert_close(mine.sigmas(every_step), mine.chain().float())


def test_the_first_chain_is_that_of_the_paper() -> None:
    """A thousand steps from 1e-4 to 0.02: what diffusers' DDPM takes when nobody says otherwise."""
    oracle = DDPMScheduler().alphas_cumprod.double()
    torch.testing.assert_close(1 / (1 + linear(1000).chain() ** 2), oracle, rtol=1e-4, atol=0)


def test_sigmoid_is_that_of_its_paper() -> None:
    betas = SigmoidBetas(kind="sigmoid", start=-3.0, end=3.0, temperature=0.9)
    low, high = expit(-3 / 0.9), expit(3 / 0.9)
    expected = [(high - expit((step / 50 * 6 - 3) / 0.9)) / (high - low) for step in range(1, 51)]
    assert betas.kept(50).tolist() == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValidationError, match=r"`start` \(1\) must be below `end` \(1\)"):
        SigmoidBetas(kind="sigmoid", start=1, end=1, temperature=1)


def test_a_stretched_chain_ends_in_noise_alone_and_begins_as_before() -> None:
    plain, stretched = linear(1000).chain(), linear(1000, zero_terminal_snr=True).chain()
    assert stretched[0] == pytest.approx(plain[0].item())
    assert stretched[-1] == HIGHEST
    assert plain[-2] < stretched[-2] < HIGHEST
    assert (stretched.diff() > 0).all()
    assert (stretched[1:] > plain[1:]).all()


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
@pytest.mark.parametrize(("first", "last"), [(0.9999, 0.9999), (1e-17, 0.999999), (0.999, 1e-12)])
@pytest.mark.parametrize("steps", [1, 2, 1000, 10_000])
def test_extreme_betas_neither_overflow_nor_fall(first: float, last: float, steps: int, zero_terminal_snr: bool) -> None:
    chain = linear(steps, zero_terminal_snr, first, last)
    assert chain.chain().isfinite().all()
    assert (chain.chain() > 0).all()
    assert (chain.chain().diff() >= 0).all()
    assert chain.chain().max() <= HIGHEST
    assert chain.levels(20).isfinite().all()


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_flow_time_is_that_of_diffusers(shift: float) -> None:
    oracle = FlowMatchEulerDiscreteScheduler(shift=shift)
    oracle.set_timesteps(sigmas=torch.linspace(0.98, 0, 9)[:-1].tolist())
    levels = FlowTime(kind="flow_time", most=0.98, shift=shift).levels(8)
    torch.testing.assert_close(levels / (1 + levels), oracle.sigmas)


def test_log_normal_has_its_mean_and_deviation() -> None:
    uniform = torch.rand(200_000, generator=torch.Generator().manual_seed(0)).clamp(1e-5, 1 - 1e-5)
    logs = LogNormal(kind="log_normal", mean=-1.2, deviation=1.1).sigmas(uniform).log()
    assert logs.mean().item() == pytest.approx(-1.2, abs=0.01)
    assert logs.std().item() == pytest.approx(1.1, abs=0.01)
    inside = ((logs + 1.2).abs() < 1.1).float().mean().item()
    assert inside == pytest.approx(0.6827, abs=0.005)


def test_logit_normal_is_log_normal_in_another_scale() -> None:
    uniform = torch.linspace(0.01, 0.99, 50)
    shifted = LogitNormal(kind="logit_normal", mean=0.3, deviation=0.8, shift=3.0).sigmas(uniform)
    time = torch.sigmoid(0.3 + 0.8 * torch.special.ndtri(uniform))
    bent = 3 * time / (1 + 2 * time)
    torch.testing.assert_close(shifted / (1 + shifted), bent)
    plain = LogitNormal(kind="logit_normal", mean=0.3, deviation=0.8, shift=1.0).sigmas(uniform)
    torch.testing.assert_close(plain, LogNormal(kind="log_normal", mean=0.3, deviation=0.8).sigmas(uniform))


def test_the_cosine_density_is_that_of_the_long_cosine_chain() -> None:
    uniform = torch.linspace(0.05, 0.95, 19)
    chain = Ddpm(kind="ddpm", diffusion_steps=10_000, betas=CosineBetas(kind="cosine"), zero_terminal_snr=False)
    torch.testing.assert_close(Cosine(kind="cosine", shift=1.0).sigmas(uniform), chain.sigmas(uniform), rtol=0.15, atol=0)
    assert Cosine(kind="cosine", shift=1.0).sigmas(torch.tensor([0.5, 1.0])).tolist() == pytest.approx([1.0, HIGHEST])


def test_uniform_time_is_uniform() -> None:
    sigmas = UniformTime(kind="uniform_time", least=0.1, most=0.9).sigmas(torch.tensor([0.0, 0.25, 0.5, 1.0]))
    assert (sigmas / (1 + sigmas)).tolist() == pytest.approx([0.1, 0.3, 0.5, 0.9])


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"`least` \(80\) must be below `most` \(0.02\)"):
        Karras(kind="karras", least=80, most=0.02, rho=7)
    with pytest.raises(ValidationError, match="must be below"):
        UniformTime(kind="uniform_time", least=0.5, most=0.5)
