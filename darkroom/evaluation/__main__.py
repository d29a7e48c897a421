"""`python -m darkroom.evaluation`: the stage `evaluate`, run in the folder that holds params.yaml."""

from pathlib import Path

from darkroom.evaluation.evaluate import EvaluateSection, evaluate_workspace
from darkroom.sections import read_yaml
from darkroom.stage import run_stage


def main() -> int:
    """Run the stage; the exit code."""
    # All of params.yaml, to name old values in remedies: what these name is an input of earlier stages.
    settings = read_yaml(Path("params.yaml"))
    return run_stage("evaluate", EvaluateSection, lambda section: evaluate_workspace(section, Path(), settings))


if __name__ == "__main__":
    raise SystemExit(main())
