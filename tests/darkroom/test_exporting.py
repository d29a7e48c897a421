"""An exported model: it draws the same where Darkroom is not, and it describes itself."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import grimp
import numpy as np
import pytest
from PIL import Image

from darkroom.exporting import REQUIREMENTS, ExportError, Known, carried_modules, export_folder
from darkroom.generating import Source, generate_folder, source_of
from darkroom.onnx_form import OnnxError, write_onnx
from darkroom.provenance import read_provenance
from tests.darkroom.test_generating import CAPTIONED, images, saved, wish
from tests.darkroom.tiny import NETWORK, finished

SCORES = {"kernel_distance": {"value": 0.0123, "low": 0.01, "high": 0.02, "floor": 0.001, "n": 512}}
UNET = {"kind": "unet", "width": 32, "widening": [1, 2], "depth": 1, "attention": 4}
TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, Path]:
    folder = tmp_path_factory.mktemp("exporting")
    model = saved(folder / "model")
    source = Source(model.folder, "cats", "3")
    finished(export_folder(source, folder / "out", Known(SCORES, {"data version (DVC)": "ab12"}, "CC-BY"), onnx=False))
    return source, folder / "out"


def alone(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Python in a process that can import neither the project nor what its command line needs."""
    blocked = (
        "import sys, runpy\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'darkroom', 'adapters', 'cli', 'cryptography', 'mlflow', 'prefect', 'dvc'}:\n"
        "            raise ImportError(f'{name} is not to be had here')\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "sys.argv = sys.argv[1:]\n"
        "sys.path[0] = '.'\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", blocked, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, timeout=120, check=False)


def test_it_draws_the_same_where_darkroom_is_not(exported: tuple[Source, Path], tmp_path: Path) -> None:
    source, out = exported
    done = alone("draw.py", "--count", 3, "--class", "light", "--seed", 3, "--out", tmp_path / "alone", cwd=out)
    assert done.returncode == 0, done.stderr
    finished(generate_folder(source, wish(3, label="light"), tmp_path / "here", 4))
    assert images(tmp_path / "alone") == images(tmp_path / "here") and len(images(tmp_path / "here")) == 3
    assert read_provenance(tmp_path / "alone/seed3-000000.png").made.model == "cats"
    led = alone("draw.py", "--away", 2, "--out", tmp_path / "led", cwd=out)
    assert led.returncode == 1 and "it keeps none" in led.stderr and "Traceback" not in led.stderr
    refused = alone("draw.py", "--class", "lihgt", "--out", tmp_path / "none", cwd=out)
    assert refused.returncode == 1 and "did you mean `light`" in refused.stderr and "Traceback" not in refused.stderr


def test_the_program_on_its_page_runs(exported: tuple[Source, Path]) -> None:
    _, out = exported
    program = re.search(r"```python\n(.*?)```", (out / "README.md").read_text(encoding="utf-8"), re.S)
    assert program is not None
    (out / "page.py").write_text(program[1] + "\nassert pixels.shape == (1, 8, 8, 3)\n")
    done = alone("page.py", cwd=out)
    (out / "page.py").unlink()
    assert done.returncode == 0, done.stderr


def test_its_page_says_what_it_is(exported: tuple[Source, Path]) -> None:
    source, out = exported
    page = (out / "README.md").read_text(encoding="utf-8")
    assert page.startswith("# cats version 3\n") and "data version (DVC): ab12" in page and "CC-BY" in page
    assert "| kernel_distance | 0.0123 | 0.01 to 0.02 | 0.001 | 512 |" in page
    assert "dark (10), light (10)" in page and "![samples](samples.png)" in page
    with Image.open(out / "samples.png") as sheet:
        assert sheet.size == ((4 * 8 + 3 * 2) * 12,) * 2  # four by four, enlarged twelve times
    assert len(list((out / "samples").glob("seed0-*.png"))) == 16
    assert (source_of(out).name, source_of(out).version) == ("cats", "3")
    assert (out / "weights.safetensors").read_bytes() == (source.folder / "weights.safetensors").read_bytes()


def test_what_is_carried_is_what_the_loader_imports() -> None:
    graph = grimp.build_graph("darkroom", cache_dir=None)
    reached = graph.find_upstream_modules("darkroom.loader") | {"darkroom.loader"}
    named = {".".join(["darkroom", *path.with_suffix("").parts]).removesuffix(".__init__") for path in carried_modules()}
    assert {name for name in reached if name not in {"darkroom", "darkroom.networks"}} <= named
    assert named <= reached | {"darkroom", "darkroom.networks"}


def test_what_it_needs_is_pinned_as_the_project_pins_it() -> None:
    project = (TOP / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in REQUIREMENTS:
        assert f'"{requirement}"' in project


def test_an_earlier_export_is_replaced_and_nothing_else(exported: tuple[Source, Path], tmp_path: Path) -> None:
    source, _ = exported
    out = tmp_path / "out"
    finished(export_folder(source, out, Known(), onnx=False))
    (out / "stale.txt").write_text("old")
    before = (out / "samples.png").read_bytes()
    finished(export_folder(source, out, Known(), onnx=False))
    assert not (out / "stale.txt").exists() and (out / "samples.png").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    for there in (tmp_path / "mine", tmp_path / "mine/letter.txt", source.folder):
        with pytest.raises(ExportError, match="choose another folder"):
            finished(export_folder(source, there, Known(), onnx=False))
    assert (tmp_path / "mine/letter.txt").read_text() == "dear" and (source.folder / "model.json").exists()


@pytest.mark.parametrize("network", [NETWORK, UNET, CAPTIONED], ids=["transformer", "unet", "captioned"])
def test_onnx_answers_as_the_model_does(tmp_path: Path, network: dict[str, Any]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    source = saved(tmp_path / "model", network=network, augmentations=2)
    write_onnx(source.folder, tmp_path / "denoiser.onnx")
    assert {one.name for one in tmp_path.iterdir()} == {"model", "denoiser.onnx"}
    session = onnxruntime.InferenceSession(str(tmp_path / "denoiser.onnx"), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["noisy", "sigma", "text" if network is CAPTIONED else "label"]
    assert session.get_inputs()[0].shape[1:] == [3, 8, 8] and isinstance(session.get_inputs()[0].shape[0], str)


def test_onnx_that_answers_otherwise_is_not_kept(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    source = saved(tmp_path / "model")

    class Other(onnxruntime.InferenceSession):
        """A session whose answers are a little off."""

        def run(self, names: Any, given: dict[str, Any]) -> list[Any]:
            return [answer + np.float32(0.01) for answer in super().run(names, given)]

    with (
        patch("onnxruntime.InferenceSession", Other),
        pytest.raises(OnnxError, match=r"differs from the model by 0\.01 on 1 images"),
    ):
        write_onnx(source.folder, tmp_path / "denoiser.onnx")
    assert not (tmp_path / "denoiser.onnx").exists()


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path / "model")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(OnnxError, match=r"\((onnx|onnxruntime)\): `pip install 'darkroom\[onnx\]'`"):
        finished(export_folder(source, tmp_path / "out", Known(), onnx=True))
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("*.partial"))
