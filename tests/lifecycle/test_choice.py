"""A way to draw that was chosen travels: into the settings, the scores, the version, and whatever draws from it."""

from pathlib import Path

import pytest
import yaml

from adapters import mlflow_registry
from darkroom.networks.saved import chosen_of, read_card
from darkroom.params import read_params
from darkroom.provenance import read_provenance
from darkroom.refs import digest_of
from tests.conftest import darkroom

pytestmark = pytest.mark.lifecycle


def test_a_choice_is_stored_with_the_next_version_and_used(lived: Path, tmp_path: Path) -> None:
    weights = digest_of(lived / "models/tuned")
    before = read_params(lived / "params.yaml").evaluate.drawing
    words = ("--minutes", 1, "--images", 16, "--steps", 2, 4, "--guidance", 1)
    done = darkroom("choose", "tuned", *words, "--apply", cwd=lived)
    assert done.returncode == 0, done.stderr
    chosen = read_params(lived / "params.yaml").evaluate.drawing
    if chosen == before:  # the present drawing was the best
        settings = yaml.safe_load((lived / "params.yaml").read_text(encoding="utf-8"))
        settings["evaluate"]["drawing"] |= {"sampler": {"kind": "ipndm"}, "steps": 2}
        (lived / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        chosen = read_params(lived / "params.yaml").evaluate.drawing
    done = darkroom("run", cwd=lived)
    assert done.returncode == 0, done.stdout + done.stderr
    assert digest_of(lived / "models/tuned") == weights, "nothing was trained again"
    champion = mlflow_registry.version_named(lived, "tiny", "champion")
    assert champion.number == "2"
    folder = mlflow_registry.model_folder(lived, champion)
    assert chosen_of(read_card(folder).drawing) == chosen != chosen_of(read_card(lived / "models/tuned").drawing)
    assert digest_of(folder / "weights.safetensors") == digest_of(lived / "models/tuned/weights.safetensors")
    files = {path.name for path in mlflow_registry.report_folder(lived, champion).iterdir()}
    assert {"choice.json", "curve.png"} <= files
    page = (mlflow_registry.report_folder(lived, champion) / "report.html").read_text(encoding="utf-8")
    assert "<h2>tuned beside champion 1</h2>" in page and "P(tuned is better)" in page
    done = darkroom("generate", "--count", 1, "--out", tmp_path / "drawn", cwd=lived)
    assert done.returncode == 0, done.stderr
    drawing = read_provenance(tmp_path / "drawn/seed0-000000.png").made.drawing
    wanted = chosen.model_dump(mode="json")
    assert {name: drawing[name] for name in wanted} == wanted
