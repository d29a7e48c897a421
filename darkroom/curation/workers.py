"""Examining in processes of their own: a decoder that hangs or crashes costs its process, never the run.

Threads cannot be ended, processes can. Each worker is a fresh interpreter that imports what it needs and no more (about half a
second) and is told of images a few at a time. Whichever does not answer in time is ended and replaced, and the file it
was at is set aside: `too_slow`, or `crashed` where the process died of it.
"""

import json
import resource
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

from darkroom.curation.decoding import UnreadableImage
from darkroom.curation.examining import Look, Way, look_at, unread
from darkroom.curation.memory import Known
from darkroom.curation.opening import Reader
from darkroom.curation.reading import Candidate

MOST_SECONDS = 60.0  # for one image; a camera's largest takes one second
START_SECONDS = 300.0  # for a worker to begin, on a machine as busy as can be
GRACE = 5.0  # seconds until a worker that should have ended itself is ended
AHEAD = 4  # images a worker is told of before it has answered for the first of them
MOST_MEMORY = 6 * 2**30  # bytes of addresses: what the largest image that is decoded can need, twice
FEW = 32  # images for which another worker is not worth its start
# Each worker is of one thread: threads of the matrix products of several wait for one another, and all take five times as long.
START = (
    "import json, os, sys\n"
    "os.environ |= dict.fromkeys(('OPENBLAS_NUM_THREADS', 'OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'VECLIB_MAXIMUM_THREADS'), '1')\n"
    "sys.path[:] = json.loads(sys.argv[1])\n"
    "from darkroom.curation.workers import serve\n"
    "serve(int(sys.argv[2]))"
)


@dataclass(frozen=True, slots=True)
class Errand:
    """What a worker is told first: where the images lie, how to look, and the digests of what need not be looked at again."""

    top: Path
    way: Way
    known: Path | None  # a database of looks (`memory.Memory`): content that is in it is not decoded again
    most_seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one image. `look` is None if its content is known; `stamp` as in `opening.Opened`."""

    digest: str
    stamp: str
    look: Look | None


# Who has images looked at: errand, candidates, the chosen ones' indexes, how many processes -> index and answer, in any order.
Looks = Callable[[Errand, Sequence[Candidate], Iterable[int], int], Iterator[tuple[int, Answer]]]


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    line: Connection
    since: float  # when it began the first of what it is told of
    told: deque[int] = field(default_factory=deque)  # indexes of candidates, first to be answered first
    ready: bool = False
    ended: bool = False


def examined(
    errand: Errand, candidates: Sequence[Candidate], chosen: Iterable[int], workers: int
) -> Iterator[tuple[int, Answer]]:
    """Index and answer of each of the `chosen` candidates, as the answers come. Raises RuntimeError if no worker starts."""
    waiting = deque(chosen)
    verdicts: dict[int, Look] = {}  # of those whose decoding ended a worker: what remains is to name their bytes
    crew: list[_Worker] = []
    try:
        while waiting or any(worker.told for worker in crew):
            while len(crew) < min(workers, 1 + len(waiting) // FEW):
                crew.append(_started(errand))
            for worker in crew:
                while waiting and len(worker.told) < AHEAD:
                    worker.since = worker.since if worker.told else time.monotonic()
                    worker.told.append(index := waiting.popleft())
                    one = candidates[index]
                    _tell(worker, (one.path, one.place, one.stamp, index in verdicts))
            for worker in _ready(crew, errand.most_seconds):
                answer = _heard(worker)
                if answer is not None:
                    index = worker.told.popleft()
                    worker.since = time.monotonic()
                    yield index, replace(answer, look=verdicts.pop(index, answer.look))
                elif worker.ended:
                    crew.remove(worker)
                    verdict = _end(worker, errand.most_seconds)
                    if not worker.ready:
                        raise RuntimeError(f"no process to examine images in could be started: {verdict.detail}")
                    index = worker.told.popleft()
                    waiting.extendleft(reversed(worker.told))
                    if index in verdicts:  # not even its bytes can be read
                        yield index, Answer("", "", verdicts.pop(index))
                    else:
                        verdicts[index] = verdict
                        waiting.appendleft(index)
    finally:
        for worker in crew:
            worker.line.close()
            worker.process.kill()
            worker.process.wait()


def _started(errand: Errand) -> _Worker:
    ours, theirs = Pipe()
    with theirs:
        words = [sys.executable, "-c", START, json.dumps(sys.path), str(theirs.fileno())]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    worker = _Worker(process, ours, time.monotonic())
    _tell(worker, errand)
    return worker


def _tell(worker: _Worker, what: object) -> None:
    try:
        worker.line.send(what)
    except OSError:  # it is gone; reading from it says so as well, and there it is seen to
        return


def _ready(crew: Sequence[_Worker], most_seconds: float) -> list[_Worker]:
    """Workers to see to: they have answered, or ended, or should have done so long ago (then they are marked as ended)."""
    heard = wait([worker.line for worker in crew], timeout=GRACE)
    now = time.monotonic()
    for worker in crew:
        patience = most_seconds + 2 * GRACE if worker.ready else START_SECONDS
        worker.ended = worker.line not in heard and bool(worker.told) and now > worker.since + patience
    return [worker for worker in crew if worker.line in heard or worker.ended]


def _heard(worker: _Worker) -> Answer | None:
    """An answer; None if the worker ended, or only says that it began, or is on its way.

    Raises RuntimeError for an error of ours in it.
    """
    if worker.ended:
        return None
    try:
        answer = worker.line.recv()
    except (EOFError, OSError):
        worker.ended = True
        return None
    if isinstance(answer, str):
        raise RuntimeError(f"a process that examines images failed: {answer}")
    worker.ready, worker.since = True, time.monotonic()
    return answer if isinstance(answer, Answer) else None


def _end(worker: _Worker, most_seconds: float) -> Look:
    """End a worker, and say what that means for the file it was at."""
    worker.line.close()
    try:
        code = worker.process.wait(timeout=GRACE)  # it has ended, or is stuck where no signal reaches it
    except subprocess.TimeoutExpired:
        worker.process.kill()
        code = -signal.SIGALRM
    if code == -signal.SIGALRM:
        return unread("too_slow", f"not decoded within {most_seconds:g} seconds")
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return unread("crashed", f"the process that decoded it ended with {how}")


def serve(handle: int) -> None:
    """The life of a worker: read what to do from a pipe, answer, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends its workers
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends this process, wherever it is stuck
    with suppress(ValueError, OSError):  # macOS refuses: there, the largest number of pixels is what limits an image
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    line = Connection(handle)
    try:
        errand: Errand = line.recv()

        def tick() -> None:
            """The way to a member of a compressed archive is long; it is no time of the image."""
            signal.setitimer(signal.ITIMER_REAL, errand.most_seconds)
            line.send(None)

        known, reader = Known(errand.known), Reader(errand.top, tick)
        line.send(None)  # ready
        while True:
            path, place, stamp, digest_only = line.recv()
            signal.setitimer(signal.ITIMER_REAL, errand.most_seconds)
            answer = answered(errand, reader, Candidate(path, "", None, stamp, place), digest_only, known)
            signal.setitimer(signal.ITIMER_REAL, 0)
            line.send(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:  # a mistake of ours: told to the run, which stops with it
        line.send(f"{type(error).__name__}: {error}")
        raise


def answered(errand: Errand, reader: Reader, candidate: Candidate, digest_only: bool, known: Known) -> Answer:
    """What a worker does with one image. A bad file is told in the answer, never raised."""
    try:
        opened = reader.read(candidate)
    except UnreadableImage as error:
        return Answer("", "", unread(error.reason, str(error)))
    if digest_only or opened.digest in known:
        return Answer(opened.digest, opened.stamp, None)
    return Answer(opened.digest, opened.stamp, look_at(opened, errand.way))
