"""A quadratic through the points around an incumbent, and where it is lowest: a direct search's search step.

Conn, Le Digabel 2013, "Use of quadratic models with mesh-adaptive direct search for constrained black box optimization": least squares
where there are enough points, the least curvature that passes through them where there are not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .barrier import Tried

Array = NDArray[np.float64]
MOST_CROSSED = 16
CURVATURE = 0.5
PENALTY = 10.0
CLIFF = 20.0


class Quadratic:
    """Models of the objective and of each constraint near a point.

    Args:
        tried: evaluated points.
        centre: (d,) where the models are centred.
        columns: the m columns that they are models of; only points equal elsewhere are used.
        radius: largest distance of a column that the step may go; points within twice that are preferred.
    """

    def __init__(self, tried: Sequence[Tried], centre: Array, columns: NDArray[np.int_], radius: float) -> None:
        self._centre, self._columns, self._radius = centre, columns, radius
        m = len(columns)
        self._crossed = m <= MOST_CROSSED
        self._size = 1 + 2 * m + (m * (m - 1) // 2 if self._crossed else 0)
        others = np.setdiff1d(np.arange(len(centre)), columns)
        rows = np.array([t.row for t in tried])
        alike = np.flatnonzero((rows[:, others] == centre[others]).all(axis=1))
        distances = np.abs(rows[alike] - centre).max(axis=1)
        near = alike[np.argsort(distances, kind="stable")][: 2 * self._size]
        self.is_known = len(near) >= m + 2
        if self.is_known:
            y = np.array([[tried[i].value, *tried[i].excess] for i in near])
            self._fit((rows[near][:, columns] - centre[columns]) / radius, y)

    def _fit(self, x: Array, y: Array) -> None:
        weights = 1.0 / np.maximum(1.0, np.abs(x).max(axis=1)) ** 2
        middle = np.median(y, axis=0)
        y = np.minimum(y, middle + CLIFF * (middle - y.min(axis=0)))  # cliffs tell nothing about the slope
        self._scales = np.ptp(y, axis=0)
        self._scales[~(self._scales > 0) | ~np.isfinite(self._scales)] = 1.0
        self._offsets = y[0].copy()
        features = self._features(x) * weights[:, None]
        targets = (y - self._offsets) / self._scales * weights[:, None]
        self._coefficients = np.linalg.lstsq(features, targets, rcond=1e-10)[0]

    def _features(self, x: Array) -> Array:
        """(n, size): constant, slopes, curvatures."""
        parts = [np.ones((len(x), 1)), x, CURVATURE * x * x]
        if self._crossed:
            i, j = np.triu_indices(x.shape[1], 1)
            parts.append(CURVATURE * x[:, i] * x[:, j])
        return np.concatenate(parts, axis=1)

    def values(self, rows: Array) -> Array:
        """(n,) merit of rows: the objective, more where constraints are thought broken; in units of its spread."""
        x = (rows[:, self._columns] - self._centre[self._columns]) / self._radius
        found = self._features(x) @ self._coefficients
        return np.asarray(found[:, 0] + PENALTY * np.maximum(0.0, found[:, 1:] - self._limits()).sum(axis=1))

    def lowest(self) -> Array:
        """(d,) the row of least merit within the radius and the cube."""
        from scipy.optimize import minimize

        centre, m = self._centre[self._columns], len(self._columns)
        lower, upper = np.maximum(-1.0, -centre / self._radius), np.minimum(1.0, (1.0 - centre) / self._radius)
        slopes, curvatures, limits = self._coefficients[1 : m + 1], self._curvatures(m), self._limits()

        def merit(x: Array) -> tuple[float, Array]:
            bent = x @ curvatures  # (k, m)
            found = self._coefficients[0] + x @ slopes + 0.5 * (bent @ x)
            weights = np.where(found[1:] > limits, PENALTY, 0.0)
            gradient = slopes.T + bent
            value = found[0] + weights @ (found[1:] - limits)
            return float(value), np.asarray(gradient[0] + weights @ gradient[1:])

        starts: list[Array] = [np.zeros(m), np.clip(-np.sign(slopes[:, 0]) * 0.5, lower, upper)]
        bounds = list(zip(lower, upper, strict=True))
        ends = [minimize(merit, start, jac=True, method="L-BFGS-B", bounds=bounds).x for start in starts]
        row = self._centre.copy()
        best = min(ends, key=lambda x: merit(x)[0])
        row[self._columns] = np.clip(centre + best * self._radius, 0.0, 1.0)
        return row

    def _limits(self) -> Array:
        return np.asarray(-self._offsets[1:] / self._scales[1:])

    def _curvatures(self, m: int) -> Array:
        """(k, m, m) second derivatives of each model."""
        found = np.zeros((self._coefficients.shape[1], m, m))
        found[:, np.arange(m), np.arange(m)] = 2 * CURVATURE * self._coefficients[m + 1 : 2 * m + 1].T
        if self._crossed:
            i, j = np.triu_indices(m, 1)
            found[:, i, j] = found[:, j, i] = CURVATURE * self._coefficients[2 * m + 1 :].T
        return found
