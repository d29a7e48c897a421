"""`darkroom serve`: put together, bound to an address, run until it is told to stop."""

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from adapters import machine
from darkroom.provenance import read_signer
from serving.api import application
from serving.engine import Engine
from serving.guards import LOOPBACK, Rules
from serving.loaded import Loading, Offer
from serving.metrics import Metrics
from serving.neighbours import Neighbours
from serving.offers import from_folder, from_registry
from serving.patience import connections
from serving.service import Service
from serving.slot import Slot

MOST_WAITING = 512  # images
GRACE, GRACE_OF_JOBS = 9, 5  # seconds to finish what is under way, and what nobody waits for; `darkroom up` kills after 15
REMOTE_RATE = 20.0  # requests a second of one client, where it is not on this machine


class ServingError(ValueError):
    """It cannot be served like this. The text says why and what to do."""


@dataclass(frozen=True)
class Address:
    """Where to listen, under which further names, and who may ask: the owner of the token, or anybody where `is_open`."""

    host: str = "127.0.0.1"
    port: int = 8000
    names: tuple[str, ...] = ()
    token: str = ""
    is_open: bool = False


@dataclass(frozen=True)
class Means:
    """What it works with. `signing_key`: a PEM file; images are signed with it."""

    device: str = "auto"
    batch: int = 16
    signing_key: Path | None = None


def serve_registry(workspace: Path, name: str, address: Address, means: Means, say: Callable[[str], None]) -> int:
    """Serve a registered model's champion, and its challenger beside it, until told to stop."""
    looks = {alias: from_registry(workspace, name, alias) for alias in ("champion", "challenger")}
    return _run(looks, Neighbours(workspace / "data/curated"), address, means, say)


def serve_folder(folder: Path, address: Address, means: Means, say: Callable[[str], None]) -> int:
    """Serve one model folder, such as an exported one, until told to stop."""
    look = from_folder(folder)
    look()  # a folder that is none is told at once
    return _run({"champion": look}, None, address, means, say)


def rules_for(address: Address) -> Rules:
    """Who may ask at an address. Raises ServingError where it would be open to others and nobody said that it should be."""
    if _is_loopback(address.host):
        return Rules(address.token, (*LOOPBACK, address.host, *address.names))
    if not address.token and not address.is_open:
        raise ServingError(
            f"--host {address.host} can be reached from other machines, and no token is set. Set DARKROOM_TOKEN or "
            "--token-file, or say --open to let everybody in"
        )
    return Rules(address.token, (), per_second=REMOTE_RATE)


def _run(
    looks: dict[str, Callable[[], Offer | None]],
    neighbours: Neighbours | None,
    address: Address,
    means: Means,
    say: Callable[[str], None],
) -> int:
    rules = rules_for(address)
    if not machine.port_is_free(address.port):
        raise ServingError(f"port {address.port} is taken by another program; choose another with --port N")
    signer = read_signer(means.signing_key) if means.signing_key else None
    load, metrics = Loading(means.device, means.batch), Metrics()
    slots = {alias: Slot(alias, look, load, say) for alias, look in looks.items()}
    service = Service(slots, Engine(MOST_WAITING, seen=metrics.drawn), metrics, neighbours=neighbours, signer=signer)
    app = application(service, rules, grace=GRACE_OF_JOBS)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn takes them over, finishes what is under way, and raises them again here
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    shown = f"[{address.host}]" if ":" in address.host else address.host
    say(f"Studio      http://{shown}:{address.port}")
    try:
        uvicorn.run(
            app,
            http=connections(),  # type: ignore[arg-type]  # it is only called
            host=address.host,
            port=address.port,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=GRACE,
            lifespan="on",
        )
    except SystemExit:  # uvicorn has said why
        raise ServingError(f"the service cannot listen at {shown}:{address.port}; choose another --host, or --port") from None
    return 0


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
