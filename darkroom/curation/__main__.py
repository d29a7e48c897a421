"""The stage command: `python -m darkroom.curation`."""

from collections.abc import Generator
from pathlib import Path

from darkroom.curation.choices import read_choices
from darkroom.curation.curate import MEMORY, CurateSection, curate
from darkroom.events import Event
from darkroom.refs import DatasetRef
from darkroom.stage import run_stage


def main() -> int:
    """Run the stage in the current folder. Returns the exit code."""
    return run_stage("curate", CurateSection, _step)


def _step(section: CurateSection) -> Generator[Event, None, DatasetRef]:
    choices = read_choices(Path(section.choices))
    return curate(section, Path(section.source), Path("data/curated"), Path("reports/curate"), MEMORY, choices)


if __name__ == "__main__":
    raise SystemExit(main())
