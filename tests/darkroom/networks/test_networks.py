"""What every network must do, whatever its kind: shapes, what it is told, its start, its cost, and memory spared."""

from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from darkroom.networks.captioned import Captioned, tokens_of
from darkroom.networks.conditioning import Conditioned
from darkroom.networks.denoiser import Condition, Denoiser
from darkroom.networks.saved import Network, build
from darkroom.networks.sizes import SIZES, cost_of
from darkroom.networks.unet import UnetSettings
from tests.darkroom.tiny import NETWORK, card, stirred
from tests.darkroom.tiny_encoder import write_encoder

SIGMA = torch.tensor([0.1, 1.0, 10.0])
UNET = {"kind": "unet", "width": 32, "widening": (1, 2), "depth": 1, "attention": 4}
CAPTIONED = {"kind": "captioned", "length": 8, "width": 32, "depth": 1, "image": UNET}
KINDS: dict[str, dict[str, Any]] = {
    "transformer": NETWORK | {"depth": 4},
    "unet": UNET,
    "unet without attention": UNET | {"attention": 0, "widening": (1,)},
    "captioned": CAPTIONED,
    "captioned transformer": CAPTIONED | {"image": NETWORK},
    "captioned pretrained": CAPTIONED | {"kind": "captioned_pretrained", "encoder": "tiny"},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True, scope="module")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tiny")
    write_encoder(folder)
    KINDS["captioned pretrained"]["encoder"] = str(folder)


def condition(label: int, augmentation: float = 0.0) -> Condition:
    return Condition(torch.full((3,), label), torch.full((3, 2), augmentation))


def settings(kind: str) -> Any:
    return TypeAdapter(Network).validate_python(KINDS[kind])


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    made = settings(kind).build(8, 2, 2)
    if isinstance(made, Captioned):
        made.name_labels(("dark", "light"))
    return made


@pytest.fixture
def noisy() -> Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(4))


def test_every_network_is_tested_here() -> None:
    assert {type(settings(kind)) for kind in KINDS} == set(get_args(get_args(Network)[0]))


@every_kind
def test_the_answer_has_the_shape_of_the_image(kind: str, noisy: Tensor) -> None:
    answer = stirred(network(kind))(noisy, SIGMA.log(), condition(0))
    assert answer.shape == noisy.shape
    assert answer.isfinite().all()
    assert answer.std() > 0


@every_kind
def test_it_starts_by_answering_nothing(kind: str, noisy: Tensor) -> None:
    made = network(kind)
    assert not made(noisy, SIGMA.log(), condition(1)).any()
    model = Denoiser(made, card().preconditioning)
    keep = model.preconditioning.scales(SIGMA)[0]
    torch.testing.assert_close(model(noisy, SIGMA, condition(1)), keep[:, None, None, None] * noisy)


@every_kind
def test_each_label_and_none_are_told_apart(kind: str, noisy: Tensor) -> None:
    made = stirred(network(kind))
    answers = {label: made(noisy, SIGMA.log(), condition(label)) for label in (-1, 0, 1)}
    assert not torch.allclose(answers[-1], answers[0])
    assert not torch.allclose(answers[0], answers[1])


@pytest.mark.parametrize("kind", ["transformer", "unet"])
def test_minus_one_is_a_label_of_its_own(kind: str, noisy: Tensor) -> None:
    made = stirred(network(kind))
    answers = {label: made(noisy, SIGMA.log(), condition(label)) for label in (-1, 0)}
    with torch.no_grad():
        made.label.weight[:2] += 1  # type: ignore[union-attr, index, operator]
    assert torch.equal(made(noisy, SIGMA.log(), condition(-1)), answers[-1])
    assert not torch.allclose(made(noisy, SIGMA.log(), condition(0)), answers[0])


@every_kind
def test_level_and_augmentation_are_told_and_an_untouched_image_needs_no_label(kind: str, noisy: Tensor) -> None:
    made = stirred(network(kind))
    plain = made(noisy, SIGMA.log(), condition(0))
    assert not torch.allclose(made(noisy, SIGMA.log() + 0.1, condition(0)), plain)
    assert not torch.allclose(made(noisy, SIGMA.log(), condition(0, 1.0)), plain)
    with torch.no_grad():
        (made.image if isinstance(made, Captioned) else made).augmentation.weight += 1  # type: ignore[union-attr, operator]
    assert torch.equal(made(noisy, SIGMA.log(), condition(0)), plain)


@every_kind
def test_every_weight_learns(kind: str, noisy: Tensor) -> None:
    made = stirred(network(kind))
    asked = Condition(torch.tensor([-1, 0, 1]), torch.ones(3, 2))
    made(noisy, SIGMA.log(), asked).square().sum().backward()  # type: ignore[no-untyped-call]
    silent = {name for name, weight in made.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert silent == set()


def kept_while_answering(made: nn.Module, noisy: Tensor, asked: Condition) -> tuple[Tensor, int]:
    """The answer, and the bytes that were kept for its gradient."""
    sizes: list[int] = []

    def keep(value: Tensor) -> Tensor:
        sizes.append(value.nbytes)
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        return made(noisy, SIGMA.log(), asked), sum(sizes)


@every_kind
def test_activations_computed_again_give_the_same_gradient(kind: str, noisy: Tensor) -> None:
    made, asked = stirred(network(kind)), condition(1)
    inside = next(module for module in made.modules() if isinstance(module, Conditioned))
    gradients, kept = [], []
    for recompute in (False, True):
        inside.recompute = recompute
        made.zero_grad()
        answer, size = kept_while_answering(made, noisy, asked)
        answer.square().sum().backward()
        gradients.append([weight.grad.clone() for weight in made.parameters()])
        kept.append(size)
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert kept[1] < 0.7 * kept[0]


@every_kind
def test_an_image_does_not_depend_on_who_is_beside_it_nor_on_how_it_lies_in_memory(kind: str, noisy: Tensor) -> None:
    made = stirred(network(kind))
    whole = made(noisy, SIGMA.log(), condition(1))
    alone = made(noisy[:1], SIGMA[:1].log(), Condition(torch.tensor([1]), torch.zeros(1, 2)))
    torch.testing.assert_close(alone, whole[:1], rtol=1e-4, atol=1e-5)
    by_channel = made.to(memory_format=torch.channels_last)(
        noisy.to(memory_format=torch.channels_last), SIGMA.log(), condition(1)
    )
    torch.testing.assert_close(by_channel, whole, rtol=1e-4, atol=1e-5)


def test_a_side_that_cannot_be_halved_so_often_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"has 3 levels, and curate\.image_size \(10\) can be halved 1 times: give 2 levels at most"
    ):
        UnetSettings.model_validate(UNET | {"widening": (1, 2, 2)}).build(10, 1, 0)


# Captions.


def test_captions_are_bytes_cut_to_length_and_nothing_after_their_end() -> None:
    assert tokens_of(["ab", "", "caf\u00e9"], 4).tolist() == [[98, 99, 0, 0], [0, 0, 0, 0], [100, 98, 103, 196]]


def test_a_caption_and_a_label_of_that_name_are_the_same(noisy: Tensor) -> None:
    made = build(card(network=CAPTIONED))
    torch.manual_seed(1)
    stirred(made)
    told = Condition(torch.tensor([0, 1, -1]), torch.zeros(3, 0))
    written = Condition(torch.tensor([-1, -1, -1]), torch.zeros(3, 0), tokens_of(["dark", "light", ""], 8))
    torch.testing.assert_close(made(noisy, SIGMA, told), made(noisy, SIGMA, written))
    torch.testing.assert_close(made(noisy, SIGMA, written.without_label()), made(noisy, SIGMA, told.without_label()))
    assert not torch.allclose(made(noisy, SIGMA, written.without_label()), made(noisy, SIGMA, written))


def test_what_is_read_does_not_depend_on_the_room_left() -> None:
    """Positions after the end of a caption are not looked at."""
    reader = network("captioned")
    assert isinstance(reader, Captioned)
    stirred(reader)
    before = reader.read(tokens_of(["red", "red cat", "cat red"], 8))
    with torch.no_grad():
        reader.position[8] += 5  # the eighth byte's
    torch.testing.assert_close(reader.read(tokens_of(["red", "red cat", "cat red"], 8)), before)
    assert not torch.allclose(before[1], before[2])  # order is read


# Cost.


@every_kind
def test_the_cost_is_that_of_the_network_itself(kind: str, noisy: Tensor) -> None:
    cost, made = cost_of(settings(kind), 8, labels=2, augmentations=2), network(kind)
    assert cost.parameters == sum(weight.numel() for weight in made.parameters())
    kept: dict[int, Tensor] = {}
    weights = {weight.data_ptr() for weight in made.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(lambda value: kept.setdefault(value.data_ptr(), value), lambda value: value):
        answer = made(noisy, SIGMA.log(), condition(1))
    measured = sum(value.untyped_storage().nbytes() for place, value in kept.items() if place not in weights) / len(noisy)
    assert answer.shape == noisy.shape
    assert 0.6 < cost.activations / measured < 1.7  # attention keeps other things on other devices


def test_operations_are_counted_as_on_paper() -> None:
    """A U-Net of one level without attention is convolutions and a few linear layers."""
    width, side = 32, 8
    cost = cost_of(UnetSettings.model_validate(KINDS["unet without attention"]), side)
    through = 9 * (3 * width + width * width * 4 + 2 * width * width + width * width + 2 * width * 3) + 2 * width * width
    told = 4 * width
    linear = 2 * told * told + 3 * told * 2 * width
    assert cost.flops == 2 * (through * side * side + linear)


def test_sizes_are_known_though_a_library_replaced_linspace_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """As transformers does while it loads a model: torch then remembers the replacement among what heeds the default device."""
    from torch.utils._device import _device_constructors

    _device_constructors.cache_clear()
    with monkeypatch.context() as replaced, torch.device("meta"):
        replaced.setattr(torch, "linspace", lambda *args, **kwargs: None)
        torch.zeros(1)
    try:
        assert cost_of(UnetSettings.model_validate(UNET), 8).parameters > 0
    finally:
        _device_constructors.cache_clear()


def test_each_size_costs_more_than_the_one_before() -> None:
    for kind, sizes in SIZES.items():
        assert list(sizes) == ["XS", "S", "M", "L"]
        with torch.device("meta"):
            weights = [sum(weight.numel() for weight in size.build(32, 1, 0).parameters()) for size in sizes.values()]
        assert all(3 < big / small < 8 for small, big in pairwise(weights)), kind
    small, next_up = (cost_of(SIZES["unet"][name], 32) for name in ("XS", "S"))
    assert 3 < next_up.flops / small.flops < 6
    assert small.training_bytes(32) - small.training_bytes(31) == small.activations


@pytest.mark.parametrize(("size", "patch", "levels"), [(64, 8, 4), (512, 16, 7)])
def test_larger_images_are_within_reach(size: int, patch: int, levels: int) -> None:
    transformer, unet = SIZES["transformer"]["XS"], SIZES["unet"]["XS"]
    assert cost_of(transformer.model_copy(update={"patch": patch}), size).flops < 60e9
    assert cost_of(unet.model_copy(update={"widening": (1, *[2] * (levels - 1))}), size).flops < 100e9
