"""Checkpoints: all that the loop needs to go on as if it had never stopped. Atomic, checksummed, the newest good one is found."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from darkroom.networks.saved import write_tensors
from darkroom.refs import digest_of


@dataclass(frozen=True)
class Moment:
    """One point of a training's history; `held_out` is None between its measurements."""

    images_seen: int
    loss: float
    learning_rate: float
    held_out: float | None


@dataclass
class State:
    """What changes while training. Random numbers and data order are not here: `images_seen` determines them."""

    model: nn.Module
    averaged: nn.Module
    weighting: nn.Module  # of the loss; it may be trained along
    optimiser: torch.optim.Optimizer
    images_seen: int
    history: list[Moment]
    losses: list[float]  # of the batches since the last point of the history


def save_checkpoint(folder: Path, state: State, keep: int) -> Path:
    """Write a checkpoint beside the older ones and drop all but the newest `keep`. The JSON file comes last: it vouches.

    Raises OSError, such as on a full disk; the older checkpoints are then as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = folder / f"state-{state.images_seen:012d}"
    tensors = {f"model/{key}": value for key, value in state.model.state_dict().items()}
    tensors |= {f"averaged/{key}": value for key, value in state.averaged.state_dict().items()}
    tensors |= {f"weighting/{key}": value for key, value in state.weighting.state_dict().items()}
    for index, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{key}": value for key, value in moments.items()}
    partial, vouching = name.with_suffix(".partial"), name.with_suffix(".json.partial")
    try:
        write_tensors(partial, tensors)
        record = {
            "images_seen": state.images_seen,
            "sha256": digest_of(partial),
            "history": [list(asdict(moment).values()) for moment in state.history],
            "losses": state.losses,
        }
        _settle(partial, name.with_suffix(".safetensors"))
        vouching.write_text(json.dumps(record), encoding="utf-8")
        _settle(vouching, name.with_suffix(".json"))
    finally:
        for left in folder.glob("*.partial"):
            left.unlink()
    for old in sorted(folder.glob("state-*.json"))[:-keep]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    return name.with_suffix(".safetensors")


def restore_newest(folder: Path, state: State) -> list[str]:
    """Set `state` to the newest good checkpoint below `folder`, if there is one. Returns a sentence for each damaged one."""
    damaged = []
    for vouching in sorted(folder.glob("state-*.json"), reverse=True):
        weights = vouching.with_suffix(".safetensors")
        try:
            record = json.loads(vouching.read_text(encoding="utf-8"))
            if digest_of(weights) != record["sha256"]:
                raise ValueError("its checksum does not match")
            _restore(weights, record, state)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            damaged.append(f"checkpoint {weights} is damaged ({error}) and is not used")
        else:
            break
    return damaged


def _restore(weights: Path, record: dict[str, Any], state: State) -> None:
    tensors = load_file(weights)
    state.model.load_state_dict(_below("model/", tensors))
    state.averaged.load_state_dict(_below("averaged/", tensors))
    state.weighting.load_state_dict(_below("weighting/", tensors))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in _below("optimiser/", tensors).items():
        index, _, name = key.partition("/")
        moments.setdefault(int(index), {})[name] = value
    whole = state.optimiser.state_dict()
    state.optimiser.load_state_dict({"state": moments, "param_groups": whole["param_groups"]})
    state.images_seen = int(record["images_seen"])
    state.history = [Moment(*point) for point in record["history"]]
    state.losses = list(record["losses"])


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _settle(partial: Path, final: Path) -> None:
    """Move a finished file into place; after a crash there is the old one or the new one, never half of it."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(final)


def forget_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a training that is done."""
    shutil.rmtree(folder, ignore_errors=True)
