"""Programs run as one: lines with names, a start after each end, and nothing left behind."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from adapters import supervising
from adapters.local_servers import masked
from adapters.supervising import Part, keep_running

DIES = "import os, sys; print('born', os.getpid(), flush=True); sys.exit(3)"
STAYS = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print('child', child.pid, flush=True); time.sleep(600)"
)


def test_a_part_that_ends_is_started_again_and_one_that_will_not_end_is_killed_with_its_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervising, "FIRST_WAIT", 0.1)
    monkeypatch.setattr(supervising, "GRACE", 0.5)
    said: list[str] = []
    stop = threading.Event()

    def check() -> None:
        if sum("born" in line for line in said) >= 2 and any("child" in line for line in said):
            stop.set()

    parts = [Part("dies", [sys.executable, "-c", DIES], wait=0.05), Part("stays", [sys.executable, "-c", STAYS])]
    keep_running(parts, said.append, check, stop)
    assert any(line.startswith("dies     ended with code 3; it is started again in") for line in said)
    child = next(int(line.split()[-1]) for line in said if line.startswith("stays    child"))
    for _ in range(50):
        if gone(child):
            break
        time.sleep(0.1)
    assert gone(child)


def gone(pid: int) -> bool:
    """No such process, or one that only waits to be collected."""
    try:
        os.kill(pid, 0)
        return " Z " in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (ProcessLookupError, FileNotFoundError):
        return True


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://ada:secret@host:5000/path", "https://***@host:5000/path"),
        ("https://host/api?token=secret", "https://host/api?***"),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
    ],
)
def test_addresses_are_shown_without_their_secrets(address: str, shown: str) -> None:
    assert masked(address) == shown
