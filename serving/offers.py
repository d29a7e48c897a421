"""Where versions come from: an alias in the registry, or a model folder."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from adapters import mlflow_registry
from darkroom.networks.saved import WEIGHTS, read_card
from darkroom.refs import digest_of
from serving.loaded import Offer


def from_registry(workspace: Path, name: str, alias: str) -> Callable[[], Offer | None]:
    """What an alias of a registered model points at, whenever it is asked."""

    def look_up() -> Offer | None:
        version = mlflow_registry.version_at(workspace, name, alias)
        if version is None:
            return None
        return Offer(name, version.number, lambda: mlflow_registry.model_folder(workspace, version), version.tags)

    return look_up


def from_folder(folder: Path) -> Callable[[], Offer | None]:
    """A model folder as it is now: its version is a digest of its weights and its card, so that a new one of either is a new
    version."""
    weights, card, known = folder / WEIGHTS, folder / "model.json", dict[tuple[int, int], str]()

    def look_up() -> Offer | None:
        read_card(folder)
        state = weights.stat()
        stamp = (state.st_size, state.st_mtime_ns)
        if stamp not in known:  # they may be large: read once, not at every look
            known.clear()
            known[stamp] = digest_of(weights)
        whole = hashlib.sha256(known[stamp].encode() + card.read_bytes()).hexdigest()
        return Offer(folder.absolute().name, whole[:12], lambda: folder, {})

    return look_up
