"""Samplers: how to walk from noise to images along falling noise levels, with what a denoiser says on the way.

All of them work on noisy = image + sigma * noise, where the variance-preserving forms of the papers and this one are the same
walk: dividing by the signal's scale turns one into the other (Karras et al. 2022, 2206.00364, section 4). In this scale
lambda = -ln(sigma) is half the log signal-to-noise ratio.

To add a sampler: write the class with `kind` and `steps`, name it in the union at the end of this file.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import expm1, log, sqrt
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from darkroom.sections import Section

Denoise = Callable[[Tensor, float], Tensor]  # (noisy [n, c, h, w], sigma) -> expected clean images, same shape
FreshNoise = Callable[[], Tensor]  # unit noise of the shape of the images, other at every call
Steps = Iterator[tuple[Tensor, Tensor]]  # after each step: the images at the next level, and the clean images expected there
Order = Annotated[int, Field(ge=1, le=3, description="order of the solver once it has enough past steps")]


class Euler(Section):
    """One evaluation a step, first order; what DDIM is without added noise (Song et al. 2021, 2010.02502; EDM, section 3)."""

    kind: Literal["euler"]

    def steps(self, denoise: Denoise, images: Tensor, levels: Sequence[float], fresh: FreshNoise) -> Steps:
        """From `images` at the first of the falling `levels` to the last."""
        for sigma, after in pairwise(levels):
            clean = denoise(images, sigma)
            images = images + (after - sigma) / sigma * (images - clean)
            yield images, clean


class Heun(Section):
    """Two evaluations a step (one where the step ends in 0), second order (EDM, algorithm 1)."""

    kind: Literal["heun"]

    def steps(self, denoise: Denoise, images: Tensor, levels: Sequence[float], fresh: FreshNoise) -> Steps:
        """From `images` at the first of the falling `levels` to the last."""
        for sigma, after in pairwise(levels):
            clean = denoise(images, sigma)
            slope = (images - clean) / sigma
            ahead = images + (after - sigma) * slope
            if after > 0:
                clean = denoise(ahead, after)
                ahead = images + (after - sigma) / 2 * (slope + (ahead - clean) / after)
            images = ahead
            yield images, clean


class Ddim(Section):
    """From the deterministic walk (eta 0) to the ancestral one (eta 1) (Song et al. 2021, 2010.02502, equations 12 and 16)."""

    kind: Literal["ddim"]
    eta: Annotated[float, Field(ge=0, le=1, description="share of the ancestral noise that each step adds")]

    def steps(self, denoise: Denoise, images: Tensor, levels: Sequence[float], fresh: FreshNoise) -> Steps:
        """From `images` at the first of the falling `levels` to the last."""
        for sigma, after in pairwise(levels):
            clean = denoise(images, sigma)
            added = self.eta * after * sqrt(1 - (after / sigma) ** 2)
            images = clean + sqrt(after**2 - added**2) / sigma * (images - clean)
            if added > 0:
                images = images + added * fresh()
            yield images, clean


class Ancestral(Section):
    """The reverse chain of DDPM on any of its levels (Ho et al. 2020, 2006.11239, equations 6, 7 and section 3.2)."""

    kind: Literal["ddpm"]
    variance: Annotated[
        Literal["small", "large"],
        Field(description="of each step: small, that of the posterior (best for single images); large, that of the noising step"),
    ]

    def steps(self, denoise: Denoise, images: Tensor, levels: Sequence[float], fresh: FreshNoise) -> Steps:
        """From `images` at the first of the falling `levels` to the last."""
        for sigma, after in pairwise(levels):
            clean = denoise(images, sigma)
            images = clean + (after / sigma) ** 2 * (images - clean)
            if after > 0:
                images = images + self._deviation(sigma, after) * fresh()
            yield images, clean

    def _deviation(self, sigma: float, after: float) -> float:
        if self.variance == "small":
            return after * sqrt(1 - (after / sigma) ** 2)
        return sqrt((sigma**2 - after**2) * (1 + after**2) / (1 + sigma**2))


class DpmSolver(Section):
    """DPM-Solver++ (Lu et al. 2022, 2211.01095), multistep: 2M and 3M by their order. One evaluation a step.

    The clean image is taken for a polynomial in lambda through the last answers; the rest of the equation is solved exactly. The
    third order integrates the whole polynomial, where their program and those after it halve its quadratic term.
    """

    kind: Literal["dpmpp"]
    order: Order

    def steps(self, denoise: Denoise, images: Tensor, levels: Sequence[float], fresh: FreshNoise) -> Steps:
        """From `images` at the first of the falling `levels` to the last."""
        known: deque[tuple[float, Tensor]] = deque(maxlen=self.order)
        for place, (sigma, after) in enumerate(pairwise(levels)):
            clean = denoise(images, sigma)
            known.append((sigma, clean))
            images = _integrated(images, sigma, after, list(known)[-_order_at(self.order, levels, place) :])
            yield images, clean


class UniPc(Section):
    """UniPC (Zhao et al. 2023, 2302.04867): the step of DPM-Solver++, put right once the answer at its end is known.

    One evaluation a step: that answer serves the next step too. B(h) is e^h - 1 where it matters (their B2).
    """

    kind: Literal["unipc"]
    order: Order

    def steps(self, denoise: Denoise, images: Tensor, levels: Sequence[float], fresh: FreshNoise) -> Steps:
        """From `images` at the first of the falling `levels` to the last."""
        known: deque[tuple[float, Tensor]] = deque(maxlen=self.order + 1)
        before, used = images, 0
        for place, (sigma, after) in enumerate(pairwise(levels)):
            clean = denoise(images, sigma)
            known.append((sigma, clean))
            if place:
                images = _integrated(before, levels[place - 1], sigma, list(known)[-used - 1 :])
            before, used = images, _order_at(self.order, levels, place)
            images = _integrated(before, sigma, after, list(known)[-used:])
            yield images, clean


class Ipndm(Section):
    """iPNDM (Zhang & Chen 2023, 2204.13902, section 3.3): slopes as in steps of Adams-Bashforth, fourth order.

    One evaluation a step. Strong at 10 evaluations and fewer; of full order only where the levels are evenly spaced.
    """

    kind: Literal["ipndm"]

    def steps(self, denoise: Denoise, images: Tensor, levels: Sequence[float], fresh: FreshNoise) -> Steps:
        """From `images` at the first of the falling `levels` to the last."""
        slopes: deque[Tensor] = deque(maxlen=len(_ADAMS_BASHFORTH))
        for sigma, after in pairwise(levels):
            clean = denoise(images, sigma)
            slopes.appendleft((images - clean) / sigma)
            weighed = zip(_ADAMS_BASHFORTH[len(slopes) - 1], slopes, strict=True)
            images = images + (after - sigma) * sum(weight * slope for weight, slope in weighed)
            yield images, clean


_ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def _order_at(order: int, levels: Sequence[float], place: int) -> int:
    """What the past answers allow; lower before level 0, which lies at infinity in lambda."""
    to_zero = len(levels) - 1 - place if levels[-1] == 0 else order
    return min(order, place + 1, to_zero)


def _integrated(images: Tensor, sigma: float, after: float, known: Sequence[tuple[float, Tensor]]) -> Tensor:
    """The images at level `after`, where the clean image is a polynomial in lambda through `known` (level, answer).

    images(after) = after / sigma * images + integral of exp(-(h - tau)) clean(tau) over tau = lambda - lambda(sigma) in [0, h]
    (DPM-Solver++, equation 9). The weights of the answers follow from the moments of that integral.
    """
    if after == 0:
        return known[-1][1]
    step = log(sigma / after)
    places = np.array([log(sigma / level) / step for level, _ in known])
    weights = np.linalg.solve(np.vander(places, increasing=True).T, _moments(step, len(known)))
    return after / sigma * images + sum(float(weight) * clean for weight, (_, clean) in zip(weights, known, strict=True))


def _moments(step: float, count: int) -> list[float]:
    """Integrals of exp(-(h - tau)) (tau / h)^k over [0, h], for k below `count`.

    With two answers half the zeroth stands for the first, as in both papers' methods of second order.
    """
    moments = [-expm1(-step)]
    if count == 2:
        return [moments[0], moments[0] / 2]
    for power in range(1, count):
        moments.append(1 - power / step * moments[-1])
    return moments


Sampler = Annotated[Euler | Heun | Ddim | Ancestral | DpmSolver | UniPc | Ipndm, Field(discriminator="kind")]
