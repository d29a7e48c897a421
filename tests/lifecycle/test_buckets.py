"""A workspace that turns to aspect buckets: everything follows, and what its champion cannot draw is not compared with it."""

from pathlib import Path

import pytest
from PIL import Image

from adapters import mlflow_registry
from darkroom.networks.saved import read_card
from tests.conftest import darkroom
from tests.lifecycle.test_registry import again, at, change

pytestmark = pytest.mark.lifecycle


def test_wide_images_are_kept_whole_from_the_folder_to_the_champion(lived: Path, tmp_path: Path) -> None:
    for file in sorted((lived.parent / "my pictures").rglob("*.png"))[::2]:
        with Image.open(file) as square:
            wide = square.resize((96, 54))
        wide.save(file)
    change(lived, curate={"aspect_buckets": {"most": 2.0, "multiple": 4}})
    said = again(lived, "run", code=3)
    assert "the champion draws images of 16 x 16 pixels, this version of 16 x 16 or 20 x 12 or 12 x 20" in said
    assert (at(lived, "challenger"), at(lived, "champion")) == ("2", "1")
    again(lived, "promote", "2", "--force", "--reason", "looked at both")
    assert at(lived, "champion") == "2"
    champion = mlflow_registry.version_named(lived, "tiny", "champion")
    assert read_card(mlflow_registry.model_folder(lived, champion)).shapes == ((16, 16), (12, 20), (20, 12))
    done = darkroom("generate", "--count", 12, "--out", tmp_path / "drawn", cwd=lived)
    assert done.returncode == 0, done.stderr
    sizes = set()
    for file in (tmp_path / "drawn").glob("seed*.png"):
        with Image.open(file) as image:
            sizes.add(image.size)
    assert sizes == {(16, 16), (20, 12)}
    assert "unchanged" in again(lived, "run")
