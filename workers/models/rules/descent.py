"""Gradient descent: plain, with momentum (Polyak 1964; Nesterov 1983), and by signs (Bernstein et al. 2018; Chen et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from services.domain.document import Document

from .rule import NO_EXTRAS, Array, Positive, Rule, Shape, Share


class Plain(Rule):
    """x ← x - lr·g."""

    class Options(Document):
        """Gradient descent."""

        lr: Positive = 0.02

    options: Plain.Options
    summary = "gradient descent"
    source = "Robbins, Monro 1951"

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        return x - self.factor * self.options.lr * g


class Momentum(Rule):
    """m ← b·m + g; x ← x - lr·m."""

    class Options(Document):
        """Gradient descent with momentum."""

        lr: Positive = 0.02
        momentum: Share = 0.9

    options: Momentum.Options
    summary = "gradient descent with momentum"
    source = "Polyak 1964"
    ARRAYS = ("m",)

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.m = np.zeros(size)

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        self.m = self.options.momentum * self.m + g
        return x - self.factor * self.options.lr * self.direction(g)

    def direction(self, g: Array) -> Array:
        """(n,) what is subtracted."""
        return self.m


class Nesterov(Momentum):
    """m ← b·m + g; x ← x - lr·(g + b·m)."""

    summary = "gradient descent with Nesterov's momentum"
    source = "Nesterov 1983; in the form of Sutskever et al. 2013"

    def direction(self, g: Array) -> Array:
        return g + self.options.momentum * self.m


class Sign(Rule):
    """x ← x - lr·sign(g)."""

    class Options(Document):
        """Descent by signs."""

        lr: Positive = 0.003

    options: Sign.Options
    summary = "a step of the same length in each coordinate, by the sign of the gradient"
    source = "Bernstein et al. 2018, signSGD"

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        return x - self.factor * self.options.lr * np.sign(g)


class Lion(Rule):
    """x ← x - lr·sign(b1·m + (1 - b1)·g); m ← b2·m + (1 - b2)·g."""

    class Options(Document):
        """Lion."""

        lr: Positive = 0.003
        beta1: Share = 0.9
        beta2: Share = 0.99

    options: Lion.Options
    summary = "signs of an interpolation between momentum and gradient"
    source = "Chen et al. 2023, Symbolic Discovery of Optimization Algorithms"
    ARRAYS = ("m",)

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.m = np.zeros(size)

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        o = self.options
        update = np.sign(o.beta1 * self.m + (1 - o.beta1) * g)
        self.m = o.beta2 * self.m + (1 - o.beta2) * g
        return x - self.factor * o.lr * update
