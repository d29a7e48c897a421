"""One look at one file: read once, decoded, judged by every filter, fingerprinted, cut to the square to train on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from darkroom.curation.duplicates import Fingerprint, difference_hash, perceptual_hash, small_picture
from darkroom.curation.filters import Filter, Verdict, sharpness
from darkroom.curation.reading import Candidate
from darkroom.images import Pixels, UnreadableImage, decode, to_square

VIEW_SIDE = 512  # longest side, in pixels, of the copy that hashes are taken from: decoding dominates, not they


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found. `reason` is "" if the image passes; `square` and `fingerprint` are None if it was not decoded."""

    candidate: Candidate
    digest: str
    width: int
    height: int
    scores: dict[str, float]
    reason: str
    detail: str
    square: Pixels | None
    fingerprint: Fingerprint | None


def examine(
    folder: Path, candidate: Candidate, filters: Sequence[Filter], size: int, background: tuple[int, int, int]
) -> Examined:
    """Examine one file; `size` is the side of the square in pixels. A bad file is told in the result, never raised."""
    digest = ""
    try:
        content = _read(folder / candidate.path)
        digest = hashlib.sha256(content).hexdigest()
        image = decode(content, background)
    except UnreadableImage as error:
        return Examined(candidate, digest, 0, 0, {}, error.reason, str(error), None, None)
    verdicts: dict[str, Verdict] = {one.kind: one.judge(image) for one in filters}
    reason = next((kind for kind, verdict in verdicts.items() if not verdict.keep), "")
    detail = verdicts[reason].detail if reason else ""
    scores = {kind: verdict.score for kind, verdict in verdicts.items()}
    fingerprint = _fingerprint(candidate.path, digest, image, len(content))
    return Examined(candidate, digest, image.width, image.height, scores, reason, detail, to_square(image, size), fingerprint)


def _read(file: Path) -> bytes:
    if file.exists() and not file.is_file():
        raise UnreadableImage("unreadable", "not a regular file")
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnreadableImage("unreadable", f"{type(error).__name__}: {error.strerror}") from None


def _fingerprint(path: str, digest: str, image: Image.Image, size_in_bytes: int) -> Fingerprint:
    pixels = hashlib.sha256(f"{image.width} {image.height} ".encode() + image.tobytes()).hexdigest()
    view = image
    if max(image.size) > VIEW_SIDE:
        view = image.copy()
        view.thumbnail((VIEW_SIDE, VIEW_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return Fingerprint(
        path=path,
        file_digest=digest,
        pixel_digest=pixels,
        perceptual_hash=perceptual_hash(view),
        difference_hash=difference_hash(view),
        small=small_picture(view),
        resolution=image.width * image.height,
        sharpness=sharpness(view),
        bytes=size_in_bytes,
    )
