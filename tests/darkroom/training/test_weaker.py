"""The model's own earlier weights: kept at their time, through whatever stops a course, and led away from in drawing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from darkroom.events import Noted, SnapshotSaved
from darkroom.finetuning.finetune import finetune
from darkroom.networks.denoiser import Denoiser
from darkroom.networks.saved import (
    WEAKER,
    WEIGHTS,
    ChosenDrawing,
    GuidedLevels,
    ModelError,
    build,
    load_model,
    read_card,
    save_model,
)
from darkroom.refs import digest_of
from darkroom.sampling import Autoguided, Tiled, draw, evaluations, labels_for, noise_for, told_of
from darkroom.training.checkpoints import restore_best
from darkroom.training.train_base import train_base
from tests.darkroom.finetuning.test_finetune import section as tuning
from tests.darkroom.tiny import DRAWING, base_section, card, finished, prepare, stirred, stopped_after
from tests.darkroom.training.rig import course

CPU = torch.device("cpu")
PARTS = ("averaged/", "weaker/0.")  # of a checkpoint


def averaging(weaker: float) -> dict[str, float]:
    """With a share of the course after which a weaker model is kept."""
    return {"halflife_images": 16, "rampup": 0.5, "snapshots": 0, "weaker": weaker}


def saved(folder: Path) -> Path:
    """A model that keeps a weaker one."""
    folder.mkdir()
    weights, weaker = (stirred(build(card()), seed).state_dict() for seed in (0, 1))
    save_model(folder, weights, card(drawing=DRAWING | {"away": 2.5}), weaker=weaker)
    return folder


def test_what_is_kept_is_the_average_at_its_share_of_the_course(tmp_path: Path) -> None:
    kept = []
    for event in course(tmp_path, averaging=averaging(0.4)):  # of 60 images
        if isinstance(event, SnapshotSaved):
            tensors = load_file(event.path)
            kept.append([{name: tensors[f"{part}{name}"] for name in build(card()).state_dict()} for part in PARTS])
    (first, then), (_, later), (last, still) = kept  # checkpoints at 24, 48 and 60 images seen
    assert all(torch.equal(first[name], then[name]) for name in first)
    assert all(torch.equal(then[name], later[name]) and torch.equal(then[name], still[name]) for name in then)
    assert any(not torch.equal(last[name], still[name]) for name in last)


def test_the_best_before_its_time_is_led_away_from_nothing(tmp_path: Path) -> None:
    _, state = finished(course(tmp_path, averaging=averaging(0.4)))
    held_out = {moment.images_seen: moment for moment in state.history if moment.held_out is not None}
    for best, kept in ((24, 0), (48, 24)):  # the first is when it was kept
        state.weaker_at = 24
        for extra in (".json", ".safetensors"):
            newest = max(tmp_path.glob(f"state-*{extra}"))
            if not (there := tmp_path / f"state-{best:012d}{extra}").exists():
                there.write_bytes(newest.read_bytes())
        state.history = [replace(held_out.get(best, state.history[-1]), images_seen=best, held_out=0.0)]
        assert restore_best(tmp_path, state)
        assert state.weaker_at == kept


def test_a_course_that_was_stopped_keeps_the_same(tmp_path: Path) -> None:
    straight, stopped = prepare(tmp_path / "straight"), prepare(tmp_path / "stopped")
    section = base_section(averaging=averaging(0.25), drawing=DRAWING | {"away": 2.5})
    finished(train_base(section, straight))
    for count in (4, 9, 3):
        stopped_after(train_base(section, stopped), count)
    finished(train_base(section, stopped))
    assert digest_of(stopped.out) == digest_of(straight.out)
    own, weaker = (load_file(straight.out / name) for name in (WEIGHTS, WEAKER))
    assert own.keys() == weaker.keys() and any(not torch.equal(own[name], weaker[name]) for name in own)
    about = read_card(straight.out)
    assert about.keeps_weaker and about.drawing.away == 2.5


def test_without_a_share_none_is_kept_and_the_model_is_drawn_as_it_is(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    events, _ = finished(train_base(base_section(averaging=averaging(0.0), drawing=DRAWING | {"away": 2.5}), places))
    about = read_card(places.out)
    assert any("drawn without drawing.away" in event.text for event in events if isinstance(event, Noted))
    assert not (places.out / WEAKER).exists()
    assert (about.keeps_weaker, about.drawing.away) == (False, 1.0)
    wanted = ChosenDrawing.model_validate(
        {"sampler": {"kind": "euler"}, "steps": 2, "guidance": 1.0, "away": 3.0, "guided_levels": {"least": 0.0, "most": 2.0}}
    )
    assert wanted.of(about).away == 1.0
    assert wanted.of(read_card(saved(tmp_path / "other"))).away == 3.0


def test_drawing_leads_away_from_it(tmp_path: Path) -> None:
    model, about = load_model(saved(tmp_path / "model"), CPU)
    assert isinstance(model.weaker, Denoiser) and not any("weaker" in name for name in model.state_dict())
    labels, noise = torch.tensor(labels_for(about, 0, 4)), noise_for(0, range(4), 8)
    alone = about.drawing.model_copy(update={"away": 1.0})
    away = draw(model, about, labels, noise, about.drawing)
    assert np.array_equal(away, draw(Autoguided(model, model.weaker, 2.5), about, labels, noise, alone))
    assert np.array_equal(away, draw(Tiled(model, 4), about, labels, noise, about.drawing))
    assert not np.array_equal(away, draw(model, about, labels, noise, alone))
    assert evaluations(about.drawing) == 2 * evaluations(alone)
    model.keep_weaker(None)
    with pytest.raises(ModelError, match="keeps no earlier weights"):
        draw(model, about, labels, noise, about.drawing)


def test_outside_its_levels_of_noise_nothing_is_led_away(tmp_path: Path) -> None:
    model, about = load_model(saved(tmp_path / "model"), CPU)
    assert model.weaker is not None
    noisy, sigma = torch.randn(3, 3, 8, 8), torch.tensor([0.5, 2.0, 9.0])
    told = told_of(about, torch.zeros(3, dtype=torch.long), noisy)
    led = Autoguided(model, model.weaker, 2.5, 1.0, 4.0)(noisy, sigma, told)
    plain = model(noisy, sigma, told)
    assert torch.equal(led[[0, 2]], plain[[0, 2]]) and not torch.equal(led[1], plain[1])
    away = about.drawing.model_copy(update={"guided_levels": GuidedLevels(least=0.01, most=4.0)})
    assert evaluations(away.alone) < evaluations(away) < evaluations(about.drawing)


def test_a_tuned_model_keeps_that_of_its_base(tmp_path: Path) -> None:
    base, places = saved(tmp_path / "base"), prepare(tmp_path / "work")
    finished(finetune(tuning(), base, places))
    assert digest_of(places.out / WEAKER) == digest_of(base / WEAKER)
    assert digest_of(places.out / WEIGHTS) != digest_of(base / WEIGHTS)
    assert read_card(places.out).drawing.away == 2.5


def test_new_labels_stand_in_it_as_not_told(tmp_path: Path) -> None:
    base, places, told = tmp_path / "base", prepare(tmp_path / "work"), {"labels": ("dark",), "label_counts": (20,)}
    base.mkdir()
    weights, weaker = (stirred(build(card(**told)), seed).state_dict() for seed in (0, 1))
    save_model(base, weights, card(**told), weaker=weaker)
    finished(finetune(tuning(), base, places))
    kept = load_file(places.out / WEAKER)
    grown = [name for name, value in kept.items() if value.shape != weaker[name].shape]
    assert grown
    for name in grown:
        assert torch.equal(kept[name], weaker[name][[0, 1, 1]])  # dark, light, not told


def test_a_model_of_before_is_read_and_drawn_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(folder, stirred(build(card())).state_dict(), card())
    told = json.loads((folder / "model.json").read_text())
    del told["keeps_weaker"], told["drawing"]["away"]
    (folder / "model.json").write_text(json.dumps(told))
    model, about = load_model(folder, CPU)
    assert (about.keeps_weaker, about.drawing.away, model.weaker) == (False, 1.0, None)
