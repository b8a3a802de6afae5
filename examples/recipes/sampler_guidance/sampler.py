"""A diffusion model whose score is known exactly, its guided sampler with few steps, and how far samples are from the truth."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

CENTRES = np.array([[-2.0, 0.0], [0.0, 2.2], [2.0, 0.0], [0.0, -2.2]])
SPREAD, STEPS = 0.35, 8
NOISIEST, CLEANEST = 6.0, 0.05
WANTED, WIDTH = np.array([1.2, 1.2]), 0.9


def denoised(x: np.ndarray, noise: float) -> np.ndarray:
    """E[clean sample | x], for data that is a mixture of four normal distributions and noise of this deviation."""
    variance = SPREAD**2 + noise**2
    logs = -((x[:, None] - CENTRES) ** 2).sum(axis=2) / (2 * variance)
    share = np.exp(logs - logs.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    means = CENTRES + (x[:, None] - CENTRES) * (SPREAD**2 / variance)
    return np.asarray((share[:, :, None] * means).sum(axis=1))


def levels(bend: float) -> np.ndarray:
    """Noise levels from the noisiest down to 0; a larger bend puts more steps at the clean end (Karras et al. 2022)."""
    ends = NOISIEST ** (1 / bend), CLEANEST ** (1 / bend)
    return np.append(np.linspace(*ends, STEPS) ** bend, 0.0)


def sample(settings: Mapping[str, float], count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 2) samples that are drawn to what is wanted.

    Args:
        settings: `guidance`, strength of the pull; `fade`, how the pull changes with the noise; `bend`, of the noise levels;
            `churn`, share of the noise that is drawn anew in each step.
    """
    noises = levels(settings["bend"])
    x = noises[0] * rng.standard_normal((count, 2))
    for noise, after in itertools.pairwise(noises):
        clean = denoised(x, noise)
        # Guidance without training (TFG): the pull is judged at the clean sample that is expected.
        pull = (WANTED - clean) / WIDTH**2
        clean = clean + settings["guidance"] * pull * min(1.0, noise) ** settings["fade"] * SPREAD**2
        fresh = after * settings["churn"] ** 0.5
        kept = (after**2 - fresh**2) ** 0.5
        x = clean + kept * (x - clean) / noise + fresh * rng.standard_normal(x.shape)
    return x


def truth(count: int, rng: np.random.Generator) -> np.ndarray:
    """Samples of data × exp(-distance² to what is wanted), by rejection."""
    found: list[np.ndarray] = []
    while sum(map(len, found)) < count:
        x = CENTRES[rng.integers(0, 4, 4 * count)] + SPREAD * rng.standard_normal((4 * count, 2))
        found.append(x[rng.random(len(x)) < np.exp(-((x - WANTED) ** 2).sum(axis=1) / (2 * WIDTH**2))])
    return np.concatenate(found)[:count]


def energy_distance(one: np.ndarray, other: np.ndarray) -> float:
    """0 for the same distribution (Székely, Rizzo 2013)."""

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(((a[:, None] - b) ** 2).sum(axis=2)).mean())

    return 2 * mean(one, other) - mean(one, one) - mean(other, other)


def flow(x: np.ndarray) -> np.ndarray:
    """The whole sampling process without noise or guidance, from the noisiest level: what FlowOpt inverts."""
    noises = levels(3.0)
    for noise, after in itertools.pairwise(noises):
        clean = denoised(x, noise)
        x = clean + after * (x - clean) / noise
    return x
