"""Rules with second-order information: a diagonal told from second differences, or what the gradients themselves say."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from services.domain.document import Document

from .rule import NO_EXTRAS, Array, Positive, Rule, Shape, Share

Count = Annotated[int, Field(ge=1)]


class SophiaZo(Rule):
    """m ← b1·m + (1 - b1)·g; h ← b2·h + (1 - b2)·ĥ every `period` steps; x ← x - lr·clip(m / max(γ·h, eps), ±1).

    ĥ is `extras["hessian"]`, an estimate of the Hessian's diagonal; without one in a step where it is due, h stays.
    """

    class Options(Document):
        """Sophia with told second differences."""

        lr: Positive = 0.02
        beta1: Share = 0.96
        beta2: Share = 0.99
        gamma: Positive = 0.05
        eps: Positive = 1e-12
        period: Count = 10

    options: SophiaZo.Options
    summary = "momentum by a diagonal Hessian estimate, each coordinate clipped; needs second differences"
    source = "Liu et al. 2023, Sophia; the diagonal from function values instead of products with the Hessian"
    wants = frozenset({"hessian"})
    SCALARS = ("k",)
    ARRAYS = ("m", "h")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.k = 0
        self.m, self.h = np.zeros(size), np.zeros(size)

    @property
    def due(self) -> frozenset[str]:
        return self.wants if self.k % self.options.period == 0 else frozenset()

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        o = self.options
        self.m = o.beta1 * self.m + (1 - o.beta1) * g
        if self.due and "hessian" in extras:
            self.h = o.beta2 * self.h + (1 - o.beta2) * extras["hessian"]
        self.k += 1
        update: Array = np.clip(self.m / np.maximum(o.gamma * self.h, o.eps), -1.0, 1.0)
        return x - self.factor * o.lr * update


class Oasis(Rule):
    """x ← x - η·D⁻¹g with D = max(|running mean of the diagonal|, floor) and η from how the gradient changed.

    η = min(√(1 + θ)·η₋, ‖x - x₋‖_D / (2‖g - g₋‖_{D⁻¹})), θ the ratio of the last two; the first is `lr`. Only for gradients that are
    exact up to rounding, or that share their noise: noise in g - g₋ halves η step after step.
    """

    class Options(Document):
        """OASIS."""

        lr: Positive = 0.1
        beta: Share = 0.95
        floor: Positive = 0.1

    options: Oasis.Options
    summary = (
        "gradient by a told diagonal Hessian, step length from the gradient's change; only for nearly exact gradients"
    )
    source = "Jahani et al. 2022, Doubly Adaptive Scaled Algorithm for Machine Learning Using Second-Order Information"
    wants = frozenset({"hessian"})
    SCALARS = ("k", "eta", "theta")
    ARRAYS = ("diagonal", "last_x", "last_g")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.k, self.eta, self.theta = 0, self.options.lr, 0.0
        self.diagonal, self.last_x, self.last_g = np.zeros(size), np.zeros(size), np.zeros(size)

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        beta = self.options.beta if self.k else 0.0
        if "hessian" in extras:
            self.diagonal = beta * self.diagonal + (1 - beta) * extras["hessian"]
        scale: Array = np.maximum(np.abs(self.diagonal), self.options.floor)
        if self.k:
            self._adapt(x - self.last_x, g - self.last_g, scale)
        self.last_x, self.last_g = x.copy(), g.copy()
        self.k += 1
        return x - self.factor * self.eta * g / scale

    def _adapt(self, moved: Array, changed: Array, scale: Array) -> None:
        longest = float(np.sqrt(1 + self.theta)) * self.eta
        bend = float(np.sqrt(changed @ (changed / scale)))
        eta = min(longest, float(np.sqrt(moved @ (moved * scale))) / (2 * bend)) if bend > 0 else longest
        if eta > 0:  # an iterate that a wall held in place says nothing
            self.eta, self.theta = eta, eta / self.eta


class Asgo(Rule):
    """M ← b1·M + (1 - b1)·G; V ← b2·V + (1 - b2)·G Gᵀ; X ← X - lr·(V^½ + eps·I)⁻¹ M, for a matrix of (a, b) with G of the same shape.

    V is kept on the shorter side. `beta2` = 1 adds the products up instead (the paper's Algorithm 1).
    """

    class Options(Document):
        """ASGO."""

        lr: Positive = 0.02
        beta1: Share = 0.9
        beta2: Annotated[float, Field(ge=0, le=1)] = 0.99
        eps: Positive = 1e-8
        period: Count = 1

    options: Asgo.Options
    summary = (
        "momentum of a matrix by the root of the gradients' second moment on its shorter side; needs a matrix shape"
    )
    source = "An, Liu, Pan, Ma, Goldfarb, Zhang 2025, ASGO: Adaptive Structured Gradient Optimization"
    wants = frozenset({"matrix"})
    SCALARS = ("k",)
    ARRAYS = ("m", "v", "inverse")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        if shape is None:
            raise ValueError("asgo needs a parameter that is declared as a matrix")
        super().__init__(size, options, shape)
        self.k = 0
        self.m = np.zeros(size)
        self.v = np.zeros((min(shape), min(shape)))
        self.inverse = np.zeros_like(self.v)

    def _upright(self, flat: Array) -> Array:
        """The matrix with its shorter side first."""
        assert self.shape is not None
        matrix = flat.reshape(self.shape)
        return matrix if self.shape[0] <= self.shape[1] else matrix.T

    def _flat(self, matrix: Array) -> Array:
        assert self.shape is not None
        return (matrix if self.shape[0] <= self.shape[1] else matrix.T).reshape(-1)

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        o = self.options
        gradient = self._upright(g)
        self.m = o.beta1 * self.m + (1 - o.beta1) * g
        self.v = o.beta2 * self.v + (1.0 if o.beta2 == 1.0 else 1 - o.beta2) * (gradient @ gradient.T)
        if self.k % o.period == 0:
            values, vectors = np.linalg.eigh(self.v)
            self.inverse = (vectors / (np.sqrt(np.maximum(values, 0.0)) + o.eps)) @ vectors.T
        self.k += 1
        return x - self.factor * o.lr * self._flat(self.inverse @ self._upright(self.m))


class MFac(Rule):
    """x ← x - lr·s·F⁻¹g with F = damping·s²·I + the mean of gᵢ gᵢᵀ over the last estimates, s their root mean square entry.

    The factor s, which the paper leaves to the learning rate, makes a step independent of the objective's unit. F⁻¹g costs O(m·n) and
    a system of m unknowns (Woodbury).
    """

    class Options(Document):
        """M-FAC."""

        lr: Positive = 0.02
        memory: Count = 32
        damping: Positive = 1.0

    options: MFac.Options
    summary = "gradient by the inverse of the empirical Fisher matrix of the last estimates"
    source = "Frantar, Kurtic, Alistarh 2021, M-FAC: Efficient Matrix-Free Approximations of Second-Order Information"
    ARRAYS = ("recent",)

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.recent = np.zeros((0, size))

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        self.recent = np.vstack([self.recent, g])[-self.options.memory :]
        m = len(self.recent)
        scale = float(np.sqrt(np.mean(self.recent**2)))
        if scale == 0.0:
            return x
        past = self.recent / scale
        damping = self.options.damping
        inner = np.linalg.solve(m * damping * np.eye(m) + past @ past.T, past @ g)
        return x - self.factor * self.options.lr * (g - past.T @ inner) / (damping * scale)


class Lbfgs(Rule):
    """Limited-memory BFGS without line search: x ← x - lr·H g, no longer than `longest`·√n.

    Only for gradients that are exact up to rounding (coordinate differences, or orthogonal ones with q = n): it divides differences
    of gradients by each other. Pairs without positive curvature are left out.
    """

    class Options(Document):
        """L-BFGS."""

        lr: Positive = 1.0
        memory: Count = 10
        longest: Positive = 0.1

    options: Lbfgs.Options
    summary = (
        "limited-memory BFGS without line search; only for nearly exact gradients (`coord`, or `orth2` with q = n)"
    )
    source = "Liu, Nocedal 1989"
    wants = frozenset({"exact"})
    SCALARS = ("k",)
    ARRAYS = ("moves", "changes", "last_x", "last_g")

    def __init__(self, size: int, options: Document, shape: Shape | None = None) -> None:
        super().__init__(size, options, shape)
        self.k = 0
        self.moves, self.changes = np.zeros((0, size)), np.zeros((0, size))
        self.last_x, self.last_g = np.zeros(size), np.zeros(size)

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        if self.k:
            self._learn(x - self.last_x, g - self.last_g)
        self.last_x, self.last_g = x.copy(), g.copy()
        self.k += 1
        length = float(np.abs(g).sum())
        lr = self.factor * self.options.lr
        direction = self._newton(g) if len(self.moves) else g * (min(1.0, 1.0 / length) if length > 0 else 1.0)
        move = lr * direction
        longest, size = self.options.longest * np.sqrt(self.size), float(np.linalg.norm(move))
        return x - (move if size <= longest else move * (longest / size))

    def _learn(self, moved: Array, changed: Array) -> None:
        if moved @ changed > 1e-10 * float(np.linalg.norm(moved) * np.linalg.norm(changed)):
            keep = self.options.memory
            self.moves = np.vstack([self.moves, moved])[-keep:]
            self.changes = np.vstack([self.changes, changed])[-keep:]

    def _newton(self, g: Array) -> Array:
        """(n,) H g by the two-loop recursion (Nocedal, Wright 2006, Algorithm 7.4)."""
        rho = 1.0 / np.einsum("ij,ij->i", self.moves, self.changes)
        q, alphas = g.copy(), deque[float]()
        for s, y, r in zip(self.moves[::-1], self.changes[::-1], rho[::-1], strict=True):
            alphas.appendleft(float(r * (s @ q)))
            q = q - alphas[0] * y
        q = q * float(1.0 / (rho[-1] * (self.changes[-1] @ self.changes[-1])))
        for s, y, r, alpha in zip(self.moves, self.changes, rho, alphas, strict=True):
            q = q + s * (alpha - float(r * (y @ q)))
        return q
