"""The transformer: shapes, what it is told, its start, and sizes that do not fit."""

import pytest
import torch
from torch import Tensor

from darkroom.networks.denoiser import Condition, Denoiser
from darkroom.networks.saved import build
from darkroom.networks.transformer import Transformer, TransformerSettings
from tests.darkroom.tiny import NETWORK, card, stirred

SIGMA = torch.tensor([0.1, 1.0, 10.0])


def condition(label: int, augmentation: float = 0.0) -> Condition:
    return Condition(torch.full((3,), label), torch.full((3, 2), augmentation))


def network(**changes: int) -> Transformer:
    torch.manual_seed(0)
    return TransformerSettings.model_validate(NETWORK | changes).build(8, 2, 2)


@pytest.fixture
def noisy() -> Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("patch", [1, 2, 4, 8])
@pytest.mark.parametrize("channels", [3, 8])
def test_patches_come_back_as_the_image(patch: int, channels: int) -> None:
    made, images = network(patch=patch), torch.randn(2, channels, 8, 8)
    tokens = made._into_patches(images)
    assert tokens.shape == (2, (8 // patch) ** 2, channels * patch**2)
    assert torch.equal(made._from_patches(tokens), images)


def test_a_token_is_one_square_of_the_image() -> None:
    images = torch.zeros(1, 3, 8, 8)
    images[:, :, 4:, :4] = 1  # the lower left quarter
    tokens = network(patch=4)._into_patches(images)
    assert tokens.sum(-1).tolist() == [[0, 0, 48, 0]]


@pytest.mark.parametrize("depth", [2, 4])
def test_the_answer_has_the_shape_of_the_image(noisy: Tensor, depth: int) -> None:
    made = stirred(network(depth=depth))
    assert made(noisy, SIGMA.log(), condition(0)).shape == noisy.shape


def test_it_starts_by_answering_nothing(noisy: Tensor) -> None:
    made = network()
    assert not made(noisy, SIGMA.log(), condition(1)).any()
    model = Denoiser(made, card().preconditioning)
    keep = model.preconditioning.scales(SIGMA)[0]
    torch.testing.assert_close(model(noisy, SIGMA, condition(1)), keep[:, None, None, None] * noisy)


def test_minus_one_is_a_label_of_its_own(noisy: Tensor) -> None:
    made = stirred(network())
    answers = {label: made(noisy, SIGMA.log(), condition(label)) for label in (-1, 0, 1)}
    assert not torch.allclose(answers[-1], answers[0])
    assert not torch.allclose(answers[0], answers[1])
    with torch.no_grad():
        made.label.weight[:2] += 1  # the two real labels
    assert torch.equal(made(noisy, SIGMA.log(), condition(-1)), answers[-1])
    assert not torch.allclose(made(noisy, SIGMA.log(), condition(0)), answers[0])


def test_level_and_augmentation_are_told_and_an_untouched_image_needs_no_label(noisy: Tensor) -> None:
    made = stirred(network())
    plain = made(noisy, SIGMA.log(), condition(0))
    assert not torch.allclose(made(noisy, SIGMA.log() + 0.1, condition(0)), plain)
    assert not torch.allclose(made(noisy, SIGMA.log(), condition(0, 1.0)), plain)
    with torch.no_grad():
        made.augmentation.weight += 1  # type: ignore[union-attr]
    assert torch.equal(made(noisy, SIGMA.log(), condition(0)), plain)


def test_every_weight_learns(noisy: Tensor) -> None:
    made = stirred(network(depth=4))
    made(noisy, SIGMA.log(), Condition(torch.tensor([-1, 0, 1]), torch.ones(3, 2))).square().sum().backward()
    silent = [name for name, weight in made.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert silent == []


def test_sizes_that_do_not_divide_are_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"network\.patch \(4\) does not divide curate\.image_size \(10\); .*: 1, 2, 5, 10$"):
        build(card(image_size=10))
    with pytest.raises(ValueError, match=r"network\.heads \(3\) does not divide network\.width \(32\)"):
        network(heads=3)
