"""Preconditioning: the exact answer of a network gives the clean image back, whatever the parametrisation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from darkroom.networks.denoiser import (
    Condition,
    Denoiser,
    EdmPreconditioning,
    FlowPreconditioning,
    ImagePreconditioning,
    NoisePreconditioning,
    Preconditioning,
    VelocityPreconditioning,
)

SIGMAS = torch.tensor([0.002, 0.1, 1.0, 7.0, 80.0])
UNTOLD = Condition(torch.full((len(SIGMAS),), -1), torch.zeros(len(SIGMAS), 0))
DEVIATION = 0.5
Expected = Callable[[Tensor, Tensor, Tensor], Tensor]


def _column(sigma: Tensor) -> Tensor:
    return sigma[:, None, None, None]


@dataclass
class Case:
    """A parametrisation, what its network is to answer, and what it is to see."""

    preconditioning: Preconditioning
    answer: Expected  # of image, noise, sigma
    seen: Expected


CASES: dict[str, Case] = {
    "flow": Case(
        FlowPreconditioning(kind="flow"),
        lambda image, noise, sigma: noise - image,
        lambda image, noise, sigma: (1 - sigma / (1 + sigma)) * image + sigma / (1 + sigma) * noise,
    ),
    "noise": Case(
        NoisePreconditioning(kind="noise"),
        lambda image, noise, sigma: noise,
        lambda image, noise, sigma: (1 / (1 + sigma**2)).sqrt() * image + (sigma**2 / (1 + sigma**2)).sqrt() * noise,
    ),
    "image": Case(
        ImagePreconditioning(kind="image"),
        lambda image, noise, sigma: image,
        lambda image, noise, sigma: (1 / (1 + sigma**2)).sqrt() * image + (sigma**2 / (1 + sigma**2)).sqrt() * noise,
    ),
    "velocity": Case(
        VelocityPreconditioning(kind="velocity"),
        lambda image, noise, sigma: (noise - sigma * image) / (1 + sigma**2).sqrt(),
        lambda image, noise, sigma: (1 / (1 + sigma**2)).sqrt() * image + (sigma**2 / (1 + sigma**2)).sqrt() * noise,
    ),
    "edm": Case(
        EdmPreconditioning(kind="edm", data_deviation=DEVIATION),
        lambda image, noise, sigma: (sigma * image - DEVIATION**2 * noise) / DEVIATION / (sigma**2 + DEVIATION**2).sqrt(),
        lambda image, noise, sigma: (image + sigma * noise) / (sigma**2 + DEVIATION**2).sqrt(),
    ),
}


class Answering(nn.Module):
    """Answers what it is given, and keeps what it saw."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.saw: tuple[Tensor, Tensor] | None = None

    def forward(self, images: Tensor, level: Tensor, condition: Condition) -> Tensor:
        self.saw = images, level
        return self.answer


def test_every_preconditioning_is_tested_here() -> None:
    assert {type(case.preconditioning) for case in CASES.values()} == set(get_args(get_args(Preconditioning)[0]))


@pytest.mark.parametrize("name", CASES)
def test_an_exact_answer_gives_the_clean_image(name: str) -> None:
    chance, case = torch.Generator().manual_seed(1), CASES[name]
    image, noise = (torch.randn(len(SIGMAS), 3, 4, 4, generator=chance) for _ in range(2))
    sigma = _column(SIGMAS)
    network = Answering(case.answer(image, noise, sigma))
    denoised = Denoiser(network, case.preconditioning)(image + sigma * noise, SIGMAS, UNTOLD)
    torch.testing.assert_close(denoised, image, rtol=1e-5, atol=3e-5)  # at sigma 80, float32 carries 80 x 2^-23 x a few
    assert network.saw is not None
    torch.testing.assert_close(network.saw[0], case.seen(image, noise, sigma), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network.saw[1], SIGMAS.log() / 4)


def test_edm_keeps_input_and_target_at_unit_variance() -> None:
    chance = torch.Generator().manual_seed(2)
    image, noise = DEVIATION * torch.randn(200_000, generator=chance), torch.randn(200_000, generator=chance)
    for sigma in SIGMAS.double():
        keep, answer, enter = EdmPreconditioning(kind="edm", data_deviation=DEVIATION).scales(sigma)
        noisy = image.double() + sigma * noise.double()
        assert (enter * noisy).var().item() == pytest.approx(1, rel=0.02)
        assert ((image - keep * noisy) / answer).var().item() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("name", CASES)
def test_a_silent_network_keeps_its_share_of_the_noisy_image(name: str) -> None:
    noisy: Any = torch.randn(len(SIGMAS), 3, 4, 4, generator=torch.Generator().manual_seed(3))
    denoised = Denoiser(Answering(torch.zeros_like(noisy)), CASES[name].preconditioning)(noisy, SIGMAS, UNTOLD)
    keep = CASES[name].preconditioning.scales(SIGMAS)[0]
    torch.testing.assert_close(denoised, _column(keep) * noisy)


def test_the_label_is_taken_away_and_nothing_else() -> None:
    told = Condition(torch.tensor([0, 2]), torch.ones(2, 3))
    untold = told.without_label()
    assert untold.label.tolist() == [-1, -1]
    assert untold.augmentation is told.augmentation
    assert told.label.tolist() == [0, 2]
