"""Settings for images of another size: what was visible stays visible, and what is made of it can be built."""

from typing import Any

import pytest
import torch

from darkroom.networks.saved import check_sides
from darkroom.networks.sizes import MADE_FOR, SIZES
from darkroom.networks.unet import UnetSettings
from darkroom.params import Params, read_params
from darkroom.resizing import changes_for, merged, resized, told
from tests.conftest import TOP

SHIPPED = read_params(TOP / "params.yaml")


def of_size(settings: Params, size: int, **base: Any) -> Params:
    """The settings, with some of base training's in their place, as they are for a size."""
    whole = settings.model_dump(mode="json", by_alias=True)
    whole["train_base"] |= base
    made = Params.model_validate(whole)
    return Params.model_validate(merged(whole, changes_for(made, size)))


@pytest.mark.parametrize("size", [8, 24, 32, 48, 64, 96, 128, 200, 256, 512])
def test_every_size_gives_settings_that_are_allowed_and_a_network_that_can_be_built(size: int) -> None:
    fitted = of_size(SHIPPED, size)
    assert fitted.curate.image_size == size
    check_sides(fitted.train_base.network, [(size, size)])
    for members in SIZES.values():
        for network in members.values():
            check_sides(resized(network, MADE_FOR, size), [(size, size)])


def test_the_size_they_were_made_for_changes_nothing() -> None:
    assert changes_for(SHIPPED, 32) == {}
    assert of_size(SHIPPED, 32) == SHIPPED


@pytest.mark.parametrize(
    "noise",
    [
        {"kind": "log_normal", "mean": -0.4, "deviation": 1.0},
        {"kind": "logit_normal", "mean": 0.0, "deviation": 1.0, "shift": 1.5},
        {"kind": "cosine", "shift": 0.5},
    ],
    ids=lambda noise: noise["kind"],
)
def test_four_times_the_side_is_trained_and_drawn_at_four_times_the_noise(noise: dict[str, Any]) -> None:
    schedules = [
        {"kind": "flow_time", "most": 0.99, "shift": 1.0},
        {"kind": "cosine", "shift": 0.5},
        {"kind": "karras", "least": 0.01, "most": 40.0, "rho": 7.0},
    ]
    quantiles = torch.tensor([0.1, 0.5, 0.9])
    for schedule in schedules:
        small = of_size(
            SHIPPED, 32, noise=noise, drawing={**SHIPPED.train_base.drawing.model_dump(mode="json"), "schedule": schedule}
        )
        large = of_size(small, 128)
        there, here = large.train_base.noise.sigmas(quantiles), small.train_base.noise.sigmas(quantiles)
        assert torch.allclose(there, 4 * here, rtol=2e-3)
        first = [one.train_base.drawing.schedule.levels(8)[0] for one in (small, large)]
        assert float(first[1] / first[0]) == pytest.approx(
            4 if schedule["kind"] != "cosine" else 1, rel=1e-3
        )  # that one begins at HIGHEST
        middle = [one.train_base.drawing.schedule.levels(8)[4] for one in (small, large)]
        assert middle[1] > middle[0]
    assert large.evaluate.drawing.guided_levels.most == 4 * small.evaluate.drawing.guided_levels.most
    assert large.train_base.drawing.guided_levels.most == 4 * small.train_base.drawing.guided_levels.most
    assert torch.allclose(large.finetune.noise.sigmas(quantiles), 4 * small.finetune.noise.sigmas(quantiles), rtol=2e-3)
    back = of_size(large, 32).train_base
    assert torch.allclose(back.noise.sigmas(quantiles), here, rtol=2e-3)


def test_networks_see_as_much_of_an_image_at_once() -> None:
    shipped = SHIPPED.train_base.network
    assert isinstance(shipped, UnetSettings)
    for size in (64, 128, 256):
        larger = resized(shipped, 32, size)
        assert isinstance(larger, UnetSettings)
        assert larger.smallest_side(size) == shipped.smallest_side(32) == 8
        assert larger.attention == shipped.attention
        assert resized(SIZES["transformer"]["S"], 32, size).model_dump()["patch"] == min(16, size // 8)
    reading = {"kind": "captioned", "length": 24, "width": 32, "depth": 1, "image": shipped.model_dump()}
    inside = of_size(SHIPPED, 64, network=reading).train_base.network.model_dump()
    assert inside["image"]["widening"] == (1, 2, 2, 2) and inside["length"] == 24


def test_images_that_would_be_enlarged_are_rejected_and_detail_is_judged() -> None:
    fitted = of_size(SHIPPED, 128)
    assert [one.model_dump()["least"] for one in fitted.curate.filters if one.kind == "smallest_side"] == [128]
    assert [one.kind for one in fitted.curate.filters] == [one.kind for one in SHIPPED.curate.filters]
    assert fitted.evaluate.features.model_dump()["side"] == 128
    words = list(told(changes_for(SHIPPED, 128)))
    assert "curate.image_size 128" in words and "curate.filters" in words and "train_base.noise.mean 1.386" in words
