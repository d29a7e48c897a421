"""Faults for real, against `darkroom up` with its real servers: `make soak`, or `python -m benchmarks.faults NAME...`.

Each fault leaves its line: what was done, what was seen. The exit code says whether all held.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from adapters import local_servers, machine, mlflow_registry
from tests.conftest import TOP, draw_images, tiny_settings, write_settings
from tests.lifecycle.test_up import Up, eventually

STAGES = {  # of the fault `killed`: the task whose process is killed, and the setting whose change makes it run
    "curate the images": ("curate", "background"),
    "train the base model": ("train_base", "seed"),
    "fine-tune on the focus": ("finetune", "seed"),
    "evaluate both models": ("evaluate", "seed"),
    "register the tuned model": ("finetune", "seed"),
    "promote, if the gates agree": ("finetune", "seed"),
}
STORE = Path(".darkroom/mlflow-artifacts")
LONG = 12_000  # images: some tens of seconds of training, so that something can go wrong meanwhile
SELDOM = {"images": LONG, "held_out_every": LONG, "samples_every": LONG, "report_every": 160}


def main(names: list[str]) -> int:
    """Run these faults; all where none is named. Returns the exit code."""
    unknown = sorted(set(names) - FAULTS.keys())
    if unknown:
        print(f"no fault named {', '.join(unknown)}; there are: {', '.join(FAULTS)}", file=sys.stderr)
        return 2
    failed = 0
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder, _up(Path(folder)) as up:
        for name in names or FAULTS:
            started = time.monotonic()
            try:
                said = FAULTS[name](up)
                _aliases_are_whole(up)
            except AssertionError as error:
                failed, said = failed + 1, f"FAILED: {error}"
            print(f"{name:<18}{time.monotonic() - started:5.0f} s  {said}", flush=True)
    return 1 if failed else 0


def cancelled(up: Up) -> str:
    """Cancelled in the UI while it trains: it saves, stops, and a new run goes on from there."""
    run = _started(up, "full run", train_base=SELDOM | {"checkpoint_every": LONG})
    _training(up, 500)
    _set(up, run, {"type": "CANCELLING", "name": "Cancelling"})
    asked = time.monotonic()
    eventually(lambda: _state(up, run) == "CANCELLED" or None, 60, up.log)
    took = time.monotonic() - asked
    assert not _process(up, run), "the process of the cancelled run lives on"
    kept = _checkpoint(up)
    assert 0 < kept < LONG
    _completed(up, _started(up, "full run"), 300)
    steps = [one["images_seen"] for one in _events(up, "train_base") if one["event"] == "StepTaken"]
    assert steps[0] > kept, f"the training began again at {steps[0]}"
    return f"Cancelled after {took:.1f} s with a checkpoint at {kept:,} images; the next run went on from {steps[0]:,} to its end"


def killed(up: Up) -> str:
    """kill -9 of the run's process in each stage: it goes on in another by itself."""
    said = []
    for task, (section, setting) in STAGES.items():
        run = _started(up, "full run", **{section: {setting: _other(up, section, setting)}})
        eventually(lambda run=run, task=task: _task(up, run, task) == "RUNNING" or None, 120, up.log)
        for pid in _process(up, run):
            os.kill(pid, signal.SIGKILL)
        _completed(up, run, 240)
        said.append(f"{task.split()[0]} ({_starts(up, run)} starts)")
        _aliases_are_whole(up)
    return f"went on and completed: {', '.join(said)}"


def prefect_restarted(up: Up) -> str:
    """The Prefect server dies while a run trains: it is started again, the training does not end."""
    run = _started(up, "full run", train_base=SELDOM | {"seed": _other(up, "train_base", "seed")})
    _training(up, 500)
    (pid,) = _process(up, run)
    server = json.loads((machine.home() / "prefect.server.json").read_text(encoding="utf-8"))
    os.killpg(server["pid"], signal.SIGKILL)
    time.sleep(5)
    eventually(lambda: local_servers.answers(f"{up.prefect}/api/health") or None, 120, up.log)
    assert _process(up, run) == [pid], "the training's process ended with the server"
    _completed(up, run, 300)
    return f"the same process trained on; the run is Completed ({_starts(up, run)} starts)"


def mlflow_away(up: Up) -> str:
    """MLflow is stopped for a minute while a run trains: training goes on, and the whole curve is there afterwards."""
    run = _started(up, "full run", train_base=SELDOM | {"seed": _other(up, "train_base", "seed")})
    _training(up, 500)
    (record,) = machine.home().glob("mlflow-*.server.json")
    server = json.loads(record.read_text(encoding="utf-8"))
    os.killpg(server["pid"], signal.SIGSTOP)
    before, _ = _seen(up), time.sleep(60)
    after = _seen(up)
    os.killpg(server["pid"], signal.SIGCONT)
    _completed(up, run, 400)
    steps = {one["images_seen"] for one in _events(up, "train_base") if one["event"] == "StepTaken"}
    wanted = {"run_id": _newest_run(up, "train_base"), "metric_key": "loss", "max_results": "5000"}
    found = httpx.get(f"{up.mlflow}/api/2.0/mlflow/metrics/get-history", params=wanted).json()
    logged = {int(one["step"]) for one in found.get("metrics", [])}
    missing = steps - logged
    assert not missing, f"{len(missing)} of {len(steps)} points of the loss are missing in MLflow"
    return f"trained from {before:,} to {after:,} images meanwhile; all {len(steps)} points of the loss reached MLflow afterwards"


def full_disk(up: Up) -> str:
    """The disk of the artifacts is full while a version is registered: no alias moves; with room again, the same run does it."""
    store = up.workspace / STORE
    assert store.is_mount(), "not tried: this fault needs the right to mount a small disk"
    before = up.version("challenger")
    run = _started(up, "full run", finetune={"seed": 77})
    eventually(lambda: _task(up, run, "evaluate both models") or None, 240, up.log)
    (store / "filling").write_bytes(b"\0" * (os.statvfs(store).f_bavail * os.statvfs(store).f_frsize - 20_000))
    eventually(lambda: _state(up, run) == "FAILED" or None, 300, up.log)
    message = _read(up, run)["state"]["message"]
    assert up.version("challenger") == before, "a version that was not written whole became challenger"
    _aliases_are_whole(up)
    (store / "filling").unlink()
    _completed(up, _started(up, "full run"), 300)
    assert up.version("challenger") != before
    return f"Failed, saying: {message[:200]!r}; the alias stayed; with room again version {up.version('challenger')} followed"


def two_at_once(up: Up) -> str:
    """Two retrainings and a full run asked for at once: they queue, and end with one new version."""
    before = {one.number for one in mlflow_registry.versions(up.workspace, "tiny")}
    _change(up, finetune={"seed": 5})
    runs = [_started(up, "retraining"), _started(up, "retraining"), _started(up, "full run")]
    for run in runs:
        _completed(up, run, 400)
    more = {one.number for one in mlflow_registry.versions(up.workspace, "tiny")} - before
    assert len(more) == 1, f"more than one version was made of the same change: {more}"
    return f"all three Completed; one new version, {more.pop()}; the champion is {up.version('champion')}"


FAULTS: dict[str, Callable[[Up], str]] = {
    one.__name__: one for one in (cancelled, killed, prefect_restarted, mlflow_away, full_disk, two_at_once)
}


@contextmanager
def _up(folder: Path) -> Iterator[Up]:
    """`darkroom up` on a workspace with one champion, in a home of its own."""
    images = draw_images(folder / "pictures", 60)
    for name, value in (("DARKROOM_HOME", folder / "home"), ("PREFECT_RUNNER_POLL_FREQUENCY", 2), ("PYTHONPATH", TOP)):
        machine.set_setting(name, str(value))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        machine.unset_setting(name)
    workspace, log = folder / "life", folder / "up.log"
    command = [sys.executable, "-m", "cli"]
    subprocess.run([*command, "init", str(workspace), "--data", str(images)], check=True, stdout=subprocess.DEVNULL)
    write_settings(workspace, tiny_settings(images))
    with ExitStack() as ended:
        (workspace / STORE).mkdir(parents=True)
        small = ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(workspace / STORE)]
        if os.geteuid() == 0 and not subprocess.run(small, capture_output=True, check=False).returncode:
            ended.callback(subprocess.run, ["umount", "-l", str(workspace / STORE)], check=False)
        output = ended.enter_context(log.open("wb"))
        words = ("up", "--workspace", str(workspace), "--prefect-port", "0", "--mlflow-port", "0")
        process = subprocess.Popen([*command, *words], stdout=output, stderr=output)
        up = Up(process, workspace, log)
        ended.callback(process.wait, 90)
        ended.callback(process.terminate)
        eventually(lambda: up.said("MLflow UI"), 400, log)
        eventually(lambda: up.deployment("retraining"), 300, log)
        _completed(up, _started(up, "full run"), 300)
        yield up


def _change(up: Up, **sections: dict[str, object]) -> dict[str, Any]:
    settings = yaml.safe_load((up.workspace / "params.yaml").read_text(encoding="utf-8"))
    for name, values in sections.items():
        settings[name] |= values
    write_settings(up.workspace, settings)
    return dict(settings)


def _other(up: Up, section: str, setting: str) -> object:
    now = _change(up)[section][setting]
    return [(value + 1) % 256 for value in now] if isinstance(now, list) else now + 1


def _started(up: Up, flow: str, **sections: dict[str, object]) -> str:
    """Start a flow as its form does. Returns the run's id."""
    settings = _change(up, **sections)
    given = {"settings": settings} if flow == "full run" else {}
    parameters = {"parameters": {"workspace": str(up.workspace), **given}}
    made = up.sent("POST", f"deployments/{up.deployment(flow)['id']}/create_flow_run", parameters)
    assert made.is_success, made.text
    return str(made.json()["id"])


def _read(up: Up, run: str) -> Any:
    return up.sent("GET", f"flow_runs/{run}").json()


def _state(up: Up, run: str) -> str:
    return str(_read(up, run)["state"]["type"])


def _starts(up: Up, run: str) -> int:
    return int(_read(up, run)["run_count"])


def _set(up: Up, run: str, state: dict[str, str]) -> None:
    up.sent("POST", f"flow_runs/{run}/set_state", {"state": state}).raise_for_status()


def _task(up: Up, run: str, name: str) -> str:
    wanted = {"flow_runs": {"id": {"any_": [run]}}, "task_runs": {"name": {"any_": [name]}}, "sort": "EXPECTED_START_TIME_DESC"}
    found = up.sent("POST", "task_runs/filter", wanted).json()
    return str(found[0]["state"]["type"]) if found else ""


def _completed(up: Up, run: str, seconds: float) -> None:
    end = ("COMPLETED", "FAILED", "CANCELLED")  # not Crashed: it goes on
    state = eventually(lambda: _state(up, run) if _state(up, run) in end else None, seconds, up.log)
    assert state == "COMPLETED", f"{_read(up, run)['state']['message']}\n{up.log.read_text(encoding='utf-8')[-3000:]}"


def _events(up: Up, stage: str) -> list[Any]:
    file = up.workspace / ".darkroom/events" / f"{stage}.jsonl"
    lines = file.read_text(encoding="utf-8").split("\n") if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _seen(up: Up) -> int:
    return max([one["images_seen"] for one in _events(up, "train_base") if one["event"] == "StepTaken"], default=0)


def _training(up: Up, images: int) -> None:
    """Wait until the training under way has seen some images."""
    eventually(lambda: (images < _seen(up) < LONG) or None, 120, up.log)


def _checkpoint(up: Up) -> int:
    found = (up.workspace / ".darkroom/checkpoints/train_base").rglob("*.json")
    return max([json.loads(file.read_text(encoding="utf-8")).get("images_seen", 0) for file in found], default=0)


def _process(up: Up, run: str) -> list[int]:
    """The process that runs a flow run; none where it is gone."""
    try:
        return [up.process_of(run)]
    except AssertionError:
        return []


def _newest_run(up: Up, name: str) -> str:
    wanted = {"experiment_ids": ["1"], "filter": f"attributes.run_name = '{name}'", "order_by": ["start_time DESC"]}
    found = httpx.post(f"{up.mlflow}/api/2.0/mlflow/runs/search", json=wanted, timeout=30).json()
    return str(found["runs"][0]["info"]["run_id"])


def _aliases_are_whole(up: Up) -> None:
    """Every version with an alias can be loaded, and has its scores and card."""
    for version in mlflow_registry.versions(up.workspace, "tiny"):
        if version.aliases:
            assert version.scores, f"version {version.number} has an alias and no scores"
            assert (mlflow_registry.model_folder(up.workspace, version) / "weights.safetensors").stat().st_size > 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
