"""The words of the lifecycle: run, tune, init, sample-data, ui, up, serve-flows, watch, down."""

import argparse
from collections.abc import Callable
from pathlib import Path

from cli.words import Words, above, port, size_option, workspace_option
from cli.words import word as declare


def add_words(words: Words) -> None:
    """Declare them."""
    _run(words)
    _tune(words)
    _init(words)
    _sample_data(words)
    _servers(words)


def _fitting_options(word: argparse.ArgumentParser) -> None:
    """`--size N` and `--images N`: both are written into the workspace's params.yaml."""
    size_option(word)
    what = "images that base training sees; warm-up, average and cadences are fitted to it"
    word.add_argument("--images", type=above(64), metavar="N", help=what)


def _run(words: Words) -> None:
    word = declare(
        words,
        "run",
        "the whole life of a model: only what a change calls for is computed",
        "darkroom run --data photos\n  darkroom run --data photos --size 64\n  darkroom run --data photos --params mine.yaml\n"
        "  darkroom run --workspace darkroom-photos",
    )
    word.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="your images; sub-folders are labels, .txt files or a metadata.jsonl hold captions. They are never changed. "
        "Without a workspace for them, one is made: ./darkroom-FOLDER",
    )
    word.add_argument("--params", type=Path, metavar="FILE", help="settings to use in place of the workspace's params.yaml")
    _fitting_options(word)
    workspace_option(word)

    def act(given: argparse.Namespace) -> int:
        from cli.run import run

        return run(given.workspace, given.data, given.params, given.size, given.images)

    word.set_defaults(act=act)


def _tune(words: Words) -> None:
    word = declare(
        words,
        "tune",
        "fine-tune a registered model on the workspace's images, and register what comes of it",
        "darkroom tune cats@champion\n  darkroom tune cats@3 --focus tabby siamese",
    )
    word.add_argument("model", metavar="MODEL@ALIAS", help="or MODEL@NUMBER; it takes the place of a base trained here")
    word.add_argument("--focus", nargs="+", metavar="LABEL", help="labels to fine-tune on; else those of params.yaml")
    workspace_option(word)

    def act(given: argparse.Namespace) -> int:
        from cli.run import tune

        return tune(given.workspace, given.model, given.focus)

    word.set_defaults(act=act)


def _init(words: Words) -> None:
    word = declare(
        words,
        "init",
        "make a workspace: git, DVC with a local remote, params.yaml, dvc.yaml",
        "darkroom init cats --data ~/pictures/cats",
    )
    word.add_argument("folder", type=Path, metavar="DIR")
    word.add_argument("--data", type=Path, metavar="FOLDER", help="your images, read where they lie")
    _fitting_options(word)

    def act(given: argparse.Namespace) -> int:
        from cli.run import init

        return init(given.folder, given.data, given.size, given.images)

    word.set_defaults(act=act)


def _sample_data(words: Words) -> None:
    word = declare(
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


def _servers(words: Words) -> None:
    for name, what, example in (
        ("ui", "start the Prefect and MLflow servers, print where they are", "darkroom ui"),
        ("up", "everything on this machine, until Ctrl-C: servers, flows, watched images, image service", "darkroom up"),
        ("serve-flows", "serve the flows alone, for servers that run elsewhere", "darkroom serve-flows"),
        ("watch", "watch the images alone: a change starts the flow `retraining`", "darkroom watch"),
        ("down", "end the servers that darkroom started", "darkroom down"),
    ):
        made = declare(words, name, what, example)
        if name != "down":
            workspace_option(made)
        if name == "up":
            made.add_argument("--prefect-port", type=port, metavar="N", help="port of the Prefect server (0: any that is free)")
            made.add_argument("--mlflow-port", type=port, metavar="N", help="port of the MLflow server (0: any that is free)")
            made.add_argument(
                "--image-port", type=port, default=8000, metavar="N", help="port of the image service (default 8000)"
            )
        made.set_defaults(act=_served(name))


def _served(name: str) -> Callable[[argparse.Namespace], int]:
    def act(given: argparse.Namespace) -> int:
        from cli import servers

        match name:
            case "down":
                return servers.down()
            case "up":
                return servers.up(given.workspace, (given.prefect_port, given.mlflow_port), given.image_port)
            case "watch":
                return servers.watch(given.workspace)
            case "serve-flows":
                return servers.serve_flows(given.workspace)
        return servers.ui(given.workspace)

    return act
