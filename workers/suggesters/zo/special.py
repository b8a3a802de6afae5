"""Schemes that replace the update rule: Frank-Wolfe, online to non-convex, accelerated smoothing, fixed points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from .domains import Domain
from .schemes import Projection, Scheme

Array = NDArray[np.float64]
Draws = Callable[[int, str], np.random.Generator]


class FrankWolfe(Scheme):
    """d ← (1 - ρ)d + ρg; v = argmin over the set of ⟨v, d⟩; x ← x + γ(v - x), γ = 2/(t + 8): iterates never leave the set.

    Sahu, Zaheer, Kar 2019, "Towards Gradient Free and Projection Free Stochastic Optimization".

    Args:
        domain: the set.
        directions: m of a step; `is_coordinate` where they are all the axes.
    """

    ARRAYS = ("d",)

    def __init__(
        self, x: Array, projected: Projection, *, domain: Domain, directions: int, is_coordinate: bool
    ) -> None:
        super().__init__(x, projected)
        self._domain, self._width = domain, domain.width
        self._m, self._is_coordinate = directions, is_coordinate and directions >= len(x)
        self.d = np.zeros(len(x))

    def radius(self, step: int, usual: float) -> float:
        n, m, t = len(self.x), self._m, step + 8
        if self._is_coordinate:
            return float(2 / (math.sqrt(n) * t ** (1 / 3)) / self._width)
        return float(2 * math.sqrt(m) / (n**1.5 * t ** (1 / 3)) / self._width)

    def move(self, g: Array, f: float, step: int, damping: float, extras: Mapping[str, Array]) -> None:
        n, t = len(g), step + 8
        spread = 1.0 if self._is_coordinate else (n if self._m == 1 else 1 + n / self._m) ** (1 / 3)
        rho = min(1.0, 4 / (spread * t ** (2 / 3)))
        self.d = (1 - rho) * self.d + rho * g
        gamma = damping * 2 / t
        self.x = np.clip(self.x + gamma * (self._domain.vertex(self.d) - self.x), 0.0, 1.0)


class OnlineToNonconvex(Scheme):
    """Increments by an online learner, gradients at a random point of the segment (Cutkosky, Mehta, Orabona 2023).

    Epochs of K steps, each at most `lr` long: an epoch stays within K·lr of where it began. Reports the mean of the points of the
    last epoch, which is what the (δ, ε)-Goldstein guarantee with δ = K·lr is about.
    """

    SCALARS = ("square", "count")
    ARRAYS = ("delta", "origin", "mean", "reported")
    EPOCH = 32

    def __init__(self, x: Array, projected: Projection, lr: float) -> None:
        super().__init__(x, projected)
        self._longest = lr
        self.square, self.count = 0.0, 0
        self.delta, self.origin = np.zeros(len(x)), x.copy()
        self.mean, self.reported = np.zeros(len(x)), x.copy()

    def probe_at(self, step: int, draws: Draws) -> Array:
        share = float(draws(step, "zo segment").random())
        return self._projected(self.origin + share * (self.x - self.origin), self.x)

    def recommend(self) -> Array:
        return self.reported

    def move(self, g: Array, f: float, step: int, damping: float, extras: Mapping[str, Array]) -> None:
        place = step % self.EPOCH
        here = (self.x + self.origin) / 2  # the mean of the segment's random points
        self.mean = (self.mean * place + here) / (place + 1)
        self.count += 1
        self.square += (float(g @ g) - self.square) / self.count
        longest = damping * self._longest
        eta = longest / (math.sqrt(self.square * self.EPOCH) or 1.0)
        wanted = self.delta - eta * g
        length = float(np.linalg.norm(wanted))
        self.delta = wanted * min(1.0, longest / length) if length > 0 else wanted
        if place == self.EPOCH - 1:
            self.reported = self._projected(self.mean, self.x)
            self.delta = np.zeros(len(g))
        self.origin, self.x = self.x, self._projected(self.x + self.delta, self.x)
        self.delta = self.x - self.origin  # what the edges left of it


class Accelerated(Scheme):
    """Nesterov's momentum on the ball-smoothed objective; it starts anew with half the radius when the value rises.

    Gasnikov et al. 2022, "The Power of First-Order Smooth Optimization for Black-Box Non-Smooth Problems". Gradients count in units of
    the largest of an epoch, so that `lr` is a length; it is halved with the radius.
    """

    SCALARS = ("restarts", "k", "largest", "value")
    ARRAYS = ("before",)
    LEAST_RADIUS = 1e-6
    PATIENCE = 3

    def __init__(self, x: Array, projected: Projection, lr: float) -> None:
        super().__init__(x, projected)
        self._lr = lr
        self.before = x.copy()
        self.restarts, self.k, self.largest = 0, 0, 0.0
        self.value: float | None = None

    def probe_at(self, step: int, draws: Draws) -> Array:
        return self._projected(self.x + self.k / (self.k + 3) * (self.x - self.before), self.x)

    def radius(self, step: int, usual: float) -> float:
        return max(usual * 0.5**self.restarts, self.LEAST_RADIUS)

    def move(self, g: Array, f: float, step: int, damping: float, extras: Mapping[str, Array]) -> None:
        has_risen = self.value is not None and f > self.value and self.k >= self.PATIENCE
        self.value = f
        if has_risen:
            self.restarts, self.k, self.largest, self.before = self.restarts + 1, 0, 0.0, self.x.copy()
            return
        y = self._projected(self.x + self.k / (self.k + 3) * (self.x - self.before), self.x)
        self.largest = max(self.largest, float(np.linalg.norm(g)))
        lr = damping * self._lr * 0.5**self.restarts
        wanted = y - lr * g / (self.largest or 1.0)
        self.before, self.x = self.x, self._projected(wanted, self.x)
        self.k += 1


class FixedPoint(Scheme):
    """x ← x - lr·(F(x) - y) with a residual that the client tells (FlowOpt, Ronai et al. 2025). `g` is the residual in cube units.

    The iteration contracts only below 2·⟨ΔF, Δx⟩/‖ΔF‖². So once a residual is more than three times as long as those before on
    average, lr becomes half of that at the last two points, and is halved where F does not even point the way.
    """

    SCALARS = ("lr", "usual", "count")
    ARRAYS = ("last_x", "last_g")
    GROWTH = 3.0

    def __init__(self, x: Array, projected: Projection, lr: float) -> None:
        super().__init__(x, projected)
        self.lr = lr
        self.usual, self.count = 0.0, 0  # mean length of the residuals since lr was set, and how many they are
        self.last_x, self.last_g = x.copy(), np.zeros(len(x))

    def move(self, g: Array, f: float, step: int, damping: float, extras: Mapping[str, Array]) -> None:
        length = float(np.linalg.norm(g))
        if self.count and length > self.GROWTH * self.usual:
            self.lr, self.count = min(self.lr, self._bound(g)), 0
        self.count += 1
        self.usual += (length - self.usual) / self.count
        self.last_x, self.last_g = self.x, g
        self.x = self._projected(self.x - damping * self.lr * g, self.x)

    def _bound(self, g: Array) -> float:
        changed, moved = g - self.last_g, self.x - self.last_x
        agreed, square = float(changed @ moved), float(changed @ changed)
        return agreed / square if agreed > 0 and square > 0 else self.lr / 2
