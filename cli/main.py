"""The `darkroom` command: its words, its help, and how its errors read."""

import argparse
import atexit
import errno
import gc
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from adapters import machine
from cli import curate_words, judging_words, lifecycle_words, registry_words, serve_words, share_words, train_words
from darkroom import __version__

INTERRUPTED, UNREAD = 130, 141  # as shells count what a signal ended
REFUSED = 3  # exit code of a run whose model the gates refused
FULL = 2**22  # bytes left on a disk that is called full: less than is written at once


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0 done, 1 an error (one message), 2 wrong words, 3 refused by a gate."""
    given = _parser().parse_args(arguments)
    machine.set_quiet()
    atexit.register(gc.freeze)  # or the interpreter walks through all of torch once more before it ends: 1.7 s
    act: Callable[[argparse.Namespace], int] = given.act
    try:
        return act(given)
    except BrokenPipeError:  # whoever reads what is said has read enough: head, a pager
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except KeyboardInterrupt:
        print("\ndarkroom: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # the last place that sees it: a person gets a sentence, and the traceback on request
        from darkroom.stage import StoppedOnRequest

        if isinstance(error, StoppedOnRequest):
            print(f"\ndarkroom: {error}", file=sys.stderr)
            return INTERRUPTED
        if given.traceback:
            traceback.print_exc()
        known = isinstance(error, ValueError | OSError | LookupError | RuntimeError)
        text = _words(error) if known and str(error) else f"unexpected {type(error).__name__}: {error}"
        print(f"darkroom: {text}{_remedy(error, given)}", file=sys.stderr)
        if not known:
            print("darkroom: run the same command with --traceback to see where", file=sys.stderr)
        return 1


def _words(error: Exception) -> str:
    """An error's own sentence; of one that the system raised, the file first."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return str(error)


def _remedy(error: Exception, given: argparse.Namespace) -> str:
    """What to do about an error that the system raised without saying so, or without saying where."""
    if isinstance(error, PermissionError):
        return "; darkroom needs to read and write there: mend the permissions, or choose another folder"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = " and ".join(_full(given)) or "that is written to"
        return f"; make room on the disk {where}, then give the same command again: nothing half-written is used"
    if isinstance(error, OSError) and error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EROFS):
        return "; choose another path"
    return ""


def _full(given: argparse.Namespace) -> list[str]:
    """What the command was told of that lies on a full disk; the folder of temporary files, if that does. As `of` and a name."""
    told = [value for value in vars(given).values() if isinstance(value, Path)] or [Path()]
    found = [path for path in [*told, Path(tempfile.gettempdir())] if _room_at(path) < FULL]
    return [f"of {path.absolute()}" for path in dict.fromkeys(found)]


def _room_at(path: Path) -> int:
    """Bytes free on the disk of a path, which need not be there yet."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom",
        description="From a folder of images to a diffusion model of your own: curated, trained, fine-tuned, evaluated, "
        "registered, promoted - and again when the data changes.",
        epilog="Start with: darkroom run --data FOLDER",
    )
    parser.add_argument("--version", action="version", version=f"darkroom {__version__}")
    words = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for module in (lifecycle_words, curate_words, train_words, judging_words, share_words, registry_words, serve_words):
        module.add_words(words)
    return parser
