"""What a person reads who mistyped a setting: the file, the exact path, the nearest right name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from darkroom.params import Params, read_params
from darkroom.sections import SettingsError, read_section, read_yaml
from darkroom.training.train_base import TrainBaseSection

SHIPPED = Path(__file__).parents[2] / "params.yaml"
Change = Callable[[dict[str, Any]], Any]


def whole_content() -> dict[str, Any]:
    """The shipped settings, with variants that these tests know."""
    content = read_yaml(SHIPPED)
    content["curate"]["filters"] = [{"kind": "smallest_side", "least": 48}]
    content["augment"]["transforms"] = [{"kind": "affine", "probability": 0.3, "shift": 0.1, "scale": 0.1, "degrees": 5.0}]
    content["train_base"]["noise"] = {"kind": "log_normal", "mean": 0.0, "deviation": 1.2}
    content["train_base"]["drawing"]["schedule"] = {"kind": "karras", "least": 0.02, "most": 80.0, "rho": 7.0}
    return content


def faults_of(tmp_path: Path, change: Change) -> list[str]:
    """The lines of the error, after the file's name."""
    content = whole_content()
    change(content)
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(SettingsError) as error:
        read_params(file)
    lines = str(error.value).splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines)
    return [line.removeprefix(f"{file}: ") for line in lines]


def renamed(*path: Any, to: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        for part in path[:-1]:
            content = content[part]
        content[to] = content.pop(path[-1])

    return change


def put(*path: Any, value: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        for part in path[:-1]:
            content = content[part]
        content[path[-1]] = value

    return change


UNKNOWN = [
    (renamed("promote", to="promot"), "promot", "promote"),
    (renamed("register", to="registr"), "registr", "register"),
    (renamed("train_base", "learning_rate", to="learning_rte"), "train_base.learning_rte", "learning_rate"),
    (renamed("register", "name", to="nme"), "register.nme", "name"),
    (renamed("curate", "duplicates", "hash_distance", to="hash_distanc"), "curate.duplicates.hash_distanc", "hash_distance"),
    (renamed("train_base", "network", "depth", to="dept"), "train_base.network.unet.dept", "depth"),
    (renamed("train_base", "noise", "mean", to="mena"), "train_base.noise.log_normal.mena", "mean"),
    (renamed("train_base", "drawing", "schedule", "rho", to="roh"), "train_base.drawing.schedule.karras.roh", "rho"),
    (renamed("curate", "filters", 0, "least", to="leest"), "curate.filters.0.smallest_side.leest", "least"),
    (renamed("augment", "transforms", 0, "shift", to="shfit"), "augment.transforms.0.affine.shfit", "shift"),
]


@pytest.mark.parametrize(("change", "path", "nearest"), UNKNOWN, ids=[path for _, path, _ in UNKNOWN])
def test_an_unknown_setting_is_named_with_the_nearest_right_name(tmp_path: Path, change: Change, path: str, nearest: str) -> None:
    unknown, missing = (
        f"`{path}` is not a setting; did you mean `{nearest}`?",
        f"`{path.rpartition('.')[0]}.{nearest}` is missing",
    )
    assert sorted(faults_of(tmp_path, change)) == sorted([unknown, missing.replace("`.", "`")])


def test_only_names_of_the_chosen_variant_are_proposed(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, put("train_base", "noise", "first_bata", value=1))
    assert fault == "`train_base.noise.log_normal.first_bata` is not a setting; known here: deviation, kind, mean"


def test_a_variant_that_does_not_exist_and_one_that_is_not_named(tmp_path: Path) -> None:
    assert faults_of(tmp_path, put("train_base", "noise", "kind", value="log_norml")) == [
        "`train_base.noise.kind` is `log_norml`; did you mean `log_normal`?"
    ]
    assert faults_of(tmp_path, put("train_base", "noise", "kind", value="zzz")) == [
        "`train_base.noise.kind` is `zzz`; known here: cosine, ddpm, log_normal, logit_normal, uniform_time"
    ]
    assert faults_of(tmp_path, lambda content: content["train_base"]["noise"].pop("kind")) == [
        "`train_base.noise.kind` is missing"
    ]


def test_wrong_kinds_of_value(tmp_path: Path) -> None:
    assert faults_of(tmp_path, put("evaluate", "images", value="many")) == [
        "`evaluate.images` should be a valid integer, unable to parse string as an integer (it is 'many')"
    ]
    assert faults_of(tmp_path, put("train_base", "learning_rate", value=-1)) == [
        "`train_base.learning_rate` should be greater than 0 (it is -1)"
    ]
    assert faults_of(tmp_path, put("train_base", "noise", value=5)) == ["`train_base.noise`: expected settings below it, found 5"]
    assert faults_of(tmp_path, put("promote", value=None)) == ["`promote`: expected settings below it, found nothing"]


def test_settings_that_do_not_go_together(tmp_path: Path) -> None:
    assert faults_of(tmp_path, put("train_base", "drawing", "schedule", "least", value=90.0)) == [
        "`train_base.drawing.schedule.karras`: `least` (90) must be below `most` (80)"
    ]


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["evaluate"].pop("seed")
        content["augment"]["sed"] = 1

    assert faults_of(tmp_path, change) == [
        "`augment.sed` is not a setting; did you mean `seed`?",
        "`evaluate.seed` is missing",
    ]


def test_one_section_is_read_alone_and_a_missing_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    content = {"train_bas": read_yaml(SHIPPED)["train_base"], "other": 1}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"params.yaml: the section `train_base` is missing; did you mean `train_bas`\?"):
        read_section(file, "train_base", TrainBaseSection)
    content["train_base"] = content.pop("train_bas") | {"batch_siz": 1}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"`train_base\.batch_siz` is not a setting; did you mean `batch_size`\?"):
        read_section(file, "train_base", TrainBaseSection)


def test_a_small_number_without_a_point_is_a_number(tmp_path: Path) -> None:
    """YAML 1.1 reads 5e-4 as text; pydantic makes the number of it."""
    file = tmp_path / "params.yaml"
    content = whole_content()
    content["train_base"]["learning_rate"] = "TEN"
    file.write_text(yaml.safe_dump(content).replace("TEN", "5e-4"), encoding="utf-8")
    assert read_yaml(file)["train_base"]["learning_rate"] == "5e-4"
    assert read_params(file).train_base.learning_rate == 5e-4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected sections with settings, found nothing"),
        (b"# only a comment\n", "expected sections with settings, found nothing"),
        (b"- 1\n", "expected sections with settings, found a list"),
        (b"a: [1\n", "not valid YAML: .*line 2"),
        (b"\xff\xfe\xfa", "not valid YAML"),
    ],
)
def test_files_that_are_no_settings(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"params.yaml: {said}") as error:
        read_yaml(file)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"params\.yaml: there is no such file; `darkroom init DIR` writes one"):
        read_yaml(tmp_path / "params.yaml")


def test_sections_cannot_be_changed() -> None:
    params = read_params(SHIPPED)
    with pytest.raises(ValueError, match="frozen"):
        params.train_base.batch_size = 1  # type: ignore[misc]


def test_the_shipped_settings_parse_and_survive_a_round_trip() -> None:
    params = read_params(SHIPPED)
    dumped = params.model_dump(mode="json", by_alias=True)
    assert Params.model_validate(dumped) == params
    assert set(dumped) == set(read_yaml(SHIPPED))
    assert Params.model_validate_json(params.model_dump_json(by_alias=True)) == params
