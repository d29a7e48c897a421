"""Drawing: guidance, evaluations counted, images that do not depend on each other and show themselves as they form."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from darkroom.events import Progressed
from darkroom.images import to_pixels
from darkroom.networks.denoiser import Condition, Denoiser
from darkroom.networks.saved import Drawing, ModelError, build, save_model
from darkroom.sampling import (
    Autoguided,
    Guided,
    Preset,
    draw,
    draw_forming,
    evaluations,
    generate,
    label_at,
    labels_for,
    noise_for,
    preset,
    turned,
)
from tests.darkroom.tiny import DRAWING, card, finished, stirred

BETAS = {"kind": "linear", "first": 1e-4, "last": 0.02}
NOISE = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(5))


def drawing(**changes: Any) -> Drawing:
    return Drawing.model_validate(DRAWING | changes)


def test_guidance_leads_away_from_the_untold_answer() -> None:
    asked: list[list[int]] = []

    def by_label(noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        asked.append(condition.label.tolist())
        return torch.where(condition.label[:, None, None, None] < 0, 1.0, 3.0).expand_as(noisy)

    told, sigma = Condition(torch.tensor([0, 1, 0, 1]), torch.zeros(4, 0)), torch.ones(4)
    assert (Guided(by_label, 1.0)(NOISE, sigma, told) == 3).all()
    assert asked == [[0, 1, 0, 1]]  # one evaluation, not two
    for scale, expected in ((0.0, 1.0), (0.5, 2.0), (2.0, 5.0)):
        assert (Guided(by_label, scale)(NOISE, sigma, told) == expected).all()
    levels = torch.tensor([0.5, 1.0, 2.0, 3.0])
    guided = Guided(by_label, 2.0, least=1.0, most=2.0)(NOISE, levels, told)
    assert guided[:, 0, 0, 0].tolist() == [3, 5, 5, 3]
    asked.clear()
    assert (Guided(by_label, 2.0, least=2.0, most=9.0)(NOISE, sigma, told) == 3).all()
    assert len(asked) == 1


def test_autoguidance_leads_away_from_the_weaker_model() -> None:
    told, sigma = Condition(torch.tensor([0, 1, 0, 1]), torch.zeros(4, 0)), torch.ones(4)

    def strong(noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return condition.label[:, None, None, None] + torch.zeros_like(noisy)

    def weak(noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return strong(noisy, sigma, condition) - 1

    plain = strong(NOISE, sigma, told)
    assert torch.equal(Autoguided(strong, weak, 1.0)(NOISE, sigma, told), plain)
    assert torch.equal(Autoguided(strong, weak, 2.5)(NOISE, sigma, told), plain + 1.5)
    assert torch.equal(Guided(Autoguided(strong, weak, 2.5), 2.0)(NOISE, sigma, told), 2 * plain + 1 + 1.5)


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"steps": 7}, 7),
        ({"steps": 7, "guidance": 2.0}, 14),
        ({"sampler": {"kind": "heun"}, "steps": 18}, 35),
        ({"sampler": {"kind": "heun"}, "steps": 2, "guidance": 1.5}, 6),
        ({"sampler": {"kind": "unipc", "order": 3}, "steps": 16}, 16),
        # Of the levels 80, 15.3, 1.7 and 0.02, two lie within.
        ({"steps": 4, "guidance": 2.0, "guided_levels": {"least": 1.0, "most": 16.0}}, 6),
        # A chain of 5 has no more than 5 levels to visit.
        ({"schedule": {"kind": "ddpm", "diffusion_steps": 5, "betas": BETAS, "zero_terminal_snr": False}, "steps": 50}, 5),
    ],
)
def test_evaluations_are_counted_as_they_are_made(changes: dict[str, Any], asked: int) -> None:
    assert evaluations(drawing(**changes)) == asked
    counted = 0

    class Counting(nn.Module):
        def forward(self, images: Tensor, level: Tensor, condition: Condition) -> Tensor:
            nonlocal counted
            counted += 1
            return torch.zeros_like(images)

    draw(Denoiser(Counting(), card().preconditioning), card(), torch.tensor([0]), noise_for(0, [0], 8), drawing(**changes))
    assert counted == asked


@pytest.mark.parametrize(("name", "fewest", "most"), [("draft", 8, 10), ("default", 15, 20), ("quality", 35, 35)])
def test_presets_cost_what_they_say(name: Preset, fewest: int, most: int) -> None:
    quick = preset(name, drawing(guidance=1.0))
    assert fewest <= evaluations(quick) <= most
    assert (quick.schedule, quick.guidance) == (drawing().schedule, 1.0)


@pytest.mark.parametrize("sampler", [{"kind": "unipc", "order": 2}, {"kind": "ddpm", "variance": "small"}])
def test_an_image_is_shown_as_it_forms(sampler: dict[str, Any]) -> None:
    about = card(drawing=DRAWING | {"sampler": sampler, "steps": 5, "guidance": 1.5})
    model, labels, noise = stirred(build(about)), torch.tensor([0, 1, 1]), noise_for(9, range(3), 8)
    shown = list(draw_forming(model, about, labels, noise, about.drawing))
    assert len(shown) == 5
    assert all((one != other).any() for one, other in pairwise(shown))
    assert (shown[-1] == draw(model, about, labels, noise, about.drawing)).all()
    first = Guided(model, 1.5)(80 * noise, torch.full((3,), 80.0), Condition(labels, torch.zeros(3, 0)))
    assert np.abs(shown[0] - to_pixels(first.detach().permute(0, 2, 3, 1).numpy()).astype(int)).max() <= 1
    assert not torch.is_inference_mode_enabled()
    next(draw_forming(model, about, labels, noise, about.drawing))
    assert not torch.is_inference_mode_enabled()  # nor while it waits half way


@pytest.mark.parametrize("sampler", [{"kind": "euler"}, {"kind": "dpmpp", "order": 3}, {"kind": "ddim", "eta": 1.0}])
def test_an_image_does_not_depend_on_who_is_drawn_beside_it(sampler: dict[str, Any]) -> None:
    about = card(drawing=DRAWING | {"sampler": sampler, "steps": 6, "guidance": 1.5})
    model, labels = stirred(build(about)), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    whole = draw(model, about, labels, noise_for(9, range(7), 8), about.drawing)
    assert len(np.unique(whole)) > 50
    for row in range(7):
        alone = draw(model, about, labels[row : row + 1], noise_for(9, [row], 8), about.drawing)
        # Not bit for bit: the product of one row and of seven are summed in another order. One level of 255 at most.
        assert np.abs(alone[0].astype(int) - whole[row]).max() <= 1


def test_ancestral_noise_is_unit_noise_of_each_image_and_step() -> None:
    """A model that says nothing leaves the noise that the walk adds: at 1, after 4 and 2, its variance is known."""
    added: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, images: Tensor, level: Tensor, condition: Condition) -> Tensor:
            added.append(images.double())
            return torch.zeros_like(images)

    chain = drawing(sampler={"kind": "ddim", "eta": 1.0}, schedule={"kind": "exponential", "least": 1.0, "most": 4.0}, steps=3)
    about = card(preconditioning={"kind": "noise"}, image_size=16)
    noise = noise_for(4, range(40), 16)
    watching = Denoiser(Watching(), about.preconditioning)
    draw(watching, about, torch.zeros(40, dtype=torch.long), noise, chain)
    noisy = [images * (1 + sigma**2) ** 0.5 for images, sigma in zip(added, (4.0, 2.0, 1.0), strict=True)]
    # The noise preconditioning of a silent network answers the noisy image itself, and the walk adds to it.
    fresh = [(after - before) / width for before, after, width in zip(noisy, noisy[1:], (3**0.5, 0.75**0.5), strict=False)]
    for one in fresh:
        assert one.mean().item() == pytest.approx(0, abs=0.02)
        assert one.std().item() == pytest.approx(1, abs=0.02)
    everything = torch.stack([noise.double(), *fresh]).flatten(1)
    torch.testing.assert_close(torch.corrcoef(everything), torch.eye(3).double(), atol=0.02, rtol=0)
    assert len({tuple(row.flatten().tolist()) for row in fresh[0]}) == 40


def test_noise_belongs_to_the_image_and_the_seed() -> None:
    noise = noise_for(1, range(6), 8)
    assert torch.equal(noise_for(1, [4, 2], 8), noise[[4, 2]])
    assert not torch.equal(noise_for(2, range(6), 8), noise)
    many = noise_for(3, range(300), 16)
    assert many.mean().item() == pytest.approx(0, abs=0.01)
    assert many.std().item() == pytest.approx(1, abs=0.01)


def test_noise_turns_along_the_sphere() -> None:
    noise, other = noise_for(1, range(3), 16), noise_for(2, range(3), 16)
    assert torch.equal(turned(noise, other, 0), noise)
    assert torch.equal(turned(noise, other, 1), other)
    before = turned(noise, other, 0.4)
    for near in (noise, before):  # independent of `other`, and on the way to it already
        middle = turned(near, other, 0.5)
        ends = torch.stack([end.flatten(1).norm(dim=1) for end in (near, other)])
        length = middle.flatten(1).norm(dim=1)
        assert ((length > 0.98 * ends.amin(0)) & (length < 1.02 * ends.amax(0))).all()  # no fainter than they are
        to_both = [torch.cosine_similarity(middle.flatten(1), end.flatten(1)) for end in (near, other)]
        torch.testing.assert_close(to_both[0], to_both[1], atol=0.06, rtol=0)  # half way, but for their lengths
    assert torch.equal(turned(noise[1:2], other[1:2], 0.3), turned(noise, other, 0.3)[1:2])
    torch.testing.assert_close(turned(noise, noise, 0.5), noise)


def test_a_label_of_one_image_is_as_common_as_in_training() -> None:
    labels = [label_at(card(label_counts=(3, 1)), 5, index) for index in range(400)]
    assert labels.count(0) == pytest.approx(300, abs=35)
    assert labels != [label_at(card(label_counts=(3, 1)), 6, index) for index in range(400)]
    assert {label_at(card(label_counts=(0, 5)), 1, index) for index in range(50)} == {1}


@pytest.mark.parametrize(
    ("counts", "count", "expected"), [((3, 1), 8, {0: 6, 1: 2}), ((1, 1), 2, {0: 1, 1: 1}), ((0, 5), 4, {1: 4})]
)
def test_labels_come_in_the_proportions_trained_on(counts: tuple[int, int], count: int, expected: dict[int, int]) -> None:
    about = card(label_counts=counts)
    labels = labels_for(about, 0, count)
    assert Counter(labels) == expected
    assert labels_for(about, 0, count) == labels


def test_labels_are_shuffled() -> None:
    labels = labels_for(card(), 0, 40)
    assert labels != sorted(labels)
    assert labels != labels_for(card(), 1, 40)


def test_a_ruined_model_is_said_to_be_one_and_named(tmp_path: Path) -> None:
    model = build(card())
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        draw(model, card(), torch.tensor([0]), noise_for(0, [0], 8), card().drawing)
    (tmp_path / "ruin").mkdir()
    save_model(tmp_path / "ruin", model.state_dict(), card())
    with pytest.raises(ModelError, match=r"ruin: the model draws values that are not finite"):
        finished(generate(tmp_path / "ruin", None, 2, seed=1, drawing=card().drawing, batch=2))


def test_generate_draws_from_a_folder_in_batches(tmp_path: Path) -> None:
    save_model(tmp_path, stirred(build(card())).state_dict(), card())
    drawing = card().drawing.model_copy(update={"guidance": 1.5})
    events, whole = finished(generate(tmp_path, None, 5, seed=1, drawing=drawing, batch=5))
    assert events == [Progressed(f"drawing from {tmp_path.name}", 5, 5)]
    assert whole.shape == (5, 8, 8, 3)
    assert whole.dtype == np.uint8
    events, pieces = finished(generate(tmp_path, None, 5, seed=1, drawing=drawing, batch=2))
    assert [event.done for event in events if isinstance(event, Progressed)] == [2, 4, 5]
    assert np.abs(pieces.astype(int) - whole).max() <= 1
    _, other = finished(generate(tmp_path, [1] * 5, 5, seed=1, drawing=drawing, batch=5))
    changed = (other != whole).any((1, 2, 3))
    assert changed.tolist() == [label != 1 for label in labels_for(card(), 1, 5)]
