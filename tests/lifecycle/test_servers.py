"""The real servers: combinations of versions that pass `pip check` break exactly this."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from adapters import local_servers
from adapters import workspace as workspaces
from tests.conftest import TOP, darkroom, draw_images, tiny_settings, write_settings

pytestmark = pytest.mark.servers


def test_a_run_scheduled_in_the_future_appears_and_one_triggered_through_the_api_completes(home: Path, tmp_path: Path) -> None:
    """`darkroom up` serves the flows; the server schedules one, and a person's trigger runs it."""
    images = draw_images(tmp_path / "images", 60)
    workspace = workspaces.make_workspace(tmp_path / "served", images)
    write_settings(workspace, tiny_settings(images))
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "up", "--workspace", str(workspace)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TOP), "PREFECT_RUNNER_POLL_FREQUENCY": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deployment = _eventually(lambda: _deployment(home, "dataset refresh", "served"), 180)
        api = _api(home)
        schema = deployment["parameter_openapi_schema"]
        assert {"workspace", "settings"} <= set(schema["properties"])
        assert schema["definitions"]["CurateSection"]["properties"]["image_size"]["minimum"] == 8
        given = {"schedules": [{"active": True, "schedule": {"interval": 3600, "anchor_date": "2026-01-01T00:00:00Z"}}]}
        _eventually(lambda: httpx.patch(f"{api}/deployments/{deployment['id']}", json=given).is_success, 60)  # SQLite may be busy
        _eventually(lambda: _runs(api, deployment["id"], "SCHEDULED"), 60)

        refused = httpx.post(
            f"{api}/deployments/{deployment['id']}/create_flow_run",
            json={"parameters": {"workspace": str(workspace), "settings": {}}},
        )
        assert refused.status_code == 409
        _eventually(lambda: httpx.post(f"{api}/deployments/{deployment['id']}/create_flow_run", json={}).is_success, 60)
        assert _eventually(lambda: _runs(api, deployment["id"], "COMPLETED"), 180)
        assert (workspace / "data/curated/train.json").exists()
    finally:
        process.terminate()
        output = process.communicate(timeout=60)[0]
    assert "Prefect UI" in output
    mlflow = next(line.split()[-1] for line in output.splitlines() if line.startswith("MLflow UI"))
    assert "MLflow" in httpx.get(mlflow).text


def test_a_server_is_found_again_and_ended(home: Path, tmp_path: Path) -> None:
    said: list[str] = []
    first = local_servers.prefect_api(said.append)
    os.environ.pop("PREFECT_API_URL")
    assert local_servers.prefect_api(said.append) == first
    os.environ.pop("PREFECT_API_URL")
    assert len(said) <= 1
    assert "ended" in darkroom("down", cwd=tmp_path).stdout
    assert not local_servers.answers(f"{first}/health")
    assert "no server of darkroom's is running" in darkroom("down", cwd=tmp_path).stdout


def _api(home: Path) -> str:
    return json.loads((home / "prefect.server.json").read_text(encoding="utf-8"))["url"] + "/api"


def _deployment(home: Path, flow: str, name: str):  # type: ignore[no-untyped-def]
    if not (home / "prefect.server.json").exists():
        return None
    found = httpx.get(f"{_api(home)}/deployments/name/{flow}/{name}")
    return found.json() if found.is_success else None


def _runs(api: str, deployment: str, kind: str):  # type: ignore[no-untyped-def]
    wanted = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": {"state": {"type": {"any_": [kind]}}}}
    return httpx.post(f"{api}/flow_runs/filter", json=wanted).json()


def _eventually(look, seconds: float):  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(1)
    raise AssertionError(f"not seen within {seconds} s")
