"""Samplers against exact solutions and against `diffusers`; guidance; images that do not depend on each other."""

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EDMEulerScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, HeunDiscreteScheduler
from torch import Tensor, nn

from darkroom.events import Progressed
from darkroom.networks.denoiser import Condition, Denoiser, EdmPreconditioning, FlowPreconditioning, NoisePreconditioning
from darkroom.networks.saved import ModelError, build, save_model
from darkroom.noise import Ddpm, FlowTime, Karras
from darkroom.sampling import Guided, Sampler, draw, euler, generate, heun, labels_for, noise_for
from tests.darkroom.tiny import card, finished, stirred

DEVIATION = 0.5
NOISE = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(5))
UNTOLD = Condition(torch.full((4,), -1), torch.zeros(4, 0))


def gaussian(noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
    """The best denoiser there is for images that are independent Gaussian numbers."""
    return noisy * DEVIATION**2 / (DEVIATION**2 + sigma.double()[:, None, None, None] ** 2)


def error_of(sampler: Sampler, steps: int) -> float:
    """Largest distance from the exact solution, x(0) = x(sigma) * deviation / sqrt(deviation^2 + sigma^2)."""
    levels = Karras(kind="karras", least=0.002, most=10.0, rho=7.0).levels(steps)
    exact = NOISE.double() * levels[0].double() * DEVIATION / math.hypot(DEVIATION, levels[0].item())
    return (sampler(gaussian, NOISE.double(), levels, UNTOLD) - exact).abs().max().item()


@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (heun, 2)])
def test_order_of_convergence(sampler: Sampler, order: int) -> None:
    errors = [error_of(sampler, steps) for steps in (32, 64, 128)]
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert orders == pytest.approx([order] * 2, abs=0.15)


def test_heun_is_nearer_for_the_same_number_of_evaluations() -> None:
    assert error_of(heun, 64) < error_of(euler, 127) / 5


def test_heun_asks_once_in_its_last_step() -> None:
    asked: list[float] = []

    def counting(noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        asked.append(sigma[0].item())
        return gaussian(noisy, sigma, condition)

    heun(counting, NOISE, torch.tensor([4.0, 2.0, 1.0, 0.0]), UNTOLD)
    assert asked == [4, 2, 2, 1, 1]


class Bent(nn.Module):
    """Some network: bounded, not linear, deaf to the level."""

    def forward(self, images: Tensor, level: Tensor, condition: Condition) -> Tensor:
        return torch.tanh(2 * images + 0.3)


def test_euler_on_edm_is_that_of_diffusers() -> None:
    oracle = EDMEulerScheduler(sigma_min=0.02, sigma_max=80.0, rho=7.0, sigma_data=DEVIATION)
    oracle.set_timesteps(9)
    images = NOISE * 80.0
    for moment in oracle.timesteps:
        answer = Bent()(oracle.scale_model_input(images, moment), moment, UNTOLD)
        images = oracle.step(answer, moment, images).prev_sample
    mine = Denoiser(Bent(), EdmPreconditioning(kind="edm", data_deviation=DEVIATION))
    levels = Karras(kind="karras", least=0.02, most=80.0, rho=7.0).levels(9)
    torch.testing.assert_close(euler(mine, NOISE, levels, UNTOLD), images, rtol=1e-4, atol=1e-4)


def test_euler_on_a_flow_is_that_of_diffusers() -> None:
    oracle = FlowMatchEulerDiscreteScheduler(shift=3.0)
    oracle.set_timesteps(sigmas=torch.linspace(0.98, 0, 9)[:-1].tolist())
    images = NOISE * oracle.sigmas[0]
    for moment in oracle.timesteps:
        images = oracle.step(Bent()(images, moment, UNTOLD), moment, images).prev_sample
    levels = FlowTime(kind="flow_time", most=0.98, shift=3.0).levels(8)
    mine = euler(Denoiser(Bent(), FlowPreconditioning(kind="flow")), NOISE, levels, UNTOLD)
    torch.testing.assert_close(mine, images, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within diffusers
def test_euler_on_ddpm_is_that_of_diffusers() -> None:
    oracle = EulerDiscreteScheduler(num_train_timesteps=1001, beta_start=1e-4, beta_end=0.02, timestep_spacing="linspace")
    oracle.set_timesteps(11)
    images = NOISE * oracle.sigmas[0]
    for moment in oracle.timesteps:
        answer = Bent()(oracle.scale_model_input(images, moment), moment, UNTOLD)
        images = oracle.step(answer, moment, images).prev_sample
    levels = Ddpm(kind="ddpm", diffusion_steps=1001, first_beta=1e-4, last_beta=0.02).levels(11)
    mine = euler(Denoiser(Bent(), NoisePreconditioning(kind="noise")), NOISE, levels, UNTOLD)
    torch.testing.assert_close(mine, images, rtol=1e-3, atol=1e-3)  # the oracle's alphas are float32 products


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within diffusers
def test_heun_is_that_of_diffusers() -> None:
    oracle = HeunDiscreteScheduler(num_train_timesteps=1001, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    oracle.set_timesteps(11)
    images = NOISE * oracle.sigmas[0]
    for moment in oracle.timesteps:
        answer = Bent()(oracle.scale_model_input(images, moment), moment, UNTOLD)
        images = oracle.step(answer, moment, images).prev_sample
    levels = oracle.sigmas.unique_consecutive()
    assert len(levels) == 12
    mine = heun(Denoiser(Bent(), NoisePreconditioning(kind="noise")), NOISE, levels, UNTOLD)
    torch.testing.assert_close(mine, images, rtol=1e-4, atol=1e-4)


def test_guidance_leads_away_from_the_untold_answer() -> None:
    asked: list[list[int]] = []

    def by_label(noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        asked.append(condition.label.tolist())
        return torch.where(condition.label[:, None, None, None] < 0, 1.0, 3.0).expand_as(noisy)

    told, sigma = Condition(torch.tensor([0, 1, 0, 1]), torch.zeros(4, 0)), torch.ones(4)
    assert (Guided(by_label, 1.0)(NOISE, sigma, told) == 3).all()
    assert asked == [[0, 1, 0, 1]]  # one evaluation, not two
    for scale, expected in ((0.0, 1.0), (0.5, 2.0), (2.0, 5.0)):
        assert (Guided(by_label, scale)(NOISE, sigma, told) == expected).all()


def test_guidance_of_one_draws_what_the_plain_model_draws() -> None:
    model, told = stirred(build(card())), Condition(torch.tensor([0, 1, 0, 1]), torch.zeros(4, 0))
    noise, levels = noise_for(0, range(4), 8), card().drawing.schedule.levels(3)
    with torch.no_grad():
        assert torch.equal(heun(Guided(model, 1.0), noise, levels, told), heun(model, noise, levels, told))


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_an_image_does_not_depend_on_who_is_drawn_beside_it(sampler: str) -> None:
    about = card(drawing=card().drawing.model_copy(update={"sampler": sampler, "steps": 6, "guidance": 1.5}))
    model, labels = stirred(build(about)), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    whole = draw(model, about, labels, noise_for(9, range(7), 8), about.drawing)
    assert len(np.unique(whole)) > 50
    for row in range(7):
        alone = draw(model, about, labels[row : row + 1], noise_for(9, [row], 8), about.drawing)
        # Not bit for bit: the product of one row and of seven are summed in another order. One level of 255 at most.
        assert np.abs(alone[0].astype(int) - whole[row]).max() <= 1


def test_noise_belongs_to_the_image_and_the_seed() -> None:
    noise = noise_for(1, range(6), 8)
    assert torch.equal(noise_for(1, [4, 2], 8), noise[[4, 2]])
    assert not torch.equal(noise_for(2, range(6), 8), noise)
    many = noise_for(3, range(300), 16)
    assert many.mean().item() == pytest.approx(0, abs=0.01)
    assert many.std().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("counts", "count", "expected"), [((3, 1), 8, {0: 6, 1: 2}), ((1, 1), 2, {0: 1, 1: 1}), ((0, 5), 4, {1: 4})]
)
def test_labels_come_in_the_proportions_trained_on(counts: tuple[int, int], count: int, expected: dict[int, int]) -> None:
    about = card(label_counts=counts)
    labels = labels_for(about, 0, count)
    assert Counter(labels) == expected
    assert labels_for(about, 0, count) == labels


def test_labels_are_shuffled() -> None:
    labels = labels_for(card(), 0, 40)
    assert labels != sorted(labels)
    assert labels != labels_for(card(), 1, 40)


def test_a_ruined_model_is_said_to_be_one() -> None:
    model = build(card())
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        draw(model, card(), torch.tensor([0]), noise_for(0, [0], 8), card().drawing)


def test_generate_draws_from_a_folder_in_batches(tmp_path: Path) -> None:
    save_model(tmp_path, stirred(build(card())).state_dict(), card())
    events, whole = finished(generate(tmp_path, None, 5, seed=1, steps=2, guidance=1.5, batch=5))
    assert events == [Progressed(f"drawing from {tmp_path.name}", 5, 5)]
    assert whole.shape == (5, 8, 8, 3)
    assert whole.dtype == np.uint8
    events, pieces = finished(generate(tmp_path, None, 5, seed=1, steps=2, guidance=1.5, batch=2))
    assert [event.done for event in events if isinstance(event, Progressed)] == [2, 4, 5]
    assert np.abs(pieces.astype(int) - whole).max() <= 1
    _, other = finished(generate(tmp_path, [1] * 5, 5, seed=1, steps=2, guidance=1.5, batch=5))
    changed = (other != whole).any((1, 2, 3))
    assert changed.tolist() == [label != 1 for label in labels_for(card(), 1, 5)]
