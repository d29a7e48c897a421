"""How far a course has come: by images seen, or by the wall clock where it has a budget of minutes."""

import time
from collections.abc import Callable

from darkroom.training.checkpoints import State
from darkroom.training.course import Course
from darkroom.training.parallel import slowest

YOUNG = 0.02  # share of the minutes before which the speed so far tells too little


class Pace:
    """The budget of a course. With minutes, its images are what the speed so far will come to: every schedule ends in time.

    A course by minutes ends elsewhere on every machine and at every try; one by images ends the same everywhere.
    """

    def __init__(
        self, course: Course, minutes: float | None, state: State, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._images, self._batch, self._minutes = course.images, course.batch_size, minutes
        self._state, self._clock = state, clock
        self._last = self._told = clock()
        self._told_images = state.images_seen

    def tick(self) -> None:
        """Add the time since the last call to the course's."""
        now = self._clock()
        self._state.seconds += now - self._last
        self._last = now
        if self._minutes is not None:
            self._state.seconds = slowest(self._state.seconds)

    def total(self) -> int:
        """Images seen at the end of the course: of one by minutes, at least a whole batch more while there is time."""
        share = self._share()
        if share is None:
            return self._images
        expected = self._images if share < YOUNG else round(self._state.images_seen / share)
        return max(expected, self._state.images_seen + self._batch) if share < 1 else self._state.images_seen

    def over(self) -> bool:
        """Whether the budget is used up."""
        share = self._share()
        return self._state.images_seen >= self._images if share is None else share >= 1

    def speed(self) -> float:
        """Images per second since the last `restart`."""
        return (self._state.images_seen - self._told_images) / max(self._clock() - self._told, 1e-9)

    def restart(self) -> None:
        """Measure the speed from here on: what was not training (drawing, saving) is left out of it."""
        self._told, self._told_images = self._clock(), self._state.images_seen

    def _share(self) -> float | None:
        return None if self._minutes is None else self._state.seconds / (60 * self._minutes)
