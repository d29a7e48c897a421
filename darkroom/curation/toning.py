"""Tones: what is done to all pixels of a picture alike - brightness, contrast, gamma, saturation - fitted to a pair of pictures.

Four numbers, clipping and a limit undo what photo editors do; they are too few to make two different pictures equal. A pixel of a
small picture stands for many of the file, of which the bright ones may be clipped and the others not: it is taken to hold two
tones, a dark and a light one, with the mean and the deviation that were measured (`spread`).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ROUNDS = 5
EVERY = 3  # pixels, along each axis: what the numbers are fitted on
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
# Logarithm of the gain, offset, logarithm of gamma, saturation: unchanged, brighter, darker.
STARTS = np.array([[0, 0, 0, 1], [0.25, 0, 0, 1], [-0.25, 0, 0, 1]], np.float32)
LEAST = np.array([np.log(0.45), -0.6, np.log(0.5), 0], np.float32)
MOST = np.array([np.log(2.2), 0.6, np.log(2), 2], np.float32)
DARKEST = np.float32(1 / 255)
FAR = np.float32(0.35)  # no level changes by more: a dark hand on white is no light one


def with_tones_of(model: Floats, pictures: Floats, spread: Floats) -> Floats:
    """Pictures [n, k, k, 3], 0 to 255, as near to the model [n, k, k, 3] as a change of tones brings them.

    `spread` [n, k, k]: deviation of the luma that each pixel is the mean of. Least squares by Levenberg and Marquardt (SIAM J.
    Appl. Math. 11, 1963), for many pairs at once.
    """
    given, wanted = (one[:, ::EVERY, ::EVERY].reshape(len(one), -1, 3) / np.float32(255) for one in (pictures, model))
    within = spread[:, ::EVERY, ::EVERY].reshape(len(spread), -1) / np.float32(255)
    tones = _nearest(given, wanted, within)
    damping = np.full(len(given), 1e-3, np.float32)
    made = _toned(given, tones, within)
    slopes, error = _slopes(given, tones, within, made), _squares(wanted - made)
    for _ in range(ROUNDS):
        tried = _step(wanted - made, slopes, damping, tones)
        its = _toned(given, tried, within)
        its_error = _squares(wanted - its)
        better = its_error < error
        damping = np.where(better, damping / 4, damping * 8).astype(np.float32)
        tones[better], error[better], made[better] = tried[better], its_error[better], its[better]
        slopes[better] = _slopes(given[better], tones[better], within[better], made[better])
    pixels, within = (one.reshape(len(one), -1, *one.shape[3:]) / np.float32(255) for one in (pictures, spread))
    whole = _toned(pixels, tones, within)
    return np.asarray(whole.reshape(pictures.shape) * np.float32(255), np.float32)


def _nearest(given: Floats, wanted: Floats, spread: Floats) -> Floats:
    """Of the tones to begin with, for each pair those that come nearest. [n, 4]"""
    errors = [_squares(wanted - _toned(given, np.tile(tones, (len(given), 1)), spread)) for tones in STARTS]
    return STARTS[np.argmin(errors, axis=0)]


def _step(apart: Floats, slopes: Floats, damping: Floats, tones: Floats) -> Floats:
    """Tones that should lessen what is still apart [n, p, 3], to first order, within what is allowed."""
    slopes = slopes.reshape(len(apart), -1, 4)
    across = slopes.transpose(0, 2, 1) / np.float32(slopes.shape[1])
    square = across @ slopes + damping[:, None, None] * np.eye(4, dtype=np.float32)
    step = np.linalg.solve(square, across @ apart.reshape(len(apart), -1, 1))[..., 0]
    tried: Floats = (tones + step).clip(LEAST, MOST)
    return tried


def _toned(pixels: Floats, tones: Floats, spread: Floats) -> Floats:
    """Pixels [n, p, 3], 0 to 1, of spread [n, p], with the tones [n, 4]."""
    gain, offset, gamma, _ = (column[:, None, None] for column in tones.T)
    toned: Floats = sum(
        share * (np.exp(gain) * level ** np.exp(gamma) + offset).clip(0, 1) for level, share in _levels(pixels, tones, spread)
    )
    return toned.clip((pixels - FAR).clip(0, 1), (pixels + FAR).clip(0, 1))


def _slopes(pixels: Floats, tones: Floats, spread: Floats, toned: Floats) -> Floats:
    """How `toned` pixels change with each of the four tones; not at all where they are clipped. [n, p, 3, 4]"""
    gain, offset, gamma, _ = (column[:, None, None] for column in tones.T)
    power, colour = np.exp(gamma), pixels - (pixels @ LUMA)[..., None]
    slopes = np.zeros((*pixels.shape, 4), np.float32)
    for level, share in _levels(pixels, tones, spread):
        curve = np.exp(gain) * level**power
        free = share * ((curve + offset > 0) & (curve + offset < 1))
        by_level = free * curve * power
        for number, slope in enumerate((free * curve, free, by_level * np.log(level), by_level / level * colour)):
            slopes[..., number] += slope
    slopes *= (abs(toned - pixels) < FAR)[..., None]
    return slopes


def _levels(pixels: Floats, tones: Floats, spread: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """The two tones of each pixel once its saturation is changed, and their shares."""
    grey = (pixels @ LUMA)[..., None]
    mixed = (grey + tones[:, 3, None, None] * (pixels - grey)).clip(DARKEST, 1 - DARKEST)
    return _two_tones(mixed, spread[..., None])


def _two_tones(mean: Floats, spread: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """The levels and the shares of a dark and a light tone of this mean and, as far as 0 to 1 has room, this deviation.

    Both lie as far from the mean where that fits; else the farther one takes the smaller share.
    """
    within = np.minimum(spread, np.sqrt(mean * (1 - mean))).clip(1e-4)
    skew = np.minimum(np.maximum(1, within / (1 - mean)), mean / within)
    light = skew**2 / (1 + skew**2)
    dark_level, light_level = ((mean + far).clip(DARKEST, 1) for far in (-within * skew, within / skew))
    return (dark_level, 1 - light), (light_level, light)


def _squares(apart: Floats) -> Floats:
    mean: Floats = (apart**2).mean((1, 2))
    return mean
