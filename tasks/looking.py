"""Images looked at by Prefect's task runners: a source in shards, each a task run, by threads, processes or a Ray cluster.

What looks at a shard is what looks at a whole source without them: worker processes that a bad file may take down.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from darkroom.curation.reading import Candidate
from darkroom.curation.workers import Answer, Errand, Looks, examined

SHARD = 512  # images; each costs a task run (some 0.1 s)
AHEAD = 64  # shards handed out before the first is answered


class UnknownRunner(ValueError):
    """No task runner of this name. The text says which there are."""


class Shard:
    """Some candidates of an errand; no dataclass and no list, so that Prefect does not search each for futures."""

    def __init__(self, errand: Errand, candidates: Sequence[Candidate]) -> None:
        self.errand, self.candidates = errand, candidates


@task(name="look at a shard", cache_policy=NO_CACHE, persist_result=False, retries=2)
def look_at_shard(shard: Shard) -> list[Answer]:
    """What every image of a shard shows, in order. The folder of the errand must lie where the task runs, too."""
    answers = examined(shard.errand, shard.candidates, range(len(shard.candidates)), 1)
    return [answer for _, answer in sorted(answers, key=lambda pair: pair[0])]


def looks_by(name: str | None, most: int) -> Looks | None:
    """`name`: threads, processes, ray (a cluster that is started here) or ray://HOST:PORT; `most`: runs at once, if here.

    None: without task runs. Raises UnknownRunner.
    """
    if not name or name == "here":
        return None
    runner = _runner(name, most)

    def looks(
        errand: Errand, candidates: Sequence[Candidate], chosen: Iterable[int], workers: int
    ) -> Iterator[tuple[int, Answer]]:
        order, going = deque(chosen), deque[tuple[list[int], Any]]()
        far = replace(errand, known=None)  # the memory of this machine
        with runner:
            while order or going:
                while order and len(going) < AHEAD:
                    indexes = [order.popleft() for _ in range(min(SHARD, len(order)))]
                    shard = Shard(far, [candidates[index] for index in indexes])
                    going.append((indexes, runner.submit(look_at_shard, {"shard": shard})))
                indexes, future = going.popleft()
                yield from zip(indexes, future.result(), strict=True)

    return looks


def _runner(name: str, most: int) -> TaskRunner[Any]:
    if name == "threads":
        return ThreadPoolTaskRunner(max_workers=most)
    if name == "processes":
        return ProcessPoolTaskRunner(max_workers=most)
    if name == "ray" or name.startswith("ray://"):
        try:
            from prefect_ray import RayTaskRunner
        except ImportError:
            raise UnknownRunner("DARKROOM_CURATE_ON: ray needs the package prefect-ray: pip install 'darkroom[ray]'") from None
        return RayTaskRunner(init_kwargs={"num_cpus": most}) if name == "ray" else RayTaskRunner(address=name)
    raise UnknownRunner(f"DARKROOM_CURATE_ON: {name}; there are: here, threads, processes, ray, ray://HOST:PORT")
