"""Networks that others trained: found and loaded from a folder, refused where they are not what they are called after.

Their real weights are not to be had here: small networks of the same architectures, with random weights, go the same way.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from darkroom.features import pretrained
from darkroom.features.features import (
    Clip,
    Dinov2,
    EfficientNetLite0,
    Features,
    FeaturesUnavailable,
    InceptionFeatures,
    ShrunkPixels,
    raw,
)
from darkroom.features.inception import Inception, resized
from darkroom.images import Pixels

transformers: Any = pytest.importorskip("transformers")
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dinov2")
    settings = {name: value for name, value in SMALL.items() if name != "intermediate_size"}
    transformers.Dinov2Model(transformers.Dinov2Config(**settings, image_size=28, patch_size=14)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    config = transformers.CLIPVisionConfig(**SMALL, image_size=32, patch_size=16, projection_dim=24)
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def test_dinov2_is_loaded_from_a_folder_and_named_after_its_file(dinov2: Path, pixels: Pixels) -> None:
    features = Dinov2(kind="dinov2", model="own", side=28, weights=str(dinov2))
    described = features.describe(pixels, 2)
    assert described.shape == (3, 32)
    np.testing.assert_allclose(np.linalg.norm(described, axis=1), 1, rtol=1e-5)
    digest = hashlib.sha256((dinov2 / "model.safetensors").read_bytes()).hexdigest()
    assert features.name == f"dinov2_own{digest[:8]}_28"


def test_dinov2_sees_what_the_package_s_own_preparation_makes(dinov2: Path) -> None:
    """Images that need no resizing: mean and deviation of ImageNet, and the class token after the last norm."""
    whole = np.random.default_rng(1).integers(0, 256, (2, 28, 28, 3), dtype=np.uint8)
    features = Dinov2(kind="dinov2", model="own", side=28, weights=str(dinov2))
    values = (whole.astype(np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    network = transformers.Dinov2Model.from_pretrained(dinov2).eval()
    with torch.inference_mode():
        expected = network(torch.from_numpy(values.astype(np.float32)).permute(0, 3, 1, 2)).last_hidden_state[:, 0]
    np.testing.assert_allclose(raw(features.opened(), whole, 2), expected.numpy(), atol=1e-4)


def test_clip_is_loaded_from_a_folder_at_its_own_size(clip: Path, pixels: Pixels) -> None:
    described = Clip(kind="clip", model="own", weights=str(clip)).describe(pixels, 2)
    assert described.shape == (3, 24)  # the projection, not the network's width
    assert np.ptp(described, axis=0).max() > 1e-3


def test_a_network_must_be_the_one_it_is_called_after(dinov2: Path, clip: Path, pixels: Pixels) -> None:
    with pytest.raises(FeaturesUnavailable, match="its network is 32 wide, that of facebook/dinov2-base is 768"):
        Dinov2(kind="dinov2", model="vitb14", side=28, weights=str(dinov2)).describe(pixels, 2)
    with pytest.raises(FeaturesUnavailable, match="name a folder in `weights`"):
        Clip(kind="clip", model="own", weights="auto").describe(pixels, 2)


def test_missing_weights_say_which_file_and_where(tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FeaturesUnavailable, match=r"config\.json and model\.safetensors are not in this folder"):
        Dinov2(kind="dinov2", model="vits14", side=28, weights=str(tmp_path)).describe(pixels, 2)
    monkeypatch.setattr("huggingface_hub.snapshot_download", _no_network)
    with pytest.raises(FeaturesUnavailable, match=r"facebook/dinov2-small is not in the user's cache .* put these two files"):
        Dinov2(kind="dinov2", model="vits14", side=28, weights="auto").describe(pixels, 2)
    with pytest.raises(FeaturesUnavailable, match=r"Inception needs pt_inception-2015-12-05-6726825d\.pth"):
        InceptionFeatures(kind="inception", weights=str(tmp_path / "nothing.pth")).describe(pixels, 2)


def _no_network(*given: Any, **named: Any) -> str:
    raise OSError("no network")


def test_weights_that_are_not_whole_are_refused(dinov2: Path, tmp_path: Path, pixels: Pixels) -> None:
    """The package would go on with random numbers in place of a missing tensor."""
    (tmp_path / "config.json").write_bytes((dinov2 / "config.json").read_bytes())
    tensors = load_file(dinov2 / "model.safetensors")
    save_file({name: value for name, value in tensors.items() if "layer.1" not in name}, tmp_path / "model.safetensors")
    features = Dinov2(kind="dinov2", model="own", side=28, weights=str(tmp_path))
    with pytest.raises(FeaturesUnavailable, match=r"are missing in model\.safetensors"):
        features.describe(pixels, 2)
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(FeaturesUnavailable, match="cannot be read"):
        features.describe(pixels, 2)


def test_networks_are_loaded_without_touching_the_random_stream(dinov2: Path) -> None:
    before = torch.get_rng_state()
    Dinov2(kind="dinov2", model="own", side=28, weights=str(dinov2)).opened()
    pretrained.lite0()
    assert torch.equal(torch.get_rng_state(), before)


def test_everything_that_describes_is_where_the_images_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dinov2: Path, clip: Path
) -> None:
    """On a GPU, too: torch's `meta` device, like it, takes no tensor of another."""
    file = tmp_path / pretrained.INCEPTION_FILE
    torch.save(Inception().state_dict(), file)
    kinds: list[Features] = [
        EfficientNetLite0(kind="efficientnet_lite0", side=64),
        Dinov2(kind="dinov2", model="own", side=28, weights=str(dinov2)),
        Clip(kind="clip", model="own", weights=str(clip)),
        InceptionFeatures(kind="inception", weights=str(file)),
        ShrunkPixels(kind="pixels", side=4),
    ]
    monkeypatch.setattr(pretrained, "INCEPTION_SHA256", kinds[3].identity())
    monkeypatch.setattr("darkroom.features.features.device", lambda: torch.device("meta"))
    for features, width in zip(kinds, (1280, 32, 24, 2048, 48), strict=True):
        with torch.inference_mode():
            described = features.opened()(torch.empty(2, 3, 32, 32, device="meta"))
        assert (described.device.type, described.shape) == ("meta", (2, width)), features.kind


def test_images_are_sent_to_where_they_are_described_exactly_and_in_pieces_that_fit(
    monkeypatch: pytest.MonkeyPatch, pixels: Pixels
) -> None:
    seen: list[tuple[int, str, bool]] = []

    def network(images: torch.Tensor) -> torch.Tensor:
        seen.append((len(images), images.device.type, torch.backends.cudnn.allow_tf32))
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.ones(len(images), 4)

    monkeypatch.setattr("darkroom.features.features.device", lambda: torch.device("meta"))
    before = torch.backends.cudnn.allow_tf32
    assert raw(network, pixels, 3).shape == (3, 4)
    assert seen == [(count, "meta", False) for count in (3, 2, 1, 1, 1)]
    assert torch.backends.cudnn.allow_tf32 is before
    with pytest.raises(torch.OutOfMemoryError):
        raw(lambda images: network(images.repeat(2, 1, 1, 1)), pixels[:1], 1)


def test_inception_has_the_parts_of_the_published_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: Pixels
) -> None:
    """Names and shapes of all 566 tensors, as torch-fidelity 0.4.0's network for the same file has them."""
    network = Inception()
    state = network.state_dict()
    listed = "\n".join(f"{name} {tuple(value.shape)}" for name, value in sorted(state.items()))
    assert hashlib.sha256(listed.encode()).hexdigest().startswith("760681d791cb624e")
    file = tmp_path / pretrained.INCEPTION_FILE
    torch.save(state, file)
    features = InceptionFeatures(kind="inception", weights=str(file))
    with pytest.raises(FeaturesUnavailable, match="SHA-256 does not begin with 6726825d"):
        features.describe(pixels, 2)
    monkeypatch.setattr(pretrained, "INCEPTION_SHA256", features.identity())
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(raw(features.opened(), pixels, 3), expected.numpy(), rtol=1e-4, atol=1e-6)


def test_tensorflow_1_resizes_from_the_corner() -> None:
    """Twice the size: every other pixel is an old one, those between are means, the last repeats."""
    row = torch.tensor([0.0, 10.0, 40.0]).view(1, 1, 1, 3).repeat(1, 1, 3, 1)
    assert resized(row, 6)[0, 0, 0].tolist() == pytest.approx([0, 5, 10, 25, 40, 40])
