"""Wrappers for any rule: cautious updates, cosines, warm restarts, plateau decay, clipping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from services.domain.document import Document

from .rule import NO_EXTRAS, Array, Positive, Rule, Share, Wrapper

WINDOW = 50
LARGEST_NORM = 1e60  # its fourth power is still a number


def fallen(share: float, floor: float) -> float:
    """What half a cosine leaves of 1 after a share of its length."""
    return floor + 0.5 * (1 - floor) * (1 + math.cos(math.pi * share))


class Cautious(Wrapper):
    """Only coordinates whose update goes with the gradient move, times n / (how many + 1)."""

    summary = "moves only coordinates whose update agrees with the gradient, the longer for it"
    source = "Liang et al. 2024, Cautious Optimizers"

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        self.inner.factor = self.factor
        update = x - self.inner.step(x, g, f, extras)
        mask = update * g > 0
        return x - update * mask * (self.size / (int(mask.sum()) + 1))


class Cosine(Wrapper):
    """lr falls along half a cosine over a known number of steps, and stays there."""

    class Options(Document):
        """The schedule."""

        total_steps: Positive = 1000.0
        lr_floor: Share = 0.0

    options: Cosine.Options
    summary = "the learning rate falls along half a cosine over `total_steps`"
    source = "Loshchilov, Hutter 2017, without the restarts"
    SCALARS = ("k",)

    def __init__(self, inner: Rule, options: Document) -> None:
        super().__init__(inner, options)
        self.k = 0

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        self.inner.factor = self.factor * fallen(min(1.0, self.k / self.options.total_steps), self.options.lr_floor)
        self.k += 1
        return self.inner.step(x, g, f, extras)


class Restarts(Wrapper):
    """lr = floor + ½(1 - floor)(1 + cos(π·t / T)) of itself; after T steps t = 0 and T ← T·growth."""

    class Options(Document):
        """Warm restarts."""

        restart_period: Annotated[int, Field(ge=1)] = 50
        restart_growth: Annotated[int, Field(ge=1)] = 2
        lr_floor: Share = 0.0

    options: Restarts.Options
    summary = "the learning rate falls along half a cosine, again and again, each time for longer"
    source = "Loshchilov, Hutter 2017, SGDR"
    SCALARS = ("since", "length")

    def __init__(self, inner: Rule, options: Document) -> None:
        super().__init__(inner, options)
        self.since, self.length = 0, self.options.restart_period

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        self.inner.factor = self.factor * fallen(self.since / self.length, self.options.lr_floor)
        self.since += 1
        if self.since >= self.length:
            self.since, self.length = 0, self.length * self.options.restart_growth
        return self.inner.step(x, g, f, extras)


class Plateau(Wrapper):
    """lr ← lr·`plateau_decay` when more than `plateau_patience` steps brought no value below the best by 1e-4 of its size."""

    class Options(Document):
        """Plateau decay."""

        plateau_patience: Annotated[int, Field(ge=0)] = 20
        plateau_decay: Share = 0.5
        plateau_floor: Positive = 1e-3

    options: Plateau.Options
    summary = "halves the learning rate when the value has not improved for some steps; needs values"
    source = "as torch's ReduceLROnPlateau"
    SCALARS = ("best", "idle", "scale")

    def __init__(self, inner: Rule, options: Document) -> None:
        super().__init__(inner, options)
        self.best: float | None = None
        self.idle, self.scale = 0, 1.0

    @property
    def wants(self) -> frozenset[str]:  # type: ignore[override]
        return self.inner.wants | {"value"}

    @property
    def due(self) -> frozenset[str]:
        return self.inner.due | {"value"}

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        if f is not None:
            self._judge(f)
        self.inner.factor = self.factor * self.scale
        return self.inner.step(x, g, f, extras)

    def _judge(self, f: float) -> None:
        if self.best is None or f < self.best - 1e-4 * abs(self.best):
            self.best, self.idle = f, 0
            return
        self.idle += 1
        if self.idle > self.options.plateau_patience:
            self.idle, self.scale = 0, max(self.options.plateau_floor, self.scale * self.options.plateau_decay)


class Clipped(Wrapper):
    """Gradients longer than `clip` times the median length of the last 50 are shortened to that."""

    class Options(Document):
        """Clipping."""

        clip: Positive = 5.0

    options: Clipped.Options
    summary = "shortens gradients longer than `clip` times the median of the last 50"
    source = "Pascanu et al. 2013, with the threshold from the gradients themselves"
    ARRAYS = ("lengths",)

    def __init__(self, inner: Rule, options: Document) -> None:
        super().__init__(inner, options)
        self.lengths = np.zeros(0)

    def step(self, x: Array, g: Array, f: float | None = None, extras: Mapping[str, Array] = NO_EXTRAS) -> Array:
        self.inner.factor = self.factor
        return self.inner.step(x, self._shortened(g), f, extras)

    def _shortened(self, g: Array) -> Array:
        largest = float(np.max(np.abs(g)))
        if largest == 0.0:
            return g
        length = min(largest, LARGEST_NORM) * float(np.linalg.norm(g / largest))
        self.lengths = np.append(self.lengths, length)[-WINDOW:]
        longest = self.options.clip * float(np.median(self.lengths))
        if largest > LARGEST_NORM:
            g = g / largest * LARGEST_NORM
        return g if length <= longest else g * (longest / length)
