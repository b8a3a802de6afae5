"""Material to work on, and what a sound is compared by."""

from __future__ import annotations

import functools
import itertools

import numpy as np
from chain import RATE
from scipy.signal import stft

SECONDS, BANDS = 4.0, 24


def music(seed: int) -> np.ndarray:
    """A short piece: plucked notes of a scale with overtones, and a noisy beat."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(SECONDS * RATE)) / RATE
    sound = np.zeros_like(time)
    for start in range(0, len(time), RATE // 8):
        after = time[: len(time) - start]
        pitch = 110 * 2 ** (rng.choice([0, 2, 4, 7, 9, 12, 14, 16]) / 12)
        overtones = np.arange(1, int(RATE / 2 / pitch))[:, None]
        note = (np.sin(2 * np.pi * pitch * overtones * after[: RATE // 2]) / overtones).sum(axis=0)
        sound[start : start + len(note)] += rng.uniform(0.2, 1) * note * np.exp(-8 * after[: RATE // 2])
    beat = np.exp(-40 * np.mod(time, 0.25)) * rng.standard_normal(len(time))
    return 0.1 * (sound + 0.5 * beat)


def levels(sound: np.ndarray) -> np.ndarray:
    """What it sounds like, not what it plays, in dB: mean and spread of the level in each band, and how loud its moments are."""
    frequencies, _, spectrum = stft(sound, RATE, nperseg=256)
    edges = np.geomspace(60, RATE / 2, BANDS + 1)
    power = np.abs(spectrum) ** 2
    bands = [power[(frequencies >= low) & (frequencies < high)] for low, high in itertools.pairwise(edges)]
    found = np.stack([10 * np.log10(band.sum(axis=0) + 1e-9) for band in bands if len(band)])
    loud = 10 * np.log10(power.sum(axis=0) + 1e-9)
    return np.concatenate([found.mean(axis=1), found.std(axis=1), np.percentile(loud, [10, 30, 50, 70, 90, 99])])


@functools.cache
def plain() -> np.ndarray:
    """What music without effects sounds like."""
    return np.mean([levels(music(1000 + k)) for k in range(8)], axis=0)


def embedding(sound: np.ndarray) -> np.ndarray:
    """Levels against plain music's, with a constant, so that the angle between two embeddings sees their size too."""
    different = (levels(sound) - plain()) / 10
    return np.append(different, np.sqrt(len(different)))


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Cosine of two embeddings."""
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))
