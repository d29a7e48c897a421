"""A training in several processes: torch's launcher starts the stage's own command; what the first of them tells comes back."""

import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from adapters import machine
from adapters.supervising import ends_with_its_parent
from darkroom.events import Event, from_json
from darkroom.stage import EVENTS, StoppedOnRequest
from darkroom.training.parallel import SHARDED

LOOK = 0.2  # seconds between two looks at what was told
GRACE = 60.0  # seconds for all processes to save and end


def trained_together(
    count: int, module: str, stage: str, workspace: Path, stopping: Callable[[], bool], sharded: bool = False
) -> Generator[Event, None, None]:
    """Run `python -m MODULE` in `count` processes on this machine, in a workspace; `sharded`: with the weights in shares.

    Asked to stop, all save first; raises StoppedOnRequest. Raises ValueError with the stage's own message where it fails.
    """
    told, said = workspace / EVENTS / f"{stage}.together.jsonl", workspace / EVENTS / f"{stage}.together.log"
    told.parent.mkdir(parents=True, exist_ok=True)
    told.write_text("", encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    with (
        said.open("w", encoding="utf-8") as log,
        told.open(encoding="utf-8") as journal,
        subprocess.Popen(
            [*launcher, "-m", module, str(told.absolute()), *([SHARDED] if sharded else [])],
            cwd=workspace,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=machine.environment_with({}),
            process_group=0,
            preexec_fn=ends_with_its_parent if sys.platform == "linux" else None,
        ) as running,
    ):
        try:
            while running.poll() is None and not stopping():
                yield from _new(journal)
                time.sleep(LOOK)
        finally:
            stopped = running.poll() is None
            if stopped:
                running.terminate()  # the launcher passes it on to every process
                with suppress(subprocess.TimeoutExpired):
                    running.wait(GRACE)
                running.kill()
        yield from _new(journal)
    last = [line for line in said.read_text(encoding="utf-8").splitlines() if line.startswith(f"[{stage}] ")]
    if stopped:
        raise StoppedOnRequest(last[-1].partition(" ")[2] if last else "stopped; the same command goes on")
    if running.returncode:
        raise ValueError(f"{last[-1].partition(' ')[2] if last else f'{count} processes could not be started'} (see {said})")


def _new(journal: TextIO) -> Generator[Event, None, None]:
    """The events written since the last look; a line that is not whole yet waits."""
    while True:
        place = journal.tell()
        line = journal.readline()
        if not line.endswith("\n"):
            journal.seek(place)
            return
        yield from_json(line)
