"""Versions after training: gates, promotion, rollback, lineage, forgetting, retraining; in order, in one workspace."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml

from adapters import lineage, machine, mlflow_registry, prefect_runs, promotions
from adapters.mlflow_run import connected
from adapters.promotions import Decision, PromotionError
from darkroom.params import read_params
from darkroom.refs import digest_of
from tests.conftest import darkroom, draw_images, write_settings

pytestmark = pytest.mark.lifecycle


def change(workspace: Path, **sections: dict[str, object]) -> None:
    settings = yaml.safe_load((workspace / "params.yaml").read_text(encoding="utf-8"))
    for name, values in sections.items():
        settings[name] |= values
    write_settings(workspace, settings)


def at(workspace: Path, alias: str) -> str | None:
    version = mlflow_registry.version_at(workspace, "tiny", alias)
    return version.number if version else None


def again(workspace: Path, *words: str, code: int = 0) -> str:
    done = darkroom(*words, "--workspace", workspace, cwd=workspace.parent)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_version_has_a_card_a_signature_its_manifest_and_tags(lived: Path) -> None:
    client = connected(lived)
    version = client.get_model_version("tiny", "1")
    card = version.description
    for part in ("60 images kept of 60", "kernel_distance", "held_out_loss", "train_base.learning_rate", "models:/tiny@champion"):
        assert part in card
    assert {"weights.sha256", "data.md5", "scores", "made_by"} <= set(version.tags)
    champion = mlflow_registry.version_named(lived, "tiny", "champion")
    files = {path.name for path in mlflow_registry.report_folder(lived, champion).iterdir()}
    assert champion.tags["model.sha256"] == digest_of(mlflow_registry.model_folder(lived, champion))
    assert {"card.md", "scores.json", "report.html", "samples_tuned.png", "manifest.parquet", "params.yaml"} <= files


def test_lineage_walks_back_to_every_source_file_and_on_from_an_image(lived: Path, tmp_path: Path) -> None:
    text = again(lived, "lineage", "tiny@champion", "--files", str(tmp_path / "files.csv"))
    assert "60 of 60 source files" in text
    assert len((tmp_path / "files.csv").read_text(encoding="utf-8").splitlines()) == 61
    image = next((lived.parent / "my pictures").rglob("*.png"))
    assert "tiny version 1 @challenger @champion" in again(lived, "lineage", "--image", str(image))
    assert "has no version or alias `nonsense`; there are: 1 @challenger @champion" in again(
        lived, "lineage", "tiny@nonsense", code=1
    )


def test_rollback_without_a_previous_version_moves_nothing(lived: Path) -> None:
    assert "no `previous` version" in again(lived, "rollback", code=1)
    assert at(lived, "champion") == "1"


def test_a_refused_version_is_promoted_only_by_force_with_a_reason_and_rollback_undoes_it(lived: Path) -> None:
    before = read_params(lived / "params.yaml").finetune.learning_rate
    change(lived, promote={"largest_kernel_distance": 1e-6}, finetune={"learning_rate": 1e-4})
    assert "kernel_distance is" in again(lived, "run", code=3)
    assert (at(lived, "challenger"), at(lived, "champion")) == ("2", "1")
    assert "refused" in again(lived, "promote", code=3)
    change(lived, promote={"largest_kernel_distance": 1e9, "against_champion": "better"})
    assert "from the same noise the difference is" in again(lived, "promote", code=3)
    change(lived, promote={"largest_kernel_distance": 1e-6, "against_champion": "no_worse"})
    assert "needs --reason" in again(lived, "promote", "2", "--force", code=1)
    assert at(lived, "champion") == "1"
    assert "computed: a test" in again(lived, "promote", "2", "--force", "--reason", "a test")
    assert (at(lived, "champion"), at(lived, "previous")) == ("2", "1")
    assert "version 1 is the champion again" in again(lived, "rollback", "--reason", "stripes")
    assert (at(lived, "champion"), at(lived, "previous")) == ("1", "2")
    log = promotions.moves(lived)
    assert [(move.what, move.version) for move in log] == [("promoted", "1"), ("forced", "2"), ("rolled back", "1")]
    assert "refused: kernel_distance is" in log[1].why
    assert all(move.who and move.when.endswith("+00:00") for move in log)
    assert json.loads(connected(lived).get_model_version("tiny", "2").tags["forced"])["why"] == log[1].why
    change(lived, finetune={"learning_rate": before})
    assert "are `challenger` again" in again(lived, "run")  # and not version 2, which the settings were taken back from
    assert (at(lived, "challenger"), at(lived, "champion")) == ("1", "1")


def test_a_run_that_waited_for_another_writes_no_settings_of_before(lived: Path) -> None:
    waits, said = threading.Event(), prefect_runs.say

    def heard(text: str) -> None:
        said(text)
        if "another run writes to" in text:
            waits.set()

    with patch.object(prefect_runs, "say", heard), ThreadPoolExecutor(1) as other:
        with machine.held(lived / ".darkroom/lock", lambda: None):
            run = other.submit(again, lived, "run")
            assert waits.wait(60)
            change(lived, promote={"largest_copied_share": 0.123})
        assert "settings written" not in run.result()
    assert read_params(lived / "params.yaml").promote.largest_copied_share == 0.123


def test_two_promotions_at_once_end_consistent(lived: Path) -> None:
    one, two = (mlflow_registry.version_named(lived, "tiny", number) for number in ("1", "2"))
    outcomes: list[str] = []

    def attempt() -> None:
        try:
            promotions.promote(lived, two, one, Decision("promoted", "a race"))
            outcomes.append("moved")
        except PromotionError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=attempt) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("moved") == 1
    assert len([one for one in outcomes if "became champion while" in one]) == 2
    assert (at(lived, "champion"), at(lived, "previous")) == ("2", "1")
    promotions.roll_back(lived, "tiny", "after the race")


def test_a_champion_moved_in_the_mlflow_ui_is_respected_recorded_and_warned_of(lived: Path) -> None:
    connected(lived).set_registered_model_alias("tiny", "champion", "2")
    text = again(lived, "promote", "1", code=3)  # a promotion looks first; the gate is still out of reach
    assert "version 2 was made champion outside darkroom (before: 1)" in text
    assert "It fails its gates" in text
    assert at(lived, "champion") == "2"
    assert promotions.moves(lived)[-1].what == "moved elsewhere"
    assert promotions.noticed(lived, "tiny") is None
    assert promotions.roll_back(lived, "tiny", "back")[0].number == "1"


def test_versions_of_another_tool_break_nothing(lived: Path) -> None:
    client = connected(lived)
    client.create_model_version("tiny", (lived / "models").as_uri(), tags={"scores": "n/a", "data.md5": "x"})
    foreign = mlflow_registry.version_named(lived, "tiny", "3")
    assert foreign.scores == {}
    assert "was not registered by darkroom" in again(lived, "promote", "3", code=1)
    assert "was not registered by darkroom" in again(lived, "lineage", "tiny@3", code=1)
    assert "tiny version 1" in again(lived, "lineage", "--image", str(next((lived.parent / "my pictures").rglob("*.png"))))
    client.delete_model_version("tiny", "3")


def test_new_images_are_trained_on_from_the_champion_and_nothing_new_is_not(lived: Path) -> None:
    change(lived, promote={"largest_kernel_distance": 1e9})
    draw_images(lived.parent / "my pictures", 8, seed=5)
    with patch("flows.retraining.evaluate", side_effect=RuntimeError("the machine died")), pytest.raises(RuntimeError):
        retrained(lived)
    base = (lived / "models/base/weights.safetensors").read_bytes()
    why = "8 of 68 images are new (12%; little is up to 25%)"
    assert retrained(lived)["retrain"] == f"warm start from the champion: the run before did not finish; {why}"
    assert (lived / "models/base/weights.safetensors").read_bytes() == base
    card = mlflow_registry.report_folder(lived, mlflow_registry.version_at(lived, "tiny", "challenger")) / "card.md"
    assert "68 images kept of 68" in card.read_text(encoding="utf-8")
    start = read_params(lived / "params.yaml").train_base.start
    assert start.kind == "weights"
    assert start.budget == 24  # a quarter of 96
    model = json.loads((lived / "models/base/model.json").read_text(encoding="utf-8"))
    assert model["parent_digest"] == start.digest
    assert retrained(lived)["retrain"] == "a model was trained on these images already"


def test_forgetting_marks_versions_and_trains_from_scratch_without_the_image_and_its_copies(lived: Path) -> None:
    rows = lineage.rows_of(lived / "data/curated/manifest.parquet")
    train = next(row for row in rows if row["split"] == "train")
    image = lived.parent / "my pictures" / train["path"]
    copy = image.with_name("copied.png")
    copy.write_bytes(image.read_bytes())
    text = again(lived, "forget", str(image), "--reason", "its owner asked")
    assert "versions trained on them, now marked: 1, 2" in text
    assert read_params(lived / "params.yaml").train_base.start.kind == "scratch"  # it was the weights of a marked version
    assert "forgotten" in mlflow_registry.version_named(lived, "tiny", "1").tags
    listed = yaml.safe_load((lived / "choices.yaml").read_text(encoding="utf-8"))
    assert [(row["sha256"], row["choice"], row["reason"]) for row in listed] == [(train["sha256"], "drop", "its owner asked")]
    assert "from scratch: 1 images were taken out" in retrained(lived)["retrain"]
    kept = {row["sha256"] for row in lineage.rows_of(lived / "data/curated/manifest.parquet") if row["kept"]}
    assert train["sha256"] not in kept
    assert image.exists()  # a person's folder is never changed
    assert "there is no such file" in again(lived, "forget", "nowhere.png", "--reason", "x", code=1)
    marked = mlflow_registry.version_named(lived, "tiny", "2")
    assert "forgotten" in marked.tags
    assert "it was trained on images since forgotten" in again(lived, "promote", "2", code=3)
    text = again(lived, "lineage", "--image", train["sha256"])
    assert f": train, as {train['path']}" in text  # of the data versions before
    assert ": rejected: dropped" in text  # of the newest


def test_a_training_asked_to_stop_saves_first_and_the_same_command_goes_on(lived: Path, caplog: pytest.LogCaptureFixture) -> None:
    seldom = dict.fromkeys(("held_out_every", "samples_every", "checkpoint_every"), 1600)
    change(lived, train_base={"images": 1600, **seldom})
    journal = lived / ".darkroom/events/train_base.jsonl"
    before = journal.stat().st_mtime_ns

    def ask() -> None:
        while journal.stat().st_mtime_ns == before or "StepTaken" not in journal.read_text(encoding="utf-8"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask)
    asking.start()
    text = again(lived, "run", code=130)
    asking.join()
    stopped = text.split("darkroom: stopped at ")[1].split()[0]
    darkroom("run", "--workspace", lived, cwd=lived.parent)
    assert f"going on from {stopped} images seen" in caplog.text
    runs = [run for run in connected(lived).search_runs(["1"]) if run.info.run_name == "train_base"]
    curve = [one.step for one in connected(lived).get_metric_history(runs[0].info.run_id, "loss")]
    assert curve == list(range(16, 1601, 16)), "one training, one run, with its whole curve"


def retrained(workspace: Path) -> dict[str, str]:
    """What the flow `retraining` did, by step."""
    found: dict[str, str] = {}
    in_flow(workspace, lambda done: found.update({step.stage: step.why for step in done}))
    return found


def in_flow(workspace: Path, look: Callable[..., None]) -> None:
    import warnings

    from adapters import local_servers

    with patch.dict(os.environ), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        url = local_servers.prefect_api(print)
        from prefect.settings import PREFECT_API_URL, temporary_settings

        from flows.retraining import retraining

        with temporary_settings({PREFECT_API_URL: url}):
            look(retraining(workspace))
