"""The words of training without a flow: train, plan, find-lr."""

import argparse
from pathlib import Path

from cli.words import ASPECT, Words, size_option, workspace_option
from cli.words import word as declare


def add_words(words: Words) -> None:
    """Declare them."""
    _train(words)
    _plan(words)
    _find_rate(words)
    _average(words)


def _train(words: Words) -> None:
    word = declare(
        words,
        "train",
        "a folder of images becomes a model folder, within a budget; needs no workspace",
        "darkroom train --data photos --minutes 10 --out model\n  darkroom train --data photos --images 50000 --out model\n"
        "  darkroom train --data photos --captions --minutes 60 --out model",
    )
    word.add_argument("--data", type=Path, metavar="FOLDER", required=True, help="your images; sub-folders are labels")
    word.add_argument("--out", type=Path, metavar="DIR", required=True, help="model, samples, plots; again the same: it goes on")
    budget = word.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, help="budget of wall clock for training; every schedule ends with it")
    budget.add_argument("--images", type=int, metavar="N", help="budget of images seen; gives the same model every time")
    word.add_argument("--processes", type=int, default=1, metavar="N", help="train together on this machine, one on each GPU")
    word.add_argument("--sharded", action="store_true", help="with --processes: each keeps only its share of the weights (FSDP2)")
    _settings(word)

    def act(given: argparse.Namespace) -> int:
        from cli.train import train

        return train(given)

    word.set_defaults(act=act)


def _plan(words: Words) -> None:
    word = declare(
        words,
        "plan",
        "what a training would take: time, memory, disk, money; measured on this machine for some seconds",
        "darkroom plan --images 1000000 --price 1.20    # in a workspace: its settings",
    )
    word.add_argument("--data", type=Path, metavar="FOLDER", help="your images: tells how often each would be seen")
    workspace_option(word)
    word.add_argument("--images", type=int, metavar="N", help="budget of images seen; else that of the settings")
    word.add_argument("--price", type=float, metavar="PER_HOUR", help="what an hour of the machine costs")
    word.add_argument("--seconds", type=float, default=5.0, help="how long to measure (default 5)")
    word.add_argument("--sizes", action="store_true", help="list the sizes that --network takes and what each costs")
    _settings(word, workspace=True)

    def act(given: argparse.Namespace) -> int:
        from cli.train import plan

        return plan(given)

    word.set_defaults(act=act)


def _find_rate(words: Words) -> None:
    word = declare(
        words,
        "find-lr",
        "a range test: the loss at rising learning rates, as a plot, and a rate suggested",
        "darkroom find-lr --data photos --out rates.png\n  darkroom find-lr    # in a workspace: with its settings and images",
    )
    word.add_argument("--data", type=Path, metavar="FOLDER", help="your images; else those that the workspace has curated")
    workspace_option(word)
    word.add_argument("--out", type=Path, metavar="PNG", default=Path("find-lr.png"), help="the plot (default find-lr.png)")
    word.add_argument("--batches", type=int, default=120, help="how many to train on (default 120)")
    _settings(word, workspace=True)

    def act(given: argparse.Namespace) -> int:
        from cli.train import find_rate

        return find_rate(given)

    word.set_defaults(act=act)


def _average(words: Words) -> None:
    word = declare(
        words,
        "average",
        "the same training with its weights averaged over another length, from the snapshots kept along the way",
        "darkroom average --model model --width 0.07 --out longer",
    )
    word.add_argument("--model", type=Path, metavar="DIR", required=True, help="trained with averaging.snapshots above 0")
    word.add_argument("--width", type=float, required=True, help="share of the training that counts, such as 0.05 or 0.15")
    word.add_argument("--out", type=Path, metavar="DIR", required=True, help="the model folder to write")

    def act(given: argparse.Namespace) -> int:
        from cli.train import average

        return average(given)

    word.set_defaults(act=act)


def _settings(word: argparse.ArgumentParser, workspace: bool = False) -> None:
    word.add_argument("--network", metavar="SIZE", help="such as transformer-S or unet-M; `darkroom plan --sizes` lists them")
    word.add_argument(
        "--captions",
        nargs="?",
        const="",
        metavar="ENCODER",
        help="the network reads captions: by bytes, or through a pretrained text ENCODER (a folder, or a hub's name)",
    )
    size_option(word)
    word.add_argument("--aspect-buckets", type=float, metavar="RATIO", help=ASPECT)
    there = "the workspace's, or " if workspace else ""
    word.add_argument("--params", type=Path, metavar="FILE", help=f"settings; else {there}the ones Darkroom comes with")
    word.add_argument("--seed", type=int, help="of weights, noise and data order")
