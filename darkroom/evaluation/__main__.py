"""`python -m darkroom.evaluation`: the stage `evaluate`, run in the folder that holds params.yaml."""

from pathlib import Path

from darkroom.evaluation.evaluate import KEPT, EvaluateSection, evaluate
from darkroom.evaluation.examining import Making
from darkroom.sections import read_yaml
from darkroom.stage import run_stage


def main() -> int:
    """Run the stage; the exit code."""
    return run_stage(
        "evaluate",
        EvaluateSection,
        lambda section: evaluate(
            section,
            Path("data/curated"),
            {"base": Path("models/base"), "tuned": Path("models/tuned")},
            Path("reports/evaluate"),
            keep=KEPT,
            histories={"base": Path("reports/train_base/loss.csv"), "tuned": Path("reports/finetune/loss.csv")},
            # All of params.yaml, to name old values in remedies: what these name is an input of earlier stages.
            making=Making(Path("data/augmented"), read_yaml(Path("params.yaml")), {"base": "train_base", "tuned": "finetune"}),
        ),
    )


if __name__ == "__main__":
    raise SystemExit(main())
