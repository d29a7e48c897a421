"""Two real processes against one: the same training; and one goes on where two stopped, two where one did."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from darkroom.augmentation import AugmentSection, Recipe
from darkroom.stage import StoppedOnRequest
from darkroom.training import batches, parallel
from darkroom.training.batches import Maker
from darkroom.training.course import Materials, Sheet
from darkroom.training.parallel import bounds, told
from tests.darkroom.tiny import MIRROR, base_section, finished, painted
from tests.darkroom.training.rig import course
from tests.darkroom.training.together import MUON, SETTINGS, stopping_after, take_part
from tests.processes import process_of


def two_processes(folder: Path, stop_after: int = 10**6, sharded: bool = False, **changes: Any) -> None:
    """Both run until the end, or are asked to stop after some batches."""
    processes = [process_of(take_part, folder, stop_after, sharded, changes, rank) for rank in range(2)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]


def newest(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(max(folder.glob("state-*.safetensors")))


def same(together: dict[str, torch.Tensor], alone: dict[str, torch.Tensor], where: str) -> None:
    assert together.keys() == alone.keys()
    for name in alone:
        torch.testing.assert_close(together[name], alone[name], rtol=1e-3, atol=2e-5, msg=f"{where}: {name}")


def test_two_processes_are_as_one_and_either_goes_on_where_the_other_stopped(tmp_path: Path) -> None:
    finished(course(tmp_path / "one", **SETTINGS))
    alone = newest(tmp_path / "one")
    two_processes(tmp_path / "two then one", stop_after=3)
    assert [file.name for file in (tmp_path / "two then one").glob("*.json")] == ["state-000000000024.json"]
    finished(course(tmp_path / "two then one", **SETTINGS))
    with pytest.raises(StoppedOnRequest):
        finished(course(tmp_path / "one then two", conduct=stopping_after(1), **SETTINGS))
    two_processes(tmp_path / "one then two")
    for folder in ("two then one", "one then two"):
        same(newest(tmp_path / folder), alone, folder)


def test_each_of_two_has_its_own_share_as_one_has_it_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    images, recipe = painted(20, seed=1), Recipe(AugmentSection.model_validate({"seed": 0, "transforms": [MIRROR]}))
    materials = Materials(images, images, recipe, Path(), lambda *_: Sheet(Path(), images.pixels))
    alone = Maker(base_section(), materials)[24, 7]
    for rank, (start, stop) in enumerate([(0, 3), (3, 7)]):
        monkeypatch.setattr(batches, "place", lambda rank=rank: (rank, 2))
        shared = Maker(base_section(), materials)[24, 7]
        assert len(shared) == 7 and np.array_equal(shared.rows, alone.rows)  # which images a step saw, all know
        for own, whole in (
            (shared.images, alone.images),
            (shared.noise, alone.noise),
            (shared.sigma, alone.sigma),
            (shared.condition.label, alone.condition.label),
            (shared.condition.augmentation, alone.condition.augmentation),
        ):
            assert torch.equal(own, whole[start:stop])
        part = shared.part(1, 3)
        assert np.array_equal(part.rows, alone.rows[start + 1 : start + 3]) and len(part.images) == 2
    monkeypatch.setattr(batches, "place", lambda: (0, 4))
    assert Maker(base_section(), materials)[24, 3].images.shape == alone.images[:1].shape  # the first of four has none


@pytest.mark.parametrize("changes", [{}, MUON], ids=["adamw", "muon"])
def test_weights_in_shares_are_trained_as_whole_ones_and_either_goes_on_where_the_other_stopped(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    finished(course(tmp_path / "one", **SETTINGS, **changes))
    alone = newest(tmp_path / "one")
    two_processes(tmp_path / "shares then one", stop_after=3, sharded=True, **changes)
    finished(course(tmp_path / "shares then one", **SETTINGS, **changes))
    with pytest.raises(StoppedOnRequest):
        finished(course(tmp_path / "one then shares", conduct=stopping_after(1), **SETTINGS, **changes))
    two_processes(tmp_path / "one then shares", sharded=True, **changes)
    for folder in ("shares then one", "one then shares"):
        same(newest(tmp_path / folder), alone, folder)


@pytest.mark.parametrize("words", [["events.jsonl", "--sharded"], ["--sharded", "events.jsonl"]])
def test_what_a_stages_command_is_told(words: list[str]) -> None:
    assert told(words) == (Path("events.jsonl"), True)
    assert told(["events.jsonl"]) == (Path("events.jsonl"), False)
    assert told([]) == (None, False)


def test_shares_cover_a_batch() -> None:
    for count in (1, 2, 5, 16):
        for size in (1, 2, 3):
            rows: list[int] = []
            for rank in range(size):
                rows += range(*bounds(count, rank, size))
            assert rows == list(range(count))


def test_more_processes_than_gpus_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    for own in (0, 1):
        monkeypatch.setattr("torch.distributed.get_node_local_rank", lambda own=own: own)
        parallel.check_enough(torch.device("cpu"))
        if own == 0:
            parallel.check_enough(torch.device("cuda"))
    with pytest.raises(ValueError, match=r"process 2 of .* with 1 GPU: .* \(`--processes 1`\), or set `device: cpu`"):
        parallel.check_enough(torch.device("cuda"))
