"""Checkpoints: all that the loop needs to go on as if it had never stopped. Atomic, checksummed, the newest good one is found."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from darkroom.networks.denoiser import Denoiser
from darkroom.networks.saved import write_tensors
from darkroom.refs import digest_of
from darkroom.training import parallel
from darkroom.training.memory import Manner
from darkroom.training.sharding import full, shared_as


@dataclass(frozen=True)
class Moment:
    """One point of a training's history; `held_out` is None between its measurements, `bands` are its noise levels' thirds,
    `training_bands` the same of training images."""

    images_seen: int
    loss: float
    learning_rate: float
    held_out: float | None
    bands: Mapping[str, float] = field(default_factory=dict)
    training_bands: Mapping[str, float] = field(default_factory=dict)


@dataclass
class State:
    """What changes while training. Random numbers and data order are not here: `images_seen` determines them."""

    model: Denoiser
    averaged: Denoiser
    weighting: nn.Module  # of the loss; it may be trained along
    optimiser: torch.optim.Optimizer
    profiles: nn.ModuleList = field(default_factory=nn.ModuleList)  # the power-function averages, where they are kept
    weaker: nn.ModuleList = field(default_factory=nn.ModuleList)  # the average as it was early on, where that is kept
    weaker_at: int = 0  # images seen then
    images_seen: int = 0
    taken_at: int = 0  # images seen by the averaged weights that are the course's answer, where they are not those of its end
    history: list[Moment] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # of the batches since the last point of the history
    recent: list[float] = field(default_factory=list)  # of the newest batches: what a spike is measured by
    skipped: list[int] = field(default_factory=list)  # images seen before each batch that is left out
    rate: float = 0.0  # learning rate of the newest batch
    cut: float = 1.0  # what spikes left of the learning rate
    manner: Manner = field(default_factory=Manner)  # in which gradients are found: what memory allows, in which precision
    seconds: float = 0.0  # of wall clock
    scores: list[tuple[int, float, float]] = field(default_factory=list)  # images seen, quick score of the sheet, its floor


MODULES = ("model", "averaged", "weighting", "profiles", "weaker")
PLAIN = ("images_seen", "weaker_at", "losses", "recent", "skipped", "rate", "cut", "seconds")
OPTIMISER = "optimiser"


def save_checkpoint(folder: Path, state: State, keep: int) -> Path:
    """Write a checkpoint beside the older ones, drop all but the newest `keep` and the best. The JSON comes last: it vouches.

    Raises OSError, such as on a full disk; the older checkpoints are then as they were.
    """
    name = folder / f"state-{state.images_seen:012d}"
    parallel.wait_for_all()
    tensors = {key: full(value).cpu() for key, value in _tensors(state)}  # one after another: the device may not hold them all
    if not parallel.leads():
        return name.with_suffix(".safetensors")
    folder.mkdir(parents=True, exist_ok=True)
    partial, vouching = name.with_suffix(".partial"), name.with_suffix(".json.partial")
    try:
        write_tensors(partial, tensors)
        record = {name: getattr(state, name) for name in PLAIN}
        record |= {
            "sha256": digest_of(partial),
            "manner": asdict(state.manner),
            "history": [asdict(one) for one in state.history],
            "scores": state.scores,
        }
        _settle(partial, name.with_suffix(".safetensors"))
        vouching.write_text(json.dumps(record), encoding="utf-8")
        _settle(vouching, name.with_suffix(".json"))
    finally:
        for left in folder.glob("*.partial"):
            left.unlink()
    saved = sorted(file for file in folder.glob("state-*.json") if file.stem <= name.name)  # later ones are damaged: no count
    for old in set(saved[:-keep]) - {_best_of(folder, state)}:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    return name.with_suffix(".safetensors")


def _tensors(state: State) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors of a state, as this process keeps them, with their names in a checkpoint."""
    for module in MODULES:
        for key, value in getattr(state, module).state_dict().items():
            yield f"{module}/{key}", value
    for index, moments in state.optimiser.state_dict()["state"].items():
        for key, value in moments.items():
            yield f"{OPTIMISER}/{index}/{key}", value


def _best_of(folder: Path, state: State) -> Path | None:
    """The checkpoint at which the held-out loss was lowest, of those that lie at a measurement."""
    measured = {moment.images_seen: moment.held_out for moment in state.history if moment.held_out is not None}
    there = {seen: file for seen in measured if (file := folder / f"state-{seen:012d}.json").exists()}
    return there[min(there, key=lambda seen: measured[seen] or 0.0)] if there else None


def restore_newest(folder: Path, state: State) -> list[str]:
    """Set `state` to the newest good checkpoint below `folder`, if there is one. Returns a sentence for each damaged one."""
    damaged = []
    for vouching in sorted(folder.glob("state-*.json"), reverse=True):
        try:
            _restore(vouching, state)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            damaged.append(f"checkpoint {vouching.with_suffix('.safetensors')} is damaged ({error}) and is not used")
        else:
            break
    return damaged


def restore_best(folder: Path, state: State) -> bool:
    """Set the averaged weights of `state` to those at the lowest held-out loss. Returns whether there is such a checkpoint."""
    best = _best_of(folder, state)
    if best is not None:
        _load(state.averaged, _below("averaged/", load_file(best.with_suffix(".safetensors"))))
        state.taken_at = int(best.stem.removeprefix("state-"))
        if state.taken_at <= state.weaker_at:
            state.weaker_at = 0  # it was kept no earlier than the best: nothing to be led away from
    return best is not None


def _restore(vouching: Path, state: State) -> None:
    record: dict[str, Any] = json.loads(vouching.read_text(encoding="utf-8"))
    weights = vouching.with_suffix(".safetensors")
    if digest_of(weights) != record["sha256"]:
        raise ValueError("its checksum does not match")
    plain = {name: record[name] for name in PLAIN}
    scores = [(seen, score, floor) for seen, score, floor in record.get("scores", [])]  # older checkpoints have none
    history, manner = [Moment(**point) for point in record["history"]], Manner(**record["manner"])
    tensors = load_file(weights)
    for module in MODULES:
        _load(getattr(state, module), _below(f"{module}/", tensors))
    weights_of = [weight for group in state.optimiser.param_groups for weight in group["params"]]
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in _below(f"{OPTIMISER}/", tensors).items():
        index, _, name = key.partition("/")
        moments.setdefault(int(index), {})[name] = shared_as(weights_of[int(index)], value)
    whole = state.optimiser.state_dict()
    state.optimiser.load_state_dict({"state": moments, "param_groups": whole["param_groups"]})
    state.history, state.manner, state.scores = history, manner, scores
    for name, value in plain.items():
        setattr(state, name, value)


def _load(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    own = module.state_dict()
    module.load_state_dict({key: shared_as(own.get(key, value), value) for key, value in tensors.items()})


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _settle(partial: Path, final: Path) -> None:
    """Move a finished file into place; after a crash there is the old one or the new one, never half of it."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(final)
    if os.name == "posix":  # its new name, too, outlives a power cut
        folder = os.open(final.parent, os.O_RDONLY)
        with suppress(OSError):  # some network file systems cannot: the checkpoint is there all the same
            os.fsync(folder)
        os.close(folder)


def forget_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a training that is done."""
    shutil.rmtree(folder, ignore_errors=True)
