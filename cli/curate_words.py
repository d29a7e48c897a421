"""The words of curation: curate, data."""

import argparse
from pathlib import Path

from cli.words import ASPECT, Words, workspace_option
from cli.words import word as declare


def add_words(words: Words) -> None:
    """Declare them."""
    _curate(words)
    _data(words)


def _curate(words: Words) -> None:
    word = declare(
        words,
        "curate",
        "make a clean, split, explained data set of any folder of images",
        "darkroom curate ~/scrape --out clean\n"
        "  darkroom curate --out clean --what-if sharpness=60 contrast=8\n"
        "  darkroom curate --what-if sharpness=60      (of a workspace)",
    )
    word.add_argument("source", type=Path, nargs="?", metavar="FOLDER", help="images: a folder, .zip, .tar, .parquet")
    word.add_argument("--out", type=Path, metavar="DIR", help="where the data set and its report are written")
    word.add_argument("--params", type=Path, metavar="FILE", help="a params.yaml whose section `curate` is used")
    word.add_argument("--size", type=int, metavar="N", help="side of the squares in pixels")
    word.add_argument("--aspect-buckets", type=float, metavar="RATIO", help=ASPECT)
    word.add_argument(
        "--what-if", nargs="+", metavar="FILTER=VALUE", help="what other thresholds would change, from the scores of the last run"
    )
    workspace_option(word)

    def act(given: argparse.Namespace) -> int:
        from cli import curate

        if given.what_if:
            return curate.answer_what_if(given.out, given.workspace, given.what_if)
        return curate.curate_folder(given.source, given.out, given.params, given.size, given.aspect_buckets)

    word.set_defaults(act=act)


def _data(words: Words) -> None:
    word = declare(
        words,
        "data",
        "what changed between two versions of the data set",
        "darkroom data diff HEAD~1\n  darkroom data diff v1 v2",
    )
    word.add_argument("what", choices=["diff"])
    word.add_argument("revision", metavar="REV", help="a git revision of the workspace")
    word.add_argument("other", metavar="REV2", nargs="?", help="another one; without it, the data set that lies there now")
    word.add_argument("--all", action="store_true", help="every image, not only the first of each kind of change")
    workspace_option(word)

    def act(given: argparse.Namespace) -> int:
        from cli import curate

        return curate.data_diff(given.workspace, given.revision, given.other, given.all)

    word.set_defaults(act=act)
