"""How promising a place is, given beliefs: the acquisition function and its gradient, for many points at once.

One objective: log expected improvement; several: log expected hypervolume improvement. Constraints and feasibility multiply in as
log probabilities. What is still to come (pending trials, the true values behind noisy ones) is sampled jointly, the same few samples
for every point of a suggestion, and the expectation under each sample is exact: pending outcomes are neither ignored nor made up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from workers.models.acquisition import (
    log_expected_hypervolume_improvement,
    log_expected_improvement,
    log_mean_exp,
    log_probability_below,
)
from workers.models.boxes import free_boxes
from workers.models.gaussian_process import GaussianProcess, Trace, cholesky

from .beliefs import FEASIBILITY_NOISE, Beliefs

Array = NDArray[np.float64]

SAMPLES = {1: 16, 2: 8, 3: 3, 4: 1}
MOST_SAMPLED = 64
MOST_BASELINE = 50
MOST_FRONT = {2: 200, 3: 60, 4: 30}
CHUNK = 512


@dataclass
class _Part:
    """A process of s sample paths, and what the acquisition's derivatives by its predictions are at the points of one call."""

    process: GaussianProcess
    mean: Array = field(init=False)
    std: Array = field(init=False)
    trace: Trace = field(init=False)

    def look(self, points: Array) -> None:
        mean, self.std, self.trace = self.process.traced(points)
        self.mean = mean if mean.ndim == 2 else mean[:, None]


class Acquisition:
    """What `search` climbs; larger is better.

    Args:
        beliefs: models and data.
        normals: makes (s, models, q) standard normal samples for q places, given s, models and q.
        is_noisy: whether a told value is the function plus noise.
        kind: `improvement`; `confidence` (upper confidence bound); `spread` (where constraints are least known).
    """

    def __init__(
        self, beliefs: Beliefs, normals: Callable[[int, int, int], Array], *, is_noisy: bool, kind: str = "improvement"
    ) -> None:
        self._kind = kind
        known = beliefs.known
        self.is_feasible_known = bool(known.feasible.any())
        base, observed = self._base(beliefs, is_noisy)
        models = [*beliefs.objectives, *beliefs.constraints]
        k = len(beliefs.objectives)
        self.samples = SAMPLES.get(k, 1) if len(base) else 1
        draws = normals(self.samples, len(models), len(base))
        parts = [_Part(_paths(m.process, base, draws[:, i])) for i, m in enumerate(models)]
        self._objectives, self._constraints = parts[:k], parts[k:]
        self._feasibility = None if beliefs.feasibility is None else _Part(beliefs.feasibility)
        self._evaluable = beliefs.evaluable
        values = np.stack([_last(p.process, len(base), self.samples) for p in self._objectives], axis=-1)
        if len(base) and self._constraints:
            good = np.all([_last(p.process, len(base), self.samples) <= 0 for p in self._constraints], axis=0)
        else:
            good = np.ones((len(base), self.samples), dtype=bool)
        good[: len(observed)] = known.feasible[observed][:, None]
        self._aim(beliefs, values, good, uses_told=not is_noisy)

    def _base(self, beliefs: Beliefs, is_noisy: bool) -> tuple[Array, NDArray[np.int64]]:
        """Places that are sampled: under noise the observed ones that may be best, then the pending ones."""
        known = beliefs.known
        pending = known.pending[-MOST_SAMPLED:]
        if not is_noisy:
            return pending, np.zeros(0, dtype=np.int64)
        means = np.column_stack([m.process.predict(known.x)[0] for m in beliefs.objectives])
        order = np.argsort(np.where(known.feasible[:, None], means, np.inf).min(1), kind="stable")
        observed = order[: min(MOST_BASELINE, int(known.feasible.sum()))]
        return np.vstack([known.x[observed], pending]), observed

    def _aim(self, beliefs: Beliefs, values: Array, good: NDArray[np.bool_], *, uses_told: bool) -> None:
        """What is to be improved on, under each sample: the best value, or boxes above the front."""
        told = beliefs.targets[beliefs.known.feasible]
        self.best: Array | None = None
        self._boxes: list[tuple[Array, Array]] = []
        if not self.is_feasible_known:
            return
        if values.shape[2] == 1:
            sampled = np.where(good, values[:, :, 0], np.inf)
            lowest = sampled.min(0) if len(sampled) else np.full(self.samples, np.inf)
            if uses_told:
                lowest = np.minimum(lowest, told.min())
            self.best = np.where(np.isfinite(lowest), lowest, told.min())
            return
        for s in range(self.samples):
            points = values[good[:, s], s]
            self._boxes.append(_boxes(np.vstack([told, points]) if uses_told else points, told))

    def values(self, points: Array) -> Array:
        """(m,) at (m, d) points."""
        chunks = [self._forward(points[i : i + CHUNK])[0] for i in range(0, len(points), CHUNK)]
        return np.concatenate(chunks) if chunks else np.zeros(0)

    def value_and_gradient(self, points: Array) -> tuple[Array, Array]:
        """(m,) and (m, d); zero along categorical columns."""
        value, pulls = self._forward(points)
        gradient = np.zeros_like(points)
        for part, by_mean, by_std in pulls:
            gradient += part.process.pull_back(part.trace, by_mean, by_std)
        return value, gradient

    def _forward(self, points: Array) -> tuple[Array, list[tuple[_Part, Array, Array]]]:
        """The value, and for each model the derivatives by its predictions."""
        parts = [*self._objectives, *self._constraints]
        for part in parts:
            part.look(points)
        total = np.zeros((len(points), self.samples))
        terms: list[tuple[_Part, Array, Array]] = []
        if self._kind == "spread":
            for part in self._constraints:
                total += np.log(part.std)[:, None]
                terms.append(
                    (part, np.zeros_like(part.mean), np.broadcast_to((1.0 / part.std)[:, None], part.mean.shape))
                )
        else:
            total += self._gain(terms)
            for part in self._constraints:
                promise = log_probability_below(part.mean, part.std, 0.0)
                total += promise.value
                terms.append((part, promise.by_mean, promise.by_std))
        value, weights = log_mean_exp(total)
        pulls = [(part, weights * by_mean, (weights * by_std).sum(1)) for part, by_mean, by_std in terms]
        if self._feasibility is not None:
            value = value + self._evaluable_term(points, pulls)
        return value, pulls

    def _gain(self, terms: list[tuple[_Part, Array, Array]]) -> Array:
        """(m, s) log expected improvement under each sample; 0 while nothing is feasible."""
        if self.best is not None:
            part = self._objectives[0]
            if self._kind == "confidence":
                beta = 2.0
                ones = np.ones_like(part.mean)
                terms.append((part, -ones, beta * ones))
                return np.asarray(beta * part.std[:, None] - part.mean)
            promise = log_expected_improvement(part.mean, part.std, self.best)
            terms.append((part, promise.by_mean, promise.by_std))
            return promise.value
        if not self._boxes:
            return np.zeros((len(self._objectives[0].mean), self.samples))
        shape = (len(self._objectives), len(self._objectives[0].mean), self.samples)
        value, by_mean, by_std = np.empty(shape[1:]), np.empty(shape), np.empty(shape)
        for s, boxes in enumerate(self._boxes):
            column = [p.mean[:, s if p.mean.shape[1] > 1 else 0] for p in self._objectives]
            found = log_expected_hypervolume_improvement(column, [p.std for p in self._objectives], boxes)
            value[:, s], by_mean[:, :, s], by_std[:, :, s] = found[0], np.stack(found[1]), np.stack(found[2])
        terms.extend((part, by_mean[j], by_std[j]) for j, part in enumerate(self._objectives))
        return value

    def _evaluable_term(self, points: Array, pulls: list[tuple[_Part, Array, Array]]) -> Array:
        part = self._feasibility
        assert part is not None
        part.look(points)
        wide = np.sqrt(FEASIBILITY_NOISE + part.std**2)
        promise = log_probability_below(-part.mean[:, 0], wide, self._evaluable)
        pulls.append((part, -promise.by_mean[:, None], promise.by_std * part.std / wide))
        return promise.value


def _paths(process: GaussianProcess, base: Array, normals: Array) -> GaussianProcess:
    """The process given each of s joint samples of the function at the base points."""
    if not len(base):
        return process
    mean, _ = process.predict(base)
    lower, _ = cholesky(process.covariance(base, base) + 1e-12 * np.eye(len(base)))
    samples = mean[:, None] + lower @ normals.T
    told = np.repeat(process.y[:, None], len(normals), axis=1)
    return process.appended(base, np.vstack([told, samples]), is_noisy=False)


def _last(process: GaussianProcess, count: int, samples: int) -> Array:
    """(count, s) the sampled values."""
    return process.y[len(process.y) - count :].reshape(count, samples) if count else np.empty((0, samples))


def _boxes(front: Array, told: Array) -> tuple[Array, Array]:
    """Where a gain is possible: below a reference a tenth of the range of all told values behind the worst of them.

    A reference close behind the front alone would leave its ends without weight: beside one over 10 problems it dominated less.
    """
    from services.domain.pareto import non_dominated

    points = front[non_dominated(front)] if len(front) else front
    points = crowded_out(points, MOST_FRONT.get(front.shape[1], 30))
    nadir = points.max(0) if len(points) else told.max(0)
    worst, best = 0.5 * (nadir + told.max(0)), told.min(0)
    return free_boxes(points, worst + 0.1 * np.maximum(worst - best, 1e-3))


def crowded_out(points: Array, most: int) -> Array:
    """At most so many points of a front, those with the most room around them (crowding distance, Deb et al. 2002)."""
    if len(points) <= most:
        return points
    room = np.zeros(len(points))
    for j in range(points.shape[1]):
        order = np.argsort(points[:, j], kind="stable")
        values = points[order, j]
        width = max(float(values[-1] - values[0]), 1e-300)
        room[order[1:-1]] += (values[2:] - values[:-2]) / width
        room[order[[0, -1]]] = math.inf
    return points[np.sort(np.argsort(-room, kind="stable")[:most])]


def normals_from(rng: np.random.Generator) -> Callable[[int, int, int], Array]:
    """Makes (s, models, q) standard normals, quasi-random."""

    def make(samples: int, models: int, places: int) -> Array:
        if places == 0:
            return np.zeros((samples, models, 0))
        from scipy.special import ndtri
        from scipy.stats import qmc

        unit = qmc.Sobol(models * places, scramble=True, rng=rng).random(samples)
        return np.asarray(ndtri(np.clip(unit, 1e-9, 1 - 1e-9))).reshape(samples, models, places)

    return make
