"""Gates: each can pass and fail alone, and what was not measured, or is no number, fails."""

import pytest

from darkroom.gates import PromoteSection, verdicts

SECTION = PromoteSection(largest_kernel_distance=50, largest_copied_share=0.1, least_coverage=0.4, champion_margin=5)
GOOD = {"kernel_distance": 50.0, "copied_share": 0.1, "coverage": 0.4}


def failed(scores: dict[str, float], champion: dict[str, float] | None = None) -> list[str]:
    return [verdict.gate for verdict in verdicts(SECTION, scores, champion) if not verdict.passed]


def test_the_limit_itself_passes() -> None:
    assert failed(GOOD) == []
    assert len(verdicts(SECTION, GOOD, None)) == 3


@pytest.mark.parametrize(("gate", "value"), [("kernel_distance", 50.1), ("copied_share", 0.11), ("coverage", 0.39)])
def test_each_gate_fails_alone(gate: str, value: float) -> None:
    assert failed(GOOD | {gate: value}) == [gate]
    (text,) = [verdict.text for verdict in verdicts(SECTION, GOOD | {gate: value}, None) if not verdict.passed]
    assert f"{gate} is {value:.4g}, at " in text


@pytest.mark.parametrize("gate", GOOD)
def test_what_was_not_measured_or_is_no_number_fails(gate: str) -> None:
    assert failed({name: value for name, value in GOOD.items() if name != gate}) == [gate]
    assert failed(GOOD | {gate: float("nan")}) == [gate]
    (text,) = [verdict.text for verdict in verdicts(SECTION, {**GOOD, gate: float("nan")}, None) if verdict.gate == gate]
    assert "nan" in text


def test_against_the_champion() -> None:
    assert failed(GOOD, {"kernel_distance": 45.0}) == []
    assert failed(GOOD, {"kernel_distance": 44.9}) == ["against the champion"]
    assert failed(GOOD, {"coverage": 0.9}) == []
    assert len(verdicts(SECTION, GOOD, {"coverage": 0.9})) == 3
    (last,) = [verdict for verdict in verdicts(SECTION, GOOD, {"kernel_distance": 40.0}) if not verdict.passed]
    assert last.text == "kernel_distance is 50, at most 45 is asked: the champion's plus the margin"
