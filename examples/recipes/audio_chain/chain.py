"""A chain of effects, each control in [0, 1]: equaliser (low shelf, peak, high shelf), compressor, gain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import lfilter

RATE = 8_000
CONTROLS = ("gain", "low shelf", "peak frequency", "peak", "peak width", "high shelf", "threshold", "ratio")
DECIBELS, LOW, HIGH = 12.0, 250.0, 1800.0


def process(sound: np.ndarray, controls: Sequence[float]) -> np.ndarray:
    """The sound after the chain; all controls at one half but the threshold leave it as it is where nothing is compressed."""
    gain, low, frequency, peak, width, high, threshold, ratio = (float(control) for control in controls)
    out = _biquad(sound, *_shelf(LOW, _decibels(low), -1))
    out = _biquad(out, *_peak(250 * 6**frequency, _decibels(peak), 0.4 * 10**width))
    out = _biquad(out, *_shelf(HIGH, _decibels(high), 1))
    return 10 ** (_decibels(gain) / 20) * _compress(out, -45 + 40 * threshold, 1 + 9 * ratio)


def _decibels(control: float) -> float:
    return DECIBELS * (2 * control - 1)


def _biquad(sound: np.ndarray, b: np.ndarray, a: np.ndarray) -> np.ndarray:
    return np.asarray(lfilter(b / a[0], a / a[0], sound))


def _peak(frequency: float, decibels: float, q: float) -> tuple[np.ndarray, np.ndarray]:
    # Bristow-Johnson's cookbook, as the shelves below.
    a, w = 10 ** (decibels / 40), 2 * np.pi * frequency / RATE
    alpha = np.sin(w) / (2 * q)
    middle = -2 * np.cos(w)
    return np.array([1 + alpha * a, middle, 1 - alpha * a]), np.array([1 + alpha / a, middle, 1 - alpha / a])


def _shelf(frequency: float, decibels: float, side: int) -> tuple[np.ndarray, np.ndarray]:
    a, w = 10 ** (decibels / 40), 2 * np.pi * frequency / RATE
    cos, root = side * np.cos(w), 2 * np.sqrt(a) * np.sin(w) / 2**0.5
    b = a * np.array([a + 1 + (a - 1) * cos + root, -2 * side * (a - 1 + (a + 1) * cos), a + 1 + (a - 1) * cos - root])
    return b, np.array([a + 1 - (a - 1) * cos + root, 2 * side * (a - 1 - (a + 1) * cos), a + 1 - (a - 1) * cos - root])


def _compress(sound: np.ndarray, threshold: float, ratio: float) -> np.ndarray:
    """What is louder than `threshold` dB is turned down; the level is followed over some 20 ms."""
    smooth = np.exp(-1 / (0.02 * RATE))
    level = 10 * np.log10(lfilter([1 - smooth], [1, -smooth], sound**2) + 1e-10)
    return np.asarray(sound * 10 ** (np.minimum(0, (threshold - level) * (1 - 1 / ratio)) / 20))
