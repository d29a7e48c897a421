"""The audit log of promotions outlives a crash in the middle of a line."""

from pathlib import Path

import pytest

from adapters import mlflow_registry, promotions
from adapters.mlflow_registry import Version
from adapters.promotions import LOG, Decision


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_by_a_crash_costs_itself_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    monkeypatch.setattr(mlflow_registry, "note", lambda *words: None)
    log = tmp_path / LOG
    log.parent.mkdir()
    for number in ("1", "2", "3"):
        promotions._record(tmp_path, Version("m", number, (), {}, {}), "", Decision("promoted", "a test"))
        if number == "2":
            log.write_bytes(log.read_bytes()[:-cut])
    whole = ["1", "2", "3"] if cut == 1 else ["1", "3"]  # of the first only the line's end is gone
    assert [move.version for move in promotions.moves(tmp_path)] == whole
