"""Several programs run as one: their lines shown with their names, started again when they end, ended together."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from adapters import machine

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before a program is started again; doubled each time it ends soon
LONG_ENOUGH = 60.0  # seconds: a program that ran this long ended for another reason than its start
GRACE = 15.0  # seconds to end by itself before it is killed
_PR_SET_PDEATHSIG = 1


@dataclass
class Part:
    """A program. `check` is called between looks, such as to see that a server answers; it may start things."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    started: float = 0.0
    wait: float = FIRST_WAIT
    again_at: float = 0.0


def keep_running(parts: Sequence[Part], say: Callable[[str], None], check: Callable[[], None], stop: threading.Event) -> None:
    """Run parts until `stop` is set; then end them, with every process that they started."""
    try:
        while not stop.is_set():
            for part in parts:
                _look_after(part, say)
            check()
            stop.wait(1.0)
    finally:
        for part in reversed(parts):
            _end(part)


def _look_after(part: Part, say: Callable[[str], None]) -> None:
    now = time.monotonic()
    if part.process is not None and part.process.poll() is not None:
        _signal(part, signal.SIGKILL)  # what it left behind
        part.wait = FIRST_WAIT if now - part.started > LONG_ENOUGH else min(2 * part.wait, LONGEST_WAIT)
        part.again_at = now + part.wait
        say(f"{part.name:<8} ended with code {part.process.returncode}; it is started again in {part.wait:.0f} s")
        part.process = None
    if part.process is None and now >= part.again_at:
        part.started = now
        part.process = _start(part)
        threading.Thread(target=_show, args=(part.name, part.process, say), daemon=True).start()


def _start(part: Part) -> subprocess.Popen[str]:
    return subprocess.Popen(
        part.command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=machine.environment_with({**part.environment, "PYTHONUNBUFFERED": "1"}),
        start_new_session=True,
        preexec_fn=ends_with_its_parent if sys.platform == "linux" else None,
    )


def ends_with_its_parent() -> None:
    """In a child, before its program: the kernel sends SIGTERM when the parent dies, however it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _show(name: str, process: subprocess.Popen[str], say: Callable[[str], None]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if line.strip():
                say(f"{name:<8} {line.rstrip()}")


def _end(part: Part) -> None:
    if part.process is None:
        return
    _signal(part, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        part.process.wait(GRACE)
    _signal(part, signal.SIGKILL)
    part.process.wait()


def _signal(part: Part, number: signal.Signals) -> None:
    """To the program and all that it started: they are one process group."""
    assert part.process is not None
    try:
        os.killpg(part.process.pid, number)
    except ProcessLookupError:
        return
