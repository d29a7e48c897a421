"""What training costs, as a share of what the processor can do."""

from contextlib import closing

import torch
from pydantic import TypeAdapter
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.turns import SETTINGS, in_turns, seconds
from darkroom.augmentation import AugmentSection
from darkroom.training.batch import Batch
from darkroom.training.batches import Batches
from darkroom.training.beginning import begin
from darkroom.training.loss import denoising_loss
from darkroom.training.planning import kept_bytes
from darkroom.training.rehearsal import rehearsed
from darkroom.training.train_base import TrainBaseSection

STEPS = 150  # fed and not fed in turns: what is looked for is smaller than how much ten steps differ from the next ten


def run() -> None:
    """Print every figure of this room."""
    torch.manual_seed(0)
    step_rate()
    feeding()
    memory()


def memory() -> None:
    """What a batch of the default keeps for its gradient, with inner values computed again and without; what averages take."""
    section = TypeAdapter(TrainBaseSection).validate_python(SETTINGS["train_base"])
    recipe = TypeAdapter(AugmentSection).validate_python(SETTINGS["augment"])
    model, materials = rehearsed(section, recipe, SETTINGS["curate"]["image_size"])
    state = begin(model, section)
    with closing(Batches(section, materials, torch.device("cpu"))) as batches:
        batch = batches.at(0, section.batch_size)
    kept, spared = kept_bytes(state, batch, recompute=False), kept_bytes(state, batch, recompute=True)
    weights = sum(value.nbytes for value in model.parameters())
    print(
        f"memory: {kept / 2**20:.0f} MiB kept for the gradient of a batch, {spared / kept:.2f} of it when blocks compute again; "
        f"the average of the weights takes {weights / 2**20:.1f} MiB, the two of power functions twice that"
    )


def feeding() -> None:
    """Batches made with nobody training: by the thread, by one process, by two."""
    shipped = TypeAdapter(TrainBaseSection).validate_python(SETTINGS["train_base"])
    recipe = TypeAdapter(AugmentSection).validate_python(SETTINGS["augment"])
    for size, batch in ((32, 64), (64, 64), (256, 16)):
        rates = []
        for workers in (0, 1, 2):
            section = shipped.model_copy(update={"batch_size": batch, "data_workers": workers})
            _, materials = rehearsed(section, recipe, size)
            with closing(Batches(section, materials, torch.device("cpu"))) as batches:
                places = iter(range(0, 10**9, batch))
                for _ in range(4):  # the first ones find them still starting
                    batches.at(next(places), batch)
                took = seconds(lambda: [batches.at(next(places), batch) for _ in range(2560 // batch)])  # noqa: B023 - called here
            rates.append(f"{2560 // batch * batch / took:.0f}")
        print(f"batches of {batch} images of {size} pixels: {', '.join(rates)} images/s by the thread, one process, two")


def step_rate() -> None:
    """Floating-point operations of the default step, as a share of the matrix product's; what making batches adds."""
    section = TypeAdapter(TrainBaseSection).validate_python(SETTINGS["train_base"])
    recipe = TypeAdapter(AugmentSection).validate_python(SETTINGS["augment"])
    model, materials = rehearsed(section, recipe, SETTINGS["curate"]["image_size"])
    optimiser, count = torch.optim.AdamW(model.parameters(), fused=True), section.batch_size

    def step(batch: Batch) -> None:
        optimiser.zero_grad()
        loss = denoising_loss(model, batch.images, batch.sigma, batch.noise, batch.condition)
        loss.mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    square = torch.randn(1024, 1024)
    with closing(Batches(section, materials, torch.device("cpu"))) as batches:
        places, same = iter(range(count, 10**9, count)), batches.at(0, count)
        alone, fed, product_time = in_turns(
            lambda: step(same),
            lambda: step(batches.at(next(places), count)),
            lambda: square @ square,
            turns=STEPS,
        )
    with FlopCounterMode(display=False) as counter:
        step(same)
    share = (counter.get_total_flops() / alone) / (2 * 1024**3 / product_time)
    print(
        f"training: {count / fed:.0f} images/s, the step {share:.2f} of the matrix product's rate "
        f"({2 * 1024**3 / product_time / 1e9:.0f} GFLOP/s); making its batches adds {fed / alone - 1:.1%} (batch {count})"
    )
