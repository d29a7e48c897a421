"""The words of models that are used: generate, inspect, export."""

import argparse
from pathlib import Path

from cli.words import Words, above, workspace_option
from cli.words import word as declare

MODEL = "a model folder, an exported one, or MODEL@ALIAS of the registry (default: the workspace's champion)"


def add_words(words: Words) -> None:
    """Declare them."""
    _generate(words)
    _inspect(words)
    _export(words)


def _generate(words: Words) -> None:
    word = declare(
        words,
        "generate",
        "draw images into a folder; again the same: it goes on",
        "darkroom generate --count 64 --class cat --out cats\n  darkroom generate --model model --count 500 --out pngs",
    )
    word.add_argument("--model", metavar="MODEL", help=MODEL)
    word.add_argument("--out", type=Path, metavar="DIR", required=True, help="a PNG for each image, and sheet.png")
    word.add_argument("--count", type=above(1), default=64, metavar="N", help="images (default 64)")
    told = word.add_mutually_exclusive_group()
    told.add_argument("--class", dest="label", metavar="NAME", help="one class; else all, in the proportions trained on")
    told.add_argument("--prompt", metavar="TEXT", help="what to draw, for a model that reads captions")
    word.add_argument("--shape", metavar="WxH", help="width and height, such as 40x24, of a model trained on several shapes")
    word.add_argument("--seed", type=above(0), default=0, metavar="N", help="other images for another seed (default 0)")
    word.add_argument("--preset", choices=["draft", "default", "quality"], help="9, 16 or 35 steps of UniPC")
    word.add_argument("--sampler", metavar="KIND", help="euler, heun, ddim, ddpm, dpmpp, unipc or ipndm; else the model's own")
    word.add_argument("--steps", type=int, metavar="N", help="of the sampler; else the model's own")
    word.add_argument("--guidance", type=float, metavar="SCALE", help="towards the class or prompt, 1 is none; else the model's")
    word.add_argument(
        "--away-from",
        metavar="MODEL",
        help="a weaker model, whose faults are left behind: an earlier or smaller one; else the model's own earlier weights",
    )
    word.add_argument(
        "--away",
        type=float,
        metavar="SCALE",
        help="how far away, 1 is not at all (default: the model's own way; 1.5 with --away-from)",
    )
    word.add_argument(
        "--batch",
        type=above(1),
        default=16,
        metavar="N",
        help="images drawn before they are written (default 16); changes no image",
    )
    workspace_option(word)
    _does(word, "generate")


def _inspect(words: Words) -> None:
    word = declare(
        words,
        "inspect",
        "what made an image: model, data, seed, settings; and whether its signature holds",
        "darkroom inspect cats/seed0-000000.png\n  darkroom inspect image.png --signer 3f2a90c1d4e5b677",
    )
    word.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="PNG or WebP files that darkroom wrote")
    word.add_argument("--signer", metavar="NAME", help="who must have signed it; else it is only said who did")
    _does(word, "inspect")


def _export(words: Words) -> None:
    word = declare(
        words,
        "export",
        "a folder to share, which draws without darkroom: weights, a small loader, a page that describes it",
        "darkroom export cats@champion shared\n  darkroom export model shared --onnx",
    )
    word.add_argument("model", metavar="MODEL", help="MODEL@ALIAS or MODEL@NUMBER of the registry, or a model folder")
    word.add_argument("out", type=Path, metavar="DIR", help="an earlier export there is replaced, anything else refused")
    word.add_argument("--onnx", action="store_true", help="the denoiser as denoiser.onnx too, checked for equal answers")
    workspace_option(word)
    _does(word, "export")


def _does(word: argparse.ArgumentParser, name: str) -> None:
    def act(given: argparse.Namespace) -> int:
        from cli import share

        done: int = getattr(share, name)(given)
        return done

    word.set_defaults(act=act)
