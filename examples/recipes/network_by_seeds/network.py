"""A small network that tells handwritten digits apart, and how well it does. No gradients anywhere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

HIDDEN, PIXELS, CLASSES = 16, 64, 10


def start() -> dict[str, np.ndarray]:
    """theta_0, the same at every worker: 1210 numbers in four tensors."""
    rng = np.random.default_rng(0)
    return {
        "w1": (rng.standard_normal((HIDDEN, PIXELS)) / PIXELS**0.5).astype(np.float32),
        "b1": np.zeros(HIDDEN, np.float32),
        "w2": (rng.standard_normal((CLASSES, HIDDEN)) / HIDDEN**0.5).astype(np.float32),
        "b2": np.zeros(CLASSES, np.float32),
    }


def logits(theta: Mapping[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """(n, 10) for images (n, 64)."""
    hidden = np.tanh(images @ theta["w1"].T + theta["b1"])
    return hidden @ theta["w2"].T + theta["b2"]


def loss(theta: Mapping[str, np.ndarray], images: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy."""
    scores = logits(theta, images)
    scores = scores - scores.max(axis=1, keepdims=True)
    right = scores[np.arange(len(labels)), labels]
    return float((np.log(np.exp(scores).sum(axis=1)) - right).mean())


def accuracy(theta: Mapping[str, np.ndarray], images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images that are told right."""
    return float((logits(theta, images).argmax(axis=1) == labels).mean())
