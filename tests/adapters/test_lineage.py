"""Whose weights an image went into, through every start from a version's weights."""

import pytest

from adapters.lineage import _with_descendants
from adapters.mlflow_registry import LONGEST, Version, _fitting


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
    found, tainted = _with_descendants(known, trained)
    assert [one.number for one in found] == marked
    assert tainted == weights


def test_a_card_that_is_longer_than_a_database_takes_ends_at_a_line_and_names_the_file() -> None:
    card = "\n".join(f"| setting.{number} | value |" for number in range(400))
    cut = _fitting(card)
    assert len(cut) <= LONGEST < len(card)
    assert cut.endswith("|\n\nThe whole card: `card.md` among the version's files.")
    assert _fitting("# short") == "# short"
