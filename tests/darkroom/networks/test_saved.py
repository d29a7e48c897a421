"""A model on disk: the same bytes, the same answers, and clear words about what cannot be read."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from darkroom.networks.denoiser import Condition
from darkroom.networks.saved import ModelError, build, device_named, load_model, read_card, save_model
from darkroom.refs import digest_of
from tests.darkroom.tiny import card, stirred

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    save_model(made, stirred(build(card())).state_dict(), card())
    return made


@pytest.fixture
def little_space() -> Iterator[None]:
    """No file of this process may grow beyond 2,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_model_answers_the_same_after_it_was_saved(tmp_path: Path) -> None:
    model = stirred(build(card()))
    save_model(tmp_path, model.state_dict(), card(focus=("dark",)))
    loaded, read = load_model(tmp_path, CPU)
    assert read == card(focus=("dark",))
    assert not loaded.training
    assert not any(weight.requires_grad for weight in loaded.parameters())
    asked = torch.randn(2, 3, 8, 8), torch.tensor([0.5, 5.0]), Condition(torch.tensor([0, -1]), torch.zeros(2, 0))
    assert torch.equal(loaded(*asked), model(*asked))


def test_the_same_model_is_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again, loaded = tmp_path / "again", load_model(folder, CPU)[0]
    again.mkdir()
    weights = loaded.state_dict()
    save_model(again, {name: weights[name] for name in sorted(weights, reverse=True)}, card())
    assert digest_of(again) == digest_of(folder)


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.json is missing\); train one with `darkroom run`"):
        load_model(tmp_path, CPU)


@pytest.mark.parametrize("size", [0, 5, 500, 5_000])
def test_weights_cut_short(folder: Path, size: int) -> None:
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[:size])
    with pytest.raises(ModelError, match=r"weights\.safetensors: weights cannot be used: ") as error:
        load_model(folder, CPU)
    assert "\n" not in str(error.value)


def test_weights_missing_or_of_another_network(folder: Path) -> None:
    weights = load_file(folder / "weights.safetensors")
    name = next(iter(weights))
    save_file({key: value for key, value in weights.items() if key != name}, folder / "weights.safetensors")
    with pytest.raises(ModelError, match="weights cannot be used: .*: 1 tensors are missing.*" + name) as error:
        load_model(folder, CPU)
    assert "\n" not in str(error.value)
    save_file({f"other.{key}": value for key, value in weights.items()}, folder / "weights.safetensors")
    with pytest.raises(ModelError, match=r"another network's than model\.json describes") as error:
        load_model(folder, CPU)
    assert len(str(error.value)) < len(str(folder)) + 400, "every tensor is listed"
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=r"weights cannot be used: .*No such file"):
        load_model(folder, CPU)


def test_a_card_of_another_version(folder: Path) -> None:
    written = json.loads((folder / "model.json").read_text())
    written["network"] |= {"kind": "perceptron"}
    written["colour"] = written.pop("labels")
    (folder / "model.json").write_text(json.dumps(written))
    with pytest.raises(
        ModelError, match=r"model\.json: not a model of this version of Darkroom: .*labels Field required"
    ) as error:
        read_card(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("content", "said"), [(b"", "not a model"), (b"{", "not a model"), (b"\xff\xfe\xfa", "not a text file")])
def test_a_card_that_is_no_json(folder: Path, content: bytes, said: str) -> None:
    (folder / "model.json").write_bytes(content)
    with pytest.raises(ModelError, match=rf"model\.json: {said}"):
        read_card(folder)


@pytest.mark.usefixtures("little_space")
def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"weights\.safetensors: cannot be written"):
        save_model(tmp_path, build(card()).state_dict(), card())


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_named("auto") == device_named("cpu") == CPU
    with pytest.raises(ModelError, match="torch sees no GPU here; set it to `auto` or `cpu`"):
        device_named("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_named("auto") == device_named("cuda") == torch.device("cuda")
    assert device_named("cpu") == CPU
