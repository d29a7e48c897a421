"""A slot: the model in use under an alias, changed for the next one while requests go on.

The new one is loaded, warmed and tried before it takes over; where that fails, the old one stays. Who began on the old one ends
on it: an order holds its model.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from serving.loaded import Loaded, Offer

RETRY = 30.0  # seconds until a version that failed is tried again


class Slot:
    """What `alias` points at. `look_up` asks the registry, `load` makes ready; both may fail, and `trouble` then says how."""

    def __init__(
        self,
        alias: str,
        look_up: Callable[[], Offer | None],
        load: Callable[[Offer], Loaded],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.alias, self._look_up, self._load, self._say = alias, look_up, load, say
        self.model: Loaded | None = None  # one assignment changes it: a reader sees the old one or the new one
        self.trouble = ""
        self.looked = False
        self.swaps = 0
        self._failed: tuple[str, str] | None = None
        self._again_at = 0.0

    def look(self) -> None:
        """Look once, and change over where the alias has moved. Raises nothing: what fails is told and tried again."""
        try:
            offer = self._look_up()
        except Exception as error:  # a registry that is away: any kind, and no reason to stop serving
            self._in_trouble(f"the registry cannot be asked: {_first_line(error)}")
            return
        if offer is None:
            self._without()
        elif self.model is not None and (offer.name, offer.version) == (self.model.name, self.model.version):
            self._well()
        elif (offer.name, offer.version) != self._failed or time.monotonic() >= self._again_at:
            self._change(offer)
        self.looked = True

    def _change(self, offer: Offer) -> None:
        try:
            fresh = self._load(offer)
        except Exception as error:  # damaged files, too little memory, a model that draws nothing: the old one stays
            self._failed, self._again_at = (offer.name, offer.version), time.monotonic() + RETRY
            kept = f"; version {self.model.version} stays" if self.model else ""
            self._in_trouble(f"{offer.name} version {offer.version} cannot be served{kept}: {_first_line(error)}")
            return
        self.swaps += self.model is not None
        self.model = fresh
        self._well()
        self._say(f"{self.alias}: {offer.name} version {offer.version} is being served")

    def _without(self) -> None:
        """The alias points at nothing: a challenger may be missing, a champion in use is kept."""
        if self.model is None:
            self._well()
        elif self.alias == "champion":
            self._in_trouble(f"the alias `{self.alias}` is gone from the registry; version {self.model.version} stays")
        else:
            self.model = None
            self._well()

    def _well(self) -> None:
        self._failed, self.trouble = None, ""

    def _in_trouble(self, what: str) -> None:
        self.looked = True
        if what != self.trouble:
            self.trouble = what
            self._say(what)


class Watch:
    """A thread that looks after slots, one after another, until it is told to stop."""

    def __init__(self, slots: Sequence[Slot], every: float) -> None:
        self._slots, self._every = slots, every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="registry", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No look begins after this."""
        self._ended.set()
        self._thread.join(timeout=5)

    def _look(self) -> None:
        while not self._ended.is_set():
            for slot in self._slots:
                with suppress(OSError):  # what it says cannot be printed: a full disk, a pipe that nobody reads
                    slot.look()
            self._ended.wait(self._every)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
