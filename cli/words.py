"""How a word of the `darkroom` command is declared. Each `*_words.py` here declares some and imports what they do when asked."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

ASPECT = "train on shapes up to RATIO times as wide as high, and as high as wide; else all are cut to squares"
Words: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def word(words: Words, name: str, what: str, example: str) -> argparse.ArgumentParser:
    """A new word: one line of what it does, and an example that can be typed."""
    made = words.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--traceback", action="store_true", help="show where an error came from")
    return made


def workspace_option(made: argparse.ArgumentParser) -> None:
    """`--workspace DIR`."""
    made.add_argument("--workspace", type=Path, metavar="DIR", help="the workspace; else the one around the current folder")


def size_option(made: argparse.ArgumentParser) -> None:
    """`--size N`."""
    what = "side of the images in pixels; noise, network and what else depends on it are fitted to it, and told"
    made.add_argument("--size", type=above(8), metavar="N", help=what)


def above(least: int) -> Callable[[str], int]:
    """The type of an option that takes whole numbers from `least` on."""

    def whole_number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return value

    return whole_number


def port(text: str) -> int:
    """A port's number; 0 where any that is free will do."""
    number = int(text)
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is no port: 0 to 65535")
    return number
