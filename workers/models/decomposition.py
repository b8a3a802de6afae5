"""Sums of functions of one or two coordinates over a random forest: a Gaussian process of them, and its exact minimum on a grid.

Ziomek, Bou-Ammar 2023, "Are Random Decompositions all we need in High Dimensional Bayesian Optimisation?" (RDUCB); exact minimum by
message passing as in Rolland et al. 2018, "High-Dimensional Bayesian Optimization via Additive Models with Overlapping Groups".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .gaussian_process import LEAST_VARIANCE, cholesky, inverse_of_lower

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Edges = tuple[tuple[int, int], ...]

VALUES = 4
LENGTHSCALES, NOISE = (0.01, 100.0), (1e-4, 1.0)
FIRST_LENGTHSCALE, FIRST_NOISE = 0.3, 1e-2


def draw_forest(d: int, rng: np.random.Generator, share: float = 0.2) -> Edges:
    """max(1, share d) edges between d coordinates without a cycle: uniform pairs, those that would close one are drawn again."""
    wanted = min(max(1, math.floor(share * d)), d - 1)
    root = list(range(d))

    def top(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    edges: list[tuple[int, int]] = []
    while len(edges) < wanted:
        i, j = (int(k) for k in rng.integers(0, d, 2))
        if i != j and top(i) != top(j):
            root[top(i)] = top(j)
            edges.append((min(i, j), max(i, j)))
    return tuple(edges)


def isolated(d: int, edges: Edges) -> tuple[int, ...]:
    """Coordinates without an edge."""
    bound = {i for edge in edges for i in edge}
    return tuple(i for i in range(d) if i not in bound)


def minimise_forest(d: int, edges: Edges, pairs: Array, singles: Array) -> tuple[NDArray[np.int64], float]:
    """The best choice among w values of each coordinate, and what it costs: exact, by messages from the leaves to the roots.

    Args:
        pairs: (e, w, w) cost of the values of an edge's two ends; singles: (d, w) cost of each coordinate's own values.
    """
    neighbours: list[list[tuple[int, Array]]] = [[] for _ in range(d)]
    for (i, j), table in zip(edges, pairs, strict=True):
        neighbours[i].append((j, table))
        neighbours[j].append((i, table.T))
    cost = singles.copy()
    chosen = np.full(d, -1, dtype=np.int64)
    total = 0.0
    for start in range(d):
        if chosen[start] >= 0:
            continue
        order, parents = [start], {start: (-1, np.empty(0))}
        for i in order:
            for j, table in neighbours[i]:
                if j != parents[i][0]:
                    parents[j] = (i, table)
                    order.append(j)
        best: dict[int, NDArray[np.int64]] = {}
        for i in reversed(order[1:]):
            parent, table = parents[i]
            sums = table + cost[i][None, :]
            best[i] = np.argmin(sums, axis=1)
            cost[parent] = cost[parent] + sums.min(axis=1)
        chosen[start] = int(np.argmin(cost[start]))
        total += float(cost[start].min())
        for i in order[1:]:
            chosen[i] = best[i][chosen[parents[i][0]]]
    return chosen, total


@dataclass(frozen=True, slots=True)
class AdditiveTheta:
    """Hyperparameters that every forest shares.

    Attributes:
        lengthscales: (d,) in units of the cube; scales: (d,), a component's variance being the root of the sum of its squares.
        noise: variance; mean: constant.
    """

    lengthscales: Array
    scales: Array
    noise: float
    mean: float = 0.0

    @staticmethod
    def first(d: int) -> AdditiveTheta:
        """The first guess: components that sum to the variance of standardised targets."""
        return AdditiveTheta(np.full(d, FIRST_LENGTHSCALE), np.full(d, 1.0 / d), FIRST_NOISE)

    def amplitude(self, part: Sequence[int]) -> float:
        """Variance of a component."""
        return math.sqrt(float((self.scales[list(part)] ** 2).sum()))


def _differences(a: Array, b: Array, is_categorical: bool) -> Array:
    """(n, m) squared differences of a column, or inequality."""
    away = a[:, None] - b[None, :]
    return (away != 0).astype(np.float64) if is_categorical else away**2


@dataclass(eq=False)
class AdditiveProcess:
    """A Gaussian process that is a sum over a forest's edges and isolated coordinates.

    Attributes:
        x: (n, d) in the unit cube; y: (n,) standardised targets.
        theta, edges: hyperparameters and forest; categorical: (d,) columns compared by equality.

    Raises:
        np.linalg.LinAlgError: no jitter makes the covariance positive definite.
    """

    x: Array
    y: Array
    theta: AdditiveTheta
    edges: Edges
    categorical: Mask
    alpha: Array = field(init=False)
    precision: Array = field(init=False)

    def __post_init__(self) -> None:
        d = self.x.shape[1]
        self.singles = isolated(d, self.edges)
        self._pair_amplitudes = np.array([self.theta.amplitude(e) for e in self.edges])
        self._single_amplitudes = np.array([self.theta.amplitude((i,)) for i in self.singles])
        covariance = np.eye(len(self.x)) * self.theta.noise
        for part in (*self.edges, *((i,) for i in self.singles)):
            covariance += self._component(part, self.x)
        lower, _ = cholesky(covariance)
        inverse = inverse_of_lower(lower)
        self.precision = inverse.T @ inverse
        self.alpha = self.precision @ (self.y - self.theta.mean)

    def _component(self, part: Sequence[int], points: Array) -> Array:
        """(m, n) of one component's kernel."""
        r2 = np.zeros((len(points), len(self.x)))
        for j in part:
            r2 += _differences(points[:, j], self.x[:, j], bool(self.categorical[j])) / self.theta.lengthscales[j] ** 2
        return np.asarray(self.theta.amplitude(part) * np.exp(-0.5 * r2))

    def mean(self, points: Array) -> Array:
        """(m,) posterior means of the sum."""
        found = np.full(len(points), self.theta.mean)
        for part in (*self.edges, *((i,) for i in self.singles)):
            found += self._component(part, points) @ self.alpha
        return found

    def tables(self, values: Array, beta: float) -> tuple[Array, Array]:
        """Lower confidence bounds of the components: (e, w, w) of the edges, (d, w) of isolated coordinates, 0 for others.

        Args:
            values: (d, w) candidate values of each coordinate.
        """
        d, w = values.shape
        away = values[:, :, None] - self.x.T[:, None, :]
        r2 = np.where(self.categorical[:, None, None], away != 0, away**2)
        factors = np.exp(-0.5 * r2 / self.theta.lengthscales[:, None, None] ** 2)
        singles = np.zeros((d, w))
        if self.singles:
            at = list(self.singles)
            singles[at] = self._bounds(factors[at], self._single_amplitudes, beta)
        if not self.edges:
            return np.zeros((0, w, w)), singles
        left, right = (list(ends) for ends in zip(*self.edges, strict=True))
        both = (factors[left][:, :, None, :] * factors[right][:, None, :, :]).reshape(len(left), w * w, -1)
        return self._bounds(both, self._pair_amplitudes, beta).reshape(-1, w, w), singles

    def _bounds(self, factors: Array, amplitudes: Array, beta: float) -> Array:
        """(c, m) bounds from (c, m, n) kernels of unit variance."""
        c, m, n = factors.shape
        k = (factors * amplitudes[:, None, None]).reshape(c * m, n)
        explained = np.einsum("ij,ij->i", k @ self.precision, k)
        variance = np.maximum(np.repeat(amplitudes, m) - explained, LEAST_VARIANCE)
        return np.asarray((k @ self.alpha - beta * np.sqrt(variance)).reshape(c, m))

    def bound(self, row: Array, beta: float) -> float:
        """The sum of the components' lower confidence bounds at a (d,) row."""
        pairs, singles = self.tables(row[:, None], beta)
        return float(pairs.sum() + singles.sum())


def log_evidence(
    vector: Array, x: Array, y: Array, edges: Edges, categorical: Mask
) -> tuple[float, Array]:  # fmt: skip
    """Log marginal likelihood plus weak normal priors, and its gradient, by ln lengthscales, ln scales, ln noise, mean.

    Raises:
        np.linalg.LinAlgError: the covariance is not positive definite.
    """
    n, d = x.shape
    theta = _theta(vector, d)
    parts: list[tuple[int, ...]] = [*edges, *((i,) for i in isolated(d, edges))]
    covariance = np.eye(n) * theta.noise
    kept: list[tuple[tuple[int, ...], list[Array], Array]] = []
    for part in parts:
        scaled = [_differences(x[:, j], x[:, j], bool(categorical[j])) / theta.lengthscales[j] ** 2 for j in part]
        k = theta.amplitude(part) * np.exp(-0.5 * (scaled[0] if len(part) == 1 else scaled[0] + scaled[1]))
        covariance += k
        kept.append((part, scaled, k))
    lower, _ = cholesky(covariance)
    inverse_lower = inverse_of_lower(lower)
    inverse = inverse_lower.T @ inverse_lower
    residual = y - theta.mean
    alpha = inverse @ residual
    value = float(-0.5 * residual @ alpha - np.log(np.diag(lower)).sum() - 0.5 * n * math.log(2 * math.pi))
    spread = np.outer(alpha, alpha) - inverse
    gradient = np.zeros_like(vector)
    for part, scaled, k in kept:
        weights = spread * k
        total = 0.5 * float(weights.sum())
        square = float((theta.scales[list(part)] ** 2).sum())
        for j, away in zip(part, scaled, strict=True):
            gradient[j] += 0.5 * float(np.vdot(weights, away))
            gradient[d + j] += total * theta.scales[j] ** 2 / square
    gradient[2 * d] = 0.5 * theta.noise * float(np.trace(spread))
    gradient[2 * d + 1] = float(alpha.sum())
    centre = _vector(AdditiveTheta.first(d))
    variances = np.concatenate([np.ones(2 * d), [4.0, 1.0]])
    away = vector - centre
    return value - 0.5 * float((away**2 / variances).sum()), gradient - away / variances


def _vector(theta: AdditiveTheta) -> Array:
    return np.concatenate(
        [np.log(theta.lengthscales), np.log(theta.scales), [math.log(theta.noise), theta.mean]]
    )  # fmt: skip


def _theta(vector: Array, d: int) -> AdditiveTheta:
    return AdditiveTheta(
        np.exp(vector[:d]), np.exp(vector[d : 2 * d]), math.exp(vector[2 * d]), float(vector[2 * d + 1])
    )


def fit_additive(
    x: Array, y: Array, categorical: Mask, forests: Sequence[Edges], evaluations: int = 12
) -> AdditiveTheta:  # fmt: skip
    """Hyperparameters by some evaluations of the evidence under one forest after another, from the first guess.

    Args:
        x: (n, d); y: (n,) standardised targets.
    """
    from scipy.optimize import minimize

    d = x.shape[1]
    vector = _vector(AdditiveTheta.first(d))
    logs = [(math.log(a), math.log(b)) for a, b in [LENGTHSCALES] * d + [(1e-4 / d, 10.0)] * d + [NOISE]]
    for edges in forests:

        def negative(at: Array, edges: Edges = edges) -> tuple[float, Array]:
            try:
                value, gradient = log_evidence(at, x, y, edges, categorical)
            except np.linalg.LinAlgError:
                return 1e10, np.zeros(len(at))
            return -value, -gradient

        found = minimize(
            negative, vector, jac=True, method="L-BFGS-B", bounds=[*logs, (-3.0, 3.0)], options={"maxfun": evaluations}
        )
        if np.all(np.isfinite(found.x)) and found.fun < 1e10:
            vector = np.asarray(found.x)
    return _theta(vector, d)


Tables = Callable[[Array], tuple[Array, Array]]


def zoom(tables: Tables, edges: Edges, sizes: NDArray[np.int64], rng: np.random.Generator) -> tuple[Array, float]:
    """(d,) a point of the grid and its cost: each round cuts what is left of each coordinate in four and keeps the best quarter.

    Args:
        tables: costs of (d, 4) values; sizes: (d,) grid values of each coordinate.
    """
    d = len(sizes)
    low, high = np.zeros(d, dtype=np.int64), sizes.astype(np.int64)
    row, value = np.full(d, 0.5), math.inf
    while np.any(high - low > 1) or math.isinf(value):
        cuts = low[:, None] + ((high - low)[:, None] * np.arange(VALUES + 1)[None, :]) // VALUES
        cuts[:, :-1] = np.minimum(cuts[:, :-1], high[:, None] - 1)
        ends = np.maximum(cuts[:, 1:], cuts[:, :-1] + 1)
        places = cuts[:, :-1] + np.floor(rng.random((d, VALUES)) * (ends - cuts[:, :-1])).astype(np.int64)
        values = (places + 0.5) / sizes[:, None]
        chosen, value = minimise_forest(d, edges, *tables(values))
        at = np.arange(d)
        row, low, high = values[at, chosen], cuts[at, chosen], ends[at, chosen]
    return row, value


def polish(
    tables: Tables, edges: Edges, row: Array, value: float, sizes: Array, rng: np.random.Generator, rounds: int = 12
) -> tuple[Array, float]:
    """(d,) a point no worse: every coordinate at once may take one of three values nearby, ever nearer.

    Args:
        sizes: (d,) levels of each coordinate; infinite for a continuous one.
    """
    d = len(row)
    for t in range(rounds):
        width = 0.2 * 0.6**t
        near = row[:, None] + width * rng.standard_normal((d, VALUES - 1))
        anywhere = rng.random((d, VALUES - 1))
        finite = np.isfinite(sizes)[:, None]
        near = np.where(finite & (rng.random((d, VALUES - 1)) < 0.5), anywhere, np.clip(near, 0.0, 1.0))
        cells = np.where(finite, sizes[:, None], 1.0)
        snapped = (np.minimum(np.floor(near * cells), cells - 1) + 0.5) / cells
        values = np.column_stack([row, np.where(finite, snapped, near)])
        chosen, found = minimise_forest(d, edges, *tables(values))
        if found < value:
            row, value = values[np.arange(d), chosen], found
    return row, value
