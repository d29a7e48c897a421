import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from darkroom.images import Pixels
from darkroom.provenance import Kind, Provenance, ProvenanceError, Signer, encoded, read_provenance, read_signer, signer_named

KINDS: tuple[Kind, ...] = ("png", "webp")
DRAWING = {"sampler": {"kind": "unipc", "order": 2}, "steps": 16, "guidance": 1.5}


def pixels(seed: int = 0, height: int = 12, width: int = 10) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def made(**changes: Any) -> Provenance:
    facts = {
        "model": "cats",
        "version": "3",
        "weights_digest": "ab" * 32,
        "data_digest": "cd" * 32,
        "seed": 7,
        "index": 41,
        "label": "tabby <&> ]]>",
        "caption": None,
        "drawing": DRAWING,
    }
    return Provenance.model_validate(facts | changes)


def signer(seed: int = 1) -> Signer:
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32)))


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_and_record_come_back(kind: Kind) -> None:
    content = encoded(pixels(), made(), kind)
    found = read_provenance(content)
    assert (found.made, found.signer, found.whole) == (made(), "", None)
    image = Image.open(BytesIO(content))
    assert image.format == kind.upper() and np.array_equal(np.asarray(image), pixels())


@pytest.mark.parametrize("kind", KINDS)
@given(caption=st.text(max_size=40))
def test_any_caption_comes_back(kind: Kind, caption: str) -> None:
    record = made(caption=caption)
    assert read_provenance(encoded(pixels(), record, kind)).made == record


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_every_time(kind: Kind) -> None:
    assert encoded(pixels(), made(), kind, signer()) == encoded(pixels(), made(), kind, signer())


@pytest.mark.parametrize("kind", KINDS)
def test_a_signed_image_names_its_signer(kind: Kind) -> None:
    found = read_provenance(encoded(pixels(), made(), kind, signer()))
    assert found.whole is True and found.signer == signer().name == signer_named(signer().public)
    assert found.signer != signer(2).name


@pytest.mark.parametrize("kind", KINDS)
def test_one_changed_pixel_breaks_the_signature(kind: Kind) -> None:
    content, other = encoded(pixels(), made(), kind, signer()), pixels()
    other[3, 4, 1] ^= 1
    packet = Image.open(BytesIO(content)).info["xmp"]
    assert read_provenance(_with_packet(other, packet, kind)).whole is False
    assert read_provenance(_with_packet(pixels(), packet, kind)).whole is True  # written again by another program


def test_pixels_in_another_shape_break_the_signature() -> None:
    packet = Image.open(BytesIO(encoded(pixels(), made(), "png", signer()))).info["xmp"]
    assert read_provenance(_with_packet(pixels().reshape(10, 12, 3), packet, "png")).whole is False


@pytest.mark.parametrize("change", [(b'"seed": 7', b'"seed": 8'), (b"<darkroom:signature>", b"<darkroom:signature>00")])
def test_a_changed_record_breaks_the_signature(change: tuple[bytes, bytes]) -> None:
    packet = Image.open(BytesIO(encoded(pixels(), made(), "png", signer()))).info["xmp"]
    changed = packet.replace(*change)
    assert changed != packet
    assert read_provenance(_with_packet(pixels(), changed, "png")).whole is False


def test_a_key_that_is_none_is_no_signer() -> None:
    packet = Image.open(BytesIO(encoded(pixels(), made(), "png", signer()))).info["xmp"]
    changed = packet.replace(signer().public.encode(), b"no key")
    found = read_provenance(_with_packet(pixels(), changed, "png"))
    assert (found.whole, found.signer) == (False, "an unreadable key")


def test_another_key_in_the_packet_breaks_the_signature() -> None:
    packet = Image.open(BytesIO(encoded(pixels(), made(), "png", signer()))).info["xmp"]
    changed = packet.replace(signer().public.encode(), signer(2).public.encode())
    assert read_provenance(_with_packet(pixels(), changed, "png")).whole is False


def test_a_record_of_a_later_version_is_read() -> None:
    packet = Image.open(BytesIO(encoded(pixels(), made()))).info["xmp"]
    later = packet.replace(b'{"model"', b'{"mood": "late", "model"')
    assert later != packet and read_provenance(_with_packet(pixels(), later, "png")).made == made()


def test_it_is_marked_as_drawn_by_a_model() -> None:
    packet = Image.open(BytesIO(encoded(pixels(), made()))).info["xmp"]
    assert b"newscodes/digitalsourcetype/trainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>" in packet


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image", encoded(pixels(), made())[:200], b"GIF89a"],
    ids=["empty", "text", "cut", "gif"],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image.png").write_bytes(content)
    with pytest.raises(ProvenanceError, match=r"image\.png: not a whole PNG or WebP"):
        read_provenance(tmp_path / "image.png")


def test_an_image_of_somebody_else_says_nothing(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "photo.png")
    with pytest.raises(ProvenanceError, match=r"photo\.png: nothing in it says what made it"):
        read_provenance(tmp_path / "photo.png")


@pytest.mark.parametrize(
    "packet", [b"urn:darkroom:provenance:1 <x", b'<x xmlns:d="urn:darkroom:provenance:1"><d:made>{}</d:made></x>']
)
def test_a_damaged_packet_is_named(packet: bytes) -> None:
    with pytest.raises(ProvenanceError):
        read_provenance(_with_packet(pixels(), packet, "png"))


def test_a_key_of_openssl_signs(tmp_path: Path) -> None:
    _write_key(tmp_path / "key.pem", Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)))
    assert read_signer(tmp_path / "key.pem").public == signer().public


def test_a_key_that_cannot_sign_is_refused(tmp_path: Path) -> None:
    _write_key(tmp_path / "rsa.pem", generate_private_key(65537, 2048))
    (tmp_path / "text.pem").write_text("a poem", encoding="utf-8")
    with pytest.raises(ProvenanceError, match=r"rsa\.pem: not an Ed25519 key; make one with `openssl"):
        read_signer(tmp_path / "rsa.pem")
    for name in ("text.pem", "missing.pem"):
        with pytest.raises(ProvenanceError, match=f"{name}: the signing key cannot be read"):
            read_signer(tmp_path / name)


def test_reading_needs_no_torch() -> None:
    program = "import sys; import darkroom.provenance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def _with_packet(image: Pixels, packet: bytes, kind: Kind) -> bytes:
    """The same packet in a file that another program wrote."""
    file = BytesIO()
    if kind == "webp":
        Image.fromarray(image).save(file, "WEBP", lossless=True, xmp=packet)
        return file.getvalue()
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", packet.decode())
    Image.fromarray(image).save(file, "PNG", pnginfo=chunks, compress_level=1)
    return file.getvalue()


def _write_key(file: Path, key: Any) -> None:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file.write_bytes(cast(bytes, key.private_bytes(encoding, form, serialization.NoEncryption())))
