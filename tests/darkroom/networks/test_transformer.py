"""The transformer: its patches, and sizes that do not fit."""

import pytest
import torch

from darkroom.networks.saved import build
from darkroom.networks.transformer import Transformer, TransformerSettings
from tests.darkroom.tiny import NETWORK, card


def network(**changes: int) -> Transformer:
    torch.manual_seed(0)
    return TransformerSettings.model_validate(NETWORK | changes).build(8, 2, 2)


@pytest.mark.parametrize("patch", [1, 2, 4, 8])
@pytest.mark.parametrize("channels", [3, 8])
def test_patches_come_back_as_the_image(patch: int, channels: int) -> None:
    made, images = network(patch=patch), torch.randn(2, channels, 8, 8)
    tokens = made._into_patches(images)
    assert tokens.shape == (2, (8 // patch) ** 2, channels * patch**2)
    assert torch.equal(made._from_patches(tokens, 8), images)


def test_a_token_is_one_square_of_the_image() -> None:
    images = torch.zeros(1, 3, 8, 8)
    images[:, :, 4:, :4] = 1  # the lower left quarter
    tokens = network(patch=4)._into_patches(images)
    assert tokens.sum(-1).tolist() == [[0, 0, 48, 0]]


def test_sizes_that_do_not_divide_are_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"network\.patch \(4\) does not divide curate\.image_size \(10\); .*: 1, 2, 5, 10$"):
        build(card(image_size=10))
    with pytest.raises(ValueError, match=r"network\.heads \(3\) does not divide network\.width \(32\)"):
        network(heads=3)
