"""The stage command: `python -m darkroom.curation`."""

from pathlib import Path

from darkroom.curation.curate import CurateSection, curate
from darkroom.stage import run_stage


def main() -> int:
    """Run the stage in the current folder. Returns the exit code."""
    return run_stage(
        "curate",
        CurateSection,
        lambda section: curate(section, Path(section.source), Path("data/curated"), Path("reports/curate")),
    )


if __name__ == "__main__":
    raise SystemExit(main())
