"""The files of a version from a registry that keeps them elsewhere: fetched once, and few are kept."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapters import mlflow_registry
from adapters.mlflow_registry import COPIES, KEPT_COPIES, Version

MODEL = "flavors: {python_function: {artifacts: {model: {path: artifacts/net}}}}\n"


class Elsewhere:
    """A registry whose files lie in a bucket."""

    def __init__(self) -> None:
        self.fetched = list[str]()

    def get_model_version_download_uri(self, name: str, number: str) -> str:
        return "models:/m-7" if number == "7" else f"s3://bucket/{name}/{number}"

    def get_logged_model(self, number: str) -> Any:
        return SimpleNamespace(artifact_location=f"s3://bucket/logged/{number}")

    def download_artifacts(self, address: str, dst_path: str) -> str:
        self.fetched.append(address)
        folder = Path(dst_path)
        (folder / "artifacts/net").mkdir(parents=True)
        (folder / "MLmodel").write_text(MODEL, encoding="utf-8")
        (folder / "artifacts/net/weights").write_text(address, encoding="utf-8")
        return dst_path


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    made = Elsewhere()
    monkeypatch.setattr(mlflow_registry, "connected", lambda workspace: made)
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", made.download_artifacts)
    return made


def version(number: int) -> Version:
    return Version("flowers", str(number), (), {}, {})


def test_a_version_is_fetched_once_and_nothing_else_is_left(tmp_path: Path, elsewhere: Elsewhere) -> None:
    for number in (1, 7, 1, 7):
        folder = mlflow_registry.model_folder(tmp_path, version(number))
        assert (folder / "weights").read_text(encoding="utf-8") == f"models:/flowers/{number}"
    assert elsewhere.fetched == ["models:/flowers/1", "models:/flowers/7"]
    assert len(list((tmp_path / COPIES).iterdir())) == 2


def test_the_copies_used_last_are_kept(tmp_path: Path, elsewhere: Elsewhere) -> None:
    for number in range(10, 10 + KEPT_COPIES):
        mlflow_registry.model_folder(tmp_path, version(number))
    mlflow_registry.model_folder(tmp_path, version(10))
    mlflow_registry.model_folder(tmp_path, version(99))
    fetched = len(elsewhere.fetched)
    mlflow_registry.model_folder(tmp_path, version(10))
    assert (len(elsewhere.fetched), len(list((tmp_path / COPIES).iterdir()))) == (fetched, KEPT_COPIES)
    mlflow_registry.model_folder(tmp_path, version(11))  # the one not used for longest was let go
    assert len(elsewhere.fetched) == fetched + 1


def test_a_download_that_breaks_off_leaves_nothing_that_is_taken_for_a_version(
    tmp_path: Path, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(address: str, dst_path: str) -> str:
        Path(dst_path).mkdir()
        raise ConnectionError("reset")

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", half)
    with pytest.raises(ConnectionError, match="reset"):
        mlflow_registry.model_folder(tmp_path, version(1))
    assert list((tmp_path / COPIES).iterdir()) == []
