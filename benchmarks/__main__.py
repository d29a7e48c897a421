"""`make bench`, or `python -m benchmarks ROOM...`: what each room costs, each figure beside one to compare it with."""

import sys
from importlib import import_module

import torch

from benchmarks.turns import TURNS

ROOMS = ("curation", "duplicates", "incremental", "training", "sampling", "evaluation", "serving", "orchestration")

WITH_OPTIONS = ("curation", "duplicates")


def main(rooms: list[str]) -> int:
    """Print the figures of these rooms; of all where none is named. Returns the exit code."""
    if rooms[:1] and rooms[0] in WITH_OPTIONS and rooms[1:2] and rooms[1].startswith("-"):
        import_module(f"benchmarks.{rooms[0]}").run(rooms[1:])
        return 0
    unknown = sorted(set(rooms) - set(ROOMS))
    if unknown:
        print(f"no benchmarks of {', '.join(unknown)}; there are: {', '.join(ROOMS)}", file=sys.stderr)
        return 2
    print(f"medians of {TURNS} turns where not said otherwise; {torch.get_num_threads()} threads")
    for room in rooms or ROOMS:
        print(f"\n== {room}")
        import_module(f"benchmarks.{room}").run()
    if not rooms:
        print("\nhours more: python -m benchmarks.quality --help (against other projects), python -m benchmarks.ablation --help")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
