"""How many processors there are to work on."""

import os


def cores() -> int:
    """Processors that this process may use: those it is bound to where the system can tell (Linux), else all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
