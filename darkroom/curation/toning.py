"""Tones: what is done to all pixels of a picture alike - brightness, contrast, gamma, saturation - fitted to a pair of pictures.

Four numbers, clipping and a limit undo what photo editors do; they are too few to make two different pictures equal.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ROUNDS = 5
EVERY = 3  # pixels, along each axis: what the numbers are fitted on
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
UNCHANGED = np.array([0, 0, 0, 1], np.float32)  # logarithm of the gain, offset, logarithm of gamma, saturation
LEAST = np.array([np.log(0.45), -0.6, np.log(0.5), 0], np.float32)
MOST = np.array([np.log(2.2), 0.6, np.log(2), 2], np.float32)
DARKEST = np.float32(1 / 255)
FAR = np.float32(0.35)  # no level changes by more: a dark hand on white is no light one


def with_tones_of(model: Floats, pictures: Floats) -> Floats:
    """Pictures [n, k, k, 3], 0 to 255, as near to the model [n, k, k, 3] as a change of tones brings them.

    Least squares by Levenberg and Marquardt (SIAM J. Appl. Math. 11, 1963), for many pairs at once.
    """
    given, wanted = (one[:, ::EVERY, ::EVERY].reshape(len(one), -1, 3) / np.float32(255) for one in (pictures, model))
    tones = np.tile(UNCHANGED, (len(given), 1))
    damping = np.full(len(given), 1e-3, np.float32)
    made, slopes = _toned(given, tones)
    error = _squares(wanted - made)
    for _ in range(ROUNDS):
        tried = _step(wanted - made, slopes, damping, tones)
        its, its_slopes = _toned(given, tried)
        its_error = _squares(wanted - its)
        better = its_error < error
        damping = np.where(better, damping / 4, damping * 8).astype(np.float32)
        tones[better], error[better] = tried[better], its_error[better]
        made[better], slopes[better] = its[better], its_slopes[better]
    whole, _ = _toned(pictures.reshape(len(pictures), -1, 3) / np.float32(255), tones)
    return np.asarray(whole.reshape(pictures.shape) * np.float32(255), np.float32)


def _step(apart: Floats, slopes: Floats, damping: Floats, tones: Floats) -> Floats:
    """Tones that should lessen what is still apart [n, p, 3], to first order, within what is allowed."""
    slopes = slopes.reshape(len(apart), -1, 4)
    across = slopes.transpose(0, 2, 1) / np.float32(slopes.shape[1])
    square = across @ slopes + damping[:, None, None] * np.eye(4, dtype=np.float32)
    step = np.linalg.solve(square, across @ apart.reshape(len(apart), -1, 1))[..., 0]
    tried: Floats = (tones + step).clip(LEAST, MOST)
    return tried


def _toned(pixels: Floats, tones: Floats) -> tuple[Floats, Floats]:
    """Pixels [n, p, 3], 0 to 1, with the tones [n, 4]; and how they change with each of the four [n, p, 3, 4]."""
    gain, offset, gamma, saturation = (column[:, None, None] for column in tones.T)
    grey = (pixels @ LUMA)[..., None]
    mixed = (grey + saturation * (pixels - grey)).clip(DARKEST, 1)
    curve = np.exp(gain) * mixed ** np.exp(gamma)
    free = curve + offset
    lowest, highest = (pixels - FAR).clip(0, 1), (pixels + FAR).clip(0, 1)
    by_gamma = curve * np.exp(gamma) * np.log(mixed)
    by_saturation = curve * np.exp(gamma) / mixed * (pixels - grey)
    slopes = np.stack([curve, np.ones_like(curve), by_gamma, by_saturation], -1)
    slopes *= ((free > lowest) & (free < highest))[..., None]
    return free.clip(lowest, highest), slopes


def _squares(apart: Floats) -> Floats:
    mean: Floats = (apart**2).mean((1, 2))
    return mean
