"""The watcher: notices that images, or the drop list, changed, by sizes and times alone; tells of it once it is over."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from adapters.mlflow_run import TrackingError
from adapters.promotions import moved_elsewhere
from darkroom.params import Params
from darkroom.retraining import SourceGone, Stamp, difference, look

LOOKED = Path(".darkroom/looked.json")  # what was there when a change was last told of


class ChampionWatcher:
    """Notices that `champion` was moved by other means than darkroom's; tells of each move once."""

    def __init__(self, workspace: Path, tell: Callable[[], object], say: Callable[[str], None]) -> None:
        self.workspace, self.tell, self.say = workspace, tell, say
        self._told = self._trouble = ""

    def look(self, settings: Params) -> None:
        """Look once. A registry that is away is said once."""
        try:
            moved = moved_elsewhere(self.workspace, settings.register_.name)
        except TrackingError as error:
            if not self._trouble:
                self.say(str(error))
            self._trouble = str(error)
            return
        self._trouble = ""
        if moved and moved != self._told:
            self.say(f"version {moved} was made champion outside darkroom")
            self.tell()
        self._told = moved


class Watcher:
    """Looks when asked to. A change that is still going on is not told of before it has been quiet for a while."""

    def __init__(self, workspace: Path, tell: Callable[[str], None], say: Callable[[str], None]) -> None:
        self.workspace, self.tell, self.say = workspace, tell, say
        self._told = self._read()
        self._last: dict[str, Stamp] | None = None
        self._quiet_since = 0.0  # of the steady clock: one that jumps changes nothing
        self._gone = ""

    def look(self, settings: Params) -> str:
        """Look once. Returns the change that was told of; empty where there was none, or it goes on."""
        try:
            now = self._all(settings)
        except (SourceGone, OSError) as error:
            if str(error) != self._gone:
                self._gone = str(error)
                self.say(self._gone)
            return ""
        if self._gone:
            self.say("the watched folder is back")
            self._gone = ""
        if self._told is None:
            self._keep(now)
        if now != self._last:
            self._last, self._quiet_since = now, time.monotonic()
        change = difference(self._told or {}, now)
        if not change or time.monotonic() - self._quiet_since < settings.retrain.quiet:
            return ""
        self.say(f"the data changed: {change}")
        self.tell(change)  # first, and then kept: a crash between them tells twice, and the second run finds nothing to do
        self._keep(now)
        return change

    def _all(self, settings: Params) -> dict[str, Stamp]:
        found = look(self.workspace / settings.curate.source)
        choices = self.workspace / settings.curate.choices
        if choices.is_file():
            state = choices.stat()
            found["drop list"] = (state.st_size, state.st_mtime_ns)
        return found

    def _keep(self, now: dict[str, Stamp]) -> None:
        self._told = now
        file = self.workspace / LOOKED
        file.parent.mkdir(exist_ok=True)
        fresh = file.with_suffix(".partial")
        fresh.write_text(json.dumps(now), encoding="utf-8")
        fresh.replace(file)

    def _read(self) -> dict[str, Stamp] | None:
        file = self.workspace / LOOKED
        if not file.exists():
            return None
        return {path: (size, changed) for path, (size, changed) in json.loads(file.read_text(encoding="utf-8")).items()}
