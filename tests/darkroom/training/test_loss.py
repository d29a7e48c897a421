"""Weightings: what each says of the clean image's error, whatever the network answers; and that the learned one learns."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers.training_utils import compute_snr
from pydantic import TypeAdapter
from torch import Tensor, nn

from darkroom.networks.denoiser import Preconditioning
from darkroom.noise import Ddpm, LinearBetas
from darkroom.training.loss import Weighting
from tests.darkroom.tiny import finished, stopped_after
from tests.darkroom.training.rig import course, differing

SIGMAS = torch.tensor([0.01, 0.2, 0.9, 3.0, 40.0])
WEIGHTINGS: dict[str, dict[str, Any]] = {
    "constant": {"kind": "constant"},
    "min_snr": {"kind": "min_snr", "gamma": 5.0},
    "edm": {"kind": "edm", "data_deviation": 0.5},
    "learned": {"kind": "learned"},
}
ANSWERS = [{"kind": "flow"}, {"kind": "noise"}, {"kind": "velocity"}, {"kind": "image"}, {"kind": "edm", "data_deviation": 0.5}]


def built(weighting: dict[str, Any], answer: dict[str, Any]) -> nn.Module:
    return TypeAdapter(Weighting).validate_python(weighting).build(preconditioning(answer))


def preconditioning(answer: dict[str, Any]) -> Any:
    return TypeAdapter(Preconditioning).validate_python(answer)


def weight_of_the_clean_images_error(weighting: dict[str, Any], answer: dict[str, Any]) -> Tensor:
    own = 1 / preconditioning(answer).scales(SIGMAS)[1].square()  # the answer's error for a clean image's error of one
    return built(weighting, answer)(own, SIGMAS)


def test_every_weighting_is_tested_here() -> None:
    members = get_args(get_args(Weighting)[0])
    assert {type(TypeAdapter(Weighting).validate_python(one)) for one in WEIGHTINGS.values()} == set(members)


@pytest.mark.parametrize("answer", ANSWERS)
def test_min_snr_and_edm_are_those_of_the_papers_whatever_the_network_answers(answer: dict[str, Any]) -> None:
    torch.testing.assert_close(
        weight_of_the_clean_images_error(WEIGHTINGS["min_snr"], answer), torch.minimum(1 / SIGMAS**2, torch.tensor(5.0))
    )
    torch.testing.assert_close(
        weight_of_the_clean_images_error(WEIGHTINGS["edm"], answer), (SIGMAS**2 + 0.25) / (SIGMAS * 0.5) ** 2
    )


def test_min_snr_is_that_of_the_recipes_of_diffusers() -> None:
    """Their `min(snr, gamma) / snr`, times the squared error of the noise."""
    betas = LinearBetas(kind="linear", first=1e-4, last=0.02)
    chain = Ddpm(kind="ddpm", diffusion_steps=200, betas=betas, zero_terminal_snr=False)
    sigmas = chain.chain().float()

    class Scheduler:
        alphas_cumprod = 1 / (1 + sigmas**2)

    steps, error = torch.arange(200), torch.linspace(0.1, 2, 200)
    ratio = compute_snr(Scheduler(), steps)
    expected = torch.stack([ratio, 5 * torch.ones_like(ratio)], dim=1).min(dim=1)[0] / ratio * error
    torch.testing.assert_close(built(WEIGHTINGS["min_snr"], {"kind": "noise"})(error, sigmas), expected, rtol=1e-4, atol=1e-5)


def test_constant_and_edm_leave_edms_own_answer_alone() -> None:
    error = torch.rand(5)
    for name in ("constant", "edm"):
        torch.testing.assert_close(built(WEIGHTINGS[name], ANSWERS[-1])(error, SIGMAS), error)


def test_the_learned_weighting_starts_constant_and_finds_the_size_of_the_error_at_each_level() -> None:
    weighting = built(WEIGHTINGS["learned"], ANSWERS[0])
    error = torch.rand(5)
    assert torch.equal(weighting(error, SIGMAS), error)
    chance = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(weighting.parameters())
    for step in range(600):
        optimiser.param_groups[0]["lr"] = 3e-2 * (1 - step / 600)
        sigma = (1.2 * torch.randn(64, generator=chance)).exp()
        optimiser.zero_grad()
        usual = 0.1 + sigma / (1 + sigma)
        weighting(usual * (0.5 + torch.rand(64, generator=chance)), sigma).mean().backward()
        optimiser.step()
    for level in (0.2, 1.0, 5.0):
        with torch.no_grad():
            size = weighting(torch.zeros(1), torch.tensor([level])).exp().item()
        assert size == pytest.approx(0.1 + level / (1 + level), rel=0.15), level


def test_the_learned_weighting_is_trained_along_stopped_and_gone_on_with_to_the_bit(tmp_path: Path) -> None:
    changes = {"weighting": WEIGHTINGS["learned"]}
    _, straight = finished(course(tmp_path / "straight", **changes))
    assert straight.weighting.log_size.weight.any()
    stopped_after(course(tmp_path / "stopped", **changes), 7)
    _, resumed = finished(course(tmp_path / "stopped", **changes))
    assert differing(straight, resumed) == []
    assert all(math.isfinite(point.loss) for point in resumed.history)


def test_what_is_told_of_the_loss_does_not_depend_on_the_weighting(tmp_path: Path) -> None:
    """Until the first update the model is the same, and so is the loss told of it."""
    first = []
    for name, weighting in WEIGHTINGS.items():
        _, state = finished(course(tmp_path / name, weighting=weighting, images=8, report_every=8))
        first.append(state.history[0].loss)
    assert first == [first[0]] * len(WEIGHTINGS)
