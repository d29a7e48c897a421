"""What orchestration costs: a full run with every stage current, beside `dvc repro`; a Prefect task beside a plain call."""

import subprocess
import sys
import tempfile
from pathlib import Path

from adapters import machine
from benchmarks.turns import in_turns, seconds
from tests.conftest import TOP, draw_images, tiny_settings, write_settings

CALLS = 100
# What `darkroom run` loads before and while it looks at its stages: the process's start, not the flow's.
LOADED = "import darkroom.params, mlflow.store.tracking.sqlalchemy_store, flows.full_run, dvc.repo, gc; gc.freeze()"
IN_A_FLOW = """
import sys, time
from adapters import local_servers
local_servers.prefect_api(print)
from prefect import flow, task
from tasks.job import STEP

def plain(number): return number + 1
step = task(task_run_name="nothing to do", **STEP)(plain)

@flow(name="what a task costs")
def calls(count):
    for act in (step, plain):
        act(0)
        started = time.perf_counter()
        for number in range(count): act(number)
        print("COST", (time.perf_counter() - started) / count)
calls(int(sys.argv[1]))
"""


def run() -> None:
    """Print the figures. The servers run throughout, in a home of their own."""
    with tempfile.TemporaryDirectory(prefix="orchestration-") as folder:
        for name, value in (("DARKROOM_HOME", Path(folder) / "home"), ("PYTHONPATH", TOP), ("DVC_NO_ANALYTICS", 1)):
            machine.set_setting(name, str(value))
        machine.set_setting("PATH", f"{Path(sys.executable).parent}:{machine.setting('PATH')}")
        try:
            _figures(Path(folder))
        finally:
            _python("-m", "cli", "down", at=Path(folder))


def _figures(folder: Path) -> None:
    workspace = folder / "life"
    images = draw_images(folder / "pictures", 60)
    _python("-m", "cli", "init", str(workspace), "--data", str(images), at=folder)
    write_settings(workspace, tiny_settings(images))
    first = seconds(lambda: _python("-m", "cli", "run", at=workspace))
    start, flow, repro = in_turns(
        lambda: _python("-c", LOADED, at=workspace),
        lambda: _python("-m", "cli", "run", at=workspace),
        lambda: _python("-m", "dvc", "repro", "--quiet", at=workspace),
    )
    print(f"  full run, everything computed (tiny images)    {first:6.1f} s, servers started too")
    print(
        f"  full run, everything current                   {flow:6.1f} s, "
        f"{flow - start:.1f} s beyond the process's start ({start:.1f} s)"
    )
    print(f"  dvc repro, everything current                  {repro:6.1f} s; ratio {flow / repro:.2f}")
    said = _python("-c", IN_A_FLOW, str(CALLS), at=workspace)
    task, plain = (float(line.split()[1]) for line in said.splitlines() if line.startswith("COST"))
    print(f"  a Prefect task with nothing to do              {1e3 * task:6.1f} ms a call, a plain function {1e6 * plain:.2f} us")


def _python(*words: str, at: Path) -> str:
    done = subprocess.run([sys.executable, *words], cwd=at, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stdout}{done.stderr}")
    return done.stdout
