"""What a model version must show before it may serve: gates on its scores, alone and against the champion's.

Pure functions of two sets of scores: they decide nothing about registries. To add a gate, write one function and call it
in `verdicts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from darkroom.sections import Section

Scores = Mapping[str, float]


class RegisterSection(Section):
    """How the model is registered."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$", description="name in the MLflow registry")]


class PromoteSection(Section):
    """What a version must show to become the champion."""

    largest_kernel_distance: Annotated[float, Field(gt=0, description="of the tuned model, x 1000")]
    largest_copied_share: Annotated[float, Field(ge=0, le=1, description="samples that are copies of a training image")]
    least_coverage: Annotated[float, Field(ge=0, le=1, description="share of the real images that have a sample near them")]
    champion_margin: Annotated[float, Field(ge=0, description="how much worse than the champion's kernel distance is borne")]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate's answer, with the figures."""

    gate: str
    passed: bool
    text: str


def verdicts(section: PromoteSection, scores: Scores, champion: Scores | None) -> list[Verdict]:
    """Every gate's verdict on a version's scores; `champion` None where there is none yet."""
    found = [
        _at_most("kernel_distance", scores, section.largest_kernel_distance),
        _at_most("copied_share", scores, section.largest_copied_share),
        _at_least("coverage", scores, section.least_coverage),
    ]
    if champion is not None and "kernel_distance" in champion:
        limit = champion["kernel_distance"] + section.champion_margin
        better = _at_most("kernel_distance", scores, limit)
        found.append(Verdict("against the champion", better.passed, f"{better.text}: the champion's plus the margin"))
    return found


def _at_most(name: str, scores: Scores, limit: float) -> Verdict:
    if name not in scores:
        return Verdict(name, False, f"{name} was not measured; add it to evaluate.metrics")
    return Verdict(name, scores[name] <= limit, f"{name} is {scores[name]:.4g}, at most {limit:.4g} is asked")


def _at_least(name: str, scores: Scores, limit: float) -> Verdict:
    if name not in scores:
        return Verdict(name, False, f"{name} was not measured; add it to evaluate.metrics")
    return Verdict(name, scores[name] >= limit, f"{name} is {scores[name]:.4g}, at least {limit:.4g} is asked")
