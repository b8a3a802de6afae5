"""Rules that scale each coordinate by the size of its gradients: Adam's family and Gravity.

The second moment forgets faster than is usual for exact gradients (0.99 instead of 0.999): estimates from few directions are
heavy-tailed, and a study has hundreds of steps rather than millions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from services.domain.document import Document

from .rule import NO_EXTRAS, Array, NotNegative, Positive, Rule, Shape, Share


class Adam(Rule):
    """x ← x - lr·m̂ / (√v̂ + eps), with the bias of both moments corrected."""

    class Options(Document):
        """Adam."""

        lr: Positive = 0.02
        beta1: Share = 0.9
        beta2: Share = 0.99
        eps: Positive = 1e-8

    options: Adam.Options
    summary = "momentum, each coordinate divided by the root mean square of its gradients"
    source = "Kingma, Ba 2015"
    SCALARS = ("k",)
    ARRAYS: ClassVar[tuple[str, ...]] = ("m", "v")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.k = 0
        self.m, self.v = np.zeros(size), np.zeros(size)

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        o = self.options
        self.k += 1
        self.m = o.beta1 * self.m + (1 - o.beta1) * g
        self.v = o.beta2 * self.v + (1 - o.beta2) * g * g
        length = self.factor * o.lr / (1 - o.beta1**self.k)
        return x - length * self.m / self.scale(self.second_moment())

    def scale(self, v: Array) -> Array:
        """(n,) what the momentum is divided by."""
        return np.sqrt(v) / math.sqrt(1 - self.options.beta2 ** max(self.k, 1)) + self.options.eps

    def second_moment(self) -> Array:
        """(n,) what stands for the squared gradients."""
        return self.v


class AdamW(Adam):
    """Adam, and beside it x ← x - lr·decay·(x - anchor)."""

    class Options(Adam.Options):
        """Adam with decoupled decay."""

        weight_decay: NotNegative = 0.01
        anchor: Literal["start", "zero"] = "start"

    options: AdamW.Options
    summary = "Adam with a decoupled pull towards where it started (a pull towards 0 would be one towards a corner)"
    source = "Loshchilov, Hutter 2019"
    ARRAYS = ("m", "v", "origin")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.origin = np.zeros(size)

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        if self.k == 0 and self.options.anchor == "start":
            self.origin = x.copy()
        pulled = x - self.factor * self.options.lr * self.options.weight_decay * (x - self.origin)
        return super().step(pulled, g, f, extras)


class AmsGrad(Adam):
    """Adam whose second moment never falls."""

    summary = "Adam whose second moment never falls"
    source = "Reddi, Kale, Kumar 2018"
    ARRAYS: ClassVar[tuple[str, ...]] = ("m", "v", "largest")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.largest = np.zeros(size)

    def second_moment(self) -> Array:
        self.largest = np.maximum(self.largest, self.v)
        return self.largest


class OptimisticAmsGrad(AmsGrad):
    """AMSGrad that looks ahead: the gradient is taken where the predicted next gradient would lead.

    The iterate is AMSGrad's; `probe_at` is x - lr·h / √v̂ with h = b1·m + (1 - b1)·p, and may lie outside the domain. The prediction p
    is the last gradient (`predict_from` 1 or 2), or the combination Σ cᵢ gᵢ, Σ cᵢ = 1, of the last ones that extrapolates their
    sequence (Scieur et al. 2016).
    """

    class Options(Adam.Options):
        """Optimistic AMSGrad."""

        predict_from: Annotated[int, Field(ge=1, le=10)] = 1
        regularisation: Positive = 1e-2

    options: OptimisticAmsGrad.Options
    summary = "AMSGrad whose gradients are taken where the predicted next gradient would lead"
    source = "Wang, Li, Karimi, Li 2021, An Optimistic Acceleration of AMSGrad for Nonconvex Optimization"
    ARRAYS = ("m", "v", "largest", "recent")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.recent = np.zeros((0, size))

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        self.recent = np.vstack([self.recent, g])[-self.options.predict_from :]
        return super().step(x, g, f, extras)

    def probe_at(self, x: Array) -> Array:
        if self.k == 0:
            return x
        o = self.options
        ahead = o.beta1 * self.m + (1 - o.beta1) * self.predicted()
        return x - self.factor * o.lr * ahead / self.scale(self.largest)

    def predicted(self) -> Array:
        """(n,) the next gradient, from the last ones."""
        last: Array = self.recent[-1]
        if len(self.recent) < 3:
            return last
        changes = np.diff(self.recent, axis=0)
        products = changes @ changes.T
        size = float(np.linalg.norm(products))
        if size == 0.0:
            return last
        weights = np.linalg.solve(
            products / size + self.options.regularisation * np.eye(len(changes)), np.ones(len(changes))
        )
        return np.asarray((weights / weights.sum()) @ self.recent[1:])


class Gravity(Rule):
    """V ← β̂·V + (1 - β̂)·ζ with ζ = g / (1 + (g / m)²), m = 1 / max|g|, β̂ = (β·t + 1) / (t + 2); x ← x - lr·V."""

    class Options(Document):
        """Gravity."""

        lr: Positive = 0.02
        alpha: NotNegative = 0.01
        beta: Share = 0.9
        seed: Annotated[int, Field(ge=0)] = 0

    options: Gravity.Options
    summary = "momentum of gradients whose large entries are damped; begins with a small random velocity"
    source = "Bahrami, Zadeh 2021, Gravity Optimizer"
    SCALARS = ("k",)
    ARRAYS = ("velocity",)

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.k = 0
        spread = self.options.alpha / self.options.lr
        self.velocity = spread * np.random.default_rng([self.options.seed, size]).standard_normal(size)

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        self.k += 1
        beta = (self.options.beta * self.k + 1) / (self.k + 2)
        damped = g / (1 + (g * np.max(np.abs(g))) ** 2)
        self.velocity = beta * self.velocity + (1 - beta) * damped
        return x - self.factor * self.options.lr * self.velocity
