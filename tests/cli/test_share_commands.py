"""generate, inspect, export as a person types them: what they say, and what they refuse."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image

from cli.main import main
from cli.share import SAMPLERS
from darkroom.provenance import encoded, read_provenance
from darkroom.samplers import Sampler
from tests.darkroom.test_generating import saved

Ran = Callable[..., str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(tmp_path / "model").folder


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> Ran:
    """Run words in an empty folder; what they said, or complained of where a `code` is expected."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DARKROOM_SIGNING_KEY", raising=False)

    def run(*words: object, code: int = 0) -> str:
        assert main([str(word) for word in words]) == code, capsys.readouterr().err
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return said.err if code else said.out

    return run


def test_generate_goes_on_and_tells(model: Path, ran: Ran, tmp_path: Path) -> None:
    said = ran("generate", "--model", "model", "--count", 3, "--class", "dark", "--out", "pngs", "--preset", "draft")
    assert "drawing: 3 of 3 images" in said and "3 drawn, 0 were there; by model" in said and "pngs/sheet.png" in said
    drawing = read_provenance(tmp_path / "pngs/seed0-000000.png").made.drawing
    assert (drawing["sampler"], drawing["steps"]) == ({"kind": "unipc", "order": 2}, 9)
    said = ran("generate", "--model", "model", "--count", 5, "--class", "dark", "--out", "pngs", "--preset", "draft")
    assert "3 of 5 images are there already" in said and "2 drawn, 3 were there" in said
    assert len(list(tmp_path.glob("pngs/seed0-*.png"))) == 5


def test_settings_of_the_drawing_are_the_models_own_but_for_what_is_said(model: Path, ran: Ran, tmp_path: Path) -> None:
    words = ("--sampler", "ddim", "--steps", 3, "--guidance", 2.5)
    ran("generate", "--model", "model", "--count", 1, "--out", "pngs", *words)
    drawing = read_provenance(tmp_path / "pngs/seed0-000000.png").made.drawing
    assert (drawing["sampler"], drawing["steps"], drawing["guidance"]) == ({"kind": "ddim", "eta": 0.0}, 3, 2.5)
    assert drawing["schedule"]["kind"] == "karras"


def test_every_sampler_has_a_word() -> None:
    kinds = {one.model_fields["kind"].annotation.__args__[0] for one in Sampler.__origin__.__args__}  # type: ignore[attr-defined]
    assert set(SAMPLERS) == kinds


def test_what_generate_refuses(model: Path, ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    (tmp_path / "file").write_text("x")
    given = ("generate", "--model", "model", "--out", "out")
    for words, message in {
        (*given, "--class", "drak"): "no class `drak`; did you mean `dark`? It knows: dark, light",
        (*given, "--prompt", "a cat"): "the model reads no captions, only its labels dark, light",
        (*given, "--sampler", "eulr"): "there is no such sampler; there are: euler, heun",
        (*given, "--steps", "0"): "`steps`",
        (*given, "--guidance", "nan"): "`guidance`",
        (*given, "--guidance", "inf"): "`guidance`",
        (*given, "--count", str(10**15)): "GB free",
        ("generate", "--model", "model", "--out", "mine"): "holds no images of `darkroom generate`",
        ("generate", "--model", "model", "--out", "file"): "file is not a folder",
        ("generate", "--model", "mine", "--out", "out2"): "mine: no model here",
        ("generate", "--model", "nowhere", "--out", "out2"): "there is no folder `nowhere` here, and ",
        ("generate", "--out", "out2"): "is not in a workspace; `darkroom init DIR` makes one; or give a model folder",
    }.items():
        assert message in ran(*words, code=1)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    assert not (tmp_path / "out2").exists()
    for words in (("--count", "0"), ("--seed", "-1"), ("--batch", "0"), ("--count", "many"), ("--class", "a", "--prompt", "b")):
        with pytest.raises(SystemExit) as end:
            main([*given, *words])
        assert end.value.code == 2


def test_inspect_says_what_made_an_image_and_who_signed_it(
    model: Path, ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran("generate", "--model", "model", "--count", 1, "--class", "light", "--seed", 7, "--out", "plain")
    said = ran("inspect", "plain/seed7-000000.png")
    assert "seed      7, image 0" in said and "class     light" in said and "signed by nobody" in said
    assert "sampler   euler, 2 steps, guidance 1.0" in said
    _write_key(tmp_path / "key.pem")
    monkeypatch.setenv("DARKROOM_SIGNING_KEY", "key.pem")
    name = ran("generate", "--model", "model", "--count", 1, "--out", "signed").split()[-1]
    assert f"signed by {name} (whole)" in ran("inspect", "signed/seed0-000000.png", "--signer", name)
    assert f"signed by {name}, not by somebody" in ran("inspect", "signed/seed0-000000.png", "--signer", "somebody", code=1)
    assert f"not signed, not by {name}" in ran("inspect", "plain/seed7-000000.png", "--signer", name, code=1)


def test_inspect_tells_a_changed_image_from_a_whole_one(model: Path, ran: Ran, tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    from darkroom.provenance import read_signer

    _write_key(tmp_path / "key.pem")
    ran("generate", "--model", "model", "--count", 1, "--out", "pngs")
    file = tmp_path / "pngs/seed0-000000.png"
    with Image.open(file) as image:
        pixels = np.array(image)
    file.write_bytes(encoded(pixels, read_provenance(file).made, "png", read_signer(tmp_path / "key.pem")))
    with Image.open(file) as image:
        said = image.info["xmp"].decode()
    packet = PngInfo()
    packet.add_itxt("XML:com.adobe.xmp", said)
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(file, pnginfo=packet)
    assert "changed after it was signed" in ran("inspect", file, code=1)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    assert "nothing in it says what made it" in ran("inspect", "photo.png", code=1)
    assert "missing.png" in ran("inspect", "missing.png", code=1)


def test_export_and_draw_from_it(model: Path, ran: Ran, tmp_path: Path) -> None:
    assert "exported    shared" in ran("export", "model", "shared")
    ran("generate", "--model", "shared", "--count", 2, "--out", "from_shared")
    ran("generate", "--model", "model", "--count", 2, "--out", "from_model")
    for name in ("seed0-000000.png", "seed0-000001.png"):
        assert (tmp_path / "from_shared" / name).read_bytes() == (tmp_path / "from_model" / name).read_bytes()
    assert "exported" in ran("export", "model", "shared")
    assert "not an earlier export" in ran("export", "model", "from_model", code=1)
    assert "`darkroom init DIR` makes one" in ran("export", "cats@champion", "elsewhere", code=1)


def _write_key(file: Path) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(*form))
