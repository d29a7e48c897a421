"""Features: lengths, independence of the batch, the right network in the right state, and clear errors."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from darkroom.features import pretrained
from darkroom.features.features import EfficientNetLite0, Features, FeaturesUnavailable, ShrunkPixels
from darkroom.images import Pixels

LITE0 = EfficientNetLite0(kind="efficientnet_lite0", side=64)


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    """Smooth coloured noise, 7 images of 32 pixels."""
    coarse = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((32, 32))) for image in coarse])


def test_lite0_rows_have_length_one_and_do_not_depend_on_the_batch(pixels: Pixels) -> None:
    whole = LITE0.describe(pixels, 7)
    assert whole.shape == (7, 1280)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(LITE0.describe(pixels, 2), whole, atol=1e-5)  # batch statistics would show here
    assert np.ptp(whole, axis=0).max() > 0.01


def test_lite0_is_the_trained_network(pixels: Pixels) -> None:
    """Its own last layer, fed with these features, must know a daisy: scaling, weights and pooling are then right."""
    datasets = pytest.importorskip("sklearn.datasets")
    flower = datasets.load_sample_image("flower.jpg")
    network = pretrained.lite0()
    with torch.inference_mode():
        pooled = torch.from_numpy(EfficientNetLite0(kind="efficientnet_lite0", side=224).describe(flower[None], 1))
        best = network._fc(pooled * 20).argmax().item()  # length does not change the order by much: no bias to speak of
    assert best == 985  # ImageNet: daisy
    assert not network.training


def test_lite0_import_gives_no_warning() -> None:
    """In a fresh process, with warnings as errors: nothing has to be silenced."""
    program = "from darkroom.features import pretrained; pretrained.lite0()"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, pixels: Pixels) -> None:
    monkeypatch.setattr(pretrained, "LITE0_CODE", "no_such_package_here")
    with pytest.raises(FeaturesUnavailable, match="pip install efficientnet-lite-pytorch"):
        LITE0.describe(pixels, 2)


def test_other_weights_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pixels: Pixels) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / pretrained.LITE0_FILE).write_bytes(b"something else")
    monkeypatch.setattr(pretrained, "installed", lambda package: tmp_path)
    with pytest.raises(FeaturesUnavailable, match="SHA-256 579344248a93"):
        LITE0.describe(pixels, 2)


def test_shrunk_pixels_are_means_of_blocks() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    flat = np.repeat(np.repeat(pixels[:, ::2, ::2], 2, 1), 2, 2)  # 2 x 2 blocks of one colour
    same_size = ShrunkPixels(kind="pixels", side=32).describe(pixels, 2)
    expected = (pixels.astype(float) / 127.5 - 1).transpose(0, 3, 1, 2).reshape(3, -1) / (32 * 32 * 3) ** 0.5
    np.testing.assert_allclose(same_size, expected, atol=1e-6)
    shrunk = ShrunkPixels(kind="pixels", side=1).describe(flat, 2)
    assert shrunk.shape == (3, 3)
    assert (np.linalg.norm(shrunk, axis=1) <= 1).all()


def test_settings_choose_the_features() -> None:
    adapter: TypeAdapter[Features] = TypeAdapter(Features)
    assert isinstance(adapter.validate_python({"kind": "pixels", "side": 16}), ShrunkPixels)
    with pytest.raises(ValidationError, match="multiple of 32"):
        adapter.validate_python({"kind": "efficientnet_lite0", "side": 60})
