"""A service small enough for tests, and ways to ask it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import uvicorn
from starlette.testclient import TestClient

from adapters import machine
from darkroom.networks.saved import build, save_model
from serving.api import application
from serving.engine import Engine
from serving.guards import App, Rules
from serving.loaded import Loaded, Loading, Offer
from serving.metrics import Metrics
from serving.neighbours import Neighbours
from serving.service import Service
from serving.slot import Slot
from tests.darkroom.tiny import card, stirred

LOCAL = Rules(hosts=("testserver", "127.0.0.1"))
CAPTIONED = {"kind": "captioned", "length": 24, "width": 32, "depth": 1}


def model_at(folder: Path, seed: int = 0, weaker: bool = False, **changes: Any) -> Path:
    """A model folder whose weights, and those of less training beside them, follow from the seed."""
    folder.mkdir(parents=True, exist_ok=True)
    about = card(**changes)
    torch.manual_seed(seed)
    less = stirred(build(about), seed + 100).state_dict() if weaker else None
    save_model(folder, stirred(build(about), seed).state_dict(), about, weaker=less)
    return folder


def offer(folder: Path, version: str, name: str = "tiny") -> Offer:
    return Offer(name, version, lambda: folder, {"data.md5": f"data of {version}"})


def loaded(folder: Path, version: str = "1", batch: int = 8) -> Loaded:
    return Loading("cpu", batch)(offer(folder, version))


@dataclass
class Registry:
    """A stand-in for the registry: aliases that tests move."""

    champion: Offer | None = None
    challenger: Offer | None = None
    fault: Exception | None = None
    asked: int = 0

    def look(self, alias: str) -> Callable[[], Offer | None]:
        def look_up() -> Offer | None:
            self.asked += 1
            if self.fault:
                raise self.fault
            return getattr(self, alias)

        return look_up


@dataclass
class Running:
    """A service under test: its client, its registry, what it said."""

    client: TestClient
    service: Service
    registry: Registry
    said: list[str] = field(default_factory=list)

    def look(self) -> None:
        for slot in self.service.slots.values():
            slot.look()

    def images(self, code: int = 200, **asked: Any) -> Any:
        answer = self.client.post("/v1/images", json=asked)
        assert answer.status_code == code, answer.text[:500]
        return answer.json()

    def files(self, **asked: Any) -> list[str]:
        return [one["image"] for one in self.images(**asked)["images"]]


def put_together(
    registry: Registry, rules: Rules = LOCAL, data: Path | None = None, engine: Engine | None = None, **means: Any
) -> tuple[Service, App, list[str]]:
    """A service whose registry was looked at once, the application, and what it says."""
    said: list[str] = []
    load, metrics = Loading("cpu", means.pop("batch", 8)), Metrics()
    slots = {alias: Slot(alias, registry.look(alias), load, said.append) for alias in ("champion", "challenger")}
    for slot in slots.values():
        slot.look()
    engine = engine or Engine(512, seen=metrics.drawn)
    every = means.pop("every", 3600)
    service = Service(slots, engine, metrics, neighbours=Neighbours(data) if data else None, **means)
    return service, application(service, rules, every=every, grace=5), said


@contextmanager
def running(registry: Registry, rules: Rules = LOCAL, **means: Any) -> Iterator[Running]:
    """A service in this process, whose registry is looked at when a test says so."""
    service, app, said = put_together(registry, rules, **means)
    with TestClient(app) as client:  # type: ignore[arg-type]
        yield Running(client, service, registry, said)


@contextmanager
def listening(app: App) -> Iterator[str]:
    """The application behind a real server in a thread. Yields its address."""
    port = machine.free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="on", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


class Gate:
    """Wraps a denoiser: holds the walk until a test lets it go on, and counts the questions."""

    def __init__(self, denoiser: Any) -> None:
        self.denoiser, self.open, self.asked = denoiser, threading.Event(), 0

    def __call__(self, *asked: Any) -> Any:
        self.asked += 1
        assert self.open.wait(20)
        return self.denoiser(*asked)
