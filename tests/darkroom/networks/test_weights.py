"""Which weights a model is used with: its own folder as trained, a copy for another average, which goes again."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from darkroom.networks.profiles import WIDTHS, rebuilt, snapshots_of
from darkroom.networks.saved import read_card
from darkroom.networks.weights import AsTrained, Average, with_weights
from darkroom.training.train_base import train_base
from tests.darkroom.tiny import base_section, finished, prepare

AVERAGING = {"halflife_images": 16, "rampup": 0.5, "snapshots": 3, "weaker": 0.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    places = prepare(tmp_path_factory.mktemp("trained"))
    finished(train_base(base_section(averaging=AVERAGING), places))
    return places.out


def average(width: float, images_seen: int = 0) -> Average:
    return Average(kind="average", width=width, images_seen=images_seen)


def test_as_trained_is_the_folder_itself(model: Path, tmp_path: Path) -> None:
    with with_weights(model, AsTrained(kind="as_trained"), tmp_path / "scratch") as found:
        assert found == model
    assert not (tmp_path / "scratch").exists()


def test_another_average_is_a_copy_that_goes_with_the_block(model: Path, tmp_path: Path) -> None:
    before = load_file(model / "weights.safetensors")
    with with_weights(model, average(0.15), tmp_path) as found:
        assert found != model and found.name == model.name
        assert read_card(found) == read_card(model)
        made, expected = load_file(found / "weights.safetensors"), rebuilt(model, 0.15)
        assert all(torch.equal(made[name], expected[name]) for name in expected)
        assert any(not torch.equal(made[name], before[name]) for name in before)
    assert not found.exists()
    assert all(torch.equal(value, before[name]) for name, value in load_file(model / "weights.safetensors").items())


def test_an_earlier_time_is_that_snapshot_and_one_that_was_not_kept_is_told(model: Path, tmp_path: Path) -> None:
    first, *_ = snapshots_of(model)
    with with_weights(model, average(WIDTHS[0], first), tmp_path) as found:
        kept = load_file(model / "averages" / f"{first:012d}-{WIDTHS[0]:.2f}.safetensors")
        for name, value in load_file(found / "weights.safetensors").items():
            torch.testing.assert_close(value, kept[name])
    with (
        pytest.raises(FileNotFoundError, match=f"no snapshot at 7 images seen; there are: {first}"),
        with_weights(model, average(0.1, 7), tmp_path),
    ):
        pass
