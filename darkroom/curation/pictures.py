"""Pictures for the report: what was rejected, by reason, and duplicates beside what they duplicate."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from darkroom.curation.ledger import Entry, rejected_by_reason
from darkroom.images import Pixels, contact_sheet

TILE = 96  # pixels of one picture
COLUMNS = 12
CAPTION = 16  # pixels of height
MOST_PAIRS = 24


def rejected_sheet(entries: Sequence[Entry], squares: Pixels) -> Image.Image:
    """A captioned row for each reason with its first images; a crossed tile for what could not be decoded.

    `squares` uint8 [n, side, side, 3] goes with the entries.
    """
    rows = []
    for reason, count in rejected_by_reason(entries).items():
        indexes = [index for index, entry in enumerate(entries) if entry.reason == reason][:COLUMNS]
        tiles = [_tile(squares[index]) if entries[index].width else _crossed() for index in indexes]
        rows.append(_captioned(f"{reason}: {count}", contact_sheet(np.stack(tiles), COLUMNS)))
    return _stacked(rows or [_captioned("nothing was rejected", None)])


def duplicates_sheet(entries: Sequence[Entry], squares: Pixels) -> Image.Image:
    """Up to 24 pairs: on the left what was rejected, on the right what stays. Near-duplicates come first."""
    place = {entry.path: index for index, entry in enumerate(entries)}
    copies = [entry for entry in entries if entry.duplicate_of]
    copies.sort(key=lambda entry: (entry.reason != "near_duplicate", entry.path))
    if not copies:
        return _captioned("no duplicates were found", None)
    pairs = [[squares[place[entry.path]], squares[place[entry.duplicate_of]]] for entry in copies[:MOST_PAIRS]]
    tiles = np.stack([np.concatenate([_tile(one), _tile(other)], axis=1) for one, other in pairs])
    text = f"{len(copies)} duplicates; in each pair the left one was rejected, the right one stays"
    return _captioned(text, contact_sheet(tiles, COLUMNS // 3, gap=6))


def _tile(square: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(square).resize((TILE, TILE), Image.Resampling.LANCZOS))


def _crossed() -> Pixels:
    tile = Image.new("RGB", (TILE, TILE), (225, 225, 225))
    pen = ImageDraw.Draw(tile)
    pen.line([(0, 0), (TILE, TILE)], fill=(160, 160, 160), width=2)
    pen.line([(0, TILE), (TILE, 0)], fill=(160, 160, 160), width=2)
    return np.asarray(tile)


def _captioned(text: str, picture: Image.Image | None) -> Image.Image:
    width = max(picture.width if picture else 0, 480)
    whole = Image.new("RGB", (width, CAPTION + (picture.height if picture else 0)), (255, 255, 255))
    ImageDraw.Draw(whole).text((4, 2), text, fill=(0, 0, 0))
    if picture:
        whole.paste(picture, (0, CAPTION))
    return whole


def _stacked(rows: Sequence[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (max(row.width for row in rows), sum(row.height + 4 for row in rows)), (255, 255, 255))
    top = 0
    for row in rows:
        whole.paste(row, (0, top))
        top += row.height + 4
    return whole
