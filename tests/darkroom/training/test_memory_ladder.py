"""Memory that runs out: smaller pieces, then less kept, then a message; and the same training all along."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from darkroom.device_memory import out_of_memory
from darkroom.events import Noted
from darkroom.networks.denoiser import Condition, Denoiser
from darkroom.networks.saved import build
from darkroom.training.course import TrainingStopped
from darkroom.training.memory import Manner
from tests.darkroom.tiny import MIRROR, card, finished, stirred, stopped_after
from tests.darkroom.training.rig import course, differing, fresh_model, weights_of

CPU_ERROR = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


def short_of_memory(model: Denoiser, suffices: Callable[[int, bool], bool]) -> Denoiser:
    """The model on a machine whose memory suffices for gradients of so many images, with recomputing or without."""

    def allocate(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        recompute = any(getattr(one, "recompute", False) for one in module.modules())
        if torch.is_grad_enabled() and not suffices(len(inputs[0]), recompute):
            raise RuntimeError(CPU_ERROR)

    model.network.register_forward_pre_hook(allocate)
    return model


def test_pieces_and_recomputing_give_the_same_training(tmp_path: Path) -> None:
    changes = {"images": 96, "weighting": {"kind": "learned"}, "transforms": [MIRROR]}
    _, plain = finished(course(tmp_path / "plain", **changes))
    model = short_of_memory(fresh_model(1), lambda images, recompute: recompute and images <= 2)
    events, spared = finished(course(tmp_path / "spared", model=model, **changes))
    said = [event.text for event in events if isinstance(event, Noted)]
    assert [text.partition(";")[0] for text in said] == [
        "out of memory: from here on each batch in 2 pieces",
        "out of memory: from here on each batch in 4 pieces",
        "out of memory: from here on each batch in 8 pieces",
        "out of memory: from here on each batch in 8 pieces, computing inner values again in place of keeping them",
    ]
    assert [point.loss for point in spared.history] == pytest.approx([point.loss for point in plain.history], rel=2e-5)
    before, after = weights_of(plain), weights_of(spared)
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=1e-2, atol=2e-4, msg=name)


def test_no_step_is_lost_where_it_runs_out_in_the_middle(tmp_path: Path) -> None:
    """From the fourth batch on another program holds half of the memory."""
    calls = iter(range(10**6))
    model = short_of_memory(fresh_model(), lambda images, recompute: images <= 4 or next(calls) < 3)
    _, plain = finished(course(tmp_path / "plain"))
    events, spared = finished(course(tmp_path / "spared", model=model))
    assert sum(isinstance(event, Noted) for event in events) == 1
    assert spared.manner.pieces == 2
    assert [point.images_seen for point in spared.history] == [point.images_seen for point in plain.history]
    assert [point.loss for point in spared.history] == pytest.approx([point.loss for point in plain.history], rel=2e-5)


def test_what_memory_took_is_remembered_and_the_course_resumes_bit_for_bit(tmp_path: Path) -> None:
    def model() -> Denoiser:
        return short_of_memory(fresh_model(), lambda images, recompute: images <= 2)

    _, straight = finished(course(tmp_path / "straight", model=model()))
    stopped_after(course(tmp_path / "stopped", model=model()), 6)
    events, resumed = finished(course(tmp_path / "stopped", model=model()))
    assert not any("out of memory" in event.text for event in events if isinstance(event, Noted))
    assert (resumed.manner.pieces, resumed.manner.recompute) == (4, False)
    assert differing(straight, resumed) == []


def test_at_the_end_of_the_ladder_there_is_one_message(tmp_path: Path) -> None:
    model = short_of_memory(fresh_model(), lambda images, recompute: False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(TrainingStopped, match=r"memory does not suffice for one image at a time \(.*alloc.*\); take a smaller"):
        finished(course(tmp_path, model=model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_rungs_for_an_odd_batch() -> None:
    rungs, manner = [], Manner().thriftier(5)
    while manner is not None:
        rungs.append((manner.pieces, manner.recompute))
        manner = manner.thriftier(5)
    assert rungs == [(2, False), (4, False), (5, False), (5, True)]


def test_other_errors_are_not_taken_for_it(tmp_path: Path) -> None:
    model = fresh_model()

    def fail(module: torch.nn.Module, inputs: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    model.network.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        finished(course(tmp_path, model=model))


def test_measuring_and_drawing_go_on_in_pieces(tmp_path: Path) -> None:
    _, plain = finished(course(tmp_path / "a"))
    model, asked = fresh_model(), list[int]()

    def allocate(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        asked.append(len(inputs[0]))
        if len(inputs[0]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    model.network.register_forward_pre_hook(allocate)
    _, state = finished(course(tmp_path / "b", model=model))
    assert state.images_seen == plain.images_seen and max(asked) > 3
    before, after = ([one.held_out for one in each.history if one.held_out is not None] for each in (plain, state))
    assert after and after == pytest.approx(before, rel=1e-4)


def test_what_memory_has_room_for_is_remembered_and_one_image_too_large_is_an_error() -> None:
    model, asked, room = stirred(build(card())), list[int](), [3]

    def allocate(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        asked.append(len(inputs[0]))
        if len(inputs[0]) > room[0]:
            raise RuntimeError(CPU_ERROR)

    told = torch.randn(10, 3, 8, 8), torch.ones(10), Condition(torch.arange(10) % 2, torch.zeros(10, 0))
    with torch.no_grad():
        whole = model(*told)
        model.network.register_forward_pre_hook(allocate)
        torch.testing.assert_close(model(*told), whole)
        assert asked == [10, 5, 3, 2, 3, 2]
        asked.clear()
        model(*told)
        assert asked == [3, 3, 3, 1]
        room[0] = 0
        with pytest.raises(RuntimeError, match="can't allocate memory"):
            model(*told)


def test_the_allocators_own_words_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60)
    assert out_of_memory(error.value)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert out_of_memory(MemoryError())
    assert out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert not out_of_memory(RuntimeError("no kernel image is available"))
    no_room = RuntimeError("GET was unable to find an engine to execute this computation")
    assert not out_of_memory(no_room)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert out_of_memory(no_room)
