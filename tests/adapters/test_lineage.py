"""Whose weights an image went into, through every start from a version's weights."""

from pathlib import Path

import pytest

from adapters import mlflow_registry
from adapters.lineage import _weights, _with_descendants
from adapters.mlflow_registry import LONGEST, Version, _fitting
from darkroom.refs import digest_of


def version(number: str, weights: str, base: str, start: str = "") -> Version:
    return Version("m", number, (), {}, {"weights.sha256": weights, "base.sha256": base, "start.sha256": start})


@pytest.mark.parametrize(
    ("trained", "marked", "weights"),
    [
        ({"1"}, ["1", "2", "3"], {"w1", "b1", "w2", "b2", "w3", "b3"}),
        ({"2"}, ["2", "3"], {"w2", "b2", "w3", "b3"}),
        ({"4"}, ["4"], {"w4", "b4"}),
        (set(), [], set()),
    ],
)
def test_versions_that_started_from_a_marked_version_are_marked_too(
    trained: set[str], marked: list[str], weights: set[str]
) -> None:
    known = [version("1", "w1", "b1"), version("2", "w2", "b2", "b1"), version("3", "w3", "b3", "w2"), version("4", "w4", "b4")]
    known.append(Version("m", "5", (), {}, {}))  # another tool's
    found, tainted = _with_descendants(known, trained, lambda one: {one.tags[tag] for tag in ("weights.sha256", "base.sha256")})
    assert [one.number for one in found] == marked
    assert tainted == weights


def test_a_training_may_have_started_from_the_registered_folder_which_is_drawn_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(mlflow_registry, "model_folder", lambda workspace, one: tmp_path)
    assert _weights(tmp_path, version("1", "w1", "b1")) == {"w1", "b1", digest_of(tmp_path)}  # an older darkroom's
    tagged = Version("m", "1", (), {}, {"weights.sha256": "w1", "base.sha256": "b1", "model.sha256": "m1"})
    assert _weights(tmp_path, tagged) == {"w1", "b1", "m1"}
    known = [tagged, version("2", "w2", "b2", "m1")]
    assert [one.number for one in _with_descendants(known, {"1"}, lambda one: _weights(tmp_path, one))[0]] == ["1", "2"]


def test_a_card_that_is_longer_than_a_database_takes_ends_at_a_line_and_names_the_file() -> None:
    card = "\n".join(f"| setting.{number} | value |" for number in range(400))
    cut = _fitting(card)
    assert len(cut) <= LONGEST < len(card)
    assert cut.endswith("|\n\nThe whole card: `card.md` among the version's files.")
    assert _fitting("# short") == "# short"
