"""Two real processes against one: the same training; and one goes on where two stopped, two where one did."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from darkroom.augmentation import AugmentSection, Recipe
from darkroom.stage import StoppedOnRequest
from darkroom.training import batches
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


def test_each_of_two_has_the_pixels_of_its_own_share_as_one_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    images, recipe = painted(20, seed=1), Recipe(AugmentSection.model_validate({"seed": 0, "transforms": [MIRROR]}))
    materials = Materials(images, images, recipe, Path(), lambda *_: Sheet(Path(), images.pixels))
    alone = Maker(base_section(), materials)[24, 7]
    for rank, (start, stop) in enumerate([(0, 3), (3, 7)]):
        monkeypatch.setattr(batches, "place", lambda rank=rank: (rank, 2))
        shared = Maker(base_section(), materials)[24, 7]
        assert torch.equal(shared.noise, alone.noise) and torch.equal(shared.sigma, alone.sigma)
        assert torch.equal(shared.images[start:stop], alone.images[start:stop])
        assert torch.equal(shared.condition.augmentation[start:stop], alone.condition.augmentation[start:stop])
        assert not shared.images[:start].any() and not shared.images[stop:].any()
    monkeypatch.setattr(batches, "place", lambda: (0, 4))
    assert Maker(base_section(), materials)[24, 3].images.shape == alone.images[:3].shape  # the first of four has none


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
