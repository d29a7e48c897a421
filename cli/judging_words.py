"""The words that judge models and images: diagnose, compare, choose, trace."""

import argparse
from pathlib import Path

from cli.words import Words, above, word, workspace_option

MODEL = "a version (number or alias), `base` or `tuned` of the workspace, or a model folder"


def add_words(words: Words) -> None:
    """Declare them."""
    _diagnose(words)
    _compare(words)
    _choose(words)
    _trace(words)


def _diagnose(words: Words) -> None:
    made = word(
        words,
        "diagnose",
        "what ails the models of a workspace, by its last evaluation, and what to change",
        "darkroom diagnose\n  darkroom diagnose tuned --apply",
    )
    made.add_argument("model", nargs="?", metavar="MODEL", help="`base` or `tuned` (default: both)")
    made.add_argument("--apply", action="store_true", help="write the change into params.yaml; needs MODEL")
    workspace_option(made)

    def act(given: argparse.Namespace) -> int:
        from cli import judging

        return judging.diagnose(given)

    made.set_defaults(act=act)


def _compare(words: Words) -> None:
    made = word(
        words,
        "compare",
        "two models side by side, and the probability that their difference is real",
        "darkroom compare champion challenger\n  darkroom compare 3 models/base --images 500",
    )
    made.add_argument("first", metavar="A", help=MODEL)
    made.add_argument("second", metavar="B", help="another one")
    made.add_argument(
        "--images", type=above(8), default=200, metavar="N", help="drawn from each, from the same noise (default 200)"
    )
    made.add_argument("--seed", type=above(0), default=0, help="of the noise (default 0)")
    made.add_argument("--out", type=Path, metavar="DIR", help="page and picture (default: .darkroom/compared in the workspace)")
    workspace_option(made)

    def act(given: argparse.Namespace) -> int:
        from cli import judging

        return judging.compare(given)

    made.set_defaults(act=act)


def _choose(words: Words) -> None:
    made = word(
        words,
        "choose",
        "find the best way to draw from a model: weights, sampler, steps, guidance, within a time",
        "darkroom choose --minutes 5\n  darkroom choose base --steps 10 20 40 --guidance 1 1.5 2 --minutes 20 --apply",
    )
    made.add_argument("model", nargs="?", default="tuned", metavar="MODEL", help=f"{MODEL} (default: tuned)")
    made.add_argument("--minutes", type=float, default=5.0, help="budget of wall clock (default 5); again the same: it goes on")
    made.add_argument("--images", type=above(8), default=1024, metavar="N", help="most images of a candidate (default 1024)")
    made.add_argument("--steps", type=above(1), nargs="+", default=[6, 10, 16, 25, 40], metavar="N", help="step counts to try")
    made.add_argument("--guidance", type=float, nargs="+", metavar="S", help="strengths to try (default: 1, 1.5, the present)")
    made.add_argument(
        "--away", type=float, nargs="+", metavar="S", help="times away from its earlier weights (default: 1, 2, the present)"
    )
    made.add_argument("--widths", type=float, nargs="*", default=[0.05, 0.1, 0.15], metavar="W", help="of rebuilt averages")
    made.add_argument("--seed", type=above(0), default=0, help="of the noise (default 0)")
    made.add_argument("--quickest", action="store_true", help="take the quickest that cannot be told from the best")
    made.add_argument("--out", type=Path, metavar="DIR", help="write the model with the chosen drawing and weights here")
    made.add_argument("--apply", action="store_true", help="draw so from now on: write it into params.yaml, for the next version")
    workspace_option(made)

    def act(given: argparse.Namespace) -> int:
        from cli import choosing

        return choosing.choose(given)

    made.set_defaults(act=act)


def _trace(words: Words) -> None:
    made = word(
        words,
        "trace",
        "what made an image, the training images it is nearest to, their files, and the versions trained on them",
        "darkroom trace drawn.png --out beside.png",
    )
    made.add_argument("image", type=Path, metavar="IMAGE")
    made.add_argument("--count", type=above(1), default=5, metavar="N", help="training images to name (default 5)")
    made.add_argument("--out", type=Path, metavar="PNG", help="a picture of them side by side")
    workspace_option(made)

    def act(given: argparse.Namespace) -> int:
        from cli import judging

        return judging.trace(given)

    made.set_defaults(act=act)
