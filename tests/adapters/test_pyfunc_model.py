"""A registered version behind MLflow's own `predict`."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from darkroom import sampling
from darkroom.networks import saved
from darkroom.networks.saved import build, save_model
from tests.darkroom.tiny import card


def test_it_draws_where_the_model_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU labels and noise must lie there too; `meta` stands in for one."""
    save_model(tmp_path, build(card()).state_dict(), card())
    monkeypatch.setattr(saved, "device_named", lambda name: torch.device("meta"))
    where: list[str] = []

    def watched(model: Any, card: Any, labels: torch.Tensor, noise: torch.Tensor, drawing: Any) -> np.ndarray:
        where.extend(one.device.type for one in (next(model.parameters()), labels, noise))
        return np.zeros((len(labels), *noise.shape[2:], 3), np.uint8)

    monkeypatch.setattr(sampling, "draw", watched)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's, of its own type hints
        from adapters.pyfunc_model import Painter
    painter = Painter()
    painter.load_context(SimpleNamespace(artifacts={"model": str(tmp_path)}))
    painter.predict(None, pandas.DataFrame({"seed": [1], "label": [""]}))
    assert where == ["meta"] * 3
