"""What others trained and share through the hub: found in the user's cache or fetched, and read by transformers.

No code of theirs is run, and nothing of theirs is unpickled.
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

SAFE = {"local_files_only": True, "trust_remote_code": False}


def transformers() -> Any:
    """The package; what it would print is raised. Raises ImportError."""
    package = importlib.import_module("transformers")
    package.utils.logging.disable_progress_bar()
    package.utils.logging.set_verbosity_error()
    return package


def snapshot(repository: str, patterns: Sequence[str], is_whole: Callable[[Path], bool]) -> tuple[Path | None, str]:
    """The folder of a repository in the user's cache, or fetched into it; None and why, where there is none that is whole."""
    from huggingface_hub import snapshot_download

    why = "files are missing there"
    for offline in (True, False):
        try:
            folder = Path(snapshot_download(repository, allow_patterns=list(patterns), local_files_only=offline, etag_timeout=5))
        except (OSError, ValueError, RuntimeError) as error:  # not in the cache; then: no network, or no such repository
            why = " ".join(str(error).split())[:150]
            continue
        if is_whole(folder):
            return folder, ""
    return None, why


def pretrained(architecture: str, folder: Path) -> Any:
    """A network with the safetensors of a folder, in float32, to be asked and not trained.

    Raises whatever transformers raises on a folder that is not what it should be, of many kinds; ValueError for missing weights.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # it is made with random weights before it gets its own
        network, said = getattr(transformers(), architecture).from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **SAFE
        )
    if said["missing_keys"]:  # it would go on with random numbers in their place
        names = ", ".join(sorted(said["missing_keys"])[:3])
        raise ValueError(f"weights of {architecture} are missing in model.safetensors: {names}; it holds another model")
    return network.eval()
