"""A pretrained network in eight bits with a low-rank adapter, in NumPy: the small stand-in for a language model and its LoRA."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HIDDEN, RANK = 48, 8
Weights = tuple[np.ndarray, np.ndarray]
Adapter = tuple[Weights, Weights]
"""For each of the two layers, factors B (out × rank) and A (rank × in)."""


def scores(weights: Weights, images: np.ndarray) -> np.ndarray:
    """(n, 10)."""
    return np.tanh(images @ weights[0].T) @ weights[1].T


def gradients(weights: Weights, images: np.ndarray, labels: np.ndarray) -> Weights:
    """Of the mean cross-entropy."""
    hidden = np.tanh(images @ weights[0].T)
    odds = hidden @ weights[1].T
    odds = np.exp(odds - odds.max(axis=1, keepdims=True))
    wrong = odds / odds.sum(axis=1, keepdims=True)
    wrong[np.arange(len(labels)), labels] -= 1
    back = (wrong @ weights[1]) * (1 - hidden**2)
    return back.T @ images / len(labels), wrong.T @ hidden / len(labels)


def pretrained(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Weights:
    """A network trained by gradients, its weights rounded to eight bits as for inference."""
    first, last = rng.standard_normal((HIDDEN, images.shape[1])) / 8, rng.standard_normal((10, HIDDEN)) / 7
    for _ in range(300):
        change = gradients((first, last), images, labels)
        first, last = first - 0.5 * change[0], last - 0.5 * change[1]
    return eight_bits(first), eight_bits(last)


def eight_bits(weights: np.ndarray) -> np.ndarray:
    """Rounded to 255 steps."""
    step = np.abs(weights).max() / 127
    return np.asarray(np.round(weights / step) * step)


def warm_start(base: Weights, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, steps: int) -> Adapter:
    """A LoRA adapter fine-tuned on the few labelled examples that there are."""
    factors = [(np.zeros((len(w), RANK)), rng.standard_normal((RANK, w.shape[1])) / w.shape[1] ** 0.5) for w in base]
    for _ in range(steps):
        change = gradients(with_adapter(base, (factors[0], factors[1])), images, labels)
        factors = [(b - 0.5 * g @ a.T, a - 0.5 * b.T @ g) for (b, a), g in zip(factors, change, strict=True)]
    return factors[0], factors[1]


def with_adapter(base: Weights, adapter: Adapter) -> Weights:
    """W + B A in each layer."""
    first, last = (w + b @ a for w, (b, a) in zip(base, adapter, strict=True))
    return first, last


def scaled(adapter: Adapter, change: Sequence[float]) -> Adapter:
    """The adapter with each singular value s of its factors made s (1 + change)."""
    parts = np.split(1 + np.asarray(change), 4)
    factors = []
    for number, factor in enumerate(factor for layer in adapter for factor in layer):
        u, s, vt = np.linalg.svd(factor, full_matrices=False)
        factors.append((u * (s * parts[number])) @ vt)
    return (factors[0], factors[1]), (factors[2], factors[3])
