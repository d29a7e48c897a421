"""Clients that keep a connection and do nothing with it, against a real server."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import uvicorn

from adapters import machine
from serving.guards import Message, Receive, Send
from serving.patience import connections

SECONDS = 0.4
HEAD = b"GET /%s HTTP/1.1\r\nHost: here\r\n"
LARGE = 32 * 1024 * 1024  # bytes: no socket's buffer holds them


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answers at once, after a while, or at length."""
    if scope["path"] == "/slow":
        await asyncio.sleep(4 * SECONDS)
    body = bytes(LARGE) if scope["path"] == "/large" else b"here"
    head = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    port = machine.free_port()
    settings = uvicorn.Config(app, port=port, http=connections(SECONDS), log_level="error", lifespan="off")  # type: ignore[arg-type]
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield port
    server.should_exit = True
    thread.join(20)


def ended(client: socket.socket, go_on: Callable[[], object] = lambda: None) -> bool:
    """Whether the server ends the connection within ten times its patience, whatever the client goes on doing."""
    for _ in range(100):
        time.sleep(SECONDS / 10)
        try:
            go_on()
            if client.recv(1, socket.MSG_PEEK) == b"":
                return True
        except BlockingIOError:
            continue
        except OSError:
            return True
    return False


@pytest.mark.parametrize(("said", "goes_on"), [(b"", b""), (b"", b"G"), (HEAD % b"", b"a: b\r\n")])
def test_a_client_that_never_finishes_a_request_is_let_go(port: int, said: bytes, goes_on: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(said)
        client.setblocking(False)
        assert ended(client, lambda: client.send(goes_on))


def test_nor_does_a_first_answer_buy_it_time(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(HEAD % b"" + b"\r\n")
        answer = b""
        while not answer.endswith(b"here"):
            answer += client.recv(4096)
        client.setblocking(False)
        assert ended(client, lambda: client.send(b"G"))


def test_a_client_that_takes_nothing_of_its_answer_is_let_go(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(HEAD % b"large" + b"\r\n")
        time.sleep(4 * SECONDS)
        client.settimeout(10)
        taken = 0
        with suppress(ConnectionResetError):
            while more := client.recv(LARGE):
                taken += len(more)
        assert taken < LARGE


def test_who_waits_for_an_answer_or_takes_it_slowly_gets_it(port: int) -> None:
    for path, size in ((b"slow", 4), (b"large", LARGE)):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(20)
            client.sendall(HEAD % path + b"Connection: close\r\n\r\n")
            taken = 0
            while more := client.recv(LARGE // 12):
                taken += len(more)
                time.sleep(SECONDS / 10)
            assert taken > size
