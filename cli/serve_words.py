"""The word of the image service: serve."""

import argparse
from pathlib import Path

from cli.words import Words, port, word, workspace_option


def add_words(words: Words) -> None:
    """Declare it."""
    made = word(
        words,
        "serve",
        "the image service alone: a studio in the browser, and an API",
        "darkroom serve\n  darkroom serve models/tuned --port 8001\n  DARKROOM_TOKEN=... darkroom serve --host 0.0.0.0",
    )
    made.add_argument("model", nargs="?", type=Path, metavar="DIR", help="a model folder; else the workspace's champion")
    workspace_option(made)
    made.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    made.add_argument("--port", type=port, default=8000, metavar="N", help="port (default 8000)")
    made.add_argument("--name", action="append", default=[], metavar="HOST", help="answer to this host name too; may be repeated")
    made.add_argument("--token-file", type=Path, metavar="FILE", help="who asks must know the token in it; else DARKROOM_TOKEN")
    made.add_argument("--open", action="store_true", help="let everybody in who can reach the address, without a token")
    made.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    made.add_argument("--batch", type=int, default=16, metavar="N", help="images drawn at once (default 16)")
    made.add_argument("--signing-key", type=Path, metavar="PEM", help="an Ed25519 key to sign every image with")
    made.set_defaults(act=_act)


def _act(given: argparse.Namespace) -> int:
    from cli.serve import serve

    return serve(given)
