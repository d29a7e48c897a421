"""What the routes work with: slots, engine, jobs and training images of one service, and its way through a day."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from darkroom.images import Pixels
from darkroom.provenance import Signer
from serving.asked import ImagesAsked, JobAsked, NearestAsked, order_of
from serving.engine import Busy, Engine, Order
from serving.jobs import Jobs
from serving.loaded import Loaded
from serving.metrics import Metrics
from serving.neighbours import Neighbours
from serving.problems import Problem
from serving.slot import Slot

NOTHING_YET = (
    "no champion is registered yet, or it is still being loaded; `darkroom run --data FOLDER` trains, registers and promotes "
    "one. It is served by itself as soon as it is there"
)


@dataclass
class Service:
    """One service. `patience`: seconds that a client waits for images at most."""

    slots: Mapping[str, Slot]
    engine: Engine
    metrics: Metrics
    patience: float = 60.0
    neighbours: Neighbours | None = None
    signer: Signer | None = None
    jobs: Jobs = field(default_factory=Jobs)

    def __post_init__(self) -> None:
        self.metrics.watch("darkroom_images_waiting", "Images that wait to be drawn.", lambda: self.engine.waiting)
        self.metrics.watch("darkroom_swaps", "Changes of the champion while serving.", lambda: self.slots["champion"].swaps)
        self.metrics.versions("darkroom_serving", "Versions that are served.", self.served)

    def served(self) -> dict[str, str]:
        """Alias -> version, of those that are served."""
        return {alias: slot.model.version for alias, slot in self.slots.items() if slot.model}

    def model(self, alias: str) -> Loaded:
        """The model to draw with. Raises Problem where there is none."""
        slot = self.slots.get(alias)
        if slot is not None and slot.model is not None:
            return slot.model
        if alias == "champion":
            trouble = slot.trouble if slot else ""
            raise Problem(503, "No model yet", trouble or NOTHING_YET, {"Retry-After": "5"})
        raise Problem(404, "No such model", f"no version has the alias `{alias}` now; leave `model` out for the champion")

    def submit(self, asked: ImagesAsked | JobAsked | NearestAsked) -> Order:
        """Queue what is asked. Raises Problem."""
        order = order_of(asked, self.model(asked.model))
        try:
            return self.engine.submit(order)
        except Busy as busy:
            raise Problem(429, "Too many images are waiting", str(busy), {"Retry-After": str(busy.seconds)}) from None

    async def drawn(self, asked: ImagesAsked | NearestAsked, request: Request) -> tuple[Order, list[Pixels]]:
        """The images, once they are drawn; given up where the client goes, or it takes too long. Raises Problem."""
        order = self.submit(asked)
        waiting = asyncio.wrap_future(order.future)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may end after nobody waits
        gone = asyncio.create_task(_gone(request))
        try:
            ends: set[asyncio.Future[Any]] = {waiting, gone}
            done, _ = await asyncio.wait(ends, timeout=self.patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            order.drop()
        if waiting in done:
            return order, drawn_or_problem(order)
        if gone in done:
            raise Problem(499, "The client went", "nobody is there to be answered")
        raise Problem(
            504, "Not in time", f"it was not drawn within {self.patience:g} s; ask for fewer images or steps, or for a job"
        )


def drawn_or_problem(order: Order) -> list[Pixels]:
    """The images of an order that has ended. Raises Problem."""
    error = order.future.exception()
    if error is not None:
        raise Problem(503, "It cannot be drawn", str(error) or type(error).__name__)
    return order.future.result()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
