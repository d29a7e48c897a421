"""Captions read through an encoder that others trained: as they read them, never trained, and carried with the model."""

import copy
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from darkroom.exporting import Known, export_folder
from darkroom.generating import Source
from darkroom.networks.captioned import Captioned, tokens_of
from darkroom.networks.denoiser import Condition
from darkroom.networks.pretrained_text import KEPT, EncoderUnavailable, PretrainedText, files_of
from darkroom.networks.saved import ModelError, build, encoder_in, encoder_of, load_model, save_model
from darkroom.networks.sizes import cost_of
from darkroom.onnx_form import OnnxError, write_onnx
from darkroom.refs import digest_of
from darkroom.training.train_base import train_base
from tests.darkroom.tiny import NETWORK, base_section, card, finished, prepare, stirred, stopped_after
from tests.darkroom.tiny_encoder import write_encoder

CPU = torch.device("cpu")


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    write_encoder(tmp_path / "encoder")
    return tmp_path / "encoder"


def reading(encoder: Path) -> dict[str, Any]:
    return {"kind": "captioned_pretrained", "length": 20, "width": 32, "depth": 1, "encoder": str(encoder), "image": NETWORK}


def answers(model: Any, *captions: str) -> torch.Tensor:
    torch.manual_seed(0)
    noisy, sigma, label = torch.randn(1, 3, 8, 8), torch.ones(1), torch.tensor([-1])
    asked = [model(noisy, sigma, Condition(label, torch.zeros(1, 0), tokens_of([caption], 20))) for caption in captions]
    return torch.cat(asked)


@pytest.mark.parametrize("kind", ["clip_text_model", "clip", "t5"])
def test_captions_are_read_as_the_encoder_reads_them(tmp_path: Path, kind: str) -> None:
    theirs = write_encoder(tmp_path / "encoder", kind)
    ids = torch.tensor([[3, 6, 4, 1]])  # a red cat <end>
    expected = getattr(theirs, "text_model", theirs)(input_ids=ids).last_hidden_state[0]
    features, there = PretrainedText(str(tmp_path / "encoder"))(tokens_of(["a red cat", "", "blue robot"], 24))
    torch.testing.assert_close(features[0, :4], expected)
    assert features.shape == (3, 24, 32) and there.sum(1).tolist() == [4, 0, 3]
    assert not features[~there].any()


def test_what_comes_of_a_caption_depends_on_no_other(encoder: Path) -> None:
    words = ["a red cat", "robot", "blue robot cat a day"]
    together, _ = PretrainedText(str(encoder))(tokens_of(words, 24))
    for row, caption in enumerate(words):
        alone, _ = PretrainedText(str(encoder))(tokens_of([caption], 24))
        assert torch.equal(alone[0], together[row])


def test_a_caption_longer_than_the_encoder_reads_is_cut(encoder: Path) -> None:
    _, there = PretrainedText(str(encoder))(tokens_of(["cat " * 30], 200))
    assert there.sum() == 16
    _, there = PretrainedText(str(encoder))(tokens_of(["a a a a a"], 5))  # of which three bytes are words, and an end
    assert there.sum() == 4


def test_few_captions_are_kept(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.networks.pretrained_text.KEPT", 4 * 32)  # two captions of a word and an end
    reader = PretrainedText(str(encoder))
    first, _ = reader(tokens_of(["cat", "robot", "red", "blue"], 8))
    assert len(reader._known) == 2 and reader._held == 4 * 32 < KEPT
    again, _ = reader(tokens_of(["cat", "robot", "red", "blue"], 8))
    assert torch.equal(first, again)


def test_it_is_no_part_of_the_weights_and_copies_share_it(encoder: Path) -> None:
    model = stirred(build(card(network=reading(encoder))))
    assert isinstance(model.network, Captioned) and model.network.pretrained
    assert copy.deepcopy(model).network.pretrained is model.network.pretrained  # type: ignore[union-attr]
    assert not any("pretrained" in name for name in model.state_dict())
    first, second, nothing = answers(model, "a red cat", "a blue cat", "")
    assert not torch.allclose(first, second) and not torch.allclose(first, nothing)
    size = sum(weight.numel() for weight in model.network.parameters())
    assert cost_of(card(network=reading(encoder)).network, 8, labels=2).parameters == size


def test_a_model_keeps_a_copy_and_reads_through_that(encoder: Path, tmp_path: Path) -> None:
    (encoder / "pytorch_model.bin").write_bytes(b"a pickle, perhaps")
    model = stirred(build(card(network=reading(encoder))))
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model", model.state_dict(), card(network=reading(encoder)), encoder_of(model))
    before = answers(model, "a red cat")
    encoder.rename(tmp_path / "elsewhere")
    loaded, _ = load_model(tmp_path / "model", CPU)
    assert torch.equal(answers(loaded, "a red cat"), before)
    kept = encoder_in(tmp_path / "model", card(network=reading(encoder)))
    assert kept and {file.name for file in kept.iterdir()} == {file.name for file in files_of(tmp_path / "elsewhere")}
    assert not (kept / "pytorch_model.bin").exists()
    kept.rename(tmp_path / "lost")
    (tmp_path / "elsewhere").rename(encoder)  # another may lie there by now: the weights belong to their own
    with pytest.raises(ModelError, match=r"text_encoder, through which .* is missing; copy the model's whole folder"):
        load_model(tmp_path / "model", CPU)


def test_a_course_trains_what_follows_the_encoder_and_goes_on_bit_for_bit(encoder: Path, tmp_path: Path) -> None:
    section = base_section(network=reading(encoder))
    straight, stopped = prepare(tmp_path / "straight"), prepare(tmp_path / "stopped")
    before = {file.name: digest_of(file) for file in files_of(encoder)}
    _, ref = finished(train_base(section, straight))
    for count in (3, 5):
        stopped_after(train_base(section, stopped), count)
    _, again = finished(train_base(section, stopped))
    assert again.digest == ref.digest
    kept = encoder_in(straight.out, card(network=reading(encoder)))
    assert kept and {file.name: digest_of(file) for file in files_of(kept)} == before


def test_another_encoder_in_the_same_folder_begins_anew(encoder: Path, tmp_path: Path) -> None:
    section, places = base_section(network=reading(encoder)), prepare(tmp_path / "course")
    stopped_after(train_base(section, places), 6)
    for file in encoder.iterdir():
        file.unlink()
    write_encoder(encoder, seed=1)
    events, _ = finished(train_base(section, places))
    assert not any("going on from" in getattr(event, "text", "") for event in events)


def test_an_export_carries_it_and_the_onnx_form_refuses(encoder: Path, tmp_path: Path) -> None:
    about = card(network=reading(encoder))
    model = stirred(build(about))
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model", model.state_dict(), about, encoder_of(model))
    finished(export_folder(Source(tmp_path / "model", "cats", ""), tmp_path / "out", Known(), onnx=False))
    loaded, _ = load_model(tmp_path / "out", CPU)
    assert torch.equal(answers(loaded, "blue robot"), answers(model, "blue robot"))
    assert "transformers" in (tmp_path / "out/requirements.txt").read_text()
    assert (tmp_path / "out/darkroom_model/networks/pretrained_text.py").exists()
    with pytest.raises(OnnxError, match="pretrained text encoder, which this form cannot hold"):
        write_onnx(tmp_path / "model", tmp_path / "denoiser.onnx")


def test_what_is_no_encoder_is_named(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", _offline)
    with pytest.raises(EncoderUnavailable, match=r"nobody/nothing is no folder here, is not in the user's cache .* by bytes"):
        PretrainedText("nobody/nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderUnavailable, match=r"empty: no text encoder can be read .* needs config\.json, model\.safetensors"):
        PretrainedText(str(tmp_path / "empty"))
    whole = (encoder / "model.safetensors").read_bytes()
    for content in (whole[: len(whole) // 2], None):
        (encoder / "model.safetensors").unlink()
        if content:
            (encoder / "model.safetensors").write_bytes(content)
        with pytest.raises(EncoderUnavailable, match="no text encoder can be read"):
            PretrainedText(str(encoder))(tokens_of(["cat"], 8))


def test_no_code_of_a_folder_is_run(encoder: Path, tmp_path: Path) -> None:
    """The package would ask on the terminal, in the middle of a command."""
    config = json.loads((encoder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModel": "mine.Model"}}
    (encoder / "config.json").write_text(json.dumps(config))
    (encoder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Mine: ...\nclass Model: ...\n")
    with (
        patch("builtins.input", return_value="y"),
        pytest.raises(EncoderUnavailable, match="contains custom code"),
    ):
        PretrainedText(str(encoder))
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_that_gives_no_mask_is_asked_for_one(encoder: Path) -> None:
    before, _ = PretrainedText(str(encoder))(tokens_of(["a red cat"], 8))
    config = json.loads((encoder / "tokenizer_config.json").read_text()) | {"model_input_names": ["input_ids"]}
    (encoder / "tokenizer_config.json").write_text(json.dumps(config))
    after, _ = PretrainedText(str(encoder))(tokens_of(["a red cat"], 8))
    assert torch.equal(before, after)


@pytest.mark.parametrize("config", [{"model_type": "resnet"}, {"model_type": "vit"}])
def test_what_reads_no_text_is_refused_before_a_course_begins(encoder: Path, config: dict[str, Any]) -> None:
    (encoder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderUnavailable, match="no text encoder can be read from this folder"):
        build(card(network=reading(encoder)))


def test_weights_are_not_taken_on_through_another_encoder(encoder: Path, tmp_path: Path) -> None:
    section, places = base_section(network=reading(encoder)), prepare(tmp_path / "course")
    finished(train_base(section, places))
    digest = digest_of(places.out)
    kept = places.checkpoints.parents[1] / "weights" / digest
    kept.parent.mkdir(parents=True)
    places.out.rename(kept)
    further = base_section(network=reading(encoder), start={"kind": "weights", "digest": digest, "budget": 16})
    finished(train_base(further, places))
    for file in encoder.iterdir():
        file.unlink()
    write_encoder(encoder, seed=1)
    with pytest.raises(ModelError, match="its text encoder differ"):
        finished(train_base(further, places))


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    write_encoder(tmp_path / "encoder", "t5")
    weights = load_file(tmp_path / "encoder/model.safetensors")
    name = next(name for name in weights if "layer_norm" in name)
    save_file(
        {key: value for key, value in weights.items() if key != name}, tmp_path / "encoder/model.safetensors", {"format": "pt"}
    )
    with pytest.raises(EncoderUnavailable, match=r"missing in model\.safetensors: .*layer_norm"):
        PretrainedText(str(tmp_path / "encoder"))(tokens_of(["cat"], 8))


def test_without_the_package_it_says_what_to_install(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(card(network=reading(encoder)))
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model", model.state_dict(), card(network=reading(encoder)), encoder_of(model))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"through a text encoder\. .* pip install 'darkroom\[text\]'"):
        load_model(tmp_path / "model", CPU)


def _offline(*_: object, **__: object) -> str:
    raise OSError("no network")
