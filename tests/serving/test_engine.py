"""The engine: batches across clients, the same bytes whoever is beside, bounded, cancelled, finished at the end."""

import threading
import time
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.networks.saved import Drawing, ModelError
from darkroom.provenance import Turn
from darkroom.sampling import draw, noise_for
from serving.engine import Busy, Dropped, Engine, Order
from serving.loaded import Loaded, Row, agreeing_sizes
from tests.darkroom.tiny import DRAWING, card
from tests.serving.service import CAPTIONED, Gate, loaded, model_at

STEPS_3, STEPS_4 = (Drawing.model_validate(DRAWING | {"steps": steps, "guidance": 2.0}) for steps in (3, 4))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return loaded(model_at(tmp_path_factory.mktemp("model"), augmentations=2))


def order(model: Loaded, count: int, seed: int = 0, drawing: Drawing = STEPS_3, **row: Any) -> Order:
    return Order(model, drawing, [Row(seed, index, index % 2, **row) for index in range(count)])


def bytes_of(done: Order) -> list[bytes]:
    return [image.tobytes() for image in done.future.result(20)]


@pytest.mark.parametrize("network", [None, CAPTIONED | {"image": card().network.model_dump()}], ids=["labels", "captions"])
def test_an_image_is_the_same_bytes_whoever_is_drawn_beside_it(tmp_path: Path, network: dict[str, Any] | None) -> None:
    mine = loaded(model_at(tmp_path, **({"network": network} if network else {})))
    alone = Engine(512, linger=0)
    rows = [Row(seed, 3, seed % 2, "red" if network and seed % 3 else None, turns(seed)) for seed in range(24)]
    quiet = [bytes_of(alone.submit(Order(mine, STEPS_3, [row])))[0] for row in rows]
    assert len(set(quiet)) == len(rows)
    crowd = Engine(2048, linger=0.002)
    chance, orders = np.random.default_rng(0), []
    for _ in range(40):  # groups of any size, with two ways of drawing, all at once
        chosen = chance.choice(len(rows), chance.integers(1, 12), replace=False)
        orders.append((chosen, crowd.submit(Order(mine, STEPS_3, [rows[place] for place in chosen]))))
        crowd.submit(order(mine, int(chance.integers(1, 4)), int(chance.integers(100)), STEPS_4))
    for chosen, done in orders:
        assert bytes_of(done) == [quiet[place] for place in chosen]
    for engine in (alone, crowd):
        engine.close(20)


def turns(seed: int) -> tuple[Turn, ...]:
    return (Turn(seed=9, index=0, amount=0.3, turns=(Turn(seed=1, index=2, amount=0.5),)),) if seed % 4 == 0 else ()


def test_it_draws_what_the_library_draws(model: Loaded) -> None:
    engine = Engine(64)
    done = engine.submit(order(model, model.sizes[-1], seed=5)).future.result(20)
    labels = np.arange(model.sizes[-1]) % 2
    import torch

    noise = noise_for(5, range(len(labels)), model.card.image_size)
    assert (np.stack(done) == draw(model.denoiser, model.card, torch.from_numpy(labels), noise, STEPS_3)).all()
    engine.close(5)


def test_sizes_that_do_not_agree_are_not_used(model: Loaded) -> None:
    def by_size(noisy: Any, *_: Any) -> Any:
        return noisy * (1 if len(noisy) in (8, 2) else 1 + 1e-6)

    assert agreeing_sizes(by_size, model.card, model.device, 8) == (2, 8)  # type: ignore[arg-type]
    assert agreeing_sizes(by_size, model.card, model.device, 6) == (1, 4, 6)  # type: ignore[arg-type]
    odd = replace(model, sizes=(2, 8))
    seen: list[int] = []

    def counting(noisy: Any, *asked: Any) -> Any:
        seen.append(len(noisy))
        return model.denoiser(noisy, *asked)

    for rows, size in ((1, 2), (2, 2), (3, 8), (8, 8)):
        seen.clear()
        *_, last = replace(odd, denoiser=counting).forming(order(odd, rows).rows, STEPS_3)
        assert set(seen) == {size}
        assert len(last) == rows


def test_orders_of_several_clients_share_a_walk_and_others_do_not(model: Loaded) -> None:
    gate = Gate(model.denoiser)
    slow = replace(model, denoiser=gate)
    batches: list[int] = []
    engine = Engine(64, linger=0.05, seen=lambda images, _: batches.append(images))
    first = engine.submit(order(slow, 8))  # keeps the device busy
    until(lambda: gate.asked)
    small = [engine.submit(order(slow, 1, seed)) for seed in (1, 2, 3)]
    other = engine.submit(order(slow, 2, 4, STEPS_4))
    large = engine.submit(order(slow, 16, 5))
    assert engine.waiting == 21
    gate.open.set()
    wait([one.future for one in (first, *small, other, large)], 20)
    assert batches[:2] == [8, 8]  # three small ones and five of the large one
    assert sorted(batches[2:]) == [2, 3, 8]
    assert engine.waiting == 0
    engine.close(5)


def test_a_large_order_does_not_hold_up_a_small_one(model: Loaded) -> None:
    engine = Engine(512)
    large = engine.submit(order(model, 200))
    until(lambda: large.taken)
    small = engine.submit(order(model, 1, 7))
    small.future.result(20)
    assert not large.future.done()
    assert len(large.future.result(60)) == 200
    engine.close(5)


def test_a_full_queue_says_when_to_come_back(model: Loaded) -> None:
    gate = Gate(model.denoiser)
    engine = Engine(10)
    kept = engine.submit(order(replace(model, denoiser=gate), 8))
    until(lambda: gate.asked)
    waiting = engine.submit(order(model, 10))
    with pytest.raises(Busy, match="try again in") as busy:
        engine.submit(order(model, 1))
    assert 1 <= busy.value.seconds <= 60
    waiting.drop()
    engine.submit(order(model, 10))  # there is room again at once
    gate.open.set()
    assert len(kept.future.result(20)) == 8
    engine.close(5)


def test_an_order_that_is_given_up_stops_its_walk_and_no_other(model: Loaded) -> None:
    gate = Gate(model.denoiser)
    slow, long = replace(model, denoiser=gate), Drawing.model_validate(DRAWING | {"steps": 50})
    engine = Engine(64)
    gone = engine.submit(order(slow, 2, 0, long))
    until(lambda: gate.asked)
    gone.drop()
    gate.open.set()
    assert len(engine.submit(order(model, 2)).future.result(20)) == 2
    assert gate.asked < 10
    with pytest.raises(Dropped):
        gone.future.result()
    both = [engine.submit(order(slow, 1, seed, long)) for seed in (1, 2)]
    until(lambda: both[0].showing)
    both[0].drop()
    assert len(both[1].future.result(20)) == 1
    engine.close(5)


def test_a_fault_reaches_those_who_wait_and_the_engine_goes_on(model: Loaded) -> None:
    def broken(*_: Any) -> Any:
        raise ModelError("a broken model")

    engine = Engine(64)
    hit = engine.submit(order(replace(model, denoiser=broken), 3))
    with pytest.raises(ModelError, match="a broken model"):
        hit.future.result(20)
    assert len(engine.submit(order(model, 1)).future.result(20)) == 1
    engine.close(5)


def test_it_shows_images_as_they_form(model: Loaded) -> None:
    engine, watched = Engine(64), order(model, 3)
    shown: list[dict[int, int]] = []
    show = watched.show
    watched.show = lambda row, step, pixels: (show(row, step, pixels), shown.append({row: step}))[0]  # type: ignore[method-assign]
    engine.submit(watched).future.result(20)
    assert shown == [{row: step} for step in (1, 2, 3) for row in (0, 1, 2)]
    assert watched.progress == 1
    engine.close(5)


def test_closing_draws_what_is_queued_and_takes_no_more(model: Loaded) -> None:
    gate = Gate(model.denoiser)
    engine = Engine(64)
    kept = [engine.submit(order(replace(model, denoiser=gate), 4, seed)) for seed in range(5)]
    until(lambda: gate.asked)
    closing = threading.Thread(target=engine.close, args=(20,))
    closing.start()
    until(lambda: engine._closing)
    with pytest.raises(Busy):
        engine.submit(order(model, 1))
    gate.open.set()
    closing.join(20)
    assert all(len(one.future.result(0)) == 4 for one in kept)


def test_closing_drops_what_takes_too_long(model: Loaded) -> None:
    gate = Gate(model.denoiser)
    engine = Engine(64)
    kept = [engine.submit(order(replace(model, denoiser=gate), 8, seed)) for seed in range(3)]
    until(lambda: gate.asked)
    threading.Timer(0.3, gate.open.set).start()
    engine.close(0.1)
    for one in kept:
        with pytest.raises(Dropped):
            one.future.result(0)


def until(look: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)
