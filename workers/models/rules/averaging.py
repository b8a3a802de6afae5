"""Averages of iterates instead of a falling learning rate: schedule-free descent, and the polynomial average for any rule.

All of them average the projected iterates, so an average never leaves a convex domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from services.domain.document import Document

from .rule import NO_EXTRAS, Array, NotNegative, Positive, Rule, Shape, Share, Wrapper


def drawn_to(mean: Array, x: Array, count: int, gamma: float) -> Array:
    """The average after one more iterate: x̄ ← (1 - w)·x̄ + w·x, w = (γ + 1) / (γ + t) (Shamir, Zhang 2013).

    Args:
        count: t, how many iterates it holds then.
        gamma: the weight of the i-th iterate grows as i^γ.
    """
    weight = (gamma + 1) / (gamma + count)
    return (1 - weight) * mean + weight * x


class ScheduleFree(Rule):
    """z ← z - lr·g(y), x̄ ← (1 - c)·x̄ + c·z, with the gradient taken at y = (1 - β)·z + β·x̄.

    The iterate is z; `probe_at` is y, `recommend` is x̄. The weight c of the newest z is its lr² by the sum of all lr².
    """

    class Options(Document):
        """Schedule-free descent."""

        lr: Positive = 0.05
        beta: Share = 0.9

    options: ScheduleFree.Options
    summary = "gradient descent with an average instead of a schedule; gradients are taken between iterate and average"
    source = "Defazio et al. 2024, The Road Less Scheduled"
    SCALARS = ("k", "largest", "total", "weight")
    ARRAYS: ClassVar[tuple[str, ...]] = ("mean",)

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.k = 0
        self.largest, self.total, self.weight = 0.0, 0.0, 1.0
        self.mean = np.zeros(size)

    def recommend(self, x: Array) -> Array:
        return x if self.k == 0 else (1 - self.weight) * self.mean + self.weight * x

    def probe_at(self, x: Array) -> Array:
        return (1 - self.options.beta) * x + self.options.beta * self.recommend(x)

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        self.mean = self.recommend(x).copy()
        self.k += 1
        lr = self.factor * self.options.lr
        self.largest = max(self.largest, lr)
        self.total += self.largest**2
        self.weight = self.largest**2 / self.total if self.total > 0 else 0.0
        return x - lr * self.scaled(g)

    def scaled(self, g: Array) -> Array:
        """(n,) the direction of descent."""
        return g


class ScheduleFreeAdam(ScheduleFree):
    """Schedule-free descent along g / √v̂."""

    class Options(ScheduleFree.Options):
        """Schedule-free Adam."""

        beta2: Share = 0.99
        eps: Positive = 1e-8

    options: ScheduleFreeAdam.Options
    summary = "schedule-free descent, each coordinate divided by the root mean square of its gradients"
    ARRAYS = ("mean", "v")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.v = np.zeros(size)

    def scaled(self, g: Array) -> Array:
        o = self.options
        self.v = o.beta2 * self.v + (1 - o.beta2) * g * g
        return g / (np.sqrt(self.v / (1 - o.beta2**self.k)) + o.eps)


class Averaged(Wrapper):
    """Recommends the polynomial average of the iterates."""

    class Options(Document):
        """The average."""

        averaging_gamma: NotNegative = 3.0

    options: Averaged.Options
    summary = "recommends a weighted average of the iterates (γ = 3: the last half has 15/16 of the weight)"
    source = "Polyak, Juditsky 1992; Shamir, Zhang 2013"
    SCALARS = ("k",)
    ARRAYS = ("mean",)

    def __init__(self, inner: Rule, options: Document) -> None:
        super().__init__(inner, options)
        self.k = -1
        self.mean = np.zeros(inner.size)

    def recommend(self, x: Array) -> Array:
        here = self.inner.recommend(x)
        return drawn_to(self.mean, here, self.k + 1, self.options.averaging_gamma) if self.k >= 0 else here

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        if self.k >= 0:  # the start itself is no result of a step
            self.mean = self.recommend(x).copy()
        self.k += 1
        self.inner.factor = self.factor
        return self.inner.step(x, g, f, extras)
