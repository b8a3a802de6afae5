"""A linear-quadratic regression of told values, the surrogate of lq-CMA-ES.

Hansen 2019, "A global surrogate assisted CMA-ES". The model grows with its data: linear, then with squares, then with all products.
Weighted least squares on the better part of the data, the best weighing most. Fitted around the best point in units of the
data's own spread, so that it stays exact when everything has moved close together.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lstsq

Array = NDArray[np.float64]
Kind = Literal["linear", "diagonal", "full"]

FIT_SHARE = 0.75
DATA_A_COEFFICIENT = 1.1
HEAVIEST = 20.0


def coefficients(kind: Kind, n: int) -> int:
    """How many coefficients a model of n variables has."""
    return {"linear": n + 1, "diagonal": 2 * n + 1, "full": n * (n + 3) // 2 + 1}[kind]


def kind_for(size: int, n: int, most: Kind = "full") -> Kind:
    """The largest kind of model that `size` points carry, `most` at the most."""
    allowed: tuple[Kind, ...] = ("full", "diagonal") if most == "full" else ("diagonal",) if most == "diagonal" else ()
    for kind in allowed:
        if FIT_SHARE * size >= DATA_A_COEFFICIENT * coefficients(kind, n):
            return kind
    return "linear"


@dataclass(frozen=True)
class LqModel:
    """A fitted model.

    Attributes:
        kind: of the model.
        centre: (n,) of its coordinates; scale: (n,) their units.
        weights: (coefficients,) of 1, the coordinates, their squares, their products.
        level: the least value that it was fitted to; unit: the value that its own 1 stands for, from there.
    """

    kind: Kind
    centre: Array
    scale: Array
    weights: Array
    level: float
    unit: float

    @classmethod
    def fit(cls, x: Array, y: Array, most: Kind = "full") -> Self:
        """Fit to data.

        Args:
            x: (m, n) points, m >= 2; y: (m,) values, lower is better, finite.
            most: the largest kind of model.
        """
        size, n = x.shape
        kind = kind_for(size, n, most)
        used = min(size, int(max(coefficients(kind, n) + 2, FIT_SHARE * (size + 1))))
        order = np.argsort(y, kind="stable")[:used]
        x, y = x[order], y[order]
        # Halved, for two values may be further apart than any number.
        level, half = float(y[0]), float(y[-1] / 2 - y[0] / 2) or 0.5
        unit = min(2 * half, sys.float_info.max)
        y = (y / 2 - y[0] / 2) / half
        centre = x[0]
        spread = np.sqrt(np.mean((x - centre) ** 2, axis=0))
        widest = spread.max() or 1.0
        # Of too few points least squares takes the smallest coefficients: only in common units is that fair to all variables.
        scale = np.where(spread > 0, spread, widest) if used > n + 1 else np.full(n, widest)
        heaviness = np.linspace(HEAVIEST, 1.0, used)
        features = _features((x - centre) / scale, kind)
        # By complete orthogonal factorisation: the least-norm solution as by singular values, in a third of the time.
        weights = lstsq(
            features * heaviness[:, None], y * heaviness, cond=1e-15, lapack_driver="gelsy", check_finite=False
        )[0]
        return cls(kind, np.asarray(centre), np.asarray(scale, dtype=np.float64), np.asarray(weights), level, unit)

    def predict(self, x: Array) -> Array:
        """(m,) values at (m, n) points, in units of `unit` above `level`."""
        return np.asarray(_features((x - self.centre) / self.scale, self.kind) @ self.weights)

    def minimiser(self) -> Array:
        """(n,) where the model is stationary, its least point if it is convex; a linear one: a step down from the best point."""
        n = len(self.centre)
        slope = self.weights[1 : n + 1]
        if self.kind == "linear":
            length = float(np.linalg.norm(slope))
            return np.asarray(self.centre - self.scale * slope * (2 * math.sqrt(n) / length if length > 0 else 0.0))
        return np.asarray(self.centre + self.scale * (np.linalg.pinv(self.hessian()) @ -slope))

    def hessian(self) -> Array:
        """(n, n) second derivatives in the model's own units; zero for a linear one."""
        n = len(self.centre)
        found = np.zeros((n, n))
        if self.kind != "linear":
            found[np.diag_indices(n)] = 2 * self.weights[n + 1 : 2 * n + 1]
        if self.kind == "full":
            upper = np.triu_indices(n, 1)
            found[upper] = self.weights[2 * n + 1 :]
            found.T[upper] = self.weights[2 * n + 1 :]
        return found

    def save(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """The model as JSON and arrays."""
        scalars = {"kind": self.kind, "level": self.level, "unit": self.unit}
        return scalars, {"centre": self.centre, "scale": self.scale, "weights": self.weights}

    @classmethod
    def load(cls, document: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """What `save` gave."""
        own = {name: arrays[name] for name in ("centre", "scale", "weights")}
        return cls(kind=document["kind"], level=document["level"], unit=document["unit"], **own)


def _features(x: Array, kind: Kind) -> Array:
    """(m, coefficients): 1, the coordinates, their squares, their products."""
    n = x.shape[1]
    rows = np.empty((coefficients(kind, n), len(x)))
    rows[0] = 1.0
    rows[1 : n + 1] = x.T
    if kind != "linear":
        np.square(rows[1 : n + 1], out=rows[n + 1 : 2 * n + 1])
    if kind == "full":
        first, second = np.triu_indices(n, 1)
        np.multiply(rows[1 + first], rows[1 + second], out=rows[2 * n + 1 :])
    return rows.T


def kendall_tau(x: Array, y: Array) -> float:
    """Kendall's rank correlation of two samples of one length, ties counted (tau-b); 0 where it is not defined."""
    if len(x) < 2:
        return 0.0
    i, j = np.triu_indices(len(x), 1)
    # Compared, for the difference of two finite numbers may be infinite.
    first, second = ((v[i] > v[j]).astype(float) - (v[i] < v[j]) for v in (x, y))
    untied = math.sqrt(float(np.abs(first).sum()) * float(np.abs(second).sum()))
    return float((first * second).sum() / untied) if untied > 0 else 0.0
