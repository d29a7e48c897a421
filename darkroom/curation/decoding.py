"""Bytes of an image file, of whatever kind, as upright RGB in sRGB; recognised by content, whatever the name says."""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

Colour = tuple[int, int, int]

SUFFIXES = {  # of the formats that are read
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "AVIF": (".avif", ".avifs"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "HEIC": (".heic", ".heif", ".hif"),
}
IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
MOST_PIXELS = 178_956_970  # what Pillow calls a decompression bomb: beyond it nothing is decoded
HEAD = 32  # bytes that tell the kind of a file
ORIENTATION = 0x0112  # the EXIF tag; its values 2 to 8 and what makes such an image upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(ValueError):
    """A file that is not a whole image. `reason` is one word for counting, the text says what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded file: RGB pixels (of a large JPEG perhaps fewer than the file holds), the file's own upright size in pixels,
    its format, and what was done to it that a person should know ("" for nothing)."""

    image: Image.Image
    width: int
    height: int
    format: str
    note: str


def kind_of(head: bytes) -> str:
    """The format that the first bytes of a file announce (a key of `SUFFIXES`); "" for none that is read here."""
    brands = head[8:12], head[16:20], head[20:24], head[24:28], head[28:32]
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "BMP"
    if head[4:8] == b"ftyp":
        if brands[0] in (b"avif", b"avis") or (brands[0] in (b"mif1", b"msf1") and b"avif" in brands):
            return "AVIF"
        if brands[0] in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"):
            return "HEIC"
    return ""


def decode(content: bytes, background: Colour = (255, 255, 255)) -> Image.Image:
    """The whole image at full size. Raises UnreadableImage."""
    return decoded(content, background).image


def decoded(content: bytes, background: Colour, least: tuple[int, int] | None = None) -> Picture:
    """Decode: upright, in sRGB, alpha composed over `background` (sRGB), first frame of an animation.

    With `least` = (longer side, shorter side) in pixels, a JPEG may come at a half, a quarter or an eighth of its size
    (decoded so by libjpeg, which is several times faster), if it then still has at least these sides.
    Raises UnreadableImage: `empty`, `not_an_image`, `too_large`, `truncated`, `unsupported`.
    """
    if not content:
        raise UnreadableImage("empty", "the file has no bytes")
    kind = kind_of(content[:HEAD])
    if not kind:
        raise UnreadableImage("not_an_image", f"no image of a known kind ({', '.join(SUFFIXES)})")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what matters is raised below
        image = _opened(content, kind)
        size = image.size
        try:
            if least and kind == "JPEG":
                _use_draft(image, least)
            image.load()
            size = size if kind == "JPEG" else image.size  # a turned TIFF knows its size only now
            turn = _orientation(image)
            colour, alpha = _colour_and_alpha(_eight_bit(image))
            flat = _in_srgb(colour, image.info.get("icc_profile"))
            upright = _over(background, flat, alpha)
            if turn in UPRIGHT:
                upright = upright.transpose(UPRIGHT[turn])
        except UnreadableImage:
            raise
        except MemoryError:
            raise UnreadableImage("too_large", f"{image.width} x {image.height} pixels do not fit into memory") from None
        except Exception as error:  # Pillow's decoders raise anything on damaged data; the file is named and set aside
            raise UnreadableImage("truncated", f"{type(error).__name__}: {error}") from None
        width, height = size[::-1] if turn >= 5 else size
        return Picture(upright, width, height, kind, "" if kind == "JPEG" else _note_of_frames(image))


def _opened(content: bytes, kind: str) -> Image.Image:
    if kind == "HEIC":
        _let_pillow_read_heic()
    try:
        image = Image.open(BytesIO(content), formats=["HEIF"] if kind == "HEIC" else [kind])
    except Image.DecompressionBombError:
        raise UnreadableImage("too_large", f"more than {MOST_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        if kind == "TIFF":
            raise UnreadableImage("unsupported", "a TIFF that is damaged or of a kind that is not read here") from None
        raise UnreadableImage("truncated", f"it starts like a {kind}, but its header is damaged") from None
    except Exception as error:  # Pillow's plug-ins raise anything on damaged headers; the file is named and set aside
        reason = "too_large" if "MAX_TEXT" in str(error) else "truncated"  # a bomb in a PNG's compressed text
        raise UnreadableImage(reason, f"{type(error).__name__}: {error}") from None
    if image.width * image.height > MOST_PIXELS:
        raise UnreadableImage("too_large", f"{image.width} x {image.height} pixels")
    return image


def _let_pillow_read_heic() -> None:
    try:
        import pillow_heif
    except ImportError:
        raise UnreadableImage("unsupported", "a HEIC image; `pip install 'darkroom[heic]'` lets Darkroom read these") from None
    pillow_heif.register_heif_opener()


def _use_draft(image: Image.Image, least: tuple[int, int]) -> None:
    """Let libjpeg decode at the smallest scale (1/2, 1/4, 1/8) at which both sides are long enough."""
    longer, shorter = max(image.size), min(image.size)
    scale = min(longer // least[0], shorter // least[1])
    if scale >= 2:
        image.draft(image.mode, (image.width // scale, image.height // scale))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1, upright, where there is none or it cannot be read (Pillow has turned a TIFF already)."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF raises anything; viewers show such an image as it is stored
        return 1


def _note_of_frames(image: Image.Image) -> str:
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:  # looking for further frames meets damaged ones, and raises anything
        return "the first frame; what follows it is damaged"
    return f"the first of {frames} frames" if frames > 1 else ""


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits (Pillow's own conversion clips at 255); its transparent grey becomes alpha."""
    if image.mode in ("F", "I"):
        raise UnreadableImage(
            "unsupported", "its pixels are 32-bit numbers, of which white is unknown; save it with 8 or 16 bits"
        )
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.float32)
    grey = Image.fromarray((values / 257).round().astype(np.uint8))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _colour_and_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours (L, RGB, CMYK or LAB) and how opaque they are (L; None where wholly)."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        grey = image.mode in ("LA", "La", "L", "1")
        return layer.convert("RGB").convert("L") if grey else layer.convert("RGB"), layer.getchannel("A")
    return (image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB")), None


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode == "LAB" and not profile:
        return _applied(image, _to_srgb(b"", "LAB"))
    if profile:
        try:
            return _applied(image, _to_srgb(profile, image.mode))
        except (ImageCms.PyCMSError, OSError, ValueError):  # a damaged profile: the numbers are read as sRGB, as browsers do
            return image.convert("RGB")
    return image.convert("RGB")


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> Any:
    """The colour transform of a profile (L*a*b* itself where it is empty); making one costs more than applying it."""
    source = ImageCms.ImageCmsProfile(BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


def _applied(image: Image.Image, transform: Any) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    return converted if converted is not None else image.convert("RGB")


def _over(background: Colour, colour: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is None:
        return colour
    whole = Image.new("RGB", colour.size, background)
    whole.paste(colour, mask=alpha)
    return whole
