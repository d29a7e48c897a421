"""Tracking: batches go out in order, and an absent MLflow stops nothing."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from adapters import mlflow_run
from darkroom.events import HeldOutMeasured, SamplesDrawn, SheetScored, StepTaken
from darkroom.stage import StoppedOnRequest


class Client:
    """Takes what a tracking client takes; is away while `away`."""

    def __init__(self) -> None:
        self.away, self.metrics, self.artifacts = False, list[Any](), list[str]()

    def log_batch(self, run_id: str, metrics: list[Any], synchronous: bool) -> None:
        if self.away:
            raise ConnectionError("refused")
        self.metrics += metrics

    def log_artifact(self, run_id: str, path: str, folder: str) -> None:
        if self.away:
            raise ConnectionError("refused")
        Path(path).stat()  # raises where it is gone, as MLflow's does
        self.artifacts.append(path)


def picture(folder: Path) -> str:
    file = folder / "samples.png"
    file.touch()
    return str(file)


def step(images_seen: int) -> StepTaken:
    return StepTaken(images_seen, 100, 0.5, 1e-3, 1.0, 50.0)


def test_metrics_are_kept_against_images_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_run.time, "monotonic", lambda: 1000.0)
    client = Client()
    sender = mlflow_run.Sender(client, "run")
    sender.tell(step(16))
    sender.tell(HeldOutMeasured(32, 0.25, {"middle": 0.3}, {"middle": 0.2}))
    sender.tell(SheetScored(48, "kd_x", 9.0, 1.0, 24))
    assert client.metrics == []
    sender.send()
    sent = {(one.key, one.step): one.value for one in client.metrics}
    assert set(sent) >= {("loss", 16), ("images_per_second", 16), ("held_out_loss", 32)}
    assert sent["held_out_over_training middle", 32] == pytest.approx(1.5)
    assert (sent["sheet_kd_x", 48], sent["sheet_kd_x_real", 48]) == (9.0, 1.0)


def test_what_could_not_be_sent_waits_and_is_sent_when_mlflow_is_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = 1000.0
    monkeypatch.setattr(mlflow_run.time, "monotonic", lambda: now)
    client = Client()
    sender = mlflow_run.Sender(client, "run")
    client.away = True
    sender.tell(SamplesDrawn(0, picture(tmp_path)))
    now += 10
    sender.tell(step(16))
    assert "MLflow is away (refused)" in sender.trouble
    client.away = False
    now += 10
    sender.tell(step(32))
    assert client.metrics == []  # not asked again so soon
    now += mlflow_run.RETRY_EVERY
    sender.tell(step(48))
    assert sender.trouble == ""
    assert [one.step for one in client.metrics if one.key == "loss"] == [16, 32, 48]
    assert client.artifacts == [picture(tmp_path)]


def test_settings_are_flattened_with_their_paths() -> None:
    nested = {"noise": {"kind": "karras", "rho": 7.0}, "focus": ["cat"], "images": 3}
    assert mlflow_run.flattened(nested) == {"noise.kind": "karras", "noise.rho": 7.0, "focus": '["cat"]', "images": 3}


def test_the_store_lies_in_the_workspace_unless_the_environment_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert mlflow_run.store_of(tmp_path) == f"sqlite:///{tmp_path}/.darkroom/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert mlflow_run.store_of(tmp_path) == "http://127.0.0.1:1"
    monkeypatch.chdir(tmp_path)
    for given, store in (
        ("sqlite:///mine.db?timeout=9", f"sqlite:///{tmp_path}/mine.db?timeout=9"),  # the server starts in another folder
        (f"sqlite:///{tmp_path}/mine.db", f"sqlite:///{tmp_path}/mine.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
        assert mlflow_run.store_of(tmp_path) == store
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(mlflow_run.TrackingError, match="question mark"):
        mlflow_run.store_of(tmp_path / "what?")


def test_two_workspaces_in_one_process_keep_their_records_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        client = mlflow_run.connected(tmp_path / name)
        client.create_registered_model(name)
    assert [model.name for model in mlflow_run.connected(tmp_path / "first").search_registered_models()] == ["first"]
    assert [model.name for model in mlflow_run.connected(tmp_path / "second").search_registered_models()] == ["second"]
    assert (tmp_path / "second" / ".darkroom" / "mlflow.db").exists()


def subject(workspace: Path, seed: int = 0) -> mlflow_run.Subject:
    return mlflow_run.Subject(workspace, "train_base", "life", {"seed": seed}, {"data.md5": "d"}, None)


def stopped(workspace: Path) -> mlflow_run.Sender:
    """A run that ended because it was asked to."""
    with suppress(StoppedOnRequest), mlflow_run.run_of(subject(workspace)) as sender:
        sender.tell(step(16))
        raise StoppedOnRequest("stopped")
    return sender


def test_a_training_that_was_stopped_goes_on_in_the_run_that_it_began_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first = stopped(tmp_path)
    client = mlflow_run.connected(tmp_path)
    assert client.get_run(first.run_id).info.status == "KILLED"
    with mlflow_run.run_of(subject(tmp_path)) as second:
        second.tell(step(32))
    assert second.run_id == first.run_id
    assert [one.step for one in client.get_metric_history(first.run_id, "loss")] == [16, 32]
    assert client.get_run(first.run_id).info.status == "FINISHED"
    with mlflow_run.run_of(subject(tmp_path)) as third:  # it ended well: this is another
        pass
    assert third.run_id != first.run_id
    assert [when_and_tags[1]["data.md5"] for when_and_tags in mlflow_run.runs_of(tmp_path, "train_base")] == ["d", "d"]


def test_another_training_begins_a_run_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first = stopped(tmp_path)
    with mlflow_run.run_of(subject(tmp_path, seed=1)) as second:
        pass
    assert second.run_id != first.run_id


def test_a_run_whose_mlflow_is_away_at_its_start_begins_when_it_is_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now, client, away = 1000.0, Client(), True
    monkeypatch.setattr(mlflow_run.time, "monotonic", lambda: now)

    def begin() -> tuple[Any, str]:
        if away:
            raise mlflow_run.TrackingError("MLflow does not answer")
        return client, "run"

    sender = mlflow_run.Sender(None, "", begin)
    assert not sender.reach()
    sender.tell(SamplesDrawn(0, picture(tmp_path)))
    sender.tell(step(16))
    away, now = False, now + mlflow_run.RETRY_EVERY + 1
    sender.tell(step(32))
    assert (sender.run_id, client.artifacts) == ("run", [picture(tmp_path)])
    assert [one.step for one in client.metrics if one.key == "loss"] == [16, 32]


def test_the_end_of_a_stage_waits_for_an_mlflow_that_went_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now, client = 1000.0, Client()
    sender = mlflow_run.Sender(client, "run")
    back_at = now + mlflow_run.PATIENCE / 2

    def slept(seconds: float) -> None:
        nonlocal now
        now += seconds
        client.away = now < back_at

    monkeypatch.setattr(mlflow_run.time, "monotonic", lambda: now)
    monkeypatch.setattr(mlflow_run.time, "sleep", slept)
    client.away = True
    sender.tell(step(16))
    sender.last_words(patient=True)
    assert [one.step for one in client.metrics if one.key == "loss"] == [16]
    assert now >= back_at and not sender.trouble

    client.away, back_at = True, now + 10 * mlflow_run.PATIENCE
    sender.tell(step(32))
    began = now
    sender.last_words(patient=False)
    assert now == began, "a run that was stopped waits for MLflow"
    sender.last_words(patient=True)
    sender.attach({"report": tmp_path})
    assert "MLflow is away" in sender.trouble
    assert now < 1000 + 2 * mlflow_run.PATIENCE, "each of its acts waits anew"


def test_a_picture_that_went_with_its_training_holds_nothing_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mlflow_run, "PATIENCE", 0.0)
    client, gone = Client(), Path(picture(tmp_path))
    client.away = True
    sender = mlflow_run.Sender(client, "run")
    sender.tell(SamplesDrawn(16, str(gone)))
    sender.tell(step(16))
    gone.unlink()
    client.away = False
    sender.last_words(patient=True)
    assert [one.step for one in client.metrics if one.key == "loss"] == [16]
    assert (client.artifacts, sender.trouble) == ([], "")
