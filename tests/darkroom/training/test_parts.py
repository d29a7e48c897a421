"""Data order, quantiles, averaging, learning rates and the loss: each against what it is in closed form."""

import copy
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from darkroom.networks.denoiser import Condition, Denoiser
from darkroom.networks.saved import build
from darkroom.randomness import HELD_OUT, NOISE, DataOrder, generator_for, torch_seed
from darkroom.training.averaging import Averaging, average_into
from darkroom.training.batches import spread_quantiles
from darkroom.training.learning_rate import Constant, Cosine, InverseSquareRoot, LearningRate, LinearToZero
from darkroom.training.loss import denoising_loss
from tests.darkroom.tiny import card, stirred

TOTAL = 1000


def test_every_pass_over_the_data_is_a_fresh_permutation() -> None:
    order = DataOrder(7, seed=1).take(0, 28).reshape(4, 7)
    assert (np.sort(order, axis=1) == np.arange(7)).all()
    assert len({tuple(one) for one in order.tolist()}) == 4


def test_the_order_does_not_depend_on_the_size_of_the_calls_nor_on_their_order() -> None:
    whole = DataOrder(7, seed=1).take(0, 30)
    order, pieces, seen = DataOrder(7, seed=1), [], 0
    for count in (1, 2, 3, 9, 15):
        pieces.append(order.take(seen, count))
        seen += count
    assert np.concatenate(pieces).tolist() == whole.tolist()
    assert order.take(5, 4).tolist() == whole[5:9].tolist()
    assert DataOrder(7, seed=2).take(0, 30).tolist() != whole.tolist()


def test_each_seed_purpose_and_position_has_its_own_numbers() -> None:
    places = [(seed, purpose, position) for seed in (0, 1) for purpose in (NOISE, HELD_OUT) for position in (0, 1, 32)]
    assert len({torch_seed(*place) for place in places}) == len(places)
    assert len({generator_for(*place).random() for place in places}) == len(places)
    assert generator_for(3, NOISE, 8).random() == generator_for(3, NOISE, 8).random()
    assert all(0 <= torch_seed(*place) < 2**63 for place in places)


@pytest.mark.parametrize("count", [1, 2, 8, 100])
def test_quantiles_come_one_from_each_equal_part(count: int) -> None:
    quantiles = spread_quantiles(count, torch.Generator().manual_seed(3))
    assert ((quantiles > 0) & (quantiles < 1)).all()
    assert (quantiles * count).long().sort().values.tolist() == list(range(count))
    if count == 100:
        assert (quantiles.diff() < 0).any()


def test_an_average_forgets_by_its_half_life_whatever_the_batch() -> None:
    averaging = Averaging(halflife_images=64, rampup=1.0, snapshots=0, weaker=0.0)
    for batch in (8, 16, 64):
        averaged, model = nn.Linear(2, 2), nn.Linear(2, 2)
        with torch.no_grad():
            for weight in averaged.parameters():
                weight.zero_()
            for weight in model.parameters():
                weight.fill_(1.0)
        for seen in range(1000 + batch, 1000 + 192 + 1, batch):
            average_into(averaged, model, averaging.share(seen, batch))
        remaining = 1 - averaged.weight
        torch.testing.assert_close(remaining, torch.full((2, 2), 0.5**3))
        assert (model.weight == 1).all()


def test_a_young_average_is_short() -> None:
    averaging = Averaging(halflife_images=1000, rampup=0.05, snapshots=0, weaker=0.0)
    assert averaging.share(8, 8) == pytest.approx(1 - 0.5**20)
    assert averaging.share(2_000, 8) == pytest.approx(1 - 0.5 ** (8 / 100))
    assert averaging.share(1_000_000, 8) == pytest.approx(1 - 0.5 ** (8 / 1000))


RATES: list[tuple[Any, float, float]] = [  # schedule, factor half way, factor at the end
    (Constant(kind="constant", warmup_images=100), 1.0, 1.0),
    (LinearToZero(kind="linear_to_zero", warmup_images=100), 0.5, 0.0),
    (Cosine(kind="cosine", warmup_images=100), 0.5, 0.0),
    (InverseSquareRoot(kind="inverse_square_root", warmup_images=100, reference_images=250), 0.5**0.5, 0.5),
]


def test_every_learning_rate_is_tested_here() -> None:
    assert {type(schedule) for schedule, _, _ in RATES} == set(get_args(get_args(LearningRate)[0]))


@pytest.mark.parametrize(("schedule", "half", "end"), RATES)
def test_learning_rates(schedule: Any, half: float, end: float) -> None:
    factors = [schedule.factor(seen, TOTAL) for seen in range(TOTAL + 1)]
    assert factors[TOTAL // 2] == pytest.approx(half)
    assert factors[-1] == pytest.approx(end, abs=1e-12)
    assert all(0 <= factor <= 1 for factor in factors)
    assert factors[0] == pytest.approx(0.01)  # the first batch learns already
    assert (np.diff(factors[:80]) > 0).mean() > 0.4
    assert (np.diff(factors[100:]) <= 0).all()
    unwarmed = schedule.model_copy(update={"warmup_images": 0})
    assert unwarmed.factor(0, TOTAL) == 1
    assert factors[100:] == [unwarmed.factor(seen, TOTAL) for seen in range(100, TOTAL + 1)]


@pytest.mark.parametrize("kind", [{"kind": "flow"}, {"kind": "noise"}, {"kind": "edm", "data_deviation": 0.5}])
def test_the_loss_is_the_squared_error_of_the_networks_own_answer(kind: dict[str, Any]) -> None:
    chance = torch.Generator().manual_seed(1)
    images, noise = (torch.randn(3, 3, 8, 8, generator=chance) for _ in range(2))
    sigma, condition = torch.tensor([0.05, 1.0, 20.0]), Condition(torch.tensor([0, 1, -1]), torch.zeros(3, 0))
    model = stirred(build(card(preconditioning=kind)))
    assert isinstance(model, Denoiser)
    column = sigma[:, None, None, None]
    keep, answer, enter = (scale[:, None, None, None] for scale in model.preconditioning.scales(sigma))
    noisy = images + column * noise
    target = (images - keep * noisy) / answer
    expected = (model.network(enter * noisy, sigma.log() / 4, condition) - target).square().mean((1, 2, 3))
    torch.testing.assert_close(denoising_loss(model, images, sigma, noise, condition), expected, rtol=2e-3, atol=1e-4)
    if kind["kind"] == "flow":
        torch.testing.assert_close(target, noise - images, rtol=1e-3, atol=1e-3)


def test_the_average_of_a_copy_is_the_copy() -> None:
    model = build(card())
    averaged = copy.deepcopy(model)
    average_into(averaged, model, 0.3)
    assert all(torch.equal(a, b) for a, b in zip(averaged.parameters(), model.parameters(), strict=True))
