"""A small folder of distinct pictures, and a way to curate it."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from darkroom.curation import gathering
from darkroom.curation.curate import curate
from darkroom.curation.memory import Known
from darkroom.curation.opening import Reader
from darkroom.curation.workers import Answer, Errand, answered
from darkroom.events import Event, followed
from darkroom.refs import DatasetRef
from tests.darkroom.curation.made_pictures import encoded, picture, section_with


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers take half a second to start: where they are not the point, their work is done here."""

    def examined(errand: Errand, candidates: Any, chosen: Any, workers: int) -> Iterator[tuple[int, Answer]]:
        with closing(Known(errand.known)) as known, Reader(errand.top) as reader:
            for index in chosen:
                yield index, answered(errand, reader, candidates[index], False, known)

    monkeypatch.setattr(gathering, "examined", examined)


Run = Callable[..., tuple[list[Event], DatasetRef]]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """30 distinct pictures with two labels."""
    folder = tmp_path / "images"
    for number in range(30):
        file = folder / ("red" if number % 2 else "blue") / f"{number:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(picture(number)))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Curate `source` into tmp_path/out and tmp_path/report: the events and the reference."""

    def run_it(source: Path, name: str = "out", **changes: Any) -> tuple[list[Event], DatasetRef]:
        steps = curate(section_with(**changes), source, tmp_path / name, tmp_path / f"{name}-report")
        events: list[Event] = []
        answer = followed(steps, events.append)
        return events, answer

    return run_it
