"""What the trials say: a model of the objective, one of each constraint, one of where the black box can be evaluated."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.history import History, Observation
from services.domain.study import StudySpec
from services.domain.trial import TrialState
from workers.models.acquisition import (
    log_expected_improvement,
    log_expected_improvement_gradient,
    log_probability_below,
    log_probability_below_gradient,
)
from workers.models.fitting import fit
from workers.models.gaussian_process import GaussianProcess, Hyperparameters
from workers.models.kernels import Kernel

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST_FITTED = 256
MOST_MODELLED = 2000
OUTLIER = 5.0
FEASIBILITY_NOISE = 0.05
FEASIBILITY_LENGTHSCALE = 0.25


@dataclass(frozen=True, slots=True)
class Model:
    """A Gaussian process over standardised targets and the way back to the metric's unit."""

    process: GaussianProcess
    shift: float
    scale: float


@dataclass
class Beliefs:
    """Everything the acquisition needs.

    Attributes:
        objective: model of the (scalarised) objective; None while nothing completed.
        best: what to improve on, in the objective model's unit; None while nothing is feasible.
        constraints: one model a bound, feasible where <= 0.
        feasibility: model of +1 evaluable, -1 infeasible; None while nothing was infeasible.
        incumbents: (m, d) the best known points, best first.
    """

    objective: Model | None
    best: float | None
    constraints: tuple[Model, ...]
    feasibility: Model | None
    incumbents: Array

    def log_acquisition(self, points: Array) -> Array:
        """(m,) the logarithm of constrained expected improvement at (m, d) points; larger is better."""
        total = np.zeros(len(points))
        if self.objective is not None and self.best is not None:
            mean, std = self.objective.process.predict(points)
            total += log_expected_improvement(mean, std, self.best)
        for model in self.constraints:
            mean, std = model.process.predict(points)
            total += log_probability_below(mean, std, -model.shift / model.scale)
        if self.feasibility is not None:
            mean, std = self.feasibility.process.predict(points)
            total += log_probability_below(-mean, np.sqrt(FEASIBILITY_NOISE + std**2), self.feasibility.shift)
        return total

    def gradient(self, point: Array) -> tuple[float, Array]:
        """The same at one (d,) point, and its (d,) gradient; zero along categorical coordinates."""
        value, slope = 0.0, np.zeros(len(point))
        if self.objective is not None and self.best is not None:
            mean, std, d_mean, d_std = self.objective.process.predict_with_gradient(point)
            value += float(log_expected_improvement(np.array([mean]), np.array([std]), self.best)[0])
            slope += log_expected_improvement_gradient(mean, std, self.best, d_mean, d_std)
        for model in self.constraints:
            mean, std, d_mean, d_std = model.process.predict_with_gradient(point)
            bound = -model.shift / model.scale
            value += float(log_probability_below(np.array([mean]), np.array([std]), bound)[0])
            slope += log_probability_below_gradient(mean, std, d_mean, d_std, bound)
        if self.feasibility is not None:
            mean, std, d_mean, d_std = self.feasibility.process.predict_with_gradient(point)
            wide = math.sqrt(FEASIBILITY_NOISE + std**2)
            shift = self.feasibility.shift
            value += float(log_probability_below(np.array([-mean]), np.array([wide]), shift)[0])
            slope += log_probability_below_gradient(-mean, wide, -d_mean, d_std * std / wide, shift)
        return value, slope


class Fits:
    """Hyperparameters by what they were fitted to. Saves refitting; another process finds the same ones by fitting again."""

    def __init__(self, known: Mapping[str, Sequence[float]] | None = None) -> None:
        self._known: dict[str, list[float]] = {key: list(vector) for key, vector in (known or {}).items()}
        self._used: list[str] = []

    def get(self, x: Array, y: Array, categorical: Mask, noise: Array | None) -> Hyperparameters:
        """The fit to these data, exactly as `fit` finds it."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (x, y, np.zeros(0) if noise is None else noise):
            digest.update(np.ascontiguousarray(part).tobytes())
        key = digest.hexdigest()
        if key not in self._known:
            theta = fit(x, y, Kernel.ard(categorical), noise)
            self._known[key] = [*(float(v) for v in theta.lengthscales), theta.noise, theta.mean]
        self._used.append(key)
        return Hyperparameters(np.array(self._known[key][:-2]), *self._known[key][-2:])

    def document(self) -> dict[str, list[float]]:
        """The fits that the latest suggestion used."""
        return {key: self._known[key] for key in dict.fromkeys(self._used)}

    def forget_unused(self) -> None:
        """Keep only what the latest suggestion used."""
        self._known = self.document()
        self._used = []


def checkpoint(n: int) -> int:
    """The number of outcomes that hyperparameters are fitted to when n are known: all of them at first, then ever rarer."""
    step = 1 if n <= 100 else 5 if n <= 200 else 25 if n <= 500 else 100
    return n - n % step


def choose(y: Array, most: int) -> NDArray[np.int64]:
    """Places of at most `most` outcomes: the best half, and the newest of the others; ascending."""
    n = len(y)
    if n <= most:
        return np.arange(n)
    best = np.argsort(y, kind="stable")[: most // 2]
    rest = np.setdiff1d(np.arange(n), best)
    return np.sort(np.concatenate([best, rest[-(most - len(best)) :]]))


def model(x: Array, raw: Array, noise: Array | None, categorical: Mask, fits: Fits, *, centre: bool = True) -> Model:
    """A process over targets: outliers clipped, standardised, hyperparameters from the latest checkpoint.

    Args:
        x: (n, d) in the order in which the outcomes came; raw: (n,) targets.
        noise: (n,) told standard errors, 0 where none was told; None where none was told at all.
        centre: subtract the mean; a constraint keeps its zero.
    """
    unit = max(float(np.abs(raw).max()), 1e-300)  # squares of 1e300 must not overflow
    y = np.minimum(raw / unit, _ceiling(raw / unit))
    shift = float(y.mean()) if centre else 0.0
    scale = float(np.sqrt(((y - shift) ** 2).mean()))
    if scale < 1e-12:
        scale = 1.0
    targets = (y - shift) / scale
    shift, scale = shift * unit, scale * unit
    variances = None if noise is None else np.minimum(noise / scale, 1e3) ** 2
    known = choose(targets, MOST_MODELLED)
    fitted = checkpoint(len(targets))
    part = choose(targets[:fitted], MOST_FITTED)
    theta = fits.get(x[part], targets[part], categorical, None if variances is None else variances[part])
    process = GaussianProcess(
        x[known], targets[known], theta, Kernel.ard(categorical), None if variances is None else variances[known]
    )
    return Model(process, shift, scale)


def _ceiling(raw: Array) -> float:
    low, high = np.percentile(raw, [25, 75])
    return float(high + OUTLIER * (high - low)) if high > low else math.inf


def bilog(values: Array) -> Array:
    """sign(v) ln(1 + |v|): keeps the zero, tames the tails."""
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def believe(
    codec: Codec, spec: StudySpec, history: History, pending: Array, fits: Fits, weights: Array | None
) -> Beliefs:
    """All models from what is known.

    Args:
        pending: (p, d) points whose outcome is still to come: the models believe their own mean there.
        weights: (k,) of the objectives when there are several; a random direction of the Pareto front.
    """
    told = [t for t in history.finished if t.state in (TrialState.COMPLETED, TrialState.INFEASIBLE)]
    completed = [t for t in told if t.state is TrialState.COMPLETED]
    categorical = np.array([c.is_categorical for c in codec.coordinates])
    x = codec.encode_many([t.parameters for t in completed])
    violations = np.array([history.violations(t) for t in completed]).reshape(len(completed), -1)
    feasible = np.all(violations <= 0, axis=1) if len(completed) else np.zeros(0, dtype=bool)
    objective, best, incumbents = None, None, np.empty((0, codec.dimensions))
    if completed:
        y = scalarise(np.array([history.values(t) for t in completed]), weights)
        objective = _with_pending(model(x, y, _noise(spec, completed), categorical, fits), pending)
        order = np.argsort(np.where(feasible, y, np.inf if feasible.any() else violations.sum(1)), kind="stable")
        incumbents = x[order[:5]]
        if feasible.any():
            best = _threshold(objective, x[feasible], y[feasible] / objective.scale - objective.shift / objective.scale)
    constraints = tuple(
        _with_pending(model(x, bilog(violations[:, j]), None, categorical, fits, centre=False), pending)
        for j in range(violations.shape[1] if len(completed) else 0)
    )
    return Beliefs(objective, best, constraints, _feasibility(codec, told, categorical), incumbents)


def _threshold(objective: Model, x: Array, y: Array) -> float:
    """What to improve on: the best value, or under visible noise the lowest mean at an observed point."""
    if objective.process.theta.noise < 0.01:
        return float(y.min())
    return float(objective.process.predict(x)[0].min())


def _noise(spec: StudySpec, completed: Sequence[Observation]) -> Array | None:
    if len(spec.objectives) > 1:
        return None
    told = [t.std.get(spec.objectives[0].metric) for t in completed]
    return None if all(s is None for s in told) else np.array([s or 0.0 for s in told])


def scalarise(values: Array, weights: Array | None) -> Array:
    """(n,) one number for each (n, k) row: the augmented Chebyshev distance of the normalised objectives (ParEGO).

    Source: Knowles 2006, "ParEGO", eq. 2.
    """
    if weights is None:
        return np.asarray(values[:, 0])
    low, high = values.min(0), values.max(0)
    scaled = (values - low) / np.where(high > low, high - low, 1.0) * weights
    return np.asarray(scaled.max(1) + 0.05 * scaled.sum(1))


def _with_pending(found: Model, pending: Array) -> Model:
    """Kriging believer: at pending points the mean is believed, so the spread falls and the mean stays."""
    if not len(pending):
        return found
    old = found.process
    mean, _ = old.predict(pending)
    y = np.concatenate([_targets(old), mean])
    noise = None if old.fixed_noise is None else np.concatenate([old.fixed_noise, np.zeros(len(pending))])
    process = GaussianProcess(np.vstack([old.x, pending]), y, old.theta, old.kernel, noise)
    return Model(process, found.shift, found.scale)


def _targets(process: GaussianProcess) -> Array:
    return np.asarray(process.theta.mean + process.lower @ (process.lower.T @ process.alpha))


def _feasibility(codec: Codec, told: Sequence[Observation], categorical: Mask) -> Model | None:
    """Where the black box can be evaluated: regression on ±1 around the share of good trials, with fixed lengthscales.

    Two things were tried and are worse. Fitted lengthscales: a step from +1 to -1 looks rough, so they shrink until the model knows
    nothing between the points. Φ(mean / sqrt(1 + variance)): no place is ever less likely than 0.16, and a promising forbidden region
    was asked again and again; the latent value being positive is what is asked here.
    """
    labels = np.array([-1.0 if t.state is TrialState.INFEASIBLE else 1.0 for t in told])
    if not (labels < 0).any():
        return None
    x = codec.encode_many([t.parameters for t in told])
    prior = 2.0 * ((labels > 0).sum() + 0.5) / (len(labels) + 1.0) - 1.0
    known = choose(-labels, MOST_FITTED)
    width = np.full(codec.dimensions, FEASIBILITY_LENGTHSCALE * math.sqrt(codec.dimensions))
    theta = Hyperparameters(width, FEASIBILITY_NOISE, 0.0)
    return Model(GaussianProcess(x[known], labels[known] - prior, theta, Kernel.ard(categorical)), float(prior), 1.0)
