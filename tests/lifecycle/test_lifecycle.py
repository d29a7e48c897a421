"""The whole life of a model on a few dozen tiny images: real Prefect server, real DVC, real MLflow, nothing mocked.

One workspace is lived through in order; each test looks at one thing that the run before it must have left.
"""

import io
import os
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest
import yaml
from PIL import Image

from adapters import workspace as workspaces
from tests.conftest import TOP, darkroom, draw_images, write_settings

pytestmark = pytest.mark.lifecycle
STEPS = ("curate", "augment", "train_base", "finetune", "evaluate", "register", "promote", "draw")


def outcome(text: str) -> dict[str, str]:
    """Step -> unchanged, computed, ... as the summary prints it."""
    rows = [line.split() for line in text.splitlines() if line.startswith("  ") and line.split()[0] in STEPS]
    return {row[0]: row[1] if row[1] != "taken" else "taken back" for row in rows}


def again(workspace: Path) -> dict[str, str]:
    done = darkroom("run", "--workspace", workspace, cwd=workspace.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return outcome(done.stdout)


def test_every_step_is_computed_once_and_the_summary_says_what_came_of_it(life: Path) -> None:
    text = (life.parent / "first.txt").read_text(encoding="utf-8")
    assert set(outcome(text).values()) == {"computed"}
    assert "60 kept, 0 rejected" in text
    assert yaml.safe_load((life / "params.yaml").read_text(encoding="utf-8"))["curate"]["source"] == str(
        life.parent / "my pictures"
    )
    assert "tiny version 1 (champion)" in text
    with Image.open(life / "reports/champion.png") as sheet:
        assert sheet.width > 100


@pytest.mark.long
def test_dvc_holds_every_stage_and_its_lock_is_what_dvc_repro_writes(life: Path, tmp_path: Path) -> None:
    """`dvc repro` with no server, in a workspace of its own, comes to the same bytes and the same lock file."""
    alone = workspaces.make_workspace(tmp_path / "alone", None)
    (alone / "params.yaml").write_bytes((life / "params.yaml").read_bytes())
    assert dvc_process("repro", cwd=alone).returncode == 0
    locks = [yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8")) for folder in (life, alone)]
    assert locks[0] == locks[1]
    assert set(locks[0]["stages"]) == set(workspaces.STAGES)
    assert "up to date" in dvc("status", cwd=life)
    assert "kernel_distance" in dvc("metrics", "show", cwd=life)
    assert "train_base" in dvc("dag", cwd=life)
    assert "index.html" in dvc("plots", "show", "--out", tmp_path / "plots", cwd=life)
    assert "pushed" in dvc("push", cwd=life)


def test_the_registered_version_draws_images_in_a_fresh_process_with_no_pickle_inside(life: Path) -> None:
    code = (
        "import mlflow, pandas, sys, pathlib\n"
        "model = mlflow.pyfunc.load_model('models:/tiny@champion')\n"
        "out = model.predict(pandas.DataFrame({'seed': [1, 1, 2], 'label': ['disc', 'disc', '']}), params={'steps': 2})\n"
        "assert model.metadata.signature is not None and model.input_example is not None\n"
        "sys.stdout.buffer.write(b'|'.join(image.hex().encode() for image in out['image']))\n"
        "root = pathlib.Path(mlflow.artifacts.download_artifacts('models:/tiny@champion'))\n"
        "sys.stderr.write(' '.join(sorted(path.suffix for path in root.rglob('*') if path.is_file())))\n"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{life / '.darkroom/mlflow.db'}", "PYTHONPATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, cwd=life.parent, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    first, same, other = (bytes.fromhex(part.decode()) for part in done.stdout.split(b"|"))
    assert first == same != other
    assert Image.open(io.BytesIO(first)).size == (16, 16)
    suffixes = set(done.stderr.decode().split())
    assert ".safetensors" in suffixes
    assert not suffixes & {".pkl", ".pt", ".pth", ".pickle", ".bin"}


def test_mlflow_knows_the_parameters_the_curve_the_data_and_the_commit(life: Path) -> None:
    import mlflow

    from adapters.mlflow_run import connected

    client = connected(life)
    runs = mlflow.search_runs(experiment_names=["darkroom"], output_format="list")
    by_name = {run.info.run_name: run for run in runs}
    assert set(workspaces.STAGES) | {"register"} <= set(by_name)
    base = by_name["train_base"]
    parent = next(run for run in runs if run.data.tags.get("darkroom.lifecycle"))
    assert base.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert base.data.params["learning_rate_schedule.kind"] == "linear_to_zero"
    curve = client.get_metric_history(base.info.run_id, "loss")
    assert [point.step for point in curve] == [16, 32, 48, 64, 80, 96]
    assert client.get_metric_history(base.info.run_id, "held_out_loss")
    assert client.get_metric_history(base.info.run_id, "images_per_second")
    assert [item.path for item in client.list_artifacts(base.info.run_id, "samples")]
    dataset = base.inputs.dataset_inputs[0]
    locked = yaml.safe_load((life / "dvc.lock").read_text(encoding="utf-8"))["stages"]["curate"]["outs"]
    digest = next(out["md5"] for out in locked if out["path"] == "data/curated")
    assert {tag.key: tag.value for tag in dataset.tags}["dvc_md5"] == digest
    assert "git.commit" in base.data.tags


def test_prefect_shows_the_flow_its_tasks_and_what_they_made(life: Path, home: Path) -> None:
    import json

    api = json.loads((home / "prefect.server.json").read_text(encoding="utf-8"))["url"] + "/api"
    runs = httpx.post(f"{api}/flow_runs/filter", json={"sort": "START_TIME_ASC"}).json()
    flow_run = next(run for run in runs if run["name"] == "full run of darkroom-my pictures")
    assert flow_run["state"]["type"] == "COMPLETED"
    task_runs = httpx.post(f"{api}/task_runs/filter", json={}).json()
    assert {"curate the images", "train the base model", "promote, if the gates agree"} <= {run["name"] for run in task_runs}
    artifacts = httpx.post(f"{api}/artifacts/filter", json={}).json()
    kinds = {artifact["type"] for artifact in artifacts}
    assert {"progress", "markdown"} <= kinds
    pictures = [one["data"] for one in artifacts if one["key"] in ("train-base-samples", "champion")]
    assert all("](data:image/webp;base64," in page for page in pictures)
    assert {"train-base-samples", "evaluate-scores", "champion"} <= {artifact["key"] for artifact in artifacts}


def test_nothing_changed_means_nothing_computed(life: Path) -> None:
    assert set(again(life).values()) == {"unchanged"}


def test_a_changed_setting_runs_its_stage_and_what_follows_and_going_back_is_free(life: Path) -> None:
    text = (life / "params.yaml").read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    settings["train_base"]["learning_rate"] /= 2
    write_settings(life, settings)
    done = darkroom("run", "--workspace", life, cwd=life.parent)
    assert "train_base.learning_rate changed" in done.stdout
    steps = outcome(done.stdout)
    assert (steps["curate"], steps["augment"]) == ("unchanged", "unchanged")
    assert steps["train_base"] == steps["finetune"] == steps["evaluate"] == "computed"
    (life / "params.yaml").write_text(text, encoding="utf-8")
    steps = again(life)
    assert steps["train_base"] == steps["finetune"] == steps["evaluate"] == "taken back"
    assert steps["register"] == "unchanged"  # version 1 holds these weights


def test_a_file_more_that_is_rejected_is_recorded_and_trains_nothing(life: Path) -> None:
    broken = life.parent / "my pictures" / "broken.png"
    broken.write_bytes(b"no picture")
    manifest = (life / "data/curated/manifest.parquet").read_bytes()
    steps = again(life)
    assert steps.pop("curate") == "computed" and set(steps.values()) == {"unchanged"}
    assert (life / "data/curated/manifest.parquet").read_bytes() != manifest
    assert "up to date" in dvc("status", cwd=life)
    broken.unlink()
    assert set(again(life).values()) == {"taken back", "unchanged"}
    assert (life / "data/curated/manifest.parquet").read_bytes() == manifest


def test_how_a_finished_training_was_run_and_watched_may_change(life: Path) -> None:
    text = (life / "params.yaml").read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    weights = (life / "models/base/weights.safetensors").read_bytes()
    settings["train_base"] |= {"samples_every": 40, "checkpoint_every": 40, "device": "cpu"}
    settings["finetune"]["data_workers"] = 1
    write_settings(life, settings)
    done = darkroom("run", "--workspace", life, cwd=life.parent)
    assert "train_base.samples_every changed" in done.stdout and "what is done stays as it is" in done.stdout
    assert set(outcome(done.stdout).values()) == {"unchanged"}
    assert "up to date" in dvc("status", cwd=life)
    assert (life / "models/base/weights.safetensors").read_bytes() == weights
    settings["train_base"] |= {"samples_every": 20, "patience": 1}
    write_settings(life, settings)
    assert again(life)["train_base"] == "computed"  # patience may choose other weights
    (life / "params.yaml").write_text(text, encoding="utf-8")
    assert set(again(life).values()) <= {"taken back", "unchanged"}


def test_a_registered_model_is_tuned_on_another_focus_in_place_of_a_base_trained_here(life: Path) -> None:
    from adapters.mlflow_registry import model_folder, version_at
    from darkroom.networks.saved import read_card
    from darkroom.refs import digest_of

    text = (life / "params.yaml").read_text(encoding="utf-8")
    done = darkroom("tune", "tiny@nobody", "--workspace", life, cwd=life.parent)
    assert done.returncode == 1 and "no version or alias `nobody`; there are: " in done.stderr
    done = darkroom("tune", "tiny@champion", "--focus", "square", "--workspace", life, cwd=life.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = outcome(done.stdout)
    assert (steps["curate"], steps["train_base"], steps["finetune"], steps["register"]) == ("unchanged", *["computed"] * 3)
    assert "train_base  0 images seen" in done.stdout
    champion, challenger = (version_at(life, "tiny", alias) for alias in ("champion", "challenger"))
    assert champion is not None and challenger is not None and challenger.number != champion.number
    tuned = read_card(model_folder(life, challenger))
    assert tuned.focus == ("square",)
    assert read_card(life / "models/base").parent_digest == digest_of(model_folder(life, champion))
    (life / "params.yaml").write_text(text, encoding="utf-8")


def test_one_more_image_runs_all_that_depends_on_it_and_a_gate_that_refuses_leaves_the_champion(life: Path) -> None:
    draw_images(life.parent / "my pictures", 1, seed=9)
    settings = yaml.safe_load((life / "params.yaml").read_text(encoding="utf-8"))
    settings["promote"]["largest_kernel_distance"] = 1e-6
    write_settings(life, settings)
    done = darkroom("run", "--workspace", life, cwd=life.parent)
    assert done.returncode == 3, done.stdout + done.stderr
    steps = outcome(done.stdout)
    assert all(steps[step] == "computed" for step in ("curate", "augment", "train_base", "finetune", "evaluate", "register"))
    assert steps["promote"] == "refused"
    assert "61 kept" in done.stdout
    assert "kernel_distance is" in done.stdout
    from adapters.mlflow_registry import version_at

    champion, challenger = (version_at(life, "tiny", alias) for alias in ("champion", "challenger"))
    assert champion is not None
    assert challenger is not None
    assert int(champion.number) < int(challenger.number)


def dvc(*words: object, cwd: Path) -> str:
    """The dvc command, called in this process. Returns what it prints."""
    from dvc.cli import main

    said = io.StringIO()
    with chdir(cwd), redirect_stdout(said), patch.dict(os.environ, {"DVC_NO_ANALYTICS": "1"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main([str(word) for word in words]) == 0
    return said.getvalue()


def dvc_process(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The real dvc command, with this Python first on the path, as in an activated environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(TOP), "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
