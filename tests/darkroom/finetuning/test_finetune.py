"""Fine-tuning: from the base's weights, on its focus, and the base left as it was."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.events import Noted
from darkroom.finetuning.finetune import FinetuneSection, finetune, preserving, with_labels
from darkroom.finetuning.low_rank import LowRank
from darkroom.images import ImageSet, digest_of_images, read_split, write_split
from darkroom.networks.denoiser import Condition
from darkroom.networks.profiles import rebuilt
from darkroom.networks.saved import ModelError, build, load_model, read_card, save_model
from darkroom.refs import digest_of
from darkroom.training.session import Places
from darkroom.training.sharding import merged_state
from tests.darkroom.tiny import MIRROR, SETTINGS, card, finished, painted, prepare, stirred, stopped_after, write_recipe

CPU = torch.device("cpu")


def section(**changes: Any) -> FinetuneSection:
    settings = {key: value for key, value in SETTINGS.items() if key not in ("network", "preconditioning", "drawing", "start")}
    return FinetuneSection.model_validate(settings | {"focus": ["dark"], "images": 32, "averaging": AVERAGING} | METHOD | changes)


METHOD = {"method": {"kind": "full"}, "preserve": 0.0}
AVERAGING = {"halflife_images": 1, "rampup": 1.0, "snapshots": 0, "weaker": 0.0}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return prepare(tmp_path)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    save_model(folder, stirred(build(card())).state_dict(), card(images_seen=500, data_digest="before"))
    return folder


def distance(one: Path, other: Path) -> float:
    first, second = (load_model(folder, CPU)[0].state_dict() for folder in (one, other))
    return max((first[name] - second[name]).abs().max().item() for name in first)


def test_it_starts_from_the_base_and_moves_as_far_as_the_rate_lets_it(base: Path, places: Places) -> None:
    before = digest_of(base)
    finished(finetune(section(learning_rate=1e-7), base, places))
    assert 0 < distance(base, places.out) < 1e-5
    finished(finetune(section(learning_rate=1e-2), base, places))
    assert distance(base, places.out) > 1e-3
    assert digest_of(base) == before


def test_what_the_card_says(base: Path, places: Places) -> None:
    events, ref = finished(finetune(section(), base, places))
    about = load_model(places.out, CPU)[1]
    assert about.focus == ("dark",)
    assert about.label_counts == (10, 0)
    assert about.parent_digest == digest_of(base)
    assert about.data_digest == digest_of_images(places.data)
    assert about.images_seen == 532
    assert about.labels == ("dark", "light")
    assert ref.digest == digest_of(places.out)
    assert isinstance(events[0], Noted) and "10 images, 3 held out" in events[0].text


@pytest.mark.parametrize("method", [{"kind": "full"}, {"kind": "low_rank", "rank": 2, "scale": 1.0}])
def test_with_no_images_to_see_the_base_stays_and_is_measured(base: Path, places: Places, method: dict[str, Any]) -> None:
    events, ref = finished(finetune(section(images=0, method=method), base, places))
    assert distance(base, places.out) == 0
    assert "finetune.images is 0: the base stays as it is" in [event.text for event in events if isinstance(event, Noted)]
    assert read_card(places.out).images_seen == 500
    told = json.loads((places.report / "metrics.json").read_text(encoding="utf-8"))
    assert (told["images_seen"], told["held_out_loss"] > 0, ref.digest) == (0, True, digest_of(places.out))


def test_without_a_focus_it_takes_all_images(base: Path, places: Places) -> None:
    finished(finetune(section(focus=[]), base, places))
    about = load_model(places.out, CPU)[1]
    assert (about.focus, about.label_counts) == ((), (10, 10))


def test_it_resumes_bit_for_bit_and_another_base_begins_anew(base: Path, places: Places, tmp_path: Path) -> None:
    _, straight = finished(finetune(section(), base, places))
    stopped_after(finetune(section(), base, places), 4)
    events, resumed = finished(finetune(section(), base, places))
    assert any(isinstance(event, Noted) and "going on from 24" in event.text for event in events)
    assert resumed.digest == straight.digest
    stopped_after(finetune(section(), base, places), 4)
    save_model(base, stirred(build(card()), seed=1).state_dict(), card())
    events, other = finished(finetune(section(), base, places))
    assert not any(isinstance(event, Noted) and "going on" in event.text for event in events)
    assert other.digest != straight.digest


def test_an_unknown_label_is_named_with_those_there_are(base: Path, places: Places) -> None:
    with pytest.raises(ValueError, match=r"no label grey in this data set; it has: dark, light"):
        next(finetune(section(focus=["dark", "grey"]), base, places))


def test_a_focus_without_images(base: Path, places: Places) -> None:
    write_split(places.data, "validation", read_split(places.data, "validation").only(["light"]))
    with pytest.raises(ValueError, match=r"finetune\.focus: dark has 10 training and 0 held-out images; both are needed"):
        next(finetune(section(), base, places))


def test_a_data_set_that_the_base_was_not_trained_on(base: Path, places: Places) -> None:
    for split in ("train", "validation"):
        write_split(places.data, split, painted(8, seed=1, size=12))
    with pytest.raises(ModelError, match="8-pixel images of dark, light; the data set now has 12-pixel images of dark, light"):
        next(finetune(section(), base, places))
    other = card(labels=("dark", "red"), image_size=12)
    save_model(base, build(other).state_dict(), other)
    with pytest.raises(ModelError, match=r"images of dark, red; the data set now has .*dark, light: train the base again"):
        next(finetune(section(), base, places))


def test_a_recipe_that_the_base_was_not_trained_with(base: Path, places: Places) -> None:
    write_recipe(places.augmented, [MIRROR])
    with pytest.raises(ModelError, match="trained with another recipe of augmentations: train the base again"):
        next(finetune(section(), base, places))


def test_no_base(tmp_path: Path, places: Places) -> None:
    with pytest.raises(ModelError, match=r"nowhere: no model here"):
        next(finetune(section(), tmp_path / "nowhere", places))


LOW_RANK = {"kind": "low_rank", "rank": 4, "scale": 1.0}


def test_parts_of_low_rank_change_nothing_at_first_and_their_merging_nothing_after(base: Path) -> None:
    plain, about = load_model(base, CPU)
    model = LowRank.model_validate(LOW_RANK).prepare(copy.deepcopy(plain), seed=0)
    noisy, sigma = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.ones(3)
    condition = Condition(torch.tensor([0, 1, -1]), torch.zeros(3, 0))
    torch.testing.assert_close(model(noisy, sigma, condition), plain(noisy, sigma, condition))
    learning = {name: value for name, value in model.named_parameters() if value.requires_grad}
    tables = [name for name in learning if not name.endswith((".up", ".down"))]
    assert len(learning) > len(tables) and tables == ["network.label.weight"]
    with torch.no_grad():
        for value in learning.values():
            value.add_(0.1)
    attached = model(noisy, sigma, condition)
    assert not torch.allclose(attached, plain(noisy, sigma, condition))
    merged = build(about)
    merged.load_state_dict(merged_state(model))
    torch.testing.assert_close(merged(noisy, sigma, condition), attached)
    torch.testing.assert_close(model(noisy, sigma, condition), attached)


def test_low_rank_moves_each_matrix_by_its_rank_at_most_and_resumes_bit_for_bit(base: Path, places: Places) -> None:
    low = section(method=LOW_RANK, learning_rate=1e-2)
    events, straight = finished(finetune(low, base, places))
    assert any("of the parameters learn" in event.text for event in events if isinstance(event, Noted))
    before, after = (load_model(folder, CPU)[0].state_dict() for folder in (base, places.out))
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    apart = [(after[name] - before[name]).flatten(1) for name in moved if name != "network.label.weight"]
    assert len(apart) > 1 and all(before[name].ndim in (2, 4) for name in moved)
    assert max(int(torch.linalg.matrix_rank(one, rtol=1e-3)) for one in apart) == 4
    stopped_after(finetune(low, base, places), 5)
    _, resumed = finished(finetune(low, base, places))
    assert resumed.digest == straight.digest


def test_what_low_rank_keeps_beside_the_model_is_merged_too(base: Path, places: Places) -> None:
    keeping = {"averaging": AVERAGING | {"weaker": 0.25, "snapshots": 2}}
    finished(finetune(section(method=LOW_RANK, learning_rate=1e-2, **keeping), base, places))
    tuned, about = load_model(places.out, CPU)
    assert about.keeps_weaker and tuned.weaker is not None
    assert tuned.weaker.state_dict().keys() == tuned.state_dict().keys()
    assert rebuilt(places.out, 0.1).keys() == tuned.state_dict().keys()


def test_of_a_course_that_patience_ended_the_loss_is_told_of_the_weights_that_were_taken(base: Path, places: Places) -> None:
    often = {"images": 400, "held_out_every": 8, "report_every": 8, "checkpoint_every": 8, "patience": 2, "learning_rate": 0.1}
    finished(finetune(section(**often), base, places))
    told = json.loads((places.report / "metrics.json").read_text(encoding="utf-8"))
    rows = [row.split(",") for row in (places.report / "loss.csv").read_text(encoding="utf-8").splitlines()[1:]]
    measured = {int(row[0]): float(row[3]) for row in rows if row[3]}
    assert told["held_out_loss"] == min(measured.values()) == measured[told["weights_at"]]
    assert told["weights_at"] < told["images_seen"] < 400
    assert read_card(places.out).images_seen == 500 + told["weights_at"]


def test_low_rank_reaches_the_convolutions_of_a_unet() -> None:
    unet = {"kind": "unet", "width": 32, "widening": [1, 2], "depth": 1, "attention": 4}
    model = LowRank.model_validate(LOW_RANK).prepare(build(card(network=unet)), seed=0)
    wide = {
        name
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Conv2d) and min(layer.weight.flatten(1).shape) > 4
    }
    assert any("attention.enter" in name for name in wide) and any(name.endswith("leave") for name in wide)
    parts = {name.partition(".parametrizations")[0] for name, value in model.named_parameters() if value.requires_grad}
    assert wide <= parts


def test_low_rank_learns_a_new_label(base: Path, places: Places) -> None:
    write_three_labels(places)
    finished(finetune(section(method=LOW_RANK, focus=["dim"], learning_rate=1e-2), base, places))
    tuned, about = load_model(places.out, CPU)
    table = tuned.state_dict()["network.label.weight"]
    before = load_model(base, CPU)[0].state_dict()["network.label.weight"]
    assert about.labels == ("dark", "dim", "light")
    assert (table[1] - before[-1]).abs().max() > 1e-3  # it began as "not told"


def test_other_images_are_mixed_in_by_their_share() -> None:
    everything = painted(40, seed=1)
    for share, others in ((0.0, 0), (0.5, 20), (0.2, 5), (0.8, 80)):
        mixed = preserving(everything.only(["dark"]), everything, share, seed=0)
        assert (np.bincount(mixed.labels, minlength=2) == [20, others]).all()
        assert all(path.startswith(everything.names[label]) for path, label in zip(mixed.paths, mixed.labels, strict=True))


def write_three_labels(places: Places) -> None:
    """A data set with a label that the base does not know."""
    for split, count in (("train", 21), ("validation", 9)):
        images = painted(count, seed=count)
        grown = ImageSet(images.pixels, np.arange(count) % 3, ("dark", "dim", "light"), images.paths)
        write_split(places.data, split, grown)


def test_a_new_label_grows_the_table_and_old_ones_keep_theirs(base: Path, places: Places) -> None:
    write_three_labels(places)
    plain, about = load_model(base, CPU)
    events, _ = finished(finetune(section(focus=["dim"]), base, places))
    assert any(event.text == "new labels: dim" for event in events if isinstance(event, Noted))
    tuned, card_now = load_model(places.out, CPU)
    assert card_now.labels == ("dark", "dim", "light")
    grown_model = with_labels(plain, about.labels, card_now)
    noisy, sigma = torch.randn(2, 3, 8, 8), torch.ones(2)
    for old, new in ((0, 0), (1, 2), (-1, -1), (-1, 1)):
        before = plain(noisy, sigma, Condition(torch.tensor([old, old]), torch.zeros(2, 0)))
        torch.testing.assert_close(grown_model(noisy, sigma, Condition(torch.tensor([new, new]), torch.zeros(2, 0))), before)
    assert tuned.network.label.weight.shape[0] == 4  # type: ignore[union-attr]
    assert (places.report / "comparison.png").stat().st_size > 500
