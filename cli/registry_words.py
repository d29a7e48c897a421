"""The words of the registry: promote, rollback, lineage, forget."""

import argparse
from collections.abc import Callable
from pathlib import Path

from cli.words import Words, word, workspace_option


def add_words(words: Words) -> None:
    """Declare them."""
    _promote(words)
    _rollback(words)
    _lineage(words)
    _forget(words)


def _promote(words: Words) -> None:
    made = word(
        words,
        "promote",
        "make a version the champion, if the gates agree",
        "darkroom promote\n  darkroom promote 3\n  darkroom promote 3 --force --reason 'the only one without watermarks'",
    )
    made.add_argument("version", nargs="?", default="challenger", help="a number or an alias (default: challenger)")
    made.add_argument("--force", action="store_true", help="although a gate refuses; needs --reason")
    made.add_argument("--reason", default="", metavar="TEXT", help="why; kept in the audit log")
    _does(made, lambda given, registry: registry.promote(given.workspace, given.version, given.force, given.reason))


def _rollback(words: Words) -> None:
    made = word(
        words, "rollback", "make the previous champion champion again", "darkroom rollback --reason 'stripes in dark images'"
    )
    made.add_argument("--reason", default="", metavar="TEXT", help="why; kept in the audit log")
    _does(made, lambda given, registry: registry.roll_back(given.workspace, given.reason))


def _lineage(words: Words) -> None:
    made = word(
        words,
        "lineage",
        "what a version was made of, down to every source file; or what an image went into",
        "darkroom lineage cats@champion\n  darkroom lineage --image photos/one.jpg",
    )
    made.add_argument("model", nargs="?", default="", metavar="MODEL@ALIAS", help="or MODEL@NUMBER; default: the champion")
    made.add_argument("--image", type=Path, metavar="FILE", help="every data version and model version this image went into")
    made.add_argument("--files", type=Path, metavar="CSV", help="write the table of every source file here")
    _does(made, lambda given, registry: registry.lineage(given.workspace, given.model, given.image, given.files))


def _forget(words: Words) -> None:
    made = word(
        words,
        "forget",
        "take images out for good, and mark the versions that were trained on them",
        "darkroom forget photos/one.jpg --reason 'its owner asked'\n  darkroom forget a.png --reason 'no licence' --retrain",
    )
    made.add_argument("images", nargs="+", type=Path, metavar="FILE", help="files, or their SHA-256 where they are gone already")
    made.add_argument("--reason", required=True, metavar="TEXT", help="why; kept in choices.yaml")
    made.add_argument("--retrain", action="store_true", help="start the retraining at once")
    _does(made, lambda given, registry: registry.forget(given.workspace, given.images, given.reason, given.retrain))


def _does(made: argparse.ArgumentParser, act: Callable[..., int]) -> None:
    workspace_option(made)

    def acted(given: argparse.Namespace) -> int:
        from cli import registry

        return act(given, registry)

    made.set_defaults(act=acted)
