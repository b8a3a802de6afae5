"""Changes of coordinates that make a stationary model fit: of the inputs (Kumaraswamy), of the values (power transforms)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TINY = 1e-9
LAMBDAS = (-2.0, 2.0)
NO_CEILING = 1e9
FIRST = 20
OFFSET = 1e-3
"""Added before a Box-Cox bend, in units of the spread: a logarithm would otherwise blow up what is next to nothing into cliffs."""


def kumaraswamy(x: Array, a: Array, b: Array) -> Array:
    """1 - (1 - x^a)^b: a smooth, rising map of [0, 1] onto itself.

    Args:
        x: (n, d) in [0, 1]; a, b: (d,) > 0; a = b = 1 changes nothing.

    Source: Snoek, Swersky, Zemel, Adams 2014, "Input Warping for Bayesian Optimization"; this closed form as in HEBO.
    """
    inner = np.clip(x, TINY, 1.0 - TINY) ** a
    return np.asarray(1.0 - (1.0 - inner) ** b)


def kumaraswamy_slopes(x: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
    """(n, d) derivatives of `kumaraswamy` by x, by ln a and by ln b."""
    inside = np.clip(x, TINY, 1.0 - TINY)
    log_x = np.log(inside)
    power = inside**a
    rest = 1.0 - power
    tail = b * rest ** (b - 1.0)
    by_x = tail * a * power / inside
    by_ln_a = tail * power * log_x * a
    by_ln_b = -(rest**b) * np.log(rest) * b
    return by_x, by_ln_a, by_ln_b


@dataclass(frozen=True, slots=True)
class Transform:
    """A rising map of told values to model targets: clip what is far too bad, bend by a power, then shift and scale.

    Attributes:
        kind: `standard` (no bend), `yeo-johnson`, or `box-cox` (values above 0 only).
        unit: values are divided by it first, so that squares of 1e300 do not overflow.
        ceiling: outliers above are set to it (in units of `unit`).
        centre, spread: the clipped values become (v - centre) / spread before a Yeo-Johnson bend.
        power: λ of the bend.
        shift, scale: of the bent values.
    """

    kind: Literal["standard", "yeo-johnson", "box-cox"]
    unit: float
    ceiling: float
    centre: float
    spread: float
    power: float
    shift: float
    scale: float

    def __call__(self, values: Array) -> Array:
        """(n,) targets."""
        return (self._bend(self._prepare(values)) - self.shift) / self.scale

    def _prepare(self, values: Array) -> Array:
        clipped = np.minimum(values / self.unit, self.ceiling)
        if self.kind == "box-cox":
            return np.asarray(np.maximum(clipped / self.spread, 0.0) + OFFSET)
        return np.asarray((clipped - self.centre) / self.spread)

    def _bend(self, prepared: Array) -> Array:
        if self.kind == "yeo-johnson":
            return yeo_johnson(prepared, self.power)
        return box_cox(prepared, self.power) if self.kind == "box-cox" else prepared

    def variances(self, noise: Array) -> Array:
        """(n,) variances of targets whose values have these standard errors, as if nothing were bent; bounded."""
        return np.asarray(np.minimum(noise / (self.unit * self.spread * self.scale), 1e3) ** 2)

    def log_slope(self, values: Array) -> Array:
        """(n,) ln of d target / d (value / unit) at values below the ceiling: makes likelihoods under different kinds comparable."""
        prepared = self._prepare(values)
        constant = -math.log(self.scale) - math.log(self.spread)
        if self.kind == "yeo-johnson":
            return np.asarray((self.power - 1.0) * np.sign(prepared) * np.log1p(np.abs(prepared)) + constant)
        if self.kind == "box-cox":
            return np.asarray((self.power - 1.0) * np.log(prepared) + constant)
        return np.full(len(prepared), constant)

    def inverse(self, targets: Array) -> Array:
        """(n,) values in the metric's unit; where the bend has an end, targets beyond it are taken as that end."""
        bent = np.asarray(targets) * self.scale + self.shift
        if self.kind == "yeo-johnson":
            prepared = yeo_johnson_inverse(bent, self.power)
        elif self.kind == "box-cox":
            return np.asarray((box_cox_inverse(bent, self.power) - OFFSET) * self.spread * self.unit)
        else:
            prepared = bent
        return np.asarray((prepared * self.spread + self.centre) * self.unit)


def yeo_johnson(v: Array, power: float) -> Array:
    """Yeo and Johnson 2000, "A new family of power transformations": any sign, identity at 1."""
    up, down = np.maximum(v, 0.0), np.maximum(-v, 0.0)
    over = np.log1p(up) if abs(power) < TINY else np.expm1(power * np.log1p(up)) / power
    rest = 2.0 - power
    under = np.log1p(down) if abs(rest) < TINY else np.expm1(rest * np.log1p(down)) / rest
    return np.asarray(np.where(v >= 0, over, -under))


def yeo_johnson_inverse(t: Array, power: float) -> Array:
    """The way back; beyond the end of a bounded branch, its end."""
    up, down = np.maximum(t, 0.0), np.maximum(-t, 0.0)
    rest = 2.0 - power
    over = np.expm1(up) if abs(power) < TINY else np.expm1(np.log1p(np.maximum(up * power, -1 + TINY)) / power)
    under = np.expm1(down) if abs(rest) < TINY else np.expm1(np.log1p(np.maximum(down * rest, -1 + TINY)) / rest)
    return np.asarray(np.where(t >= 0, over, -under))


def box_cox(v: Array, power: float) -> Array:
    """Box and Cox 1964, "An analysis of transformations": values above 0, the logarithm at 0."""
    return np.asarray(np.log(v) if abs(power) < TINY else np.expm1(power * np.log(v)) / power)


def box_cox_inverse(t: Array, power: float) -> Array:
    """The way back; beyond the end of a bounded branch, its end."""
    if abs(power) < TINY:
        return np.asarray(np.exp(np.minimum(t, 700.0)))
    return np.asarray(np.exp(np.minimum(np.log1p(np.maximum(t * power, -1 + TINY)) / power, 700.0)))


def _ceiling(values: Array, outlier: float) -> float:
    low, high = np.percentile(values, [25, 75])
    return float(high + outlier * (high - low)) if high > low else NO_CEILING


def standardising(values: Array, outlier: float) -> Transform:
    """Clip above the third quartile by `outlier` interquartile ranges, zero mean, unit variance; a constant is only shifted.

    The quartiles are those of all values or of the first twenty, whichever clip less: late values crowd near the best one, and by
    their quartiles everything else would be clipped.

    Args:
        values: (n,) in the order in which they were told.
    """
    unit = max(float(np.abs(values).max()), 1e-300)
    scaled = values / unit
    ceiling = max(_ceiling(scaled, outlier), _ceiling(scaled[:FIRST], outlier))
    clipped = np.minimum(scaled, ceiling)
    centre = float(clipped.mean())
    spread = float(clipped.std())
    if spread < 1e-12:
        spread = 1.0
    return Transform("standard", unit, ceiling, centre, spread, 1.0, 0.0, 1.0)


def bending(values: Array, base: Transform, kind: Literal["yeo-johnson", "box-cox"]) -> Transform | None:
    """The power transform under which the values look most like a normal sample; None where it does not apply.

    Args:
        values: (n,) told values; base: their `standardising`.
    """
    from scipy.optimize import minimize_scalar

    clipped = np.minimum(values / base.unit, base.ceiling)
    if kind == "box-cox":
        if clipped.min() <= 0:
            return None
        spread, prepared = base.spread, clipped / base.spread + OFFSET
        bend, logs = box_cox, np.log(prepared)
    else:
        spread, prepared = base.spread, (clipped - base.centre) / base.spread
        bend, logs = yeo_johnson, np.sign(prepared) * np.log1p(np.abs(prepared))
    n = len(values)

    def negative(power: float) -> float:
        with np.errstate(over="ignore", invalid="ignore"):  # a power that overflows is none
            variance = float(bend(prepared, power).var())
        if not np.isfinite(variance) or variance < 1e-20:
            return 1e10
        return 0.5 * n * math.log(variance) - (power - 1.0) * float(logs.sum())

    power = float(minimize_scalar(negative, bounds=LAMBDAS, method="bounded", options={"maxiter": 40}).x)
    bent = bend(prepared, power)
    scale = float(bent.std())
    if not np.isfinite(scale) or scale < 1e-6:
        return None
    return Transform(kind, base.unit, base.ceiling, base.centre, spread, power, float(bent.mean()), scale)
