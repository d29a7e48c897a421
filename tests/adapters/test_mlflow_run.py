"""Tracking: batches go out in order, and an absent MLflow stops nothing."""

from pathlib import Path
from typing import Any

import pytest

from adapters import mlflow_run
from darkroom.events import HeldOutMeasured, SamplesDrawn, StepTaken


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
        self.artifacts.append(path)


def step(images_seen: int) -> StepTaken:
    return StepTaken(images_seen, 100, 0.5, 1e-3, 1.0, 50.0)


def test_metrics_are_kept_against_images_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_run.time, "monotonic", lambda: 1000.0)
    client = Client()
    sender = mlflow_run.Sender(client, "run")
    sender.tell(step(16))
    sender.tell(HeldOutMeasured(32, 0.25))
    assert client.metrics == []
    sender.send()
    assert {(one.key, one.step) for one in client.metrics} >= {("loss", 16), ("images_per_second", 16), ("held_out_loss", 32)}


def test_what_could_not_be_sent_waits_and_is_sent_when_mlflow_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(mlflow_run.time, "monotonic", lambda: now)
    client = Client()
    sender = mlflow_run.Sender(client, "run")
    client.away = True
    sender.tell(SamplesDrawn(0, "samples.png"))
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


def test_two_workspaces_in_one_process_keep_their_records_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        client = mlflow_run.connected(tmp_path / name)
        client.create_registered_model(name)
    assert [model.name for model in mlflow_run.connected(tmp_path / "first").search_registered_models()] == ["first"]
    assert [model.name for model in mlflow_run.connected(tmp_path / "second").search_registered_models()] == ["second"]
    assert (tmp_path / "second" / ".darkroom" / "mlflow.db").exists()
