"""The `darkroom` command: its words, its help, and how its errors read."""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from adapters import machine
from darkroom import __version__

REFUSED = 3  # exit code of a run whose model the gates refused


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0 done, 1 an error (one message), 2 wrong words, 3 refused by a gate."""
    given = _parser().parse_args(arguments)
    machine.set_quiet()
    act: Callable[[argparse.Namespace], int] = given.act
    try:
        return act(given)
    except KeyboardInterrupt:
        print("\ndarkroom: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except Exception as error:  # the last place that sees it: a person gets a sentence, and the traceback on request
        if given.traceback:
            traceback.print_exc()
        known = isinstance(error, ValueError | OSError | LookupError | RuntimeError)
        text = str(error) if known and str(error) else f"unexpected {type(error).__name__}: {error}"
        if isinstance(error, PermissionError):
            text += "; darkroom needs to read and write there: mend the permissions, or choose another folder"
        print(f"darkroom: {text}", file=sys.stderr)
        if not known:
            print("darkroom: run the same command with --traceback to see where", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom",
        description="From a folder of images to a diffusion model of your own: curated, trained, fine-tuned, evaluated, "
        "registered, promoted - and again when the data changes.",
        epilog="Start with: darkroom run --data FOLDER",
    )
    parser.add_argument("--version", action="version", version=f"darkroom {__version__}")
    words = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _run(words)
    _init(words)
    _sample_data(words)
    for name, what, example in (
        ("ui", "start the Prefect and MLflow servers, print where they are", "darkroom ui"),
        ("up", "the same, and serve the flows: trigger and schedule them from the Prefect UI", "darkroom up"),
        ("down", "end the servers that darkroom started", "darkroom down"),
    ):
        word = _word(words, name, what, example)
        if name != "down":
            _workspace_option(word)
        word.set_defaults(act=_served(name))
    return parser


def _run(words: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    word = _word(
        words,
        "run",
        "the whole life of a model: only what a change calls for is computed",
        "darkroom run --data photos\n  darkroom run --data photos --params mine.yaml\n  darkroom run --workspace darkroom-photos",
    )
    word.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="your images; sub-folders are labels, .txt files or a metadata.jsonl hold captions. They are never changed. "
        "Without a workspace for them, one is made: ./darkroom-FOLDER",
    )
    word.add_argument("--params", type=Path, metavar="FILE", help="settings to use in place of the workspace's params.yaml")
    _workspace_option(word)

    def act(given: argparse.Namespace) -> int:
        from cli.run import run

        return run(given.workspace, given.data, given.params)

    word.set_defaults(act=act)


def _init(words: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    word = _word(
        words,
        "init",
        "make a workspace: git, DVC with a local remote, params.yaml, dvc.yaml",
        "darkroom init cats --data ~/pictures/cats",
    )
    word.add_argument("folder", type=Path, metavar="DIR")
    word.add_argument("--data", type=Path, metavar="FOLDER", help="your images, read where they lie")

    def act(given: argparse.Namespace) -> int:
        from cli.run import init

        return init(given.folder, given.data)

    word.set_defaults(act=act)


def _sample_data(words: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    word = _word(
        words,
        "sample-data",
        "labelled images to try things on: robots, monsters, robot heads, cats",
        "darkroom sample-data robots --count 3000 --seed 0 --dirt",
    )
    word.add_argument("folder", type=Path, metavar="DIR")
    word.add_argument("--count", type=int, default=3000, help="images (default 3000)")
    word.add_argument("--seed", type=int, default=0, help="another seed, other images (default 0)")
    word.add_argument("--size", type=int, default=128, help="side in pixels (default 128)")
    word.add_argument("--dirt", action="store_true", help="plant copies, blurred and broken files, and list them in planted.json")

    def act(given: argparse.Namespace) -> int:
        from cli.run import sample_data

        return sample_data(given.folder, given.count, given.seed, given.size, given.dirt)

    word.set_defaults(act=act)


def _served(name: str) -> Callable[[argparse.Namespace], int]:
    def act(given: argparse.Namespace) -> int:
        from cli import servers

        return servers.down() if name == "down" else servers.up(given.workspace, serve_flows=name == "up")

    return act


def _word(
    words: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, what: str, example: str
) -> argparse.ArgumentParser:
    word = words.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    word.add_argument("--traceback", action="store_true", help="show where an error came from")
    return word


def _workspace_option(word: argparse.ArgumentParser) -> None:
    word.add_argument("--workspace", type=Path, metavar="DIR", help="the workspace; else the one around the current folder")
