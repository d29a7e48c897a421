"""A training that starts from kept weights: the same weights go in, and nothing else does."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from darkroom.events import HeldOutMeasured
from darkroom.images import ImageSet, write_split
from darkroom.networks.saved import ModelError
from darkroom.refs import digest_of
from darkroom.training.start import Scratch, Weights
from darkroom.training.train_base import train_base
from tests.darkroom import tiny


def test_it_starts_where_the_parent_ended_says_so_and_sees_its_own_budget(tmp_path: Path) -> None:
    places = tiny.prepare(tmp_path / "work")
    _, parent = tiny.finished(train_base(tiny.base_section(), places))
    kept = places.checkpoints.parents[1] / "weights" / parent.digest
    shutil.copytree(places.out, kept)
    before = load_file(kept / "weights.safetensors")
    start = {"kind": "weights", "digest": parent.digest, "budget": 8}
    still = tiny.base_section(start=start, learning_rate=1e-12, batch_size=8)
    tiny.finished(train_base(still, places))
    after = load_file(places.out / "weights.safetensors")
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    card = json.loads((places.out / "model.json").read_text(encoding="utf-8"))
    assert card["parent_digest"] == parent.digest
    assert card["images_seen"] == tiny.SETTINGS["images"] + 8

    other = tiny.base_section(start=start, network={**tiny.NETWORK, "width": 64})
    with pytest.raises(ModelError, match="its network differ"):
        tiny.finished(train_base(other, places))
    (kept / "weights.safetensors").write_bytes(b"other bytes")
    assert digest_of(kept) != parent.digest
    with pytest.raises(ModelError, match="do not have that digest"):
        tiny.finished(train_base(still, places))
    shutil.rmtree(kept)
    with pytest.raises(ModelError, match="are not here"):
        tiny.finished(train_base(still, places))


def test_with_no_budget_the_weights_are_taken_as_they_are_and_new_labels_are_learned_later(tmp_path: Path) -> None:
    first = tiny.prepare(tmp_path / "first")
    _, parent = tiny.finished(train_base(tiny.base_section(), first))
    places = tiny.prepare(tmp_path / "work")
    for split, count in (("train", 21), ("validation", 6), ("test", 6)):
        pictures = tiny.painted(count, seed=count)
        labels = np.arange(count) % 3
        write_split(places.data, split, ImageSet(pictures.pixels, labels, ("dark", "grey", "light"), pictures.paths))
    shutil.copytree(first.out, places.checkpoints.parents[1] / "weights" / parent.digest)
    start = {"kind": "weights", "digest": parent.digest, "budget": 0}
    events, _ = tiny.finished(train_base(tiny.base_section(start=start), places))
    before, after = (load_file(folder / "weights.safetensors") for folder in (first.out, places.out))
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["network.label.weight"]
    table, grown = before["network.label.weight"], after["network.label.weight"]
    assert torch.equal(grown, table[[0, 2, 1, 2]])  # dark, "not told" for the new one, light, "not told"
    figures = json.loads((places.report / "metrics.json").read_text(encoding="utf-8"))
    (measured,) = (event for event in events if isinstance(event, HeldOutMeasured))
    assert (figures["images_seen"], figures["held_out_loss"]) == (0, measured.loss)
    assert (places.report / "samples.png").exists()
    card = json.loads((places.out / "model.json").read_text(encoding="utf-8"))
    assert (card["labels"], card["images_seen"]) == (["dark", "grey", "light"], tiny.SETTINGS["images"])


def test_from_scratch_changes_nothing(tmp_path: Path) -> None:
    card = tiny.card()
    assert Scratch(kind="scratch").begin(tmp_path, tiny.stirred(torch.nn.Linear(1, 1)), card) is card  # type: ignore[arg-type]
    assert Scratch(kind="scratch").images(7) == 7
    assert Weights(kind="weights", digest="0" * 64, budget=3).images(7) == 3
