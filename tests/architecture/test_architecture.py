"""The architecture as a failing build: imports, stages, words, files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from adapters.workspace import STAGES
from darkroom.params import Params, schema
from tests.architecture.stage_imports import COMMANDS, imported_by_stage

TOP = Path(__file__).parents[2]
PACKAGES = ("darkroom", "adapters", "tasks", "flows", "serving", "cli")
REGISTRY_STEPS = {"register", "promote"}  # they change the registry, not files: no stage of DVC's
POLICIES = {"retrain"}  # a section without a task: it says which of the steps run again
BANNED = {"utils", "helpers", "common", "core", "misc", "base", "manager", "handler", "tools", "lib"}


@pytest.fixture(scope="module")
def stages() -> dict[str, dict[str, list[str]]]:
    return yaml.safe_load((TOP / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def test_the_code_each_stage_depends_on_is_what_its_command_can_import(stages: dict[str, dict[str, list[str]]]) -> None:
    for stage, files in imported_by_stage().items():
        declared = {path for path in stages[stage]["deps"] if path.startswith("darkroom/")}
        assert declared == set(files), f"dvc.yaml, stage {stage}: run `make format`"


def test_each_stage_runs_the_command_whose_imports_are_declared(stages: dict[str, dict[str, list[str]]]) -> None:
    for stage, module in COMMANDS.items():
        assert stages[stage]["cmd"] == f"python -m {module.removesuffix('.__main__')}"
        assert stages[stage]["params"] == [stage]


def test_one_word_per_step(stages: dict[str, dict[str, list[str]]]) -> None:
    sections = {field.alias or name for name, field in Params.model_fields.items()}
    task_files = {file.stem for file in (TOP / "tasks").glob("*.py")} - {
        "__init__",
        "job",
        "deciding",
        "planning",
        "beside",
        "looking",
    }
    assert sections - POLICIES == task_files
    assert sections == set(yaml.safe_load((TOP / "params.yaml").read_text(encoding="utf-8")))
    assert set(stages) == set(COMMANDS) == set(STAGES) == sections - REGISTRY_STEPS - POLICIES


def test_the_schema_file_is_fresh() -> None:
    assert (TOP / "params.schema.json").read_text(encoding="utf-8") == schema(), "run `make format`"
    assert set(json.loads(schema())["required"]) == {
        "curate",
        "augment",
        "train_base",
        "finetune",
        "evaluate",
        "register",
        "promote",
        "retrain",
    }


def test_no_file_is_named_after_nothing() -> None:
    named = {file for package in PACKAGES for file in (TOP / package).rglob("*") if file.stem in BANNED}
    assert not named


@pytest.mark.parametrize("module", ["tasks.train_base", "tasks.evaluate", "serving.api", "darkroom.generating"])
def test_nothing_loads_at_its_start_what_few_runs_need(module: str) -> None:
    """Each process of a run begins so: torch's compiler alone would double the wait."""
    heavy = ("torch._dynamo", "transformers", "albumentations", "matplotlib", "dvc", "onnx")
    code = f"import sys, {module}; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=TOP)
    assert done.stdout.split() == []


def test_no_setting_has_a_second_home() -> None:
    """Sections hold no defaults: every value stands in params.yaml."""
    waiting, seen = [Params], set()
    while waiting:
        model = waiting.pop()
        if model in seen:
            continue
        seen.add(model)
        for name, field in model.model_fields.items():
            assert field.is_required(), f"{model.__name__}.{name} has a default"
            inside = [field.annotation]
            while inside:
                kind = inside.pop()
                if isinstance(kind, type) and hasattr(kind, "model_fields"):
                    waiting.append(kind)
                inside += list(getattr(kind, "__args__", ()))
    assert len(seen) > 15
