"""Local servers: whose they are, what an interrupt leaves, who uses them. Without Prefect or MLflow themselves."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from adapters import local_servers, supervising
from cli import servers


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(local_servers.machine, "set_setting", lambda *_: None)
    return tmp_path


@pytest.fixture
def foreign() -> Iterator[int]:
    """The port of somebody's server that answers every question with success."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def recorded(home: Path, port: int, pid: int) -> Path:
    record = home / "prefect.server.json"
    record.write_text(json.dumps({"url": f"http://127.0.0.1:{port}", "port": port, "pid": pid}))
    return record


def test_what_answers_at_a_recorded_port_is_not_taken_for_ours(home: Path, foreign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_servers, "_started", lambda *_: "http://ours")
    recorded(home, foreign, 2**22 + 1)  # no process has so high a number
    assert local_servers.prefect_api(print) == "http://ours/api"
    monkeypatch.setattr(local_servers, "_is_ours", lambda _: True)
    assert local_servers.prefect_api(print) == f"http://127.0.0.1:{foreign}/api"
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{foreign}/api/")
    assert local_servers.prefect_api(print) == f"http://127.0.0.1:{foreign}/api"


@pytest.mark.parametrize("text", ["", "[]", '{"url": "http://127.0.0.1:1"}'])
def test_a_torn_record_is_none(home: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "prefect.server.json").write_text(text)
    monkeypatch.setattr(local_servers, "_started", lambda *_: "http://ours")
    assert local_servers.running() == set() and local_servers.ports() == {}
    assert local_servers.prefect_api(print) == "http://ours/api"
    assert local_servers.stop_servers() == [] and not list(home.glob("*.server.json"))


def test_an_interrupt_while_a_server_starts_leaves_neither_it_nor_a_record(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def interrupted(_: str) -> bool:
        started.append(json.loads((home / "prefect.server.json").read_text())["pid"])
        raise KeyboardInterrupt

    sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(local_servers, "_prefect_command", lambda port: (sleeps, {}))
    monkeypatch.setattr(local_servers, "answers", interrupted)
    with pytest.raises(KeyboardInterrupt):
        local_servers.prefect_api(print)
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)
    assert not list(home.glob("*.server.json")) and local_servers.started_here() == set()


def test_a_server_that_another_process_uses_is_known_and_what_a_dead_one_left_is_not(home: Path) -> None:
    with local_servers.used({"prefect"}), FileLock(home / f"mlflow-1.{os.getpid() + 1}.lease"):
        (home / f"prefect.{os.getpid() + 2}.lease").touch()
        assert local_servers.used_elsewhere() == {"mlflow-1"}
        assert {one.name.split(".")[0] for one in home.glob("*.lease")} == {"prefect", "mlflow-1"}
    assert not list(home.glob("prefect.*.lease"))


def test_up_ends_what_it_started_and_nobody_else_uses_and_keeps_the_folder_it_is_started_in_out(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[set[str]] = []
    parts: list[supervising.Part] = []

    def stopped(names: set[str]) -> list[str]:
        ended.append(names)
        return []

    monkeypatch.setattr(servers.workspace, "opened", lambda _: home)
    monkeypatch.setattr(servers, "_servers", lambda *_: ("http://api", "http://mlflow"))
    monkeypatch.setattr(servers.signal, "signal", lambda *_: None)
    monkeypatch.setattr(servers.mlflow_run, "store_of", lambda _: "sqlite:///here.db")
    monkeypatch.setattr(supervising, "keep_running", lambda given, *_: parts.extend(given))
    monkeypatch.setattr(local_servers, "_STARTED", {"prefect", "mlflow-1"})
    monkeypatch.setattr(local_servers, "stop_servers", stopped)
    with FileLock(home / f"prefect.{os.getpid() + 1}.lease"):
        assert servers.up(home, (None, None), 8000) == 0
    assert ended == [{"mlflow-1"}]
    assert [part.environment["PYTHONSAFEPATH"] for part in parts] == ["1"] * 3
