"""What a model version must show before it may serve: gates on its scores, alone and against the champion's.

Pure functions of scores and pixels: they decide nothing about registries. To add a gate, write one function and call it
in `verdicts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from darkroom.images import Pixels
from darkroom.sections import Section

Score = Mapping[str, float]  # value, and where they were measured: low, high (of its interval), n, floor
Scores = Mapping[str, Score]
Interval = tuple[float, float, float]  # value, lower end, upper end
NO_WORSE = 0.1  # of the champion's score: two trainings on equal data differ by less, and pairs of images show it all the same
JUDGE = "kernel_distance"  # the score by which challenger and champion are compared; lower is better


class RegisterSection(Section):
    """How the model is registered."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$", description="name in the MLflow registry")]
    licence: Annotated[str, Field(description="note for the model card: what the images' owners allow")]


class PromoteSection(Section):
    """What a version must show to become the champion, and who decides then."""

    approval: Annotated[
        Literal["automatic", "person"],
        Field(description="automatic: promoted when every gate passes; person: someone approves it in the Prefect UI first"),
    ]
    against_champion: Annotated[
        Literal["better", "no_worse"],
        Field(
            description="better: its kernel distance is surely smaller than the champion's; no_worse: not surely a tenth larger"
        ),
    ]
    largest_kernel_distance: Annotated[float, Field(gt=0, description="of the tuned model, x 1000")]
    largest_copied_share: Annotated[float, Field(ge=0, le=1, description="samples that are copies of a training image")]
    least_coverage: Annotated[float, Field(ge=0, le=1, description="share of the real images that have a sample near them")]
    largest_held_out_loss: Annotated[float, Field(gt=0, description="denoising loss on images it was not trained on")]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate's answer, with the figures."""

    gate: str
    passed: bool
    text: str


def verdicts(section: PromoteSection, scores: Scores, samples: Pixels | None) -> list[Verdict]:
    """The gates that a version passes or fails alone. `samples`: uint8 [n, h, w, 3] drawn from the registered files."""
    found = [
        _at_most("kernel_distance", scores, section.largest_kernel_distance),
        _at_most("copied_share", scores, section.largest_copied_share),
        _at_least("coverage", scores, section.least_coverage),
        _at_most("held_out_loss", scores, section.largest_held_out_loss),
    ]
    return found if samples is None else [*found, _unbroken(samples)]


def against(section: PromoteSection, scores: Scores, champion: Scores, paired: Interval | None = None) -> Verdict:
    """The gate against the champion; both must have been measured on the same reference images.

    `paired`: the version's kernel distance less the champion's, its 95 % interval from the same noise. It shows what two
    separate intervals hide; those judge where the two could not be compared so.
    """
    gate = "against the champion"
    missing = [who for who, one in (("the version", scores), ("the champion", champion)) if JUDGE not in one]
    if missing:
        return Verdict(gate, False, f"{JUDGE} of {' and '.join(missing)} was not measured; add it to evaluate.metrics")
    ours, theirs = (_interval(one[JUDGE]) for one in (scores, champion))
    figures = f"{JUDGE} is {_shown(ours)}, the champion's {_shown(theirs)}"
    if paired is not None:
        figures += f"; from the same noise the difference is {_shown(paired)}"
        if section.against_champion == "better":
            return Verdict(gate, paired[2] < 0, f"{figures}, and must lie below 0")
        margin = NO_WORSE * max(theirs[0], 0.0)
        return Verdict(gate, paired[1] <= margin, f"{figures}, and must not lie above {margin:.4g}, a tenth of the champion's")
    if section.against_champion == "better":
        return Verdict(gate, ours[2] < theirs[1], f"{figures}; the interval must lie below the champion's")
    return Verdict(gate, ours[1] <= theirs[2], f"{figures}; the interval must not lie above the champion's")


def _interval(score: Score) -> Interval:
    value = score["value"]
    return value, score.get("low", value), score.get("high", value)


def _shown(interval: Interval) -> str:
    value, low, high = interval
    return f"{value:.4g} ({low:.4g} to {high:.4g})"


def _unbroken(samples: Pixels) -> Verdict:
    """Samples are broken where images are of one flat colour, or are all the same image."""
    flat = int((samples == samples[:, :1, :1]).all(axis=(1, 2, 3)).sum())
    same = len(samples) > 1 and bool((samples == samples[:1]).all())
    text = f"{flat} of {len(samples)} samples are one flat colour" + ("; all are the same image" if same else "")
    return Verdict("samples", not flat and not same, f"{text}, none may be" if flat or same else text)


def _at_most(name: str, scores: Scores, limit: float) -> Verdict:
    return _compared(name, scores, limit, -1, "at most")


def _at_least(name: str, scores: Scores, limit: float) -> Verdict:
    return _compared(name, scores, limit, 1, "at least")


def _compared(name: str, scores: Scores, limit: float, sign: int, words: str) -> Verdict:
    if name not in scores:
        return Verdict(name, False, f"{name} was not measured; add it to evaluate.metrics")
    value = scores[name]["value"]
    passed = isfinite(value) and bool(np.sign(value - limit) in (0, sign))
    return Verdict(name, passed, f"{name} is {value:.4g}, {words} {limit:.4g} is asked")
