"""Gates: each can pass and fail alone, and what was not measured, or is no number, fails."""

import numpy as np
import pytest

from darkroom.gates import Interval, PromoteSection, against, verdicts

SECTION = PromoteSection(
    approval="automatic",
    against_champion="better",
    largest_kernel_distance=50,
    largest_copied_share=0.1,
    least_coverage=0.4,
    largest_held_out_loss=2.0,
)
GOOD = {"kernel_distance": 50.0, "copied_share": 0.1, "coverage": 0.4, "held_out_loss": 2.0}


def scored(values: dict[str, float]) -> dict[str, dict[str, float]]:
    return {name: {"value": value} for name, value in values.items()}


def failed(values: dict[str, float], samples: np.ndarray | None = None) -> list[str]:
    return [verdict.gate for verdict in verdicts(SECTION, scored(values), samples) if not verdict.passed]


def test_the_limit_itself_passes() -> None:
    assert failed(GOOD) == []
    assert len(verdicts(SECTION, scored(GOOD), None)) == 4


@pytest.mark.parametrize(
    ("gate", "value"), [("kernel_distance", 50.1), ("copied_share", 0.11), ("coverage", 0.39), ("held_out_loss", 2.1)]
)
def test_each_gate_fails_alone(gate: str, value: float) -> None:
    assert failed(GOOD | {gate: value}) == [gate]
    (text,) = [one.text for one in verdicts(SECTION, scored(GOOD | {gate: value}), None) if not one.passed]
    assert f"{gate} is {value:.4g}, at " in text


@pytest.mark.parametrize("gate", GOOD)
@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_what_was_not_measured_or_is_no_number_fails(gate: str, odd: float) -> None:
    assert failed({name: value for name, value in GOOD.items() if name != gate}) == [gate]
    assert failed(GOOD | {gate: odd}) == [gate]


def test_broken_samples_fail() -> None:
    chance = np.random.default_rng(0)
    samples = chance.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    assert failed(GOOD, samples) == []
    samples[2] = (10, 20, 30)
    assert failed(GOOD, samples) == ["samples"]
    assert failed(GOOD, np.repeat(samples[:1], 4, axis=0)) == ["samples"]


@pytest.mark.parametrize(
    ("ours", "better", "no_worse"),
    [
        ((30, 25, 35), True, True),  # wholly below
        ((38, 33, 43), False, True),  # below, intervals overlap
        ((45, 41, 49), False, True),  # above, intervals overlap
        ((60, 55, 65), False, False),  # wholly above
    ],
)
def test_against_the_champion(ours: tuple[float, float, float], better: bool, no_worse: bool) -> None:
    names = ("value", "low", "high")
    champion = {"kernel_distance": dict(zip(names, (42.0, 36.0, 48.0), strict=True))}
    challenger = {"kernel_distance": dict(zip(names, ours, strict=True))}
    assert against(SECTION, challenger, champion).passed is better
    lenient = SECTION.model_copy(update={"against_champion": "no_worse"})
    assert against(lenient, challenger, champion).passed is no_worse
    assert f"{ours[0]:.4g} ({ours[1]:.4g} to" in against(SECTION, challenger, champion).text


@pytest.mark.parametrize(
    ("paired", "better", "no_worse"),
    [
        ((-3, -5, -1), True, True),
        ((-3, -5, 1), False, True),
        ((3, -1, 5), False, True),
        ((3, 1, 5), False, True),
        ((9, 5, 13), False, False),
    ],
)
def test_a_difference_seen_from_the_same_noise_decides(paired: Interval, better: bool, no_worse: bool) -> None:
    """Both intervals are the same: alone they would neither call it better nor worse."""
    same = {"kernel_distance": {"value": 42.0, "low": 30.0, "high": 55.0}}
    lenient = SECTION.model_copy(update={"against_champion": "no_worse"})
    assert against(SECTION, same, same, paired).passed is better
    assert against(lenient, same, same, paired).passed is no_worse
    assert f"from the same noise the difference is {paired[0]:.4g} (" in against(SECTION, same, same, paired).text


def test_a_champion_that_was_not_measured_is_not_beaten_by_default() -> None:
    verdict = against(SECTION, scored(GOOD), {})
    assert not verdict.passed
    assert "of the champion was not measured" in verdict.text
