"""`darkroom train`, `plan` and `average` as they are typed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from cli.main import main
from darkroom.images import write_split
from darkroom.networks.saved import read_card
from tests.conftest import draw_images, tiny_settings
from tests.darkroom.tiny import painted
from tests.darkroom.tiny_encoder import write_encoder

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("own"), 40)


@pytest.fixture(scope="module")
def words(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    settings = tiny_settings(pictures)
    settings["train_base"]["averaging"]["snapshots"] = 6
    file = tmp_path_factory.mktemp("settings") / "params.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return ["train", "--data", str(pictures), "--params", str(file)]


@pytest.fixture(scope="module")
def model(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "model"
    assert main([*words, "--out", str(out)]) == 0
    return out


@pytest.mark.long
@pytest.mark.parametrize("more", [[], ["--sharded"]], ids=["whole", "in shares"])
def test_two_processes_make_the_model_of_one(more: list[str], words: list[str], model: Path, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cli", *words, "--out", str(tmp_path / "both"), "--processes", "2", *more]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("film strip") == 1, "each process tells"
    assert {file.name for file in (tmp_path / "both").iterdir()} == {file.name for file in model.iterdir()}
    one, both = (load_file(folder / "weights.safetensors") for folder in (model, tmp_path / "both"))
    for name, value in one.items():
        torch.testing.assert_close(both[name], value, rtol=1e-3, atol=5e-5, msg=name)


def test_weights_in_shares_need_several_processes(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--out", str(tmp_path / "m"), "--sharded"]) == 1
    assert "add --processes 2 or more" in capsys.readouterr().err and not (tmp_path / "m").exists()


def test_an_average_of_another_length(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", "--model", str(model), "--width", "0.2", "--out", str(tmp_path / "wide")]) == 0
    kept, wide = (load_file(folder / "weights.safetensors") for folder in (model, tmp_path / "wide"))
    assert kept.keys() == wide.keys() and any(not torch.equal(kept[name], wide[name]) for name in kept)
    assert main(["average", "--model", str(model), "--width", "3", "--out", str(tmp_path / "wide")]) == 1
    assert main(["average", "--model", str(tmp_path / "wide"), "--width", "0.1", "--out", str(tmp_path / "x")]) == 1
    assert main(["average", "--model", str(model), "--width", "0.1", "--out", str(TOP)]) == 1
    said = capsys.readouterr().err
    assert "between 0 and 0.28" in said and "set `averaging.snapshots` above 0" in said and "holds no model" in said


def test_a_changed_request_takes_the_place_of_the_model(words: list[str], model: Path) -> None:
    """Its averages, a folder, too."""
    before = (model / "weights.safetensors").read_bytes()
    assert main([*words, "--out", str(model), "--seed", "5"]) == 0
    assert (model / "weights.safetensors").read_bytes() != before


def test_sizes_are_listed_and_taken(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--sizes"]) == 0
    said = capsys.readouterr().out
    assert "transformer-XS" in said and "unet-L" in said and "GFLOP" in said
    assert main(["train", "--data", str(pictures), "--out", "never", "--network", "unet-XXL"]) == 1
    assert "there are transformer-XS" in capsys.readouterr().err


def test_in_a_workspace_its_settings_and_its_curated_images_are_tried(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, settings = tmp_path / "workspace", tiny_settings(pictures)
    (folder / ".dvc").mkdir(parents=True)
    (folder / "dvc.yaml").touch()
    settings["train_base"]["learning_rate"] = 0.00123
    (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    monkeypatch.chdir(folder)
    assert main(["find-lr", "--batches", "6"]) == 1
    assert "no images are curated yet; `darkroom run` does it" in capsys.readouterr().err
    (folder / "data/curated").mkdir(parents=True)
    for split, count in (("train", 20), ("validation", 6), ("test", 6)):
        write_split(folder / "data/curated", split, painted(count, seed=count, size=settings["curate"]["image_size"]))
    assert main(["find-lr", "--batches", "6"]) == 0
    assert "(the settings have 1.2e-03)" in capsys.readouterr().out and (folder / "find-lr.png").exists()
    assert main(["find-lr", "--batches", "6", "--size", "32"]) == 1
    assert "its images have 16 pixels, and 32 are asked for" in capsys.readouterr().err
    assert main(["plan", "--seconds", "0.1"]) == 0
    assert f"for {settings['train_base']['images']:,} images seen" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["darkroom"])
    assert main(["find-lr", "--batches", "6", "--data", str(pictures)]) == 0  # its settings, other images
    said = capsys.readouterr().out
    assert f"settings      {folder / 'params.yaml'}" in said and "(the settings have 1.2e-03)" in said
    settings["train_base"]["start"] = {"kind": "weights", "digest": "0" * 64, "budget": 48}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    assert main(["plan", "--seconds", "0.1"]) == 0 and "for 48 images seen" in capsys.readouterr().out
    assert (
        main(["find-lr", "--batches", "6"]) == 1
        and "the weights that train_base.start names are not here" in capsys.readouterr().err
    )
    monkeypatch.chdir(tmp_path)
    assert main(["find-lr", "--batches", "6"]) == 1 and "name a folder with --data" in capsys.readouterr().err
    settings["train_base"]["start"] = {"kind": "scratch"}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    assert main(["find-lr", "--batches", "6", "--workspace", str(folder), "--out", str(tmp_path / "rates.png")]) == 0
    assert (tmp_path / "rates.png").exists()


def test_another_size_is_fitted_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--size", "64", "--seconds", "0.1"]) == 0
    said = capsys.readouterr().out
    assert "for 64 pixels: curate.image_size 64" in said
    assert "train_base.network.widening [1, 2, 2, 2]" in said and "finetune.noise.mean 0.693" in said


def test_wide_images_are_trained_on_and_drawn_whole(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = draw_images(tmp_path / "photos", 40)
    for image in sorted(photos.rglob("*.png"))[::2]:
        with Image.open(image) as square:
            wide = square.resize((square.width * 2, square.height))
        wide.save(image)
    given = ["train", "--data", str(photos), *words[3:], "--aspect-buckets", "2"]
    assert main([*given, "--out", str(tmp_path / "none")]) == 1
    assert "give a smaller `multiple`" in capsys.readouterr().err
    given = [*given, "--size", "32", "--out", str(tmp_path / "model")]
    assert main(given) == 0
    assert read_card(tmp_path / "model").shapes == ((32, 32), (24, 40), (40, 24))
    assert main(["generate", "--model", str(tmp_path / "model"), "--out", str(tmp_path / "drawn"), "--count", "12"]) == 0
    sizes = set()
    for file in (tmp_path / "drawn").glob("seed*.png"):
        with Image.open(file) as image:
            sizes.add(image.size)
    assert sizes == {(32, 32), (40, 24)}
    capsys.readouterr()
    ask = ["generate", "--model", str(tmp_path / "model"), "--out", str(tmp_path / "no")]
    assert main([*ask, "--shape", "10x10"]) == 1
    assert "it draws: 32 x 32, 40 x 24, 24 x 40" in capsys.readouterr().err
    assert main([*ask, "--shape", "wide"]) == 1
    assert "such as 40x24" in capsys.readouterr().err


@pytest.mark.parametrize("pretrained", [False, True], ids=["by bytes", "pretrained"])
def test_a_network_reads_the_captions_of_a_folder_and_is_asked_by_a_prompt(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], pretrained: bool
) -> None:
    photos = draw_images(tmp_path / "photos", 40)
    for image in photos.rglob("*.png"):
        image.with_suffix(".txt").write_text("a red cat", encoding="utf-8")
    encoder = []
    if pretrained:
        write_encoder(tmp_path / "encoder")
        encoder = [str(tmp_path / "encoder")]
    given = ["train", "--data", str(photos), *words[3:], "--out", str(tmp_path / "model"), "--captions", *encoder]
    assert main(given) == 0
    about = read_card(tmp_path / "model")
    assert about.network.kind == ("captioned_pretrained" if pretrained else "captioned")
    assert set((tmp_path / "model/samples.txt").read_text(encoding="utf-8").split("\n")) == {"a red cat", ""}
    out = ["--count", "2", "--out", str(tmp_path / "drawn")]
    assert main(["generate", "--model", str(tmp_path / "model"), "--prompt", "a blue robot", *out]) == 0
    assert len(list((tmp_path / "drawn").glob("*.png"))) >= 2
    assert main([*given, "--seed", "9"]) == 0
    assert read_card(tmp_path / "model").network == about.network
    assert "captions, which" not in capsys.readouterr().out
    if pretrained:
        assert main(given) == 0 and main(given) == 0
        assert "the same request has been fulfilled" in capsys.readouterr().out
        write_encoder(tmp_path / "encoder", seed=1)  # another one under the same name
        assert main(given) == 0
        assert "the same request has been fulfilled" not in capsys.readouterr().out
        assert main(given[: -len(encoder)]) == 0  # by bytes: of the encoder nothing stays
        assert not (tmp_path / "model/text_encoder").exists()
