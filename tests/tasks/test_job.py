"""What every task shares: a training that is asked to stop saves first."""

import os
import signal
from collections.abc import Generator
from typing import Any

import pytest

from darkroom.events import Event, Noted
from darkroom.stage import StoppedOnRequest
from darkroom.training.course import Conduct
from tasks.job import steered


def test_a_cancel_reaches_the_training_before_it_ends_the_process() -> None:
    """The Prefect UI's cancel is a termination signal to the flow's process."""
    before = signal.getsignal(signal.SIGTERM)

    def training(conduct: Conduct) -> Generator[Event, None, None]:
        while not conduct.stopping():
            yield Noted("a batch")
        yield Noted("saved")
        raise StoppedOnRequest("stopped")

    job: Any = None  # it is asked for the workspace by several processes alone
    steps, told = steered(job, "train_base", "darkroom.training", training), []
    told.append(next(steps))
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(StoppedOnRequest):
        told.extend(steps)
    assert told == [Noted("a batch"), Noted("saved")]
    assert signal.getsignal(signal.SIGTERM) == before
