"""The local Prefect and MLflow servers: found running or started, on loopback, with SQLite. They stay up between commands.

Not Prefect's ephemeral server: it costs seconds on every run and loses records.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
from filelock import FileLock, Timeout

from adapters import machine
from darkroom.refs import write_whole

PREFECT_PORT, MLFLOW_PORT = 4200, 5000
SUFFIX = ".server.json"  # of the record of a server that was started
LEASE = ".lease"  # of a file that a process holds a lock on while it uses a server
_STARTED: set[str] = set()
GRACE = 20.0  # seconds to end by itself before it is killed
PATIENCE = 180  # seconds: a first start writes a database, on a busy machine


class ServerError(RuntimeError):
    """A server is not there and cannot be started. The text says which, where its log lies and what to do."""


def prefect_api(tell: Callable[[str], None], port: int | None = None) -> str:
    """The address of the Prefect API to use: PREFECT_API_URL where set, else the local server's, started if need be.

    On `port` exactly, where one is given (0: any that is free); else on the usual one, or any that is free. Sets
    PREFECT_API_URL for this process: call it before anything imports prefect. Raises ServerError.
    """
    machine.set_quiet()
    given = (machine.setting("PREFECT_API_URL") or "").rstrip("/")
    if given:
        if not answers(f"{given}/health"):
            raise ServerError(
                f"PREFECT_API_URL is {masked(given)}, and no Prefect server answers there. Start it, or unset PREFECT_API_URL: "
                "darkroom then starts a local one"
            )
        return given
    machine.home().mkdir(parents=True, exist_ok=True)
    with FileLock(machine.home() / "servers.lock"):
        url = _recorded("prefect", "/api/health") or _started("prefect", _free(port, PREFECT_PORT, "prefect"), tell)
    machine.set_setting("PREFECT_API_URL", f"{url}/api")
    machine.set_setting("PREFECT_HOME", str(machine.home() / "prefect"))
    return f"{url}/api"


def mlflow_server(store: str, tell: Callable[[str], None], port: int | None = None) -> str:
    """The address of the local MLflow server on a workspace's `store`, started if need be. Raises ServerError."""
    machine.set_quiet()
    machine.home().mkdir(parents=True, exist_ok=True)
    name = mlflow_name(store)
    with FileLock(machine.home() / "servers.lock"):
        return _recorded(name, "/health") or _started(name, _free(port, MLFLOW_PORT, "mlflow"), tell, store)


def mlflow_name(store: str) -> str:
    """How the local MLflow server on a store is named here: without the store, which may hold a password."""
    return f"mlflow-{hash_text(store):016x}"


def running() -> set[str]:
    """The names of the servers that darkroom started and that run."""
    return {record.name.removesuffix(SUFFIX) for record in _records() if (server := _told_in(record)) and _is_ours(server)}


def ports() -> dict[str, int]:
    """The port of each server that darkroom started and that runs."""
    told = {record.name.removesuffix(SUFFIX): _told_in(record) for record in _records()}
    return {name: server["port"] for name, server in told.items() if server and _is_ours(server)}


def restart(name: str, port: int, store: str, tell: Callable[[str], None]) -> None:
    """Start a server that has ended again where it was: those who use it know its address. Raises ServerError."""
    with FileLock(machine.home() / "servers.lock"):
        record = machine.home() / f"{name}{SUFFIX}"
        server = _told_in(record)
        if server is None or not _is_ours(server):  # else another `darkroom up` was quicker
            _started(name, port, tell, store)


def stop_servers(names: Collection[str] | None = None) -> list[str]:
    """End the servers that darkroom started; only those of these names, if some are given. Returns their addresses, once they
    are gone."""
    stopped, ending = [], []
    for record in _records():
        server = _told_in(record)
        if names is not None and record.name.removesuffix(SUFFIX) not in names:
            continue
        if server and _is_ours(server):
            os.killpg(server["pid"], signal.SIGTERM)
            stopped.append(server["url"])
            ending.append(server)
        record.unlink()
    deadline = time.monotonic() + GRACE
    while any(_is_ours(server) for server in ending) and time.monotonic() < deadline:
        time.sleep(0.1)
    for server in ending:
        if _is_ours(server):
            os.killpg(server["pid"], signal.SIGKILL)
    return stopped


def masked(address: str) -> str:
    """An address without the user, password or token in it: fit for messages."""
    parts = urlsplit(address)
    if not parts.username and not parts.password and not parts.query:
        return address
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(
        (
            parts.scheme,
            f"***@{place}" if parts.username or parts.password else place,
            parts.path,
            "***" if parts.query else "",
            "",
        )
    )


def started_here() -> set[str]:
    """The names of the servers that this process started."""
    return set(_STARTED)


@contextmanager
def used(names: Collection[str]) -> Iterator[None]:
    """Say that servers are in use by this process, until the block ends."""
    with ExitStack() as stack:
        for name in names:
            lease = machine.home() / f"{name}.{os.getpid()}{LEASE}"
            stack.callback(lease.unlink, missing_ok=True)
            stack.enter_context(FileLock(lease))
        yield


def used_elsewhere() -> set[str]:
    """The names of the servers that another process said it uses."""
    return {lease.name.split(".")[0] for lease in machine.home().glob(f"*{LEASE}") if _is_held(lease)}


def _is_held(lease: Path) -> bool:
    """Whether another process holds it; what one left behind when it died goes."""
    if lease.name.endswith(f".{os.getpid()}{LEASE}"):
        return False
    try:
        with FileLock(lease, timeout=0):
            lease.unlink(missing_ok=True)
    except Timeout:
        return True
    return False


def _told_in(record: Path) -> dict[str, Any] | None:
    """A record; None where it cannot be read: a disk that was full, or a crash."""
    try:
        server = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return server if isinstance(server, dict) and {"url", "port", "pid"} <= server.keys() else None


def _records() -> list[Path]:
    return sorted(machine.home().glob(f"*{SUFFIX}"))


def _free(asked: int | None, usual: int, name: str) -> int:
    """The port to start on. Raises ServerError where a port that a person asked for is taken."""
    if asked and not machine.port_is_free(asked):
        raise ServerError(
            f"port {asked} is taken by another program, so that no {name} server was started; end that program, or choose "
            f"another port with --{name}-port (0: any that is free)"
        )
    if asked is not None:
        return asked or machine.free_port()
    return usual if machine.port_is_free(usual) else machine.free_port()


def answers(url: str) -> bool:
    """Whether a server answers with success at an address."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def hash_text(text: str) -> int:
    """A number for a text, the same in every process."""
    import hashlib

    return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16)


def _recorded(name: str, health: str) -> str | None:
    record = machine.home() / f"{name}{SUFFIX}"
    if not record.exists():
        return None
    server = _told_in(record)
    started = time.monotonic()
    while server and _is_ours(server) and not answers(server["url"] + health):  # at its port, another program may answer
        if time.monotonic() - started > PATIENCE:
            raise ServerError(f"the local server at {server['url']} runs but does not answer; `darkroom down` ends it")
        time.sleep(0.5)
    return str(server["url"]) if server and _is_ours(server) else None


def _is_ours(server: dict[str, Any]) -> bool:
    """Whether the recorded process still is the one that was started (numbers of processes are used again)."""
    try:
        command = Path(f"/proc/{server['pid']}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return not Path("/proc").exists()
    return str(server["port"]) in command


def _prefect_command(port: int) -> tuple[list[str], dict[str, str]]:
    home = machine.home() / "prefect"
    home.mkdir(exist_ok=True)
    return [
        *(sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)),
    ], {
        "PREFECT_HOME": str(home),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        "PREFECT_UI_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_UI_URL": f"http://127.0.0.1:{port}",  # for the links in notifications
    }


def _mlflow_command(port: int, store: str) -> tuple[list[str], dict[str, str]]:
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ], {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_BACKEND_STORE_URI": store}


def _started(name: str, port: int, tell: Callable[[str], None], store: str = "") -> str:
    """Start a server: MLflow on `store`, or Prefect. The caller holds the lock of servers."""
    arguments, extra = _mlflow_command(port, store) if store else _prefect_command(port)
    health = "/health" if store else "/api/health"
    log = machine.home() / f"{name}.log"
    url = f"http://127.0.0.1:{port}"
    tell(f"starting a local {name.partition('-')[0]} server at {url}; its log: {log}")
    with log.open("ab") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=machine.environment_with(extra),
            start_new_session=True,
            cwd=machine.home(),
        )
    record, started = machine.home() / f"{name}{SUFFIX}", time.monotonic()
    write_whole(record, json.dumps({"url": url, "port": port, "pid": process.pid}).encode())
    try:
        while not answers(url + health):
            if process.poll() is not None or time.monotonic() - started > PATIENCE:
                raise ServerError(f"the local {name} server did not start on port {port}; its log: {log}")
            time.sleep(0.3)
    except BaseException:  # an interrupt too: no server stays that nobody knows of
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        record.unlink(missing_ok=True)
        raise
    _STARTED.add(name)
    return url
