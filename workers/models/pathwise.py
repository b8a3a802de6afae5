"""Whole functions drawn from a Gaussian process: a random prior function plus the data's correction of it.

Wilson et al. 2020, "Efficiently Sampling Functions from Gaussian Process Posteriors"; prior functions from random Fourier features
(Rahimi, Recht 2007). Drawing m values costs O(m (n + features)), where a joint draw of the same values costs O(m³).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .gaussian_process import GaussianProcess, Hyperparameters
from .kernels import Kernel

Array = NDArray[np.float64]

FREEDOM = {"matern52": 5.0, "matern32": 3.0}
CHUNK = 2048


@dataclass(frozen=True, slots=True)
class Features:
    """Cosines whose products average to the kernel.

    A categorical column is embedded as one of `levels` unit vectors over √2, whose squared distance is 1 between any two: the
    frequency of a choice is then a number of its own.

    Attributes:
        theta, kernel: what is approximated.
        frequencies: (d, f) of numeric columns, in units of the cube; 0 at categorical ones.
        phases: (f,).
        choices: column to (levels, f) angles, for categorical columns.
    """

    theta: Hyperparameters
    kernel: Kernel
    frequencies: Array
    phases: Array
    choices: dict[int, Array]

    @staticmethod
    def draw(
        theta: Hyperparameters,
        kernel: Kernel,
        count: int,
        rng: np.random.Generator,
        levels: Sequence[int | None] | None = None,
    ) -> Features:
        """`count` features; `levels` says how many choices each categorical column has.

        Frequencies of a Matérn kernel are Student-distributed with 2ν degrees of freedom, those of a squared exponential normal.
        """
        d = len(kernel.groups)
        widths = theta.lengthscales[kernel.groups]
        spread = np.ones(count)
        if kernel.shape in FREEDOM:
            freedom = FREEDOM[kernel.shape]
            spread = np.sqrt(freedom / rng.chisquare(freedom, count))
        frequencies = rng.standard_normal((d, count)) * spread / widths[:, None]
        choices = {}
        for j in np.flatnonzero(kernel.categorical):
            if levels is None or levels[j] is None:
                raise ValueError(f"column {j} is categorical: say how many levels it has")
            angles = rng.standard_normal((int(levels[j] or 1), count)) * spread
            choices[int(j)] = angles / (widths[j] * math.sqrt(2.0))
        frequencies[kernel.categorical] = 0.0
        return Features(theta, kernel, frequencies, rng.uniform(0.0, 2.0 * math.pi, count), choices)

    def angles(self, points: Array) -> Array:
        """(m, f) arguments of the cosines at (m, d) points."""
        found = self.theta.bent(points) @ self.frequencies
        found += self.phases
        for j, table in self.choices.items():
            found += table[np.minimum((points[:, j] * len(table)).astype(np.int64), len(table) - 1)]
        return np.asarray(found)

    @property
    def amplitude(self) -> float:
        """What each cosine is multiplied by."""
        return math.sqrt(2.0 * self.theta.output_scale / len(self.phases))

    def values(self, points: Array) -> Array:
        """(m, f) features at (m, d) points; their products average to the kernel."""
        return np.asarray(self.amplitude * np.cos(self.angles(points)))

    def rough_values(self, points: Array) -> Array:
        """`values` to seven digits, many times faster: whole turns are taken off in double, the cosine of the rest in single."""
        turns = self.angles(points)
        turns *= 1.0 / (2.0 * math.pi)
        turns -= np.rint(turns)
        angles = turns.astype(np.float32)
        angles *= np.float32(2.0 * math.pi)
        return np.asarray(np.cos(angles).astype(np.float64) * self.amplitude)


class Path:
    """One function, or several, drawn from the posterior of a process.

    Args:
        process: targets being (n,).
        rng: of the draw.
        levels: of categorical columns, as in `Features.draw`.
        features: of the prior function; count: how many functions.
    """

    def __init__(
        self,
        process: GaussianProcess,
        rng: np.random.Generator,
        levels: Sequence[int | None] | None = None,
        *,
        features: int = 1024,
        count: int = 1,
    ) -> None:
        self._process = process
        self._features = Features.draw(process.theta, process.kernel, features, rng, levels)
        self._weights = rng.standard_normal((features, count))
        noise = process.theta.noise + (0.0 if process.fixed_noise is None else process.fixed_noise)
        drawn = self._features.rough_values(process.x) @ self._weights
        drawn += rng.standard_normal((len(process.x), count)) * np.sqrt(np.broadcast_to(noise, len(process.x)))[:, None]
        residual = (process.y - process.theta.mean)[:, None] - drawn
        self._alpha = process.inverse_lower.T @ (process.inverse_lower @ residual)

    def __call__(self, points: Array) -> Array:
        """(m, count) values at (m, d) points."""
        return np.concatenate([self._part(points[i : i + CHUNK]) for i in range(0, max(1, len(points)), CHUNK)])

    def _part(self, points: Array) -> Array:
        process = self._process
        r2 = process.kernel.squared_distance(
            process.theta.bent(points), process.theta.bent(process.x), process.theta.lengthscales
        )
        k = process.theta.output_scale * process.kernel.value(r2)
        return np.asarray(process.theta.mean + self._features.rough_values(points) @ self._weights + k @ self._alpha)
