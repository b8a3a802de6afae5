"""Rules that scale the whole step by what they know: the value still to be gained (Polyak), or the steepness (induced metric)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from services.domain.document import Document

from .rule import NO_EXTRAS, Array, Positive, Rule, Shape, Share

SHRINKING = 0.95


class Polyak(Rule):
    """x ← x - lr·t·P⁻¹g, where t comes from f, the target f* and ‖g‖²_P = gᵀP⁻¹g.

    `model` "truncated": t = min(max_length, (f - f*) / ‖g‖²_P), the minimum of the linear model cut off at f* with a proximal
    term (stochastic Polyak step; without preconditioner the truncated model of Asi, Duchi 2019).
    `model` "sania": t = 1 - √max(0, 1 - 2(f - f*)/‖g‖²_P), where a quadratic model with Hessian P reaches f*.
    P is √v̂ ("adam", "adagrad"), v̂ itself ("adam-squared", "adagrad-squared": invariant to the scale of each coordinate), or the
    told diagonal ("hessian").

    Without a `target` it is the best value less a gap: the gap stays while targets are met and shrinks by 5 % when one is missed
    (Nedić, Bertsekas 2001); it begins with what the first gradient promises over a tenth of the range in each coordinate.
    """

    class Options(Document):
        """The Polyak step."""

        lr: Positive = 1.0
        target: float | None = None
        model: Literal["truncated", "sania"] = "truncated"
        preconditioner: Literal["none", "adam", "adam-squared", "adagrad", "adagrad-squared", "hessian"] = "adam"
        max_length: Positive = 1.0
        beta2: Share = 0.99
        eps: Positive = 1e-8

    options: Polyak.Options
    summary = "step length from the gap between the value and a target; needs values, and the target if it is known"
    source = "Loizou et al. 2021, SPS; Abdukhakimov et al. 2023, SANIA; Davis, Drusvyatskiy 2019"
    SCALARS = ("k", "best", "gap")
    ARRAYS = ("v",)

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.k, self.best, self.gap = 0, 0.0, 0.0
        self.v = np.zeros(size)
        known = self.options.preconditioner == "hessian"
        self.wants = frozenset({"value", "target", "hessian"} if known else {"value", "target"})

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        if f is None:
            raise ValueError("polyak needs the value in each step")
        target = self._target(f, g)
        self.k += 1
        direction = g / self._scale(g, extras)
        steepness = float(g @ direction)
        if steepness <= 0.0:
            return x
        return x - self.factor * self.options.lr * self._length(max(0.0, f - target) / steepness) * direction

    def _length(self, ratio: float) -> float:
        if self.options.model == "truncated":
            return min(self.options.max_length, ratio)
        return 1.0 - math.sqrt(max(0.0, 1.0 - 2.0 * ratio))

    def _target(self, f: float, g: Array) -> float:
        """f*, or a guess of it that follows the values."""
        if self.options.target is not None:
            return self.options.target
        if self.k == 0:
            self.best, self.gap = f, 0.1 * float(np.abs(g).sum())
        elif f > self.best - self.gap:
            self.gap *= SHRINKING
        self.best = min(self.best, f)
        return self.best - self.gap

    def _scale(self, g: Array, extras: Mapping[str, Array]) -> Array:
        o = self.options
        kind = o.preconditioner
        if kind == "none":
            return np.ones(self.size)
        if kind == "hessian":
            if "hessian" in extras:
                share = o.beta2 if self.k > 1 else 0.0
                self.v = share * self.v + (1 - share) * np.abs(extras["hessian"])
            return np.maximum(self.v, o.eps)
        if kind.startswith("adagrad"):
            self.v = self.v + g * g
            moment = self.v
        else:
            self.v = o.beta2 * self.v + (1 - o.beta2) * g * g
            moment = self.v / (1 - o.beta2**self.k)
        return (moment if kind.endswith("squared") else np.sqrt(moment)) + o.eps


class InducedMetric(Rule):
    """x ← x - lr·m̂ / (1 + ζ·t̂), t̂ the running mean of ‖g‖²: the step in the metric I + ζ·g gᵀ of the loss surface, smoothed clipping.

    With the preconditioner "rms" both m̂ and g² are divided by √v̂ first.
    """

    class Options(Document):
        """The induced metric."""

        lr: Positive = 0.02
        zeta: Positive = 0.1
        momentum: Share = 0.9
        beta: Share = 0.1
        preconditioner: Literal["none", "rms"] = "none"
        beta2: Share = 0.99
        eps: Positive = 1e-8

    options: InducedMetric.Options
    summary = (
        "momentum divided by one plus the squared steepness, as the metric of the loss surface has it: smooth clipping"
    )
    source = "Harvey 2025, The Optimiser Hidden in Plain Sight: Training with the Loss Landscape's Induced Metric"
    SCALARS = ("k", "trace")
    ARRAYS = ("m", "v")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.k, self.trace = 0, 0.0
        self.m, self.v = np.zeros(size), np.zeros(size)

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        o = self.options
        self.k += 1
        scale = np.ones(self.size)
        if o.preconditioner == "rms":
            self.v = o.beta2 * self.v + (1 - o.beta2) * g * g
            scale = np.sqrt(self.v / (1 - o.beta2**self.k)) + o.eps
        self.trace = o.beta * self.trace + (1 - o.beta) * o.zeta * float(np.sum(g * g / scale))
        self.m = o.momentum * self.m + (1 - o.momentum) * g
        shrunk = 1 / (1 + self.trace / (1 - o.beta**self.k))
        return x - self.factor * o.lr * shrunk * self.m / (1 - o.momentum**self.k) / scale
