"""One look at one file: read once, decoded, scored by every filter, fingerprinted, cut to the shape to train on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import splitext

from darkroom.curation.decoding import SUFFIXES, UnreadableImage, decoded
from darkroom.curation.filters import ORIGINAL_SIZE, VIEW_SIDE, ImageFilter
from darkroom.curation.fingerprints import Fingerprint, fingerprint
from darkroom.curation.opening import MOST_BYTES, Opened, Reader
from darkroom.curation.reading import Candidate
from darkroom.images import Pixels, cut_to
from darkroom.shapes import Shape, shape_for

MARK = re.compile(r"#\d+$")  # of a name that an archive holds more than once
SPARE = 2  # a JPEG is decoded at a reduced size only where that is still this many times the square


@dataclass(frozen=True, slots=True)
class Look:
    """What the bytes of a file show, whatever its name. `reason` says why it was not decoded, and then `cut`, uint8 [h, w, 3],
    and `fingerprint` (of path "") are None; it is "" if it was. Width and height are those of the file, upright."""

    width: int
    height: int
    format: str
    note: str
    scores: dict[str, float]
    reason: str
    detail: str
    cut: Pixels | None
    fingerprint: Fingerprint | None


@dataclass(frozen=True, slots=True)
class Examined:
    """A candidate and what was found; as in `Look`, and `reason` says as well who rejected it since. `digest` is "" where the
    bytes could not be read."""

    path: str
    label: str
    caption: str | None
    digest: str
    width: int
    height: int
    note: str
    scores: dict[str, float]
    reason: str
    detail: str
    cut: Pixels | None
    fingerprint: Fingerprint | None


@dataclass(frozen=True, slots=True)
class Way:
    """How to look: `filters` give scores, `shapes` are what images are cut to, the square first, `background` lies under
    transparent pixels."""

    filters: tuple[ImageFilter, ...]
    shapes: tuple[Shape, ...]
    background: tuple[int, int, int]

    @property
    def size(self) -> int:
        """Side of the square in pixels."""
        return self.shapes[0][0]


def examine(
    folder: Path, candidate: Candidate, filters: Sequence[ImageFilter], shapes: Sequence[Shape], background: tuple[int, int, int]
) -> Examined:
    """Examine one file, in this process. A bad file is told in the result, never raised."""
    try:
        with Reader(folder) as reader:
            opened = reader.read(candidate)
    except UnreadableImage as error:
        return as_examined(candidate, "", unread(error.reason, str(error)))
    return as_examined(candidate, opened.digest, look_at(opened, Way(tuple(filters), tuple(shapes), background)))


def as_examined(candidate: Candidate, digest: str, look: Look) -> Examined:
    """A look at the bytes of a candidate, with its name."""
    named = look.fingerprint and look.fingerprint.named(candidate.path, digest)
    note = "; ".join(filter(None, [_misnamed(candidate.path, look.format), look.note]))
    return Examined(
        path=candidate.path,
        label=candidate.label,
        caption=candidate.caption,
        digest=digest,
        width=look.width,
        height=look.height,
        note=note,
        scores=look.scores,
        reason=look.reason,
        detail=look.detail,
        cut=look.cut,
        fingerprint=named,
    )


def unread(reason: str, detail: str) -> Look:
    """Of a file that was not decoded."""
    return Look(0, 0, "", "", {}, reason, detail, None, None)


def look_at(opened: Opened, way: Way) -> Look:
    """Decode and score. A bad file is told in the result, never raised."""
    if opened.content is None:
        return unread("too_large", f"a file of more than {MOST_BYTES:,} bytes")
    try:
        picture = decoded(opened.content, way.background, (VIEW_SIDE, SPARE * way.size))
    except UnreadableImage as error:
        return unread(error.reason, str(error))
    picture.image.info = {ORIGINAL_SIZE: (picture.width, picture.height)}
    return Look(
        width=picture.width,
        height=picture.height,
        format=picture.format,
        note=picture.note,
        scores={one.kind: float(one.score(picture.image)) for one in way.filters},
        reason="",
        detail="",
        cut=cut_to(picture.image, shape_for(picture.width, picture.height, way.shapes)),
        fingerprint=fingerprint(picture.image, picture.width, picture.height, opened.content, opened.digest),
    )


def _misnamed(path: str, kind: str) -> str:
    if not kind or path.endswith(SUFFIXES[kind]):
        return ""
    suffix = splitext(MARK.sub("", path))[1].lower()
    return f"a {kind} whose name ends in {suffix}" if suffix and suffix not in SUFFIXES[kind] else ""
