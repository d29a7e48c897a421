"""What the history of a training says about it, and the remedy. Pure functions: the same history, the same verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from darkroom.images import Pixels
from darkroom.training.checkpoints import Moment

REMEMBERED = 64  # newest batches, whose losses say what is usual
LEAST = 16  # of them, before anything can be called unusual
DEVIATIONS = 10.0  # robust standard deviations above the median: a batch beyond is a spike
NARROWEST = 0.05  # of the median: a deviation smaller than this is not believed
MOST_SPIKES = 8  # in a course: more of them are no accident


@dataclass(frozen=True)
class Verdict:
    """What is wrong, in one word and in a sentence; and the change to the settings that the field's experience suggests."""

    kind: str
    text: str
    change: dict[str, Any]


def deviations(loss: float, recent: Sequence[float]) -> float:
    """Robust z-score: how far `loss` lies above the recent ones' median, in 1.4826 times the median distance from it."""
    if len(recent) < LEAST:
        return 0.0
    usual = median(recent)
    spread = 1.4826 * median(abs(one - usual) for one in recent)
    return (loss - usual) / max(spread, NARROWEST * abs(usual), 1e-12)


def is_spike(loss: float, recent: Sequence[float]) -> bool:
    """Whether a batch's loss is beyond what chance gives."""
    return deviations(loss, recent) > DEVIATIONS


def usual_of(losses: list[float]) -> list[float]:
    """The losses of the newest batches: what the next one is measured by."""
    return losses[-REMEMBERED:]


def new_verdicts(history: Sequence[Moment], rate: float, images: int) -> list[Verdict]:
    """What the newest point of the history brought to light; `rate` and `images` are the settings' learning rate and budget."""
    known = {verdict.kind for verdict in verdicts(history[:-1], rate, images)}
    return [verdict for verdict in verdicts(history, rate, images) if verdict.kind not in known]


def verdicts(history: Sequence[Moment], rate: float, images: int) -> list[Verdict]:
    """All that is wrong by this history."""
    found = (_diverging(history, rate), _stalled(history, rate, images), _overfitting(history), _underfitting(history, images))
    return [verdict for verdict in found if verdict is not None]


def waited(history: Sequence[Moment]) -> int:
    """Held-out measurements since the best one."""
    measured = [point.held_out for point in history if point.held_out is not None]
    return len(measured) - 1 - measured.index(min(measured)) if measured else 0


def out_of_patience(history: Sequence[Moment], patience: int) -> bool:
    """Whether the held-out loss has been behind its best for `patience` measurements; 0 waits for ever."""
    return patience > 0 and waited(history) >= patience


def _diverging(history: Sequence[Moment], rate: float) -> Verdict | None:
    """The loss, smoothed, is half as high again as it was."""
    losses = [point.loss for point in history]
    if len(losses) < 10:
        return None
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(losses, 5), axis=1).tolist()  # of long courses, at once
    if smooth[-1] <= 1.5 * min(smooth):
        return None
    text = f"the loss rose from {min(smooth):.4g} to {smooth[-1]:.4g}: the learning rate is too high"
    return Verdict("divergence", text, {"learning_rate": _plain(rate / 3)})


def _stalled(history: Sequence[Moment], rate: float, images: int) -> Verdict | None:
    """For a quarter of the budget nothing was gained on held-out images, at a rate that is still high."""
    measured = _measured(history)
    if len(measured) < 5 or measured[-1].learning_rate < 0.3 * rate:
        return None
    begins = measured[-1].images_seen - images / 4
    window = [point for point in measured if point.images_seen >= begins]
    before = [point for point in measured if point.images_seen < begins]
    if len(window) < 3 or not before:
        return None
    best, now = min(_held_out(before)), min(_held_out(window))
    if now < 0.995 * best:
        return None
    if any(point.loss < 0.97 * before[-1].loss for point in window):
        return None  # training goes on to fall: that is overfitting, not a stall
    text = (
        f"since {before[-1].images_seen:,} images seen neither the training loss nor the held-out loss ({now:.4g}) fell: "
        "another learning rate, or a larger network"
    )
    return Verdict("stall", text, {"learning_rate": _plain(rate / 2)})


def _overfitting(history: Sequence[Moment]) -> Verdict | None:
    """Training loss falls on while the held-out loss has turned."""
    measured = _measured(history)
    if len(measured) < 4:
        return None
    best = min(measured, key=lambda point: point.held_out or 0.0)
    after = [point for point in measured if point.images_seen > best.images_seen]
    parted = len(after) >= 2 and all(one > 1.02 * (best.held_out or 0.0) for one in _held_out(after[-2:]))
    until = [point.loss for point in history if point.images_seen <= best.images_seen]
    since = [point.loss for point in history if point.images_seen > best.images_seen]
    if not parted or median(since[-len(until) :]) >= median(until[-len(since) :]):
        return None
    text = (
        f"the held-out loss was lowest at {best.images_seen:,} images seen ({best.held_out:.4g}, now {after[-1].held_out:.4g}) "
        "while the training loss falls on: end there, add images or augmentation, or take a smaller network"
    )
    return Verdict("overfitting", text, {"images": best.images_seen, "patience": 3})


def _underfitting(history: Sequence[Moment], images: int) -> Verdict | None:
    """At the end of the budget, the last quarter of it still brought a twentieth."""
    measured = _measured(history)
    if len(measured) < 4 or measured[-1].images_seen < images:
        return None
    earlier = [point for point in measured if point.images_seen <= 0.75 * images]
    if not earlier or min(_held_out(measured)) > 0.95 * min(_held_out(earlier)):
        return None
    text = f"the last quarter still lowered the held-out loss from {min(_held_out(earlier)):.4g} to {measured[-1].held_out:.4g}"
    return Verdict("underfitting", f"{text}: a longer course gives a better model", {"images": 2 * images})


def collapsed(drawn: Pixels, real: Pixels, rate: float) -> Verdict | None:
    """The images drawn are all alike: they vary less than a tenth of what real ones do. Both uint8 [n, s, s, 3]."""
    variety, usual = (float(np.std(pixels.astype(np.float32), axis=0).mean()) for pixels in (drawn, real))
    if variety >= 0.1 * usual:
        return None
    text = f"the images drawn vary by {variety:.3g} grey levels, real ones by {usual:.3g}: lower the learning rate, begin anew"
    return Verdict("collapse", text, {"learning_rate": _plain(rate / 3)})


def _measured(history: Sequence[Moment]) -> list[Moment]:
    return [point for point in history if point.held_out is not None]


def _held_out(points: Sequence[Moment]) -> list[float]:
    return [point.held_out for point in points if point.held_out is not None]


def _plain(value: float) -> float:
    """Two significant figures: what one would type."""
    return float(f"{value:.1e}")
