"""Narrow precisions and compiled networks: near to plain fp32, without a step lost, chosen by measuring."""

import copy
import shutil
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from darkroom.events import Event, Noted
from darkroom.training import speed
from darkroom.training.beginning import begin
from darkroom.training.memory import Manner
from darkroom.training.speed import compiled, fastest, is_safe, offered
from tests.darkroom.tiny import base_section, finished, stopped_after
from tests.darkroom.training.rig import CPU, course, differing, fresh_model


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_narrow_precisions_train_as_fp32_does(tmp_path: Path, precision: str) -> None:
    _, wide = finished(course(tmp_path / "a"))
    _, narrow = finished(course(tmp_path / "b", precision=precision))
    assert narrow.manner.precision == precision
    assert [one.loss for one in narrow.history] == pytest.approx([one.loss for one in wide.history], rel=0.01)
    assert all(value.dtype == torch.float32 for value in narrow.model.parameters())
    stopped_after(course(tmp_path / "c", precision=precision), 6)
    _, resumed = finished(course(tmp_path / "c", precision=precision))
    assert differing(narrow, resumed) == []
    assert resumed.manner == narrow.manner


def test_an_overflow_in_fp16_halves_the_scale_and_loses_no_step(tmp_path: Path) -> None:
    model = fresh_model()
    model.network.leave.weight.register_hook(lambda slope: slope + (torch.inf if slope.abs().max() > 10 else 0))  # type: ignore[union-attr]
    _, state = finished(course(tmp_path, model=model, precision="fp16"))
    assert 1 < state.manner.scale < 65536
    assert all(value["step"] == 8 for value in state.optimiser.state.values())


def test_the_scale_grows_again() -> None:
    manner = Manner(precision="fp16", scale=8.0, clean=1998)
    assert (manner.after().scale, manner.after().after().scale, manner.after().after().clean) == (8.0, 16.0, 0)
    assert Manner().after() == Manner()


def test_the_fastest_is_taken_where_it_is_worth_it() -> None:
    assert fastest(["fp32", "bf16"], lambda manner: {"fp32": 100.0, "bf16": 180.0}[manner.precision])[0] == "bf16"
    assert fastest(["fp32", "bf16"], lambda manner: {"fp32": 100.0, "bf16": 105.0}[manner.precision])[0] == "fp32"
    assert fastest(["fp32"], lambda manner: 1.0)[0] == "fp32"
    assert "fp32" in offered(torch.device("cpu"))


def test_auto_is_decided_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from darkroom.training import speed

    monkeypatch.setattr(speed, "offered", lambda device: ["fp32", "bf16"])
    monkeypatch.setattr(speed, "images_per_second", lambda *given, manner: {"fp32": 1.0, "bf16": 2.0}[manner.precision])
    events, straight = finished(course(tmp_path / "a", precision="auto"))
    assert getattr(events[0], "text", "") == "precision bf16 (fp32: 1 images/s, bf16: 2 images/s)"
    stopped_after(course(tmp_path / "b", precision="auto"), 8)
    monkeypatch.setattr(speed, "images_per_second", lambda *given, manner: {"fp32": 2.0, "bf16": 1.0}[manner.precision])
    _, resumed = finished(course(tmp_path / "b", precision="auto"))
    assert differing(straight, resumed) == []


def test_a_precision_that_gives_another_loss_is_not_safe(tmp_path: Path) -> None:
    from darkroom.training.rehearsal import rehearsed
    from tests.darkroom.tiny import base_section
    from tests.darkroom.training.test_planning import NOTHING

    model, materials = rehearsed(base_section(), NOTHING, 8)
    assert is_safe(model, base_section(), materials, Manner(precision="bf16"))

    def too_much(module: torch.nn.Module, inputs: object, answer: torch.Tensor) -> torch.Tensor:
        return answer * (1000 if torch.is_autocast_enabled("cpu") else 1)

    def slopes_too_steep(module: torch.nn.Module, inputs: object, answer: torch.Tensor) -> None:
        if torch.is_autocast_enabled("cpu"):
            answer.register_hook(lambda slope: 1000 * slope)

    # A network that begins answers 0, of which a thousand times is 0 too, and nothing behind its last layer has a slope.
    for part, spoil in (("leave", too_much), ("patch_in", slopes_too_steep)):
        spoilt = copy.deepcopy(model)
        spoilt.network.get_submodule(part).register_forward_hook(spoil)
        assert not is_safe(spoilt, base_section(), materials, Manner(precision="bf16"))
    with torch.no_grad():
        model.network.leave.bias.fill_(1e6)  # type: ignore[union-attr]
    assert not is_safe(model, base_section(), materials, Manner(precision="fp16", scale=65536.0))


@pytest.mark.long  # a minute
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler here")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch of torch, as it compiles
def test_a_compiled_network_trains_as_the_plain_one_does_and_goes_on(tmp_path: Path) -> None:
    _, plain = finished(course(tmp_path / "a"))
    events, fused = finished(course(tmp_path / "b", compile=True))
    assert any("\ncompiled (compiled: " in f"\n{getattr(one, 'text', '')}" for one in events)
    assert fused.manner.compiled == 8 and fused.model.network._compiled_call_impl is not None
    assert [one.loss for one in fused.history] == pytest.approx([one.loss for one in plain.history], rel=1e-3)
    assert fused.averaged.state_dict().keys() == plain.averaged.state_dict().keys()
    stopped_after(course(tmp_path / "c", compile=True), 6)
    _, resumed = finished(course(tmp_path / "c", compile=True))
    assert differing(fused, resumed) == []


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch of torch, as it compiles
def test_what_cannot_be_compiled_is_computed_as_it_is_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._dynamo

    _, plain = finished(course(tmp_path / "a"))
    torch._dynamo.reset()
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    events, state = finished(course(tmp_path / "b", compile=True))
    torch._dynamo.reset()
    said = [getattr(one, "text", "") for one in events]
    assert sum("torch.compile fails here" in one for one in said) == 1
    assert not any(one.startswith("compiled") for one in said)
    assert state.manner.compiled == 0 and differing(plain, state) == []


def test_compiling_is_left_alone_in_short_courses_and_where_it_brings_little(monkeypatch: pytest.MonkeyPatch) -> None:
    from darkroom.training import speed
    from darkroom.training.rehearsal import rehearsed
    from tests.darkroom.tiny import base_section
    from tests.darkroom.training.test_planning import NOTHING

    model, materials = rehearsed(base_section(), NOTHING, 8)

    def chosen(images: int, gain: float, safe: bool = True) -> tuple[str, int]:
        """What is said last, and the images in a batch that kernels are taken for."""
        monkeypatch.setattr(speed, "can_compile", lambda *given: iter(()) if gain == 0 else returning(True))
        monkeypatch.setattr(speed, "is_safe", lambda *given: safe)
        told: list[str] = []
        acts = compiled(
            Manner(),
            base_section(compile="auto", images=images),
            materials,
            model,
            lambda one: 10 * (gain if one.compiled else 1),
        )
        while True:
            try:
                told.append(next(acts).text)  # type: ignore[attr-defined]
            except StopIteration as stop:
                return told[-1], stop.value.compiled

    assert chosen(60, 2) == ("torch.compile is not tried: some 0 minutes of training would hardly repay it", 0)
    assert chosen(60_000, 1.05) == ("not compiled (compiled: 10 images/s, as it is: 10)", 0)
    assert chosen(60_000, 1.5) == ("compiled (compiled: 15 images/s, as it is: 10)", 8)
    assert chosen(60_000, 1.5, safe=False) == ("not compiled (compiled: 15 images/s, as it is: 10)", 0)
    assert chosen(60_000, 0) == ("torch.compile makes kernels for this network: a minute or two", 0)


def returning(value: bool) -> Generator[Event, None, bool]:
    yield from ()
    return value


def test_a_course_that_goes_on_elsewhere_is_not_imitated_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured on another device; what was asked for stays."""
    monkeypatch.setattr(speed, "offered", lambda device: ["fp32"])
    state = begin(fresh_model(), base_section())
    for asked, taken in (("bf16", "bf16"), ("auto", "fp32")):
        state.manner = speed.in_precision("bf16")
        events, _ = finished(speed.still_native(state, base_section(precision=asked), CPU))
        assert state.manner.precision == taken
        assert [event.text for event in events if isinstance(event, Noted)] == (
            ["precision fp32 from here on: cpu does not compute in bf16 by itself"] if asked == "auto" else []
        )


def test_batches_for_a_gpu_are_made_in_memory_that_it_reads_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from darkroom.training.batch import Batch
    from darkroom.training.batches import Batches
    from darkroom.training.rehearsal import rehearsed
    from tests.darkroom.training.test_planning import NOTHING

    section, pinned = base_section(data_workers=0), list[int]()
    _, materials = rehearsed(section, NOTHING, 8)

    def pin(batch: Batch) -> Batch:
        pinned.append(len(batch))
        return batch

    monkeypatch.setattr(Batch, "pinned", pin)
    monkeypatch.setattr(Batch, "on", lambda batch, device: batch)
    for kind, often in (("cpu", 0), ("cuda", 2)):
        batches = Batches(section, materials, torch.device(kind))
        batches.at(0, 8)
        batches.close()  # the one after it is made by then
        assert len(pinned) == often


@pytest.mark.parametrize(("kind", "makers", "made"), [("cpu", {"MainThread"}, 1), ("cuda", {"next batch_0"}, 2)])
def test_a_thread_makes_batches_ahead_but_not_beside_a_processor_that_trains(
    kind: str, makers: set[str], made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from darkroom.training.batch import Batch
    from darkroom.training.batches import Batches, Maker, Place
    from darkroom.training.rehearsal import rehearsed
    from tests.darkroom.training.test_planning import NOTHING

    section, seen = base_section(data_workers=0), list[str]()
    _, materials = rehearsed(section, NOTHING, 8)
    make = Maker.__getitem__

    def told(maker: Maker, at: Place) -> Batch:
        seen.append(threading.current_thread().name)
        return make(maker, at)

    monkeypatch.setattr(Maker, "__getitem__", told)
    monkeypatch.setattr(Batch, "pinned", lambda batch: batch)
    monkeypatch.setattr(Batch, "on", lambda batch, device: batch)
    batches = Batches(section, materials, torch.device(kind))
    batches.at(0, 8)
    batches.close()
    assert (set(seen), len(seen)) == (makers, made)
