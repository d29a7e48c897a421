"""Optimisers against torch's own, and a matrix made orthogonal against its singular values."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

from darkroom.networks.saved import build
from darkroom.training.optimisers import AdamWSettings, Muon, MuonSettings, Optimiser, orthogonal, parted, set_rate
from tests.darkroom.tiny import card, finished, stopped_after
from tests.darkroom.training.rig import course, differing

MUON = {"kind": "muon", "weight_decay": 0.01, "momentum": 0.95}


@pytest.mark.parametrize("shape", [(32, 32), (24, 96), (96, 24)])
def test_orthogonal_is_the_factor_of_the_singular_values(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    answer = orthogonal(matrix)
    values = torch.linalg.svdvals(answer)
    assert values.min() > 0.3 and values.max() < 1.3  # the five turns aim at 1 and come near it
    assert nn.functional.cosine_similarity(answer.flatten(), (left @ right).flatten(), dim=0) > 0.97
    assert answer.dtype == matrix.dtype


def test_what_is_no_matrix_moves_as_with_torchs_adamw() -> None:
    chance = torch.Generator().manual_seed(0)
    mine, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    ours = Muon([{"params": [mine], "weight_decay": 0.1, "momentum": 0.95, "matrices": False}])
    other = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    set_rate(ours, 0.01)
    for _ in range(20):
        mine.grad = torch.randn(5, generator=chance)
        theirs.grad = mine.grad.clone()
        ours.step()
        other.step()
    torch.testing.assert_close(mine, theirs)


def test_matrices_decay_and_tables_gains_and_biases_do_not() -> None:
    model = build(card())
    decaying, plain = parted(model)
    assert len(decaying) + len(plain) == len(list(model.parameters()))
    assert all(value.ndim == 2 for value in decaying)
    assert any(value is model.network.label.weight for value in plain)  # type: ignore[union-attr]
    for settings in (AdamWSettings(kind="adamw", weight_decay=0.3), MuonSettings.model_validate(MUON)):
        other = nn.Parameter(torch.zeros(3, 3))
        groups = settings.build(model, [other]).param_groups
        free = [value for group in groups if group["weight_decay"] == 0 for value in group["params"]]
        assert any(value is other for value in free)
        assert sum(len(group["params"]) for group in groups) == len(list(model.parameters())) + 1
    assert {AdamWSettings, MuonSettings} == set(get_args(get_args(Optimiser)[0]))


def test_muon_learns_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    changes = {"images": 800, "batch_size": 16, "report_every": 160, "learning_rate": 1e-2, "optimiser": MUON}
    _, straight = finished(course(tmp_path / "a", **changes, checkpoint_every=200))
    assert straight.history[-1].loss < 0.6 * straight.history[0].loss
    stopped_after(course(tmp_path / "b", **changes, checkpoint_every=200), 15)
    _, resumed = finished(course(tmp_path / "b", **changes, checkpoint_every=200))
    assert differing(straight, resumed) == []
