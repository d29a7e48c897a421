"""The slot: follows an alias, keeps the old version where the new one fails, never mixes two."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from darkroom.networks.saved import build, save_model
from serving.engine import Engine, Order
from serving.loaded import Loading, Offer, Row
from serving.offers import from_folder
from serving.slot import Slot, Watch
from tests.darkroom.tiny import card
from tests.serving.service import Registry, model_at, offer
from tests.serving.test_engine import until

SWAPS, CLIENTS, ROWS = 10, 4, 3


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(offer(model_at(tmp_path / "1"), "1"))


def slot_on(registry: Registry, alias: str = "champion", said: Callable[[str], None] = lambda _: None) -> Slot:
    return Slot(alias, registry.look(alias), Loading("cpu", 4), said)


def test_it_follows_the_alias_forwards_and_back(registry: Registry, tmp_path: Path) -> None:
    said: list[str] = []
    slot = slot_on(registry, said=said.append)
    first = registry.champion
    slot.look()
    slot.look()
    assert slot.model and slot.model.version == "1" and slot.swaps == 0
    registry.champion = offer(model_at(tmp_path / "2", seed=2), "2")
    slot.look()
    assert slot.model.version == "2"
    registry.champion = first
    slot.look()
    assert slot.model.version == "1" and slot.swaps == 2
    assert said == [f"champion: tiny version {version} is being served" for version in (1, 2, 1)]


def test_a_version_that_is_in_use_is_not_loaded_twice(registry: Registry) -> None:
    load = Loading("cpu", 4)
    one, two = (Slot(alias, registry.look("champion"), load) for alias in ("champion", "challenger"))
    one.look()
    two.look()
    assert one.model is two.model is not None


def ruined(folder: Path, fill: float) -> Path:
    """A model all of whose weights are the same number."""
    folder.mkdir()
    weights = {name: torch.full_like(value, fill) for name, value in build(card()).state_dict().items()}
    save_model(folder, weights, card())
    return folder


@pytest.mark.parametrize("fault", ["no folder", "no weights", "cut short", "not finite"])
def test_the_old_version_stays_where_the_new_one_fails(registry: Registry, tmp_path: Path, fault: str) -> None:
    said: list[str] = []
    slot = slot_on(registry, said=said.append)
    slot.look()
    folder = tmp_path / "2"
    if fault == "not finite":
        ruined(folder, float("nan"))
    elif fault != "no folder":
        weights = model_at(folder, seed=2) / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100]) if fault == "cut short" else weights.unlink()
    registry.champion = offer(folder, "2")
    slot.look()
    assert slot.model and slot.model.version == "1"
    assert "tiny version 2 cannot be served; version 1 stays: " in slot.trouble
    slot.look()  # not tried again at every look
    assert len(said) == 2
    registry.champion = offer(model_at(tmp_path / "3", seed=3), "3")
    slot.look()
    assert slot.model.version == "3" and not slot.trouble


def test_a_model_that_says_the_same_to_every_noise_is_not_served(registry: Registry, tmp_path: Path) -> None:
    constant = card(preconditioning={"kind": "image"})
    (tmp_path / "2").mkdir()
    save_model(tmp_path / "2", {name: torch.zeros_like(value) for name, value in build(constant).state_dict().items()}, constant)
    registry.champion = offer(tmp_path / "2", "2")
    slot = slot_on(registry)
    slot.look()
    assert slot.model is None
    assert "the same image from every noise" in slot.trouble


def test_a_registry_that_is_away_or_an_alias_that_is_gone_changes_nothing(registry: Registry) -> None:
    slot, first = slot_on(registry), registry.champion
    slot.look()
    registry.fault = ConnectionError("no answer\nand much more")
    slot.look()
    assert slot.trouble == "the registry cannot be asked: no answer"
    registry.fault, registry.champion = None, None
    slot.look()
    assert slot.model and slot.trouble == "the alias `champion` is gone from the registry; version 1 stays"
    registry.champion = first
    slot.look()
    assert not slot.trouble and slot.swaps == 0
    registry.challenger = first
    beside = slot_on(registry, "challenger")
    beside.look()
    assert beside.model
    registry.challenger = None
    beside.look()
    assert beside.model is None and not beside.trouble


def test_ten_swaps_under_load_lose_and_mix_nothing(registry: Registry, tmp_path: Path) -> None:
    """Clients ask without a pause while the alias moves; every image is exactly that of the version it was begun with."""
    offers = [registry.champion, *(offer(model_at(tmp_path / str(number), seed=number), str(number)) for number in (2, 3))]
    load, engine = Loading("cpu", 4), Engine(512, linger=0.001)
    expected = {one.version: drawn(engine, load(one)) for one in offers if one}
    assert len({images[0] for images in expected.values()}) == 3
    slot = Slot("champion", registry.look("champion"), load)
    slot.look()
    stop, served, wrong = threading.Event(), Counter[str](), list[str]()

    def client() -> None:
        while not stop.is_set():
            model = slot.model
            assert model
            images = drawn(engine, model)
            served[model.version] += 1
            if images != expected[model.version]:
                wrong.append(model.version)

    watch = Watch([slot], every=0.005)
    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for one in clients:
        one.start()
    for number in range(1, SWAPS + 1):
        before = served.total()
        registry.champion = offers[number % 3]
        while slot.swaps < number or served.total() < before + 20:
            assert not slot.trouble
            stop.wait(0.002)
    stop.set()
    for one in clients:
        one.join(20)
    watch.stop()
    engine.close(5)
    assert not wrong
    assert slot.swaps == SWAPS
    assert served.total() >= 20 * SWAPS and set(served) == {"1", "2", "3"}


def drawn(engine: Engine, model: Any) -> list[bytes]:
    done = engine.submit(Order(model, model.card.drawing, [Row(1, index, 0) for index in range(ROWS)]))
    return [image.tobytes() for image in done.future.result(30)]


def test_a_folder_whose_weights_or_card_change_is_a_new_version(tmp_path: Path) -> None:
    slot = Slot("champion", from_folder(model_at(tmp_path)), Loading("cpu", 4))
    slot.look()
    assert slot.model
    first = slot.model
    slot.look()
    assert slot.model is first
    model_at(tmp_path, seed=2)
    slot.look()
    second = slot.model
    assert second.version != first.version
    changed = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    changed["drawing"]["steps"] += 1
    (tmp_path / "model.json").write_text(json.dumps(changed), encoding="utf-8")
    slot.look()
    assert slot.model.version not in (first.version, second.version)
    assert slot.model.card.drawing.steps == second.card.drawing.steps + 1
    (tmp_path / "weights.safetensors").unlink()
    slot.look()
    assert slot.model.version != first.version and "cannot be asked" in slot.trouble


def test_the_watch_stops_when_told(registry: Registry) -> None:
    watch = Watch([slot_on(registry)], every=0.01)
    watch.stop()
    asked = registry.asked
    threading.Event().wait(0.05)
    assert registry.asked == asked
    assert isinstance(registry.champion, Offer)


def test_the_watch_goes_on_where_what_is_said_cannot_be_printed(registry: Registry, tmp_path: Path) -> None:
    said: list[str] = []

    def broken(text: str) -> None:
        said.append(text)
        raise OSError(32, "Broken pipe")

    slot = slot_on(registry, said=broken)
    watch = Watch([slot], 0.001)
    try:
        until(lambda: len(said) == 1)
        registry.champion = offer(model_at(tmp_path / "2", seed=2), "2")
        until(lambda: len(said) == 2)
        assert slot.model and slot.model.version == "2"
    finally:
        watch.stop()
