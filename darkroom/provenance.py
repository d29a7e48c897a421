"""Provenance: what made an image, written into the image itself, and signed where there is a key.

It travels as an XMP packet, which PNG and WebP both carry and other programs keep: the record as JSON, and the IPTC's mark for
what a trained model drew. The signature (Ed25519) covers the record and the pixels, so that either one changed shows.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import BaseModel, ConfigDict, ValidationError

from darkroom import __version__
from darkroom.images import Pixels

if TYPE_CHECKING:  # needed only where there is a key or a signature: an exported model does without
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Kind = Literal["png", "webp"]
OURS = "urn:darkroom:provenance:1"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DRAWN_BY_A_MODEL = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


class ProvenanceError(ValueError):
    """An image that does not say what made it, or a key that cannot be used. The text says which and why."""


class Turn(BaseModel):
    """The noise was turned towards that of another image: `amount` of the way, see `sampling.turned`. That may be turned too."""

    model_config = ConfigDict(frozen=True)

    seed: int
    index: int
    amount: float
    turns: tuple["Turn", ...] = ()


class Provenance(BaseModel):
    """What made an image: all that is needed to draw it again. A record of a later version may hold more, which is not read."""

    model_config = ConfigDict(frozen=True)

    model: str  # its name in the registry, or that of its folder
    version: str  # in the registry; empty for a model that is in none
    weights_digest: str  # SHA-256 of weights.safetensors
    weaker_digest: str | None = None  # and of weaker.safetensors, where it was led away from the model's own earlier weights
    data_digest: str  # of the images it was trained on
    seed: int
    index: int  # which of the images of this seed
    label: str  # empty where none was told
    caption: str | None
    turns: tuple[Turn, ...] = ()  # one after another, where its noise is not that of the seed alone
    drawing: Mapping[str, Any]  # sampler, schedule, steps, guidance of both kinds and its levels, as in model.json
    away_from: Mapping[str, Any] | None = None  # the weaker model that guided: its name, version, digest; and the scale
    darkroom: str = __version__

    def text(self) -> str:
        """The record as JSON, one text for one record, and plain ASCII: XML does not take every character."""
        return json.dumps(self.model_dump(mode="json"))


@dataclass(frozen=True, slots=True)
class Found:
    """What an image says of itself: `signer` is who signed it (see `Signer.name`), empty where nobody did.

    `whole` is whether record and pixels are as they were signed; None where nobody signed.
    """

    made: Provenance
    signer: str
    whole: bool | None


class Signer:
    """An Ed25519 key that signs images. Whoever has the image can check the signature; only the key can make one."""

    def __init__(self, key: "Ed25519PrivateKey") -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw().hex()

    @property
    def name(self) -> str:
        """What to know the signer by, as `signer_named` gives it of the public key."""
        return signer_named(self.public)

    def sign(self, message: bytes) -> str:
        """The signature in hexadecimal; the same for the same message."""
        return self._key.sign(message).hex()


def read_signer(file: Path) -> Signer:
    """The signer whose private key is in a PEM file, as `openssl genpkey -algorithm ed25519` writes it. Raises
    ProvenanceError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ProvenanceError(f"{file}: the signing key cannot be read: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ProvenanceError(f"{file}: not an Ed25519 key; make one with `openssl genpkey -algorithm ed25519 -out key.pem`")
    return Signer(key)


def signer_named(public: str) -> str:
    """A short name of a public key (hexadecimal): the first 16 digits of its SHA-256."""
    return sha256(bytes.fromhex(public)).hexdigest()[:16]


def encoded(pixels: Pixels, made: Provenance, kind: Kind = "png", signer: Signer | None = None) -> bytes:
    """Pixels [height, width, 3] as the bytes of a file that says what made it; WebP without loss. The same bytes every time."""
    packet = _packet(made.text(), signer, pixels)
    file, image = BytesIO(), Image.fromarray(pixels)
    if kind == "png":
        chunks = PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", packet)
        image.save(file, "PNG", pnginfo=chunks)
    else:
        image.save(file, "WEBP", lossless=True, xmp=packet.encode())
    return file.getvalue()


def read_provenance(image: bytes | Path) -> Found:
    """What the bytes or the file of an image say made it. Raises ProvenanceError, FileNotFoundError."""
    name, content = ("the image", image) if isinstance(image, bytes) else (str(image), image.read_bytes())
    pixels, packet = _decoded(content, name)
    said = _properties(packet, name)
    try:
        made = Provenance.model_validate_json(said["made"])
    except (KeyError, ValidationError):
        raise ProvenanceError(f"{name}: nothing in it says what made it") from None
    if "signature" not in said:
        return Found(made, "", None)
    public = said.get("key", "")
    try:
        signer = signer_named(public)
    except ValueError:
        return Found(made, "an unreadable key", False)
    return Found(made, signer, _holds(public, said["signature"], _message(said["made"], pixels)))


def _holds(public: str, signature: str, message: bytes) -> bool:
    """Whether a signature (hexadecimal, as the key) is the key's, of this message."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _message(record: str, pixels: Pixels) -> bytes:
    """What is signed: a word that no other use of the key signs, the record, the shape and the pixels."""
    height, width, _ = pixels.shape
    return b"\n".join([b"darkroom image 1", record.encode(), f"{height} {width}".encode(), pixels.tobytes()])


def _packet(record: str, signer: Signer | None, pixels: Pixels) -> str:
    properties = {"made": record}
    if signer is not None:
        properties |= {"key": signer.public, "signature": signer.sign(_message(record, pixels))}
    ours = "".join(f"<darkroom:{name}>{escape(value)}</darkroom:{name}>" for name, value in properties.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{_RDF}"><rdf:Description rdf:about="" xmlns:darkroom="{OURS}" xmlns:Iptc4xmpExt="{_IPTC}">'
        f"<Iptc4xmpExt:DigitalSourceType>{_DRAWN_BY_A_MODEL}</Iptc4xmpExt:DigitalSourceType>{ours}"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )


def _decoded(content: bytes, name: str) -> tuple[Pixels, bytes]:
    """Pixels [height, width, 3] and the XMP packet, empty where there is none. Raises ProvenanceError."""
    try:
        with Image.open(BytesIO(content), formats=("PNG", "WEBP")) as image:
            pixels = np.asarray(image.convert("RGB"))
            return pixels, image.info.get("xmp", b"")
    except Exception as error:  # Pillow's decoders raise anything on damaged data
        raise ProvenanceError(f"{name}: not a whole PNG or WebP image: {error}") from None


def _properties(packet: bytes, name: str) -> dict[str, str]:
    """Darkroom's own properties in an XMP packet. Raises ProvenanceError."""
    if OURS.encode() not in packet:
        return {}
    try:
        tree = ElementTree.fromstring(packet)
    except ElementTree.ParseError as error:
        raise ProvenanceError(f"{name}: its XMP packet is damaged: {error}") from None
    return {one.tag.removeprefix(f"{{{OURS}}}"): one.text or "" for one in tree.iter() if one.tag.startswith(f"{{{OURS}}}")}
