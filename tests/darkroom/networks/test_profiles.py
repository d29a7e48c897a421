"""Averages rebuilt after training against ones tracked along it, and what a profile is in closed form."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn

from darkroom.networks.profiles import Profile, _product, exponent_of, mixture, rebuilt, save_snapshot, share
from darkroom.training.averaging import average_into
from darkroom.training.train_base import train_base
from tests.darkroom.tiny import base_section, finished, prepare, stopped_after
from tests.darkroom.training.rig import course, differing

AVERAGING = {"halflife_images": 16, "rampup": 0.5, "snapshots": 6, "weaker": 0.0}


@pytest.mark.parametrize("width", [0.02, 0.05, 0.10, 0.25])
def test_an_exponent_gives_the_width_it_is_for(width: float) -> None:
    exponent = exponent_of(width)
    mean = quad(lambda s: s * (exponent + 1) * s**exponent, 0, 1)[0]
    square = quad(lambda s: s**2 * (exponent + 1) * s**exponent, 0, 1)[0]
    assert np.sqrt(square - mean**2) == pytest.approx(width, rel=1e-6)


def test_products_of_profiles_are_their_integrals() -> None:
    for one, other in (
        (Profile(3.0, 5.0), Profile(7.0, 2.0)),
        (Profile(7.0, 5.0), Profile(3.0, 2.0)),
        (Profile(5, 1), Profile(5, 9)),
    ):

        def weight(time: float, profile: Profile) -> float:
            inside = time <= profile.images_seen
            return (profile.exponent + 1) * time**profile.exponent / profile.images_seen ** (profile.exponent + 1) * inside

        expected = quad(lambda s, a=one, b=other: weight(s, a) * weight(s, b), 0, min(one.images_seen, other.images_seen))[0]
        assert _product(one, other) == pytest.approx(expected, rel=1e-6)


def test_a_profile_stored_is_rebuilt_as_itself() -> None:
    stored = [Profile(time, exponent) for time in (20.0, 40.0) for exponent in (16.97, 6.94)]
    assert mixture(stored, stored[2]) == pytest.approx([0, 0, 1, 0], abs=1e-6)


@pytest.mark.parametrize("width", [0.04, 0.075, 0.10, 0.15])
def test_what_is_rebuilt_is_what_would_have_been_tracked(tmp_path: Path, width: float) -> None:
    """Weights on a random walk, 16 snapshots of two widths; a third width tracked along for comparison."""
    chance, model = torch.Generator().manual_seed(0), nn.Linear(200, 1, bias=False)
    nn.init.zeros_(model.weight)
    tracked = [nn.Linear(200, 1, bias=False) for _ in range(3)]
    for step in range(1, 2001):
        with torch.no_grad():
            model.weight += 0.02 * torch.randn(model.weight.shape, generator=chance)
        for average, each in zip(tracked, (0.05, 0.10, width), strict=True):
            average_into(average, model, share(8 * step, 8, each))
        if step % 125 == 0:
            save_snapshot(tmp_path, 8 * step, [one.state_dict() for one in tracked[:2]])
    answer = rebuilt(tmp_path, width)["weight"]
    error = (answer - tracked[2].weight).norm() / (model.weight - tracked[2].weight).norm()
    assert error < (0.02 if width >= 0.05 else 0.05)


def test_a_course_stores_them_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    _, straight = finished(course(tmp_path / "a", averaging=AVERAGING))
    stopped_after(course(tmp_path / "b", averaging=AVERAGING), 6)
    _, resumed = finished(course(tmp_path / "b", averaging=AVERAGING))
    assert differing(straight, resumed) == []
    names = sorted(file.name for file in (tmp_path / "a/averages").iterdir())
    assert len(names) == 12 and names == sorted(file.name for file in (tmp_path / "b/averages").iterdir())
    for name in names:
        assert (tmp_path / "a/averages" / name).read_bytes() == (tmp_path / "b/averages" / name).read_bytes()


def test_the_model_folder_holds_them(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    finished(train_base(base_section(averaging=AVERAGING), places))
    weights = rebuilt(places.out, 0.07)
    assert all(value.isfinite().all() for value in weights.values())
    with pytest.raises(ValueError, match=r"width 0\.5: a power-function average is between 0 and 0\.28 wide"):
        rebuilt(places.out, 0.5)
    with pytest.raises(FileNotFoundError, match=r"averaging\.snapshots"):
        rebuilt(places.data, 0.1)
