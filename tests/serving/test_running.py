"""The real command in a process of its own: served from a folder, vanishing clients, told to stop half way."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters import machine
from tests.conftest import TOP, darkroom
from tests.serving.service import model_at
from tests.serving.test_engine import until


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    folder, port = model_at(tmp_path / "exported"), machine.free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "serve", str(folder), "--port", str(port), "--batch", "2"],
        env={**os.environ, "PYTHONPATH": str(TOP)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(address), 120)
        yield process, address
    finally:
        process.kill()
        process.communicate(timeout=20)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz").is_success
    except httpx.HTTPError:
        return False


def test_clients_that_vanish_leave_nothing_behind_and_a_stop_finishes_what_is_under_way(
    served: tuple[subprocess.Popen[str], str],
) -> None:
    process, address = served
    body = b'{"count": 64, "steps": 200}'
    head = f"POST /v1/images HTTP/1.1\r\nHost: {address[7:]}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    for _ in range(3):  # long orders of clients that go at once
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as gone:
            gone.sendall(head.encode() + body)
            until(lambda: waiting(address) > 0)
    until(lambda: waiting(address) == 0)

    answer: list[Any] = []
    order = {"count": 24, "steps": 40, "seed": 1}
    ready = httpx.Client(base_url=address, timeout=60)  # made before, since making one takes longer than to draw
    client = threading.Thread(target=lambda: answer.append(httpx.post(f"{address}/v1/images", json=order, timeout=60)))
    client.start()
    until(lambda: waiting(address) > 0)
    job = ready.post("/v1/jobs", json={"count": 4, "steps": 40}).json()
    followed = threading.Event()

    def follow() -> None:
        with closing(ready), ready.stream("GET", f"/v1/jobs/{job['id']}/events") as events:
            followed.set()
            events.read()
            answer.append(events)

    events = threading.Thread(target=follow)
    events.start()
    until(followed.is_set)
    assert waiting(address) > 0
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    client.join(5)
    events.join(5)
    assert process.returncode == 0
    assert sorted(one.status_code for one in answer) == [200, 200]
    assert any('"state":"done"' in one.text for one in answer)
    output = process.communicate()[0]
    assert "exported version" in output and "Traceback" not in output


def waiting(address: str) -> float:
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("darkroom_images_waiting "))


def test_what_cannot_be_served_is_said_before_anything_starts(tmp_path: Path) -> None:
    folder, port = model_at(tmp_path / "model"), machine.free_port()
    for words, says in (
        ((tmp_path / "nothing",), "no model here"),
        ((folder, "--host", "0.0.0.0"), "DARKROOM_TOKEN"),
        ((folder, "--batch", "0"), "--batch is 0"),
        ((folder, "--port", "0"), "--port is 0"),
        ((folder, "--signing-key", tmp_path / "none.pem"), "signing key"),
        ((folder, "--open", "--host", "no-such-host.invalid"), "cannot listen at no-such-host.invalid"),
        ((), "is not in a workspace"),
    ):
        done = darkroom("serve", "--port", port, *words, cwd=tmp_path)
        assert done.returncode == 1 and says in done.stderr, (words, done.stderr)
    (tmp_path / "token").touch()
    assert "it is empty" in darkroom("serve", folder, "--token-file", tmp_path / "token", cwd=tmp_path).stderr
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = darkroom("serve", folder, "--port", other.getsockname()[1], cwd=tmp_path)
    assert done.returncode == 1 and "is taken by another program" in done.stderr
