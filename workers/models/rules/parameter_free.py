"""Rules that find the learning rate themselves: DoG, U-DoG, D-Adaptation."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from services.domain.document import Document

from .averaging import drawn_to
from .rule import NO_EXTRAS, Array, NotNegative, Positive, Rule, Shape, Share


def _norm(x: Array) -> float:
    return float(np.linalg.norm(x))


class DoG(Rule):
    """Distance over gradients: x ← x - c·r̄ / √(Σ‖g‖² + eps)·g with r̄ = max(r_ε·(1 + ‖x₀‖), max ‖x - x₀‖); recommends an average."""

    class Options(Document):
        """DoG."""

        lr: Positive = 1.0
        first_move: Positive = 1e-3
        eps: Positive = 1e-8
        gamma: NotNegative = 8.0

    options: DoG.Options
    summary = (
        "step length = distance travelled by the root of the summed squared gradients; recommends a weighted average"
    )
    source = "Ivgi, Hinder, Carmon 2023, DoG is SGD's Best Friend"
    SCALARS = ("k", "reach", "total")
    ARRAYS = ("origin", "mean")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.k, self.reach, self.total = -1, 0.0, self.options.eps
        self.origin, self.mean = np.zeros(size), np.zeros(size)

    def recommend(self, x: Array) -> Array:
        return drawn_to(self.mean, x, self.k + 1, self.options.gamma) if self.k >= 0 else x

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        if self.k < 0:
            self.origin = x.copy()
            self.reach = self.options.first_move * (1 + _norm(x))
        else:
            self.mean = self.recommend(x).copy()
            self.reach = max(self.reach, _norm(x - self.origin))
        self.k += 1
        self.total += float(g @ g)
        return x - self.factor * self.options.lr * self.reach / math.sqrt(self.total) * g


class UDoG(Rule):
    """Accelerated DoG: UniXGrad with the distance travelled in place of the diameter. Two gradients make a step.

    With r̄_t the largest distance of any y or x from the start, ω_t = Σ_{k≤t} r̄_k and α_t = ω_t / r̄_t:

        m_t at (Σ_{i<t} ω_i x_{i+1} + ω_t y_t) / Σ_{i≤t} ω_i;      x_{t+1} = y_t - α_t·r̄_t / √G_{x,t}·m_t
        g_t at (Σ_{i≤t} ω_i x_{i+1}) / Σ_{i≤t} ω_i;                y_{t+1} = y_t - α_t·r̄_t / √G_{y,t}·g_t

    G_{y,t} = ‖m_0‖² + Σ_{i≤t} α_i²‖g_i - m_i‖², and G_{x,t} is the same without its last term: the first step moves by r_ε, as DoG's.
    The weights are the paper's; its G has further factors for the theory, which are left out here. The iterate is y and x in turns.
    """

    class Options(Document):
        """U-DoG."""

        lr: Positive = 1.0
        first_move: Positive = 1e-3
        eps: Positive = 1e-8

    options: UDoG.Options
    summary = "accelerated DoG: a look ahead and a step, each with its gradient, at weighted averages of the iterates"
    source = "Kreisler, Ivgi, Hinder, Carmon 2024, Accelerated Parameter-Free Stochastic Optimization"
    gradients_per_step = 2
    SCALARS = ("k", "is_ahead", "reach", "omega", "weight", "total")
    ARRAYS = ("origin", "y", "m", "mean")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.k, self.is_ahead = 0, False
        self.reach, self.omega, self.weight, self.total = 0.0, 0.0, 0.0, self.options.eps
        self.origin, self.y = np.zeros(size), np.zeros(size)
        self.m, self.mean = np.zeros(size), np.zeros(size)

    def _reached(self, x: Array) -> float:
        """r̄ with this iterate."""
        if self.k == 0 and not self.is_ahead:
            return self.options.first_move * (1 + _norm(x))
        return max(self.reach, _norm(x - self.origin))

    def _mean_with(self, x: Array, omega: float) -> Array:
        """The weighted average with this iterate as its newest."""
        share = omega / (self.weight + omega)
        return (1 - share) * self.mean + share * x

    def probe_at(self, x: Array) -> Array:
        return self._mean_with(x, self.omega if self.is_ahead else self.omega + self._reached(x))

    def recommend(self, x: Array) -> Array:
        if self.is_ahead:
            return self._mean_with(x, self.omega)
        return self.mean if self.k > 0 else x

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        return self._corrected(x, g) if self.is_ahead else self._ahead(x, g)

    def _ahead(self, y: Array, m: Array) -> Array:
        self.reach = self._reached(y)
        if self.k == 0:
            self.origin = y.copy()
            self.total += float(m @ m)
        self.omega += self.reach
        self.y, self.m, self.is_ahead = y.copy(), m.copy(), True
        return y - self.factor * self.options.lr * self.omega / math.sqrt(self.total) * m

    def _corrected(self, x: Array, g: Array) -> Array:
        alpha = self.omega / self.reach
        self.mean = self._mean_with(x, self.omega)
        self.weight += self.omega
        surprise = g - self.m
        self.total += alpha**2 * float(surprise @ surprise)
        length = self.omega / math.sqrt(self.total)
        self.reach = self._reached(x)
        self.k, self.is_ahead = self.k + 1, False
        return self.y - self.factor * self.options.lr * length * g


class DAdaptSgd(Rule):
    """Dual averaging whose step is a lower bound d of the distance to the solution, by the first gradient's norm."""

    class Options(Document):
        """D-Adapted gradient descent."""

        lr: Positive = 1.0
        momentum: Share = 0.0
        d0: Positive = 1e-3

    options: DAdaptSgd.Options
    summary = "dual averaging; step length from a lower bound of the distance to the solution"
    source = "Defazio, Mishchenko 2023, Learning-Rate-Free Learning by D-Adaptation"
    SCALARS = ("d", "numerator", "first_norm")
    ARRAYS = ("origin", "s")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.d, self.numerator, self.first_norm = self.options.d0, 0.0, 0.0
        self.origin, self.s = np.zeros(size), np.zeros(size)

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        if self.first_norm == 0.0:
            self.origin, self.first_norm = x.copy(), _norm(g)
        if self.first_norm == 0.0:
            return x
        length = self.d * self.factor * self.options.lr / self.first_norm
        self.numerator += length * float(g @ self.s)
        self.s = self.s + length * g
        size = _norm(self.s)
        if size > 0:
            self.d = max(self.d, 2 * self.numerator / size)
        beta = self.options.momentum
        return beta * x + (1 - beta) * (self.origin - self.s)


class DAdaptAdam(Rule):
    """Adam whose learning rate is a lower bound d of the distance to the solution."""

    class Options(Document):
        """D-Adapted Adam."""

        lr: Positive = 1.0
        beta1: Share = 0.9
        beta2: Share = 0.99
        eps: Positive = 1e-8
        d0: Positive = 1e-3

    options: DAdaptAdam.Options
    summary = "Adam with the learning rate from a lower bound of the distance to the solution"
    source = DAdaptSgd.source
    SCALARS = ("d", "numerator")
    ARRAYS = ("m", "v", "s")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.d, self.numerator = self.options.d0, 0.0
        self.m, self.v, self.s = np.zeros(size), np.zeros(size), np.zeros(size)

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        o = self.options
        length, root = self.d * self.factor * o.lr, math.sqrt(o.beta2)
        gain = length * float(g @ (self.s / (np.sqrt(self.v) + o.eps)))
        self.m = o.beta1 * self.m + length * (1 - o.beta1) * g
        self.v = o.beta2 * self.v + (1 - o.beta2) * g * g
        self.s = root * self.s + length * (1 - root) * g
        size = float(np.abs(self.s).sum())
        self.numerator = root * self.numerator + (1 - root) * gain
        if size == 0.0:
            return x
        self.d = max(self.d, self.numerator / ((1 - root) * size))
        return x - self.m / (np.sqrt(self.v) + o.eps)
