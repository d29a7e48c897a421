"""Laying one small picture over another that shows a part of it: what was cropped, and by how much, is found by least squares.

Lucas and Kanade (IJCAI 1981) with two scales and two shifts, for many pairs at once. A picture is resampled along rows
and columns alone, so a warp is two small matrices.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LEAST_SIDE, MOST_SIDE = 0.8, 1.02  # of the whole that a part may show, along each axis; beyond 1 for rounding


def laid_over(whole: Floats, part: Floats, boxes: Floats, rounds: int) -> Floats:
    """The boxes of grey pictures `whole` [n, k, k] that `part` [n, k, k] shows.

    `boxes` [n, 4]: left, top, width, height of where the search begins, as fractions of the whole.
    """
    found: Floats = boxes.astype(np.float32)
    best, least = found.copy(), np.full(len(found), np.inf)
    target = normalised(part)
    for _ in range(rounds):
        rows, columns = _weights(found[:, 1::2], whole.shape[1]), _weights(found[:, ::2], whole.shape[2])
        moved = np.asarray(rows @ whole @ columns.transpose(0, 2, 1), np.float32)
        grey = normalised(moved)
        apart: Floats = target - grey
        error: Floats = (apart**2).mean((1, 2))
        better = error < least
        best[better], least[better] = found[better], error[better]
        found = _within(found + _step(grey, apart, found))
    return best


def warped(whole: Floats, boxes: Floats) -> Floats:
    """The boxes [n, 4] of the pictures [n, k, k, c], each at the size of the whole."""
    rows, columns = _weights(boxes[:, 1::2], whole.shape[1]), _weights(boxes[:, ::2], whole.shape[2])
    channels = rows[:, None] @ whole.transpose(0, 3, 1, 2) @ columns.transpose(0, 2, 1)[:, None]
    return np.asarray(channels.transpose(0, 2, 3, 1), np.float32)


def _weights(spans: Floats, count: int) -> Floats:
    """Linear interpolation of `count` pixels at `count` places spread over a span (start, length). [n, count, count]"""
    centres = (np.arange(count, dtype=np.float32) + 0.5) / count
    places = (spans[:, :1] + spans[:, 1:] * centres) * count - 0.5
    places = places.clip(0, count - 1)
    weights: Floats = (1 - abs(places[:, :, None] - np.arange(count, dtype=np.float32))).clip(0)
    return weights


def normalised(grey: Floats) -> Floats:
    """Each of the pictures [n, k, k] with a mean of 0 and a deviation of 1, or of 0 where it is plain."""
    apart = grey - grey.mean((1, 2), keepdims=True)
    spread = np.sqrt((apart**2).mean((1, 2), keepdims=True))
    even: Floats = apart / np.maximum(spread, np.float32(1e-3))
    return even


def _step(grey: Floats, apart: Floats, boxes: Floats) -> Floats:
    """The change of the boxes that lessens the difference most, to first order."""
    count = grey.shape[1]
    centres = ((np.arange(count, dtype=np.float32) + 0.5) / count)[None]
    down, across = np.gradient(grey, axis=(1, 2))
    across = across * count / boxes[:, 2, None, None]
    down = down * count / boxes[:, 3, None, None]
    slopes = np.stack([across, down, across * centres[:, None, :], down * centres[:, :, None]], axis=-1)
    slopes = slopes.reshape(len(grey), -1, 4)
    square = slopes.transpose(0, 2, 1) @ slopes
    square += np.eye(4, dtype=np.float32) * (1e-3 * np.trace(square, axis1=1, axis2=2)[:, None, None] + np.float32(1e-3))
    wanted = slopes.transpose(0, 2, 1) @ apart.reshape(len(grey), -1, 1)
    step: Floats = np.linalg.solve(square, wanted)[..., 0].clip(-0.05, 0.05)
    return step


def _within(boxes: Floats) -> Floats:
    sides = boxes[:, 2:].clip(LEAST_SIDE, MOST_SIDE)
    edge = (MOST_SIDE - 1) / 2
    corners = boxes[:, :2].clip(-edge, 1 + edge - sides)
    whole: Floats = np.concatenate([corners, sides], axis=1)
    return whole
