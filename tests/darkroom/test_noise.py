"""Noise levels: properties of every density and schedule, and the same numbers as the schedulers of `diffusers`."""

from typing import Any, get_args

import pytest
import torch
from diffusers import DDPMScheduler, EDMEulerScheduler, FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from darkroom.noise import Ddpm, Density, FlowTime, Karras, LogNormal, Schedule, UniformTime

DENSITIES, SCHEDULES = (get_args(get_args(family)[0]) for family in (Density, Schedule))
DDPM = st.builds(
    Ddpm,
    kind=st.just("ddpm"),
    diffusion_steps=st.integers(1, 2000),
    first_beta=st.floats(1e-5, 1e-3),
    last_beta=st.floats(2e-3, 0.03),
)
MEMBERS: dict[type, Any] = {
    LogNormal: st.builds(LogNormal, kind=st.just("log_normal"), mean=st.floats(-3, 3), deviation=st.floats(0.1, 3)),
    UniformTime: st.builds(UniformTime, kind=st.just("uniform_time"), least=st.floats(1e-4, 0.4), most=st.floats(0.5, 0.9999)),
    Ddpm: DDPM,
    Karras: st.builds(Karras, kind=st.just("karras"), least=st.floats(1e-3, 0.5), most=st.floats(1, 200), rho=st.floats(1, 12)),
    FlowTime: st.builds(FlowTime, kind=st.just("flow_time"), most=st.floats(0.5, 0.9999), shift=st.floats(0.1, 20)),
}
quick = settings(max_examples=40, deadline=None, database=None, derandomize=True)


def test_every_member_of_the_unions_is_tested_here() -> None:
    assert set(MEMBERS) == {*DENSITIES, *SCHEDULES}


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
        short_chain = isinstance(schedule, Ddpm) and schedule.diffusion_steps < 2 * steps
        assert (levels.diff() <= 0).all() if short_chain else (levels.diff() < 0).all()

    holds()


def test_a_schedule_starts_where_it_says() -> None:
    assert Karras(kind="karras", least=0.02, most=80, rho=7).levels(1).tolist() == [80, 0]
    assert Karras(kind="karras", least=0.02, most=80, rho=7).levels(9)[[0, -2]].tolist() == pytest.approx([80, 0.02])
    assert FlowTime(kind="flow_time", most=0.9, shift=1).levels(3)[0].item() == pytest.approx(9)
    chain = Ddpm(kind="ddpm", diffusion_steps=100, first_beta=1e-4, last_beta=0.02)
    assert chain.levels(5)[[0, -2]].tolist() == pytest.approx(chain.chain()[[-1, 0]].tolist())


@pytest.mark.parametrize(("least", "most", "rho", "steps"), [(0.002, 80.0, 7.0, 18), (0.02, 40.0, 3.0, 5), (0.5, 2.0, 1.0, 30)])
def test_karras_is_that_of_diffusers(least: float, most: float, rho: float, steps: int) -> None:
    oracle = EDMEulerScheduler(sigma_min=least, sigma_max=most, rho=rho)
    oracle.set_timesteps(steps)
    torch.testing.assert_close(Karras(kind="karras", least=least, most=most, rho=rho).levels(steps), oracle.sigmas)


def test_ddpm_is_that_of_diffusers() -> None:
    oracle = DDPMScheduler(num_train_timesteps=400, beta_start=2e-4, beta_end=0.015, beta_schedule="linear").alphas_cumprod
    mine = Ddpm(kind="ddpm", diffusion_steps=400, first_beta=2e-4, last_beta=0.015)
    torch.testing.assert_close(1 / (1 + mine.chain() ** 2), oracle.double(), rtol=1e-4, atol=0)
    every_step = (torch.arange(400) + 0.5) / 400
    torch.testing.assert_close(mine.sigmas(every_step), mine.chain().float())


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


def test_uniform_time_is_uniform() -> None:
    sigmas = UniformTime(kind="uniform_time", least=0.1, most=0.9).sigmas(torch.tensor([0.0, 0.25, 0.5, 1.0]))
    assert (sigmas / (1 + sigmas)).tolist() == pytest.approx([0.1, 0.3, 0.5, 0.9])


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"`least` \(80\) must be below `most` \(0.02\)"):
        Karras(kind="karras", least=80, most=0.02, rho=7)
    with pytest.raises(ValidationError, match="must be below"):
        UniformTime(kind="uniform_time", least=0.5, most=0.5)
