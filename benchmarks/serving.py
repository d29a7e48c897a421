"""The image service under load: `python -m benchmarks serving`, with models/base of this folder, or with an untrained network.

What batching across clients costs against the bare sampler; 10,000 requests, their percentiles and the memory after them; ten
swaps of the champion with clients that never pause; thousands of cases of the API's own description.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from adapters import machine
from benchmarks.turns import SETTINGS, TURNS, seconds
from darkroom.networks.saved import load_model
from darkroom.sampling import draw, noise_for
from tests.serving.service import Registry, listening, model_at, offer, put_together

TRAINED = Path("models/base")
BATCH, CLIENTS, STEPS = 16, 32, 8
REQUESTS, SWAPS, BETWEEN, CASES = 10_000, 10, 300, 150
WRK = 'wrk.method = "POST"\nwrk.body = \'{"count": 1, "seed": 1}\'\nwrk.headers["Content-Type"] = "application/json"\n'


def run() -> None:
    """Print every figure of this room."""
    with tempfile.TemporaryDirectory() as scratch:
        against_the_bare_sampler(Path(scratch))
        many_requests(Path(scratch))
        swaps_under_load(Path(scratch))
    contract()


def against_the_bare_sampler(scratch: Path) -> None:
    """Images a second: clients that each ask for one, against `draw` in batches of the same size, in turns."""
    folder = TRAINED if TRAINED.is_dir() else untrained(scratch / "model")
    model, card = load_model(folder, torch.device("cpu"))
    drawing = card.drawing.model_copy(update={"steps": STEPS})
    labels, count = torch.zeros(BATCH, dtype=torch.long), CLIENTS * 3

    def bare() -> None:
        for first in range(0, count, BATCH):
            draw(model, card, labels, noise_for(0, range(first, first + BATCH), card.image_size), drawing)

    def plain() -> None:
        for index in range(count // 4):
            draw(model, card, labels[:1], noise_for(0, [index], card.image_size), drawing)

    with serving(folder) as (address, _):
        asked = [{"seed": 0, "first": first, "steps": STEPS, "label": card.labels[0], "format": "png"} for first in range(count)]
        asyncio.run(ask_all(address, asked, CLIENTS))
        pairs = [
            (seconds(lambda: asyncio.run(ask_all(address, asked, CLIENTS))), seconds(bare), 4 * seconds(plain))
            for _ in range(TURNS)
        ]
    served, alone, single = np.median(np.array(pairs), axis=0)
    print(
        f"{count} requests of one image, {CLIENTS} clients, batch {BATCH}, {STEPS} steps, {folder.name}: "
        f"{count / served:.1f} images/s; the bare sampler {count / alone:.1f}; ratio {alone / served:.2f}; one "
        f"request after another {count / single:.1f} (medians of {TURNS} turns; clients, server and sampler on the same cores)",
        flush=True,
    )


def many_requests(scratch: Path) -> None:
    """Percentiles and memory, with a network so small that the service itself is what is measured."""
    with serving(model_at(scratch / "tiny")) as (address, process):
        asyncio.run(ask_all(address, [{"seed": seed} for seed in range(500)], CLIENTS))
        grown = [memory_of(process)]
        latencies: list[float] = []
        started = time.perf_counter()
        for part in range(5):
            asked = [{"seed": part * REQUESTS + seed} for seed in range(REQUESTS // 5)]
            latencies += asyncio.run(ask_all(address, asked, CLIENTS))
            grown.append(memory_of(process))
        rate = REQUESTS / (time.perf_counter() - started)
        low, high, most = np.percentile(latencies, (50, 95, 99)) * 1000
        print(
            f"{REQUESTS:,} requests, {CLIENTS} clients: {rate:.0f}/s sustained, p50 {low:.0f} ms, p95 {high:.0f} ms, "
            f"p99 {most:.0f} ms; memory after each fifth {', '.join(f'{one:.0f}' for one in grown)} MiB",
            flush=True,
        )
        if shutil.which("wrk"):
            script = scratch / "post.lua"
            script.write_text(WRK, encoding="utf-8")
            command = ["wrk", "-t1", f"-c{CLIENTS}", "-d20s", "--latency", "-s", str(script), f"{address}/v1/images"]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
            wanted = ("50%", "90%", "99%", "Requests/sec", "Non-2xx", "Socket errors", "requests in")
            print(
                "wrk: " + "; ".join(" ".join(line.split()) for line in told if any(word in line for word in wanted)), flush=True
            )


def swaps_under_load(scratch: Path) -> None:
    """Every answer is compared, byte for byte, with what its version draws when nothing else goes on."""
    offers = [offer(model_at(scratch / str(number), seed=number), str(number)) for number in (1, 2, 3)]
    registry, asked = Registry(offers[0]), {"seed": 1, "count": 2}
    expected = {}
    service, app, _ = put_together(registry, every=0.005)
    slot = service.slots["champion"]
    with listening(app) as address:
        for one in offers:
            registry.champion = one
            while slot.model is None or slot.model.version != one.version:
                time.sleep(0.01)
            expected[one.version] = images_of(httpx.post(f"{address}/v1/images", json=asked).json())
        stop, served, wrong, before = threading.Event(), Counter[str](), list[str](), slot.swaps

        def client() -> None:
            with httpx.Client(timeout=60) as session:
                while not stop.is_set():
                    answer = session.post(f"{address}/v1/images", json=asked)
                    told = answer.json() if answer.is_success else {}
                    served[told.get("version", "failed")] += 1
                    if not told or images_of(told) != expected[told["version"]]:
                        wrong.append(answer.text[:200])

        clients = [threading.Thread(target=client) for _ in range(8)]
        for one in clients:
            one.start()
        for number in range(SWAPS):
            goal = served.total() + BETWEEN
            registry.champion = offers[number % 3]
            while served.total() < goal or slot.swaps - before < number + 1:
                time.sleep(0.01)
        stop.set()
        for one in clients:
            one.join(60)
    counts = ", ".join(f"version {version}: {count:,}" for version, count in sorted(served.items()))
    print(f"{slot.swaps - before} swaps, {served.total():,} requests ({counts}): {len(wrong)} failed or mixed", flush=True)


def contract() -> None:
    """The contract test with thousands of cases."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "tests/serving/test_contract.py"]
    top = Path(__file__).parents[1]
    done = subprocess.run(
        command, cwd=top, env=machine.environment_with({"DARKROOM_CASES": str(CASES)}), capture_output=True, text=True
    )
    told = [line for line in done.stdout.splitlines() if "cases" in line or "passed" in line or "failed" in line]
    print(f"contract, {CASES} cases a route, allowed and not allowed: {'; '.join(told)}", flush=True)


def untrained(folder: Path) -> Path:
    """The shipped network with weights of no training: it costs as much to ask."""
    base = SETTINGS["train_base"]
    size = SETTINGS["curate"]["image_size"]
    return model_at(folder, network=base["network"], drawing=base["drawing"], image_size=size)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, int]]:
    """`darkroom serve FOLDER` in a process of its own: its address and its number."""
    port = machine.free_port()
    address = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "cli", "serve", str(folder.absolute()), "--port", str(port), "--batch", str(BATCH)]
    process = subprocess.Popen(
        words,
        cwd=Path(__file__).parents[1],
        env=machine.environment_with({}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not ready(address):
            assert process.poll() is None, "the service did not start"
            time.sleep(0.2)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(30)


def ready(address: str) -> bool:
    """Whether it draws already."""
    try:
        return httpx.get(f"{address}/readyz").is_success
    except httpx.HTTPError:
        return False


async def ask_all(address: str, asked: list[dict[str, Any]], clients: int) -> list[float]:
    """Every request once, by so many clients at once. Seconds of each; raises for one that fails."""
    left, taken = list(reversed(asked)), list[float]()

    async def client(session: httpx.AsyncClient) -> None:
        while left:
            body, started = left.pop(), time.perf_counter()
            (await session.post(f"{address}/v1/images", json=body)).raise_for_status()
            taken.append(time.perf_counter() - started)

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=120, limits=limits) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return taken


def images_of(told: dict[str, Any]) -> list[str]:
    """The files of an answer, without what they say of themselves being parsed."""
    return [one["image"] for one in told["images"]]


def memory_of(process: int) -> float:
    """Resident MiB."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
