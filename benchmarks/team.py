"""A team's set-up, for real and on loopback: `python -m benchmarks.team`.

PostgreSQL under Prefect and under MLflow, an S3 server (moto) under MLflow's artifacts and DVC's remote, a work pool with its
worker, `prefect deploy --all`; one retraining through it all; then every byte written or said is searched for passwords.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import httpx

from adapters import machine
from adapters.local_servers import answers
from tests.conftest import TOP, draw_images, tiny_settings, write_settings
from tests.lifecycle.test_up import eventually

WORD = "Hidden-Word-7351"  # the password of everything: it must turn up nowhere
USER = "ada"
KEYS = {"AWS_ACCESS_KEY_ID": "TEAMKEY", "AWS_SECRET_ACCESS_KEY": f"{WORD}-key", "AWS_DEFAULT_REGION": "us-east-1"}
PLACES = ("database", "bucket")  # the servers' own stores: not searched


@dataclass
class Team:
    """Where everything is, and what goes with it."""

    folder: Path
    ports: Mapping[str, int]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        """The workspace on the worker's machine."""
        return self.folder / "life"

    def do(self, *words: str, at: Path | None = None, **more: str) -> str:
        """Run a Python program as someone of the team. Returns what it said."""
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=at or self.workspace,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        with (self.folder / "said.log").open("a", encoding="utf-8") as log:
            log.write(f"{' '.join(words)}\n{said}\n")
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {said[-2000:]}")
        return said


def main() -> int:
    """Set it up, retrain, look. Returns the exit code."""
    missing = [name for name in ("initdb", "pg_ctl", "moto_server") if shutil.which(name) is None]
    missing += [name for name in ("dvc_s3", "psycopg2", "boto3") if find_spec(name) is None]
    if missing:
        print(f"a team's set-up is not tried here: there is no {', '.join(missing)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="team-", ignore_cleanup_errors=True) as folder, ExitStack() as ended:
        team = Team(Path(folder), {name: machine.free_port() for name in ("database", "bucket", "mlflow", "prefect")})
        Path(folder).chmod(0o755)
        for part in (_database, _bucket, _mlflow, _prefect):
            ended.enter_context(part(team))
            print(f"{part.__name__.strip('_'):<10} runs", flush=True)
        _workspace(team)
        ended.enter_context(_worker(team))
        _retrained(team)
        _pulled_elsewhere(team)
        found = _leaks(team)
    print(f"passwords  {'found in ' + '; '.join(found) if found else 'found nowhere'}", flush=True)
    return 1 if found else 0


@contextmanager
def _database(team: Team) -> Iterator[None]:
    """PostgreSQL with a password, and a database each for Prefect and MLflow."""
    place, port = team.folder / "database", team.ports["database"]
    place.mkdir()
    owner = {"user": "postgres"} if os.geteuid() == 0 else {}  # PostgreSQL refuses to run as root
    if owner:
        shutil.chown(place, "postgres")
    secret = place.with_suffix(".word")
    secret.write_text(WORD, encoding="utf-8")
    secret.chmod(0o644)

    def do(*words: str) -> None:
        subprocess.run(
            words, check=True, stdout=subprocess.DEVNULL, cwd="/", env=machine.environment_with({"PGPASSWORD": WORD}), **owner
        )  # type: ignore[call-overload]

    do("initdb", "-D", str(place / "data"), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(secret))
    secret.unlink()
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={place}"
    do("pg_ctl", "-D", str(place / "data"), "-l", str(place / "log"), "-w", "-o", settings, "start")
    try:
        for name in ("prefect", "mlflow"):
            do("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", USER, name)
        yield
    finally:
        do("pg_ctl", "-D", str(place / "data"), "-m", "immediate", "stop")


@contextmanager
def _bucket(team: Team) -> Iterator[None]:
    """An S3 server with one bucket."""
    url = f"http://127.0.0.1:{team.ports['bucket']}"
    with _program(team, "bucket", ["moto_server", "-p", str(team.ports["bucket"])], {}, url):
        httpx.put(f"{url}/team", headers={"Host": f"127.0.0.1:{team.ports['bucket']}"}).raise_for_status()
        yield


@contextmanager
def _mlflow(team: Team) -> Iterator[None]:
    url = f"http://127.0.0.1:{team.ports['mlflow']}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(team.ports["mlflow"])]
    secrets = {
        "MLFLOW_BACKEND_STORE_URI": f"postgresql://{USER}:{WORD}@127.0.0.1:{team.ports['database']}/mlflow",
        "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{team.ports['bucket']}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **KEYS,
    }
    with _program(
        team, "mlflow", [*command, "--workers", "1", "--artifacts-destination", "s3://team/mlflow"], secrets, url + "/health"
    ):
        yield


@contextmanager
def _prefect(team: Team) -> Iterator[None]:
    url = f"http://127.0.0.1:{team.ports['prefect']}"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(team.ports["prefect"])]
    secrets = {
        "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{USER}:{WORD}@127.0.0.1:{team.ports['database']}/prefect",
        "PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{WORD}",
        "PREFECT_HOME": str(team.folder / "prefect-server"),
    }
    with _program(team, "prefect", command, secrets, url + "/api/health"):
        yield


def _workspace(team: Team) -> None:
    """Someone's machine: addresses with passwords in them, as people paste them."""
    team.environment = machine.environment_with(
        {
            "PYTHONPATH": os.pathsep.join([str(TOP), *filter(None, [machine.setting("PYTHONPATH")])]),
            "DARKROOM_HOME": str(team.folder / "home"),
            "DARKROOM_WORKSPACE": str(team.workspace),
            "DARKROOM_IMAGE": "registry.invalid/darkroom:1",
            "PREFECT_HOME": str(team.folder / "prefect-client"),
            "PREFECT_API_URL": f"http://127.0.0.1:{team.ports['prefect']}/api",
            "PREFECT_API_AUTH_STRING": f"{USER}:{WORD}",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "MLFLOW_TRACKING_URI": f"http://{USER}:{WORD}@127.0.0.1:{team.ports['mlflow']}",
            **KEYS,
        }
    )
    images = draw_images(team.folder / "pictures", 60)
    team.do("cli", "init", str(team.workspace), "--data", str(images), at=team.folder)
    write_settings(team.workspace, tiny_settings(images))
    team.do("dvc", "remote", "add", "--default", "team", "s3://team/darkroom")
    team.do("dvc", "remote", "modify", "team", "endpointurl", f"http://127.0.0.1:{team.ports['bucket']}")
    team.do("prefect", "work-pool", "create", "gpu", "--type", "process")
    _cluster_pool(team)
    team.do("prefect", "work-pool", "set-concurrency-limit", "gpu", "1")
    team.do("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(TOP / "prefect.yaml"), at=TOP)
    print("deployed   every flow of prefect.yaml, on a process pool and a Kubernetes pool", flush=True)


def _cluster_pool(team: Team) -> None:
    """The Kubernetes pool whose pods take addresses and keys from a secret, as docs/how-to/set-up-a-team.md makes it."""
    file = team.folder / "cluster.json"
    team.do("prefect", "work-pool", "get-default-base-job-template", "--type", "kubernetes", "--file", str(file))
    template = json.loads(file.read_text(encoding="utf-8"))
    container = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"][0]
    container["envFrom"] = [{"secretRef": {"name": "darkroom"}}]
    file.write_text(json.dumps(template), encoding="utf-8")
    team.do("prefect", "work-pool", "create", "cluster", "--type", "kubernetes", "--base-job-template", str(file))


@contextmanager
def _worker(team: Team) -> Iterator[None]:
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "gpu"]
    with _program(team, "worker", command, team.environment, ""):
        yield


def _retrained(team: Team) -> None:
    """New images -> the watcher's event -> the worker -> a champion in the team's registry."""
    with _program(
        team, "watch", [sys.executable, "-m", "cli", "watch", "--workspace", str(team.workspace)], team.environment, ""
    ):
        eventually(lambda: (team.workspace / ".darkroom/looked.json").exists() or None, 120, team.folder / "watch.log")
        draw_images(team.folder / "pictures", 20, seed=3)
        api = f"http://127.0.0.1:{team.ports['prefect']}/api"

        def completed() -> bool:
            found = httpx.post(f"{api}/flow_runs/filter", json={}, auth=(USER, WORD), timeout=30).json()
            states = {run["name"]: run["state"]["type"] for run in found}
            bad = {name: state for name, state in states.items() if state in ("FAILED", "CRASHED")}
            assert not bad, f"{bad}\n{(team.folder / 'worker.log').read_text(encoding='utf-8')[-3000:]}"
            return "COMPLETED" in states.values()

        eventually(completed, 400, team.folder / "worker.log")
    said = team.do("cli", "lineage", "tiny@champion")
    assert "80 of 80 source files" in said, said
    print(f"retrained  20 new images, nothing typed: {said.splitlines()[0]}", flush=True)


def _pulled_elsewhere(team: Team) -> None:
    """What one machine pushes to the S3 remote, another pulls."""
    pushed = team.do("dvc", "push")
    shutil.rmtree(team.workspace / ".dvc" / "cache")
    shutil.rmtree(team.workspace / "data" / "curated")
    team.do("dvc", "pull")
    assert (team.workspace / "data/curated/manifest.parquet").exists()
    print(f"DVC        {pushed.strip().splitlines()[-1]}; the cache was removed, and pulled back", flush=True)


def _leaks(team: Team) -> list[str]:
    """What holds the password, with the text around it: files below the team's folder, but for the servers' stores; databases."""
    found = []
    for file in team.folder.rglob("*"):
        if file.is_file() and file.relative_to(team.folder).parts[0] not in PLACES:
            found += [f"{file.relative_to(team.folder)}: {text}" for text in _around(file.read_bytes())]
    for name in ("prefect", "mlflow"):
        command = ["pg_dump", "-h", "127.0.0.1", "-p", str(team.ports["database"]), "-U", USER, "--inserts", name]
        dumped = subprocess.run(command, env=machine.environment_with({"PGPASSWORD": WORD}), capture_output=True, check=True)
        found += [f"the database {name}: {text}" for text in _around(dumped.stdout)]
    return found


def _around(content: bytes) -> list[str]:
    """The first lines of a file that hold the password, shortened."""
    lines = [line for line in content.splitlines() if WORD.encode() in line][:3]
    return [f"{line[:60]!r} ... {line[max(0, line.index(WORD.encode()) - 80) :][:160]!r}" for line in lines]


@contextmanager
def _program(team: Team, name: str, command: list[str], extra: Mapping[str, str], health: str) -> Iterator[None]:
    with (team.folder / f"{name}.log").open("wb") as log:
        environment = machine.environment_with(dict(extra))
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=team.folder, start_new_session=True)
    try:
        while health and not answers(health):
            assert process.poll() is None, (team.folder / f"{name}.log").read_text(encoding="utf-8")[-2000:]
            time.sleep(0.5)
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    raise SystemExit(main())
