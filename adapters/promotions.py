"""Who is champion, and how that changed: promotion, rollback, moves made elsewhere; each with who, what and why.

A move is made under one lock of the workspace, and only from the champion that its decision was about.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from adapters import machine, mlflow_registry
from adapters.mlflow_registry import CHAMPION, PREVIOUS, Version, version_at
from adapters.mlflow_run import connected

LOG = Path(".darkroom/promotions.jsonl")
DECLINED = "declined"


class PromotionError(RuntimeError):
    """The champion cannot be moved. The text says why; nothing was moved."""


@dataclass(frozen=True, slots=True)
class Move:
    """A line of the audit log. `what`: promoted, forced, rolled back, moved elsewhere; declined where nothing moved. Times are
    UTC."""

    when: str
    who: str
    what: str
    model: str
    version: str
    before: str  # the champion so far; empty for none
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decides what, and why."""

    what: str
    why: str
    who: str = ""  # empty: the person whose process this is


def promote(workspace: Path, version: Version, champion: Version | None, decision: Decision) -> None:
    """`previous` <- the champion, `champion` <- the version. Raises PromotionError where another became champion meanwhile."""
    with _moving(workspace):
        now = version_at(workspace, version.name, CHAMPION)
        if (now and now.number) != (champion and champion.number):
            raise PromotionError(
                f"{version.name} version {now.number if now else 'none'} became champion while version {version.number} was "
                "being decided on; nothing was moved. Run the promotion again to compare with it"
            )
        if now is None or now.number != version.number:
            _move(workspace, version, now, decision)


def roll_back(workspace: Path, name: str, reason: str) -> tuple[Version, Version]:
    """`champion` <- `previous`, and the other way round. Returns both: now champion, champion before. Raises PromotionError."""
    with _moving(workspace):
        champion, previous = (version_at(workspace, name, alias) for alias in (CHAMPION, PREVIOUS))
        if previous is None or champion is None or previous.number == champion.number:
            raise PromotionError(f"{name} has no `previous` version to go back to; nothing was moved")
        _move(workspace, previous, champion, Decision("rolled back", reason))
        return previous, champion


def _move(workspace: Path, version: Version, champion: Version | None, decision: Decision) -> None:
    """The alias moves in one call of the registry; a process that dies before it has changed nothing that serves."""
    client = connected(workspace)
    if champion is not None:
        client.set_registered_model_alias(version.name, PREVIOUS, champion.number)
    client.set_registered_model_alias(version.name, CHAMPION, version.number)
    _record(workspace, version, champion.number if champion else "", decision)


def noticed(workspace: Path, name: str) -> tuple[Version, str] | None:
    """A champion moved by other means than these, such as the MLflow UI: recorded once. Returns it and the one before."""
    with _moving(workspace):
        champion = version_at(workspace, name, CHAMPION)
        before = _recorded_champion(workspace, name)
        if champion is None or champion.number == before:
            return None
        if any(version.number == before for version in mlflow_registry.versions(workspace, name)):
            connected(workspace).set_registered_model_alias(name, PREVIOUS, before)  # the way back stays open
        _record(workspace, champion, before, Decision("moved elsewhere", "the alias was moved outside darkroom", "not known"))
        return champion, before


def moved_elsewhere(workspace: Path, name: str) -> str:
    """The number of a champion that no move recorded here made; empty where there is none. One quick call: for polling."""
    champion = mlflow_registry.number_at(workspace, name, CHAMPION)
    return champion if champion != _recorded_champion(workspace, name) else ""


def _recorded_champion(workspace: Path, name: str) -> str:
    known = [move.version for move in moves(workspace) if move.model == name and move.what != DECLINED]
    return known[-1] if known else ""


def decline(workspace: Path, version: Version, champion: Version | None, why: str, who: str) -> None:
    """Record that a person did not approve a version."""
    with _moving(workspace):
        _record(workspace, version, champion.number if champion else "", Decision(DECLINED, why, who))


def moves(workspace: Path) -> list[Move]:
    """The audit log, oldest first. A line cut short by a crash is passed over: the registry has the truth."""
    file = workspace / LOG
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n") if file.exists() else []:
        with suppress(json.JSONDecodeError):
            found.append(Move(**json.loads(line)))
    return found


def _record(workspace: Path, version: Version, before: str, decision: Decision) -> None:
    when = datetime.now(UTC).isoformat(timespec="seconds")
    who = decision.who or machine.person()
    move = Move(when, who, decision.what, version.name, version.number, before, decision.why)
    text = json.dumps(asdict(move), ensure_ascii=False)
    mlflow_registry.note(workspace, version, decision.what.replace(" ", "_"), text)
    with (workspace / LOG).open("a+b") as log:
        log.seek(max(0, log.tell() - 1))
        cut = log.read(1) not in (b"", b"\n")  # by a crash: what follows begins a line of its own
        log.write(f"{chr(10) if cut else ''}{text}\n".encode())


@contextmanager
def _moving(workspace: Path) -> Iterator[None]:
    (workspace / ".darkroom").mkdir(exist_ok=True)
    with FileLock(workspace / ".darkroom" / "promotion.lock"):
        yield
