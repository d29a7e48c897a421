"""The commands ui, up and down."""

from pathlib import Path

from adapters import local_servers, mlflow_run, workspace
from cli.run import say


def up(folder: Path | None, serve_flows: bool) -> int:
    """Start the servers, print where they are; serve the flows until interrupted, where asked."""
    found = workspace.opened(folder or Path.cwd())
    api = local_servers.prefect_api(say)
    store = mlflow_run.store_of(found)
    address = store if store.startswith("http") else _with_store(found, store)
    say(f"Prefect UI  {api.removesuffix('/api')}")
    say(f"MLflow UI   {address}")
    if serve_flows:
        from adapters.prefect_runs import serve
        from darkroom.params import read_params
        from flows.base_model import base_model
        from flows.dataset_refresh import dataset_refresh
        from flows.full_run import full_run
        from flows.promotion import promotion
        from flows.tuned_model import tuned_model

        settings = read_params(found / "params.yaml").model_dump(mode="json", by_alias=True)
        say("serving the flows; start them in the Prefect UI under Deployments. Ctrl-C ends this")
        serve([full_run, dataset_refresh, base_model, tuned_model, promotion], found, settings)
    return 0


def down() -> int:
    """End the servers that darkroom started."""
    stopped = local_servers.stop_servers()
    say("\n".join(f"ended {address}" for address in stopped) if stopped else "no server of darkroom's is running")
    return 0


def _with_store(found: Path, store: str) -> str:
    mlflow_run.connected(found)  # makes the database, so that the server finds it whole
    return local_servers.mlflow_server(store, say)
