"""The machine: environment variables, the person's folder, the git commit. Read here and nowhere else."""

import getpass
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from filelock import FileLock, Timeout

# What must hold in every process that loads one of the products: no telemetry, no look-ups of newer versions, errors soon.
QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
    "DVC_NO_ANALYTICS": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "GOMP_SPINCOUNT": "1000",  # torch's threads soon sleep while they wait: spinning on, they slow tenfold on a shared machine
}


def set_quiet() -> None:
    """Set what a person has not set otherwise. Called before any product is imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    _passwords_apart()


def _passwords_apart() -> None:
    """Take user and password out of the servers' addresses, into the variables that the products read them from: an address
    turns up in errors and logs, and is kept with runs."""
    for name, keep in (
        ("MLFLOW_TRACKING_URI", lambda user, word: {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": word}),
        ("PREFECT_API_URL", lambda user, word: {"PREFECT_API_AUTH_STRING": f"{user}:{word}"}),
    ):
        parts = urlsplit(os.environ.get(name, ""))
        if parts.scheme in ("http", "https") and "@" in parts.netloc:
            for other, value in keep(unquote(parts.username or ""), unquote(parts.password or "")).items():
                os.environ.setdefault(other, value)
            os.environ[name] = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def setting(name: str) -> str | None:
    """An environment variable; None where it is unset or empty."""
    return os.environ.get(name) or None


def set_setting(name: str, value: str) -> None:
    """Set an environment variable for this process and those it starts."""
    os.environ[name] = value


def unset_setting(name: str) -> None:
    """Take an environment variable away from this process and those it starts."""
    os.environ.pop(name, None)


def environment_with(extra: dict[str, str]) -> dict[str, str]:
    """This process's environment, the quiet settings, and more: for a process to start."""
    return {**QUIET, **os.environ, **extra}


def home() -> Path:
    """The person's Darkroom folder (the local servers' databases and logs): DARKROOM_HOME, or ~/.darkroom."""
    return Path(setting("DARKROOM_HOME") or Path.home() / ".darkroom").expanduser().absolute()


def curating_on() -> str | None:
    """What looks at images in a flow: DARKROOM_CURATE_ON (here, threads, processes, ray, ray://HOST:PORT); None where unset."""
    return setting("DARKROOM_CURATE_ON")


def signing_key() -> Path | None:
    """The file of the private key that signs images: DARKROOM_SIGNING_KEY; None where images are not to be signed."""
    given = setting("DARKROOM_SIGNING_KEY")
    return Path(given).expanduser() if given else None


def person() -> str:
    """Whose process this is, as user@machine."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


@contextmanager
def device_held(waiting: Callable[[], None]) -> Iterator[None]:
    """Hold this machine's device; `waiting()` is called where another holds it."""
    with held(home() / "device.lock", waiting):
        yield


@contextmanager
def held(file: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock file; `waiting()` is called where another process holds it. It is free again when its holder dies."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def git_commit(folder: Path) -> str:
    """The commit checked out in a folder, with "+changes" where files differ from it; empty outside git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return f"{commit}+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return ""


def in_git(folder: Path) -> bool:
    """Whether a folder lies inside a git work tree."""
    try:
        return _git(folder, "rev-parse", "--is-inside-work-tree") == "true"
    except (OSError, subprocess.CalledProcessError):
        return False


def start_git(folder: Path) -> None:
    """Make a folder a git repository. Raises OSError where git is not installed."""
    _git(folder, "init", "--quiet")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def port_is_free(port: int) -> bool:
    """Whether nothing listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A loopback port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
