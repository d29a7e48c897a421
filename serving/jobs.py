"""Jobs: orders that nobody waits for. They are kept for a while after their end, a bounded number of them."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Literal

from pydantic import BaseModel

from serving.answers import preview
from serving.engine import Dropped, Order
from serving.problems import Problem

KEPT, KEPT_FOR = 200, 900.0  # ended jobs, seconds
FRAMES = 0.06  # seconds between two looks: what forms faster than it is seen is passed over

State = Literal["queued", "drawing", "done", "cancelled", "failed"]


class JobTold(BaseModel):
    """How far a job is."""

    id: str
    state: State
    done: float  # share of the work, 0 to 1
    count: int
    detail: str


class Forming(BaseModel):
    """An image on the way: what it is expected to become after `step` of `steps`."""

    place: int
    step: int
    steps: int
    image: str


@dataclass
class Job:
    """An order under an id that cannot be guessed."""

    order: Order
    id: str = field(default_factory=lambda: token_urlsafe(16))
    ended: float = 0.0

    @property
    def state(self) -> State:
        """Where it is."""
        future = self.order.future
        if not future.done():
            return "drawing" if self.order.showing else "queued"
        error = future.exception()
        return "done" if error is None else "cancelled" if isinstance(error, Dropped) else "failed"

    def told(self) -> JobTold:
        """For the client."""
        state = self.state
        error = self.order.future.exception() if state == "failed" else None
        done = 1.0 if state == "done" else self.order.progress
        return JobTold(id=self.id, state=state, done=done, count=len(self.order.rows), detail=str(error or ""))

    def end(self, _: object) -> None:
        """Its order has ended: what is left of it keeps no network in memory."""
        self.ended, self.order = time.monotonic(), self.order.ended()

    async def events(self) -> AsyncIterator[JobTold | Forming]:
        """How far it is, and its images as they form, until it ends. A slow client misses steps, not the end."""
        seen: dict[int, int] = {}
        while True:
            ended = self.order.future.done()
            yield self.told()
            if ended:
                return
            for place, (step, pixels) in sorted(self.order.showing.items()):
                if seen.get(place) != step:
                    seen[place] = step
                    image = await asyncio.to_thread(preview, pixels)
                    yield Forming(place=place, step=step, steps=self.order.drawing.steps, image=image)
            await asyncio.sleep(FRAMES)


class Jobs:
    """The jobs of one service."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def add(self, order: Order) -> Job:
        """A job for an order that is queued."""
        self._forget()
        job = Job(order)
        self._jobs[job.id] = job
        order.future.add_done_callback(job.end)
        return job

    def get(self, name: str) -> Job:
        """The job of that id. Raises Problem."""
        self._forget()
        if name not in self._jobs:
            raise Problem(
                404, "No such job", f"no job has this id; jobs are kept for {KEPT_FOR / 60:.0f} minutes after their end"
            )
        return self._jobs[name]

    def _forget(self) -> None:
        """Ended jobs go when they are old, or too many; the oldest first."""
        now = time.monotonic()
        ended = sorted((job for job in self._jobs.values() if job.ended), key=lambda job: job.ended)
        for place, job in enumerate(ended):
            if now - job.ended > KEPT_FOR or place < len(ended) - KEPT:
                del self._jobs[job.id]
