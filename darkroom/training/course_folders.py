"""Folders of checkpoints, one for each course: the same settings on the same data go on, all else begins anew and says why."""

import hashlib
import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from darkroom.events import Event, Noted
from darkroom.training.checkpoints import forget_checkpoints
from darkroom.training.parallel import leads

KEPT = 3  # courses whose checkpoints are kept, for a return to settings tried before
RECORD = "course.json"
SPOKEN = {
    "model.data_digest": "the images of the data set",
    "model.parent_digest": "the weights it starts from",
    "recipe": "the augmentations",
}


def entered(checkpoints: Path, facts: Mapping[str, Any]) -> Generator[Event, None, Path]:
    """The folder of the course that `facts` describe. For a new one, tells what differs from the course before it.

    The checkpoints of all but the newest courses are removed, and named.
    """
    text = json.dumps(facts, sort_keys=True)
    folder = checkpoints / hashlib.sha256(text.encode()).hexdigest()[:16]
    others = sorted(
        (record.parent for record in checkpoints.glob(f"*/{RECORD}") if record.parent != folder),
        key=lambda other: (other / RECORD).stat().st_mtime_ns,
    )
    if not leads():
        return folder
    before = _read(others[-1]) if others and not folder.exists() else {}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text(text, encoding="utf-8")
    if before:
        yield Noted(f"begins anew; the course begun before it differs: {'; '.join(differences(before, json.loads(text)))}")
    for old in others[: max(0, len(others) + 1 - KEPT)]:
        forget_checkpoints(old)
        yield Noted(f"removed the checkpoints of an older course: {old}")
    return folder


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two descriptions of a course, each in words."""
    old, new = _flat(before), _flat(now)
    found = []
    for name in sorted(new):  # what is there no more went with something else that changed, such as a kind
        if old.get(name) != new[name]:
            found.append(SPOKEN.get(name, f"{name} was {_word(old, name)}, is {_word(new, name)}"))
    return found


def _word(facts: Mapping[str, Any], name: str) -> str:
    return str(facts[name]) if name in facts else "not set"


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _read(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a record that was half written: there is nothing to compare with
        return {}
    return content if isinstance(content, dict) else {}
