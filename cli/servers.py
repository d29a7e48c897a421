"""The commands ui, up, watch and down."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from adapters import local_servers, machine, mlflow_run, supervising, workspace
from cli.run import say


def connect(found: Path) -> str:
    """Make Prefect and MLflow ready for flows run in this process. Returns the address of Prefect's API."""
    mlflow_run.connected(found)
    return local_servers.prefect_api(say)


def ui(folder: Path | None) -> int:
    """Start the servers, print where they are."""
    found = workspace.opened(folder or Path.cwd())
    _servers(found)
    return 0


def up(folder: Path | None, ports: tuple[int | None, int | None], image_port: int) -> int:
    """Everything on this machine, until interrupted: servers, flows, watcher, image service."""
    found = workspace.opened(folder or Path.cwd())
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        return _kept_up(found, ports, image_port, ended)
    finally:
        for address in local_servers.stop_servers(local_servers.started_here() - local_servers.used_elsewhere()):
            say(f"ended {address}")


def _kept_up(found: Path, ports: tuple[int | None, int | None], image_port: int, ended: threading.Event) -> int:
    api, store = _servers(found, ports)
    # PYTHONSAFEPATH: what lies in the folder that this is started in, such as a cli.py, is no part of darkroom.
    with_flows = {"PREFECT_API_URL": api, "MLFLOW_TRACKING_URI": store, "PYTHONSAFEPATH": "1"}
    word = [sys.executable, "-m", "cli"]
    port = image_port if machine.port_is_free(image_port) else machine.free_port()
    parts = [
        supervising.Part("flows", [*word, "serve-flows", "--workspace", str(found)], with_flows),
        supervising.Part("watch", [*word, "watch", "--workspace", str(found)], with_flows),
        supervising.Part("images", [*word, "serve", "--workspace", str(found), "--port", str(port)], with_flows),
    ]
    say(f"Images      http://127.0.0.1:{port}")
    say("serving the flows; start them in the Prefect UI under Deployments. Ctrl-C ends this")
    names = {"prefect", local_servers.mlflow_name(mlflow_run.store_of(found))} & local_servers.running()
    with local_servers.used(names):
        supervising.keep_running(parts, say, _servers_kept(found, names), ended)
    return 0


def serve_flows(folder: Path | None) -> int:
    """Serve the flows as deployments of a workspace until interrupted."""
    found = workspace.opened(folder or Path.cwd())
    connect(found)
    from adapters.deployments import serve
    from darkroom.params import read_params
    from flows.base_model import base_model
    from flows.champion_check import champion_check
    from flows.dataset_refresh import dataset_refresh
    from flows.full_run import full_run
    from flows.promotion import promotion
    from flows.retraining import retraining
    from flows.tuned_model import tuned_model

    settings = read_params(found / "params.yaml")
    flows = [full_run, dataset_refresh, base_model, tuned_model, promotion, retraining, champion_check]
    serve(flows, found, settings.model_dump(mode="json", by_alias=True), settings.retrain.schedule)
    return 0


def watch(folder: Path | None) -> int:
    """Look at the folder of images and the drop list; tell Prefect of a change once it is over. Until interrupted."""
    found = workspace.opened(folder or Path.cwd())
    connect(found)
    from adapters.deployments import show_settings, tell_change
    from adapters.prefect_runs import start_flow
    from adapters.watching import ChampionWatcher, Watcher
    from darkroom.params import read_params

    images = Watcher(found, tell=lambda change: tell_change(found, change), say=say)
    champion = ChampionWatcher(found, tell=lambda: start_flow("champion check", found), say=say)
    shown = None
    while True:
        settings = read_params(found / "params.yaml")
        if settings != shown:
            show_settings(found, settings.model_dump(mode="json", by_alias=True))
            shown = settings
        images.look(settings)
        champion.look(settings)
        time.sleep(settings.retrain.look_every)


def down() -> int:
    """End the servers that darkroom started."""
    stopped = local_servers.stop_servers()
    say("\n".join(f"ended {address}" for address in stopped) if stopped else "no server of darkroom's is running")
    return 0


def _servers(found: Path, ports: tuple[int | None, int | None] = (None, None)) -> tuple[str, str]:
    """Addresses of Prefect's API and MLflow, started if need be."""
    api = local_servers.prefect_api(say, ports[0])
    store = mlflow_run.store_of(found)
    address = store if store.startswith("http") else _with_store(found, store, ports[1])
    say(f"Prefect UI  {local_servers.masked(api.removesuffix('/api'))}")
    say(f"MLflow UI   {local_servers.masked(address)}")
    return api, address


def _servers_kept(found: Path, names: Collection[str]) -> Callable[[], None]:
    """A check that starts these servers again where they have ended, by themselves or by another's word."""
    store, state, ports = mlflow_run.store_of(found), {"next": 0.0}, local_servers.ports()

    def check() -> None:
        if time.monotonic() >= state["next"]:
            state["next"] = time.monotonic() + 10
            for name in set(names) - local_servers.running():
                say(f"{name} has ended; it is started again")
                local_servers.restart(name, ports[name], "" if name == "prefect" else store, say)

    return check


def _with_store(found: Path, store: str, port: int | None) -> str:
    mlflow_run.connected(found)  # makes the database, so that the server finds it whole
    return local_servers.mlflow_server(store, say, port)
