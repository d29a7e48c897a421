"""The engine: one worker draws for all clients on one device, batched across them; who waits, waits in a bounded queue."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from math import ceil
from typing import TypeAlias

from darkroom.images import Pixels
from darkroom.networks.saved import Drawing
from serving.loaded import Loaded, Row

Share: TypeAlias = "list[tuple[Order, int]]"  # of a batch: an order, and which of its rows


class Busy(RuntimeError):
    """The queue is full. `seconds` is about when there will be room."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many images are waiting to be drawn; try again in {seconds} s")
        self.seconds = seconds


class Dropped(RuntimeError):
    """The order was given up before it was drawn."""


class Order:
    """Images that one client wants, all with one model and one way of drawing; they end on the model they began with."""

    def __init__(self, model: Loaded, drawing: Drawing, rows: Sequence[Row]) -> None:
        self.model, self.drawing, self.rows = model, drawing, tuple(rows)
        self.future: Future[list[Pixels]] = Future()  # uint8 [s, s, 3] each
        self.showing: dict[int, tuple[int, Pixels]] = {}  # row -> steps done, and what it is about to become
        self.taken = 0  # rows that have begun
        self.came = time.monotonic()
        self._drawn: dict[int, Pixels] = {}

    def ended(self) -> "Order":
        """What is left of it once it has ended, without the network: an old version goes from memory with its last order."""
        left = Order(self.model.facts(), self.drawing, self.rows)
        left.future, left.showing = self.future, self.showing
        return left

    def drop(self) -> None:
        """Give it up. What of it is being drawn stops after the step under way, unless others are drawn with it."""
        if not self.future.done():
            self._end(error=Dropped("the order was given up"))

    @property
    def progress(self) -> float:
        """How much of it is done, in [0, 1]."""
        steps = sum(steps for steps, _ in list(self.showing.values()))
        return min(1.0, steps / (self.drawing.steps * len(self.rows)))

    def show(self, row: int, steps: int, pixels: Pixels) -> None:
        """What a row is about to become."""
        self.showing[row] = (steps, pixels)

    def keep(self, row: int, pixels: Pixels) -> None:
        """A row is drawn; the last one ends the order."""
        self._drawn[row] = pixels
        if len(self._drawn) == len(self.rows) and not self.future.done():
            self._end([self._drawn[place] for place in range(len(self.rows))])

    def fail(self, error: Exception) -> None:
        """It cannot be drawn."""
        if not self.future.done():
            self._end(error=error)

    def _end(self, images: list[Pixels] | None = None, error: Exception | None = None) -> None:
        try:
            self.future.set_exception(error) if error else self.future.set_result(images or [])
        except Exception:  # the client gave it up in this very moment: InvalidStateError, and its answer stands
            return


class Engine:
    """The worker and its queue. `seen(images, seconds)` is told of every batch."""

    def __init__(self, most_waiting: int, linger: float = 0.01, seen: Callable[[int, float], None] = lambda *_: None) -> None:
        self.most_waiting, self.linger, self._seen = most_waiting, linger, seen
        self._orders: deque[Order] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._rate = 1.0  # images a second, of late
        self._worker = threading.Thread(target=self._work, name="device", daemon=True)
        self._worker.start()

    @property
    def waiting(self) -> int:
        """Rows that have not begun."""
        with self._changed:
            return self._waiting()

    def submit(self, order: Order) -> Order:
        """Queue an order. Raises Busy where there is no room."""
        with self._changed:
            if self._closing:
                raise Busy(5)
            waiting = self._waiting()
            if waiting + len(order.rows) > self.most_waiting:
                raise Busy(min(60, max(1, ceil(waiting / self._rate))))
            self._orders.append(order)
            self._changed.notify()
        return order

    def close(self, patience: float) -> None:
        """Draw what is queued, then stop; what is not drawn within `patience` seconds is dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._worker.join(patience)
        with self._changed:
            for order in self._orders:
                order.drop()
            self._changed.notify()
        self._worker.join()

    def _waiting(self) -> int:
        self._orders = deque(order for order in self._orders if not order.future.done())
        return sum(len(order.rows) - order.taken for order in self._orders)

    def _work(self) -> None:
        while share := self._next():
            self._draw(share)
            del share  # nor the model, which may have been replaced

    def _next(self) -> Share:
        """The next batch, once it is full or its oldest order has lingered; nothing when the engine is to stop."""
        with self._changed:
            while True:
                if self._waiting() == 0:
                    if self._closing:
                        return []
                    self._changed.wait()
                    continue
                alike = self._alike()
                size = alike[0].model.sizes[-1]
                left = alike[0].came + self.linger - time.monotonic()
                if left <= 0 or self._closing or sum(len(order.rows) - order.taken for order in alike) >= size:
                    return self._shared(alike, size)
                self._changed.wait(left)

    def _alike(self) -> list[Order]:
        """The order whose turn it is, and all that can be drawn in one walk with it."""
        waiting = [order for order in self._orders if order.taken < len(order.rows)]
        first = waiting[0]
        return [order for order in waiting if order.model is first.model and order.drawing == first.drawing]

    def _shared(self, alike: list[Order], size: int) -> Share:
        """A row of each in turn until the batch is full: a large order does not hold up small ones. They go to the end."""
        share: Share = []
        while len(share) < size and any(order.taken < len(order.rows) for order in alike):
            for order in alike:
                if order.taken < len(order.rows) and len(share) < size:
                    share.append((order, order.taken))
                    order.taken += 1
        served = {id(order) for order, _ in share}
        self._orders = deque(sorted(self._orders, key=lambda order: id(order) in served))
        return share

    def _draw(self, share: Share) -> None:
        started, model, drawing = time.monotonic(), share[0][0].model, share[0][0].drawing
        try:
            for step, pixels in enumerate(model.forming([order.rows[row] for order, row in share], drawing), 1):
                if all(order.future.done() for order, _ in share):
                    return
                for place, (order, row) in enumerate(share):
                    order.show(row, step, pixels[place])
            for place, (order, row) in enumerate(share):
                order.keep(row, pixels[place])
        except Exception as error:  # whatever it is, those who wait are told, and the others are drawn
            for order, _ in share:
                order.fail(error)
            return
        seconds = time.monotonic() - started
        self._rate += 0.2 * (len(share) / seconds - self._rate)
        self._seen(len(share), seconds)
