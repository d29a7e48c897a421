"""Draws images from the model beside this file: python draw.py --count 4 --out images

In an exported folder this file is `draw.py`, and what it needs of Darkroom lies beside it as `darkroom_model`. Needed besides:
requirements.txt. Nothing is unpickled. Drawn twice with the same words, the images have the same pixels.
"""

import argparse
import sys
from pathlib import Path

from darkroom.events import followed
from darkroom.generating import Wish, generate_folder, source_of
from darkroom.networks.saved import Drawing, read_card
from darkroom.shapes import shape_named
from darkroom.stage import teller

HERE = Path(__file__).parent


def main() -> int:
    """Run the command. Returns the exit code: 0, or 1 with one message."""
    words = argparse.ArgumentParser(description="Draw images from a model.")
    words.add_argument("--model", type=Path, default=HERE, help="folder of the model (default: the one of this file)")
    words.add_argument("--out", type=Path, required=True, help="folder for the images; again the same: it goes on")
    words.add_argument("--count", type=int, default=16)
    told = words.add_mutually_exclusive_group()
    told.add_argument("--class", dest="label", help="one class; else all of them")
    told.add_argument("--prompt", help="for a model that reads captions")
    words.add_argument("--shape", metavar="WxH", help="width and height, of a model trained on several shapes")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--steps", type=int, help="else the model's own")
    words.add_argument("--guidance", type=float, help="else the model's own")
    words.add_argument("--away", type=float, help="from the model's own earlier weights; else as far as its own; 1 is not at all")
    given = words.parse_args()
    try:
        own = read_card(given.model).drawing.model_dump()
        changes = {name: getattr(given, name) for name in ("steps", "guidance", "away") if getattr(given, name) is not None}
        shape = None if given.shape is None else shape_named(given.shape)
        drawing = Drawing.model_validate(own | changes)
        wish = Wish(given.count, given.seed, given.label, given.prompt, drawing, shape=shape)
        followed(generate_folder(source_of(given.model), wish, given.out, batch=16), teller(print))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
