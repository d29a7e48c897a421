"""Looks at every file of a source: those that earlier runs took are remembered, the others are taken by workers."""

import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from darkroom.cores import cores
from darkroom.curation.examining import Examined, Look, Way, as_examined
from darkroom.curation.memory import FLEETING, Memory
from darkroom.curation.reading import Candidate
from darkroom.curation.workers import MOST_SECONDS, Answer, Errand, Looks, examined
from darkroom.events import Event, ImageRejected, Noted, Progressed
from darkroom.images import Rows
from darkroom.shapes import shape_for

REPORTED = 64  # files read between two reports of progress
CLOCK_GRAIN = 2_000_000_000  # nanoseconds: the coarsest times of change that file systems keep (FAT)
KEEP_SECONDS = 2.0  # of work that a killed run may lose


def gather(
    top: Path, candidates: Sequence[Candidate], way: Way, memory: Memory, workers: int = 0, looks: Looks | None = None
) -> Generator[Event, None, tuple[list[Examined], Rows]]:
    """What was found of each candidate (without pixels), and the pixels, row by row.

    `top`: folder that places start from; `workers`: how many processes, as many as there are processors if 0;
    `looks`: who has the images looked at, if not this process's own workers.
    """
    (arrays, _), found, digests = memory.pictures(), list[Examined | None](), [""] * len(candidates)
    records = np.full(len(candidates), -1, np.int64)
    for index, candidate in enumerate(candidates):
        known = memory.unchanged(candidate.path, candidate.stamp, arrays)
        if known is not None:
            records[index] = known.record
        found.append(known and as_examined(candidate, known.digest, known.look))
    unknown = [index for index, one in enumerate(found) if one is None]
    if len(unknown) < len(candidates):
        yield Noted(f"{len(candidates) - len(unknown):,} of {len(candidates):,} files are unchanged and not read again")
    unknown.sort(key=lambda index: candidates[index].place)  # members of an archive are read as they lie in it
    errand = Errand(top, way, memory.database, MOST_SECONDS)
    answers = (looks or examined)(errand, candidates, unknown, workers or cores())
    fleeting = yield from _remembered(answers, candidates, len(unknown), memory, digests)
    memory.keep()

    arrays, pixels = memory.pictures()
    for index in unknown:
        look = fleeting.get(index)
        if look is None:
            _, records[index], look = memory.look(digests[index], arrays)
        found[index] = as_examined(candidates[index], digests[index], look)
    whole = cast(list[Examined], found)
    yield from (ImageRejected(one.path, one.reason, one.detail) for one in whole if one.reason)
    shapes = None
    if len(way.shapes) > 1:
        shapes = np.array([shape_for(one.width, one.height, way.shapes) for one in whole], np.int64)
    return whole, Rows([pixels], np.zeros(len(candidates), np.int32), records, way.size, shapes, way.shapes)


def _remembered(
    answers: Iterator[tuple[int, Answer]], candidates: Sequence[Candidate], count: int, memory: Memory, digests: list[str]
) -> Generator[Event, None, dict[int, Look]]:
    """Remember what was seen of `count` candidates, as the answers come, and put their digests into `digests`.

    Returns what is not to be remembered, because it lies outside the bytes of the files.
    """
    fleeting: dict[int, Look] = {}
    kept, started = time.monotonic(), time.time_ns()
    for done, (index, answer) in enumerate(answers, start=1):
        digests[index] = answer.digest
        if answer.look is not None and answer.look.reason in FLEETING:
            fleeting[index] = answer.look
        else:
            if answer.look is not None and not memory.has(answer.digest):
                memory.add_look(answer.digest, answer.look)
            if answer.stamp and _last_change(answer.stamp) < started - CLOCK_GRAIN:
                memory.add_file(candidates[index].path, answer.stamp, answer.digest)
        if time.monotonic() > kept + KEEP_SECONDS:
            memory.keep()
            kept = time.monotonic()
        if done % REPORTED == 0 or done == count:
            yield Progressed("reading", done, count)
    return fleeting


def _last_change(stamp: str) -> int:
    """When a file last changed, in nanoseconds. One changed just now may change again and keep its times, as the clock of a file
    system goes in steps (the racy-git problem): its stamp is not remembered."""
    return max(map(int, stamp.split()[1:3]))
