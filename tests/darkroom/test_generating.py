"""A folder of images: each the same however it came to be drawn, drawn once, and saying what made it."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image
from torch import Tensor

from darkroom.events import Noted
from darkroom.generating import GeneratingError, Source, Weaker, Wish, generate_folder, source_of
from darkroom.networks.denoiser import Condition
from darkroom.networks.saved import Drawing, ModelError, build, save_model
from darkroom.provenance import Signer, read_provenance
from darkroom.sampling import Tiled, label_at
from tests.darkroom.tiny import DRAWING, NETWORK, card, finished, stirred

CAPTIONED = {"kind": "captioned", "length": 8, "width": 32, "depth": 1, "image": NETWORK}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return saved(tmp_path / "model")


def saved(folder: Path, seed: int = 0, **changes: Any) -> Source:
    folder.mkdir()
    described = card(**changes)
    torch.manual_seed(seed)
    save_model(folder, stirred(build(described), seed).state_dict(), described)
    return source_of(folder)


def wish(count: int, **changes: Any) -> Wish:
    facts: dict[str, Any] = {"seed": 3, "label": None, "prompt": None, "drawing": Drawing.model_validate(DRAWING)}
    return Wish(count, **(facts | changes))


def images(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("seed*.png"))}


def test_images_do_not_depend_on_batches_stops_or_company(source: Source, tmp_path: Path) -> None:
    for batch in (1, 3, 64):
        finished(generate_folder(source, wish(11), tmp_path / f"by_{batch}", batch))
    whole = images(tmp_path / "by_64")
    assert list(whole) == [f"seed3-{index:06d}.png" for index in range(11)]
    assert len(set(whole.values())) == 11
    assert images(tmp_path / "by_1") == images(tmp_path / "by_3") == whole
    finished(generate_folder(source, wish(4), tmp_path / "grown", 2))
    for name in ("seed3-000002.png", "seed3-000000.png"):
        (tmp_path / "grown" / name).unlink()
    _, drawn = finished(generate_folder(source, wish(11), tmp_path / "grown", 5))
    assert drawn == 9 and images(tmp_path / "grown") == whole
    assert (tmp_path / "grown/sheet.png").read_bytes() == (tmp_path / "by_1/sheet.png").read_bytes()


def test_what_is_whole_is_not_drawn_again_and_what_is_not_is(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finished(generate_folder(source, wish(5), out, 4))
    before, times = images(out), {file: file.stat().st_mtime_ns for file in out.glob("seed*.png")}
    (out / "seed3-000001.png").write_bytes(before["seed3-000001.png"][:90])
    (out / "seed3-000003.png").write_bytes(before["seed3-000002.png"])  # a whole image, but another one
    events, drawn = finished(generate_folder(source, wish(5), out, 4))
    assert drawn == 2 and images(out) == before
    assert Noted("3 of 5 images are there already") in events
    untouched = [out / f"seed3-00000{index}.png" for index in (0, 2, 4)]
    assert [file.stat().st_mtime_ns for file in untouched] == [times[file] for file in untouched]
    assert finished(generate_folder(source, wish(5), out, 4))[1] == 0


def test_each_image_says_what_made_it(source: Source, tmp_path: Path) -> None:
    finished(generate_folder(source, wish(2, label="light"), tmp_path / "out", 4))
    made = read_provenance(tmp_path / "out/seed3-000001.png").made
    assert (made.model, made.version, made.seed, made.index, made.label) == ("model", "", 3, 1, "light")
    assert made.drawing == Drawing.model_validate(DRAWING).model_dump(mode="json")
    assert len(made.weights_digest) == 64


def test_the_class_is_what_is_drawn(source: Source, tmp_path: Path) -> None:
    finished(generate_folder(source, wish(6), tmp_path / "all", 8))
    finished(generate_folder(source, wish(6, label="dark"), tmp_path / "dark", 8))
    for name, content in images(tmp_path / "all").items():
        pixels = np.asarray(Image.open(tmp_path / "all" / name)), np.asarray(Image.open(tmp_path / "dark" / name))
        assert np.array_equal(*pixels) == (read_provenance(content).made.label == "dark")


def test_classes_left_open_come_in_the_proportions_trained_on() -> None:
    described = card(label_counts=(30, 10))
    for start in (0, 1000):
        counts = Counter(label_at(described, 5, index) for index in range(start, start + 200))
        assert abs(counts[0] - 150) <= 20 and counts[0] + counts[1] == 200
    assert [label_at(described, 5, i) for i in range(20)] != [label_at(described, 6, i) for i in range(20)]
    assert {label_at(card(label_counts=(0, 7)), 0, index) for index in range(50)} == {1}


def test_other_settings_in_the_same_folder_are_refused(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finished(generate_folder(source, wish(2), out, 4))
    before = images(out)
    changed = Drawing.model_validate(DRAWING | {"steps": 3, "schedule": {**DRAWING["schedule"], "rho": 5.0}})
    with pytest.raises(
        GeneratingError, match=r"seed was 3, now 4; drawing\.schedule\.rho was 7\.0, now 5\.0; drawing\.steps was 2"
    ):
        finished(generate_folder(source, wish(2, seed=4, drawing=changed), out, 4))
    other = saved(tmp_path / "another", seed=1)
    with pytest.raises(GeneratingError, match=r"model was \"model\", now \"another\"; weights_digest was"):
        finished(generate_folder(other, wish(2), out, 4))
    assert images(out) == before


def test_a_persons_folder_is_left_alone(source: Source, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(GeneratingError, match="is not empty, and holds no images of `darkroom generate`"):
        finished(generate_folder(source, wish(2), tmp_path / "mine", 4))
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_a_damaged_record_is_named(source: Source, tmp_path: Path) -> None:
    finished(generate_folder(source, wish(1), tmp_path / "out", 4))
    for content in ("{", "3"):
        (tmp_path / "out/generated.json").write_text(content)
        with pytest.raises(GeneratingError, match=r"generated\.json is damaged"):
            finished(generate_folder(source, wish(1), tmp_path / "out", 4))


def test_more_than_the_disk_holds_is_refused_before_the_first(source: Source, tmp_path: Path) -> None:
    with pytest.raises(GeneratingError, match=r"1,000,000,000,000 images of 8 pixels may take 2,240,000\.0 GB, and .* GB free"):
        finished(generate_folder(source, wish(10**12), tmp_path / "out", 4))
    assert not list((tmp_path / "out").iterdir())


def test_a_disk_that_fills_leaves_no_half_image(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(generate_folder(source, wish(2), tmp_path / "out", 1))
    write = Path.write_bytes

    def full(file: Path, content: bytes) -> int:
        if "000003" in file.name:
            write(file, content[:50])
            raise OSError(28, "No space left on device", str(file))
        return write(file, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        finished(generate_folder(source, wish(5), tmp_path / "out", 1))
    assert sorted(images(tmp_path / "out")) == [f"seed3-00000{index}.png" for index in range(3)]
    assert not list((tmp_path / "out").glob("*.partial"))
    monkeypatch.undo()
    assert finished(generate_folder(source, wish(5), tmp_path / "out", 1))[1] == 2


def test_an_unknown_class_and_a_prompt_without_text_are_refused(source: Source, tmp_path: Path) -> None:
    with pytest.raises(GeneratingError, match=r"no class `lihgt`; did you mean `light`\? It knows: dark, light"):
        finished(generate_folder(source, wish(2, label="lihgt"), tmp_path / "out", 4))
    with pytest.raises(ModelError, match=r"reads no captions, only its labels dark, light; train one"):
        finished(generate_folder(source, wish(2, prompt="a light"), tmp_path / "out", 4))
    for count, seed in ((0, 0), (-1, 0), (1, -1)):
        with pytest.raises(GeneratingError, match="there must be one at least, and a seed of 0 or more"):
            finished(generate_folder(source, wish(count, seed=seed), tmp_path / "out", 4))
    with pytest.raises(ModelError, match="no model here"):
        source_of(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_prompt_is_read_and_kept(tmp_path: Path) -> None:
    reader = saved(tmp_path / "model", network=CAPTIONED)
    events, _ = finished(generate_folder(reader, wish(2, prompt="light, and more"), tmp_path / "one", 4))
    assert Noted("the model reads the first 8 bytes of the prompt; the rest is not read") in events
    finished(generate_folder(reader, wish(2, prompt="dark"), tmp_path / "other", 4))
    made = read_provenance(tmp_path / "one/seed3-000000.png").made
    assert (made.caption, made.label) == ("light, and more", "")
    one, other = (np.asarray(Image.open(tmp_path / name / "seed3-000000.png")) for name in ("one", "other"))
    assert not np.array_equal(one, other)


def test_with_a_key_images_are_signed_and_unsigned_ones_drawn_again(source: Source, tmp_path: Path) -> None:
    signer = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    finished(generate_folder(source, wish(2), tmp_path / "out", 4))
    assert finished(generate_folder(source, wish(3), tmp_path / "out", 4, signer))[1] == 3
    found = [read_provenance(file) for file in sorted((tmp_path / "out").glob("seed*.png"))]
    assert [(one.signer, one.whole) for one in found] == [(signer.name, True)] * 3
    assert finished(generate_folder(source, wish(3), tmp_path / "out", 4, signer))[1] == 0


def test_a_weaker_model_is_left_behind_and_named_in_the_image(source: Source, tmp_path: Path) -> None:
    weaker = saved(tmp_path / "weaker", seed=1)
    for name, scale in (("not", 1.0), ("away", 2.0)):
        finished(generate_folder(source, wish(2, weaker=Weaker(weaker, scale)), tmp_path / name, 2))
    finished(generate_folder(source, wish(2), tmp_path / "alone", 2))
    alone, left, away = (
        [np.asarray(Image.open(file)) for file in sorted((tmp_path / at).glob("seed*.png"))] for at in ("alone", "not", "away")
    )
    assert np.array_equal(alone, left) and not np.array_equal(alone, away)
    made = read_provenance(tmp_path / "away" / "seed3-000000.png").made
    assert made.away_from is not None and (made.away_from["model"], made.away_from["scale"]) == ("weaker", 2.0)
    nowhere = Drawing.model_validate(DRAWING | {"guided_levels": {"least": 1e5, "most": 1e6}})  # above every level of noise
    finished(generate_folder(source, wish(2, weaker=Weaker(weaker, 2.0), drawing=nowhere), tmp_path / "nowhere", 2))
    unled = [np.asarray(Image.open(file)) for file in sorted((tmp_path / "nowhere").glob("seed*.png"))]
    assert np.array_equal(alone, unled)
    with pytest.raises(GeneratingError, match="away_from"):
        finished(generate_folder(source, wish(2), tmp_path / "away", 2))
    with pytest.raises(GeneratingError, match="nan times away from weaker: give 0 to 20"):
        finished(generate_folder(source, wish(2, weaker=Weaker(weaker, float("nan"))), tmp_path / "none", 2))
    stranger = saved(tmp_path / "stranger", labels=("dog",), label_counts=(4,))
    with pytest.raises(GeneratingError, match=r"stranger cannot guide this model: its labels is \('dog',\)"):
        finished(generate_folder(source, wish(2, weaker=Weaker(stranger, 2.0)), tmp_path / "none", 2))


def test_an_exported_model_keeps_its_name(source: Source, tmp_path: Path) -> None:
    shutil.copytree(source.folder, tmp_path / "exported")
    (tmp_path / "exported/origin.json").write_text(json.dumps({"model": "cats", "version": "3"}))
    named = source_of(tmp_path / "exported")
    assert (named.name, named.version) == ("cats", "3")


def test_a_tiled_model_always_sees_as_many_images() -> None:
    asked: list[Tensor] = []

    def shifted(noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        asked.append(noisy)
        assert len(noisy) == len(sigma) == len(condition.label) == len(condition.augmentation) == 4
        return noisy + sigma[:, None, None, None] + condition.label[:, None, None, None]

    noisy, sigma, label = torch.randn(6, 3, 2, 2), torch.rand(6), torch.arange(6)
    answer = Tiled(shifted, 4)(noisy, sigma, Condition(label, torch.zeros(6, 1)))
    assert torch.equal(answer, noisy + sigma[:, None, None, None] + label[:, None, None, None])
    assert len(asked) == 2
