"""What the trials say: a model of each objective, one of each constraint, one of where the black box can be evaluated."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.history import History, Observation
from services.domain.trial import TrialState
from workers.models.gaussian_process import GaussianProcess, Hyperparameters
from workers.models.kernels import Kernel

from .series import Fits, Manner, Model, choose

if TYPE_CHECKING:
    from services.domain.space import Point

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST_LABELS = 512
FEASIBILITY_NOISE = 0.05
FEASIBILITY_LENGTHSCALE = 0.25
INCUMBENTS = 5


class Rows:
    """Points as rows of the cube, each encoded once."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._rows: dict[int, Array] = {}

    def of(self, trials: list[Observation]) -> Array:
        """(n, d) rows of trials, whose points never change."""
        for trial in trials:
            if trial.number not in self._rows:
                self._rows[trial.number] = self.codec.encode(trial.parameters)
        return np.array([self._rows[t.number] for t in trials]).reshape(len(trials), self.codec.dimensions)


@dataclass(frozen=True)
class Known:
    """The history as arrays; outcomes in the order in which they came.

    Attributes:
        x: (n, d) completed points; y: (n, k) objectives, to be minimised; noise: (n, k) told standard errors, None: none told.
        violations: (n, m), feasible where <= 0; feasible: (n,).
        places: (t, d) points of completed and infeasible trials; labels: (t,) +1 evaluable, -1 infeasible.
        pending: (p, d) points whose outcome is still to come.
    """

    x: Array
    y: Array
    noise: Array | None
    violations: Array
    feasible: Mask
    places: Array
    labels: Array
    pending: Array

    @property
    def all_rows(self) -> Array:
        """Every point that an exact study would gain nothing from asking again."""
        return np.vstack([self.places, self.pending])


def gather(rows: Rows, history: History, given: list[Point]) -> Known:
    """What is known, and what is under way: the pending trials, and the points given earlier in the same call."""
    told = [t for t in history.finished if t.state in (TrialState.COMPLETED, TrialState.INFEASIBLE)]
    done = [t for t in told if t.state is TrialState.COMPLETED]
    spec = history.spec
    std = np.array([[t.std.get(o.metric, 0.0) for o in spec.objectives] for t in done])
    std = std.reshape(len(done), len(spec.objectives))
    bounds = sum((c.max is not None) + (c.min is not None) for c in spec.constraints)
    violations = np.array([history.violations(t) for t in done]).reshape(len(done), bounds)
    pending = rows.of(history.pending)
    return Known(
        x=rows.of(done),
        y=np.array([history.values(t) for t in done]).reshape(len(done), len(spec.objectives)),
        noise=std if std.any() else None,
        violations=violations,
        feasible=np.all(violations <= 0, axis=1),
        places=rows.of(told),
        labels=np.array([-1.0 if t.state is TrialState.INFEASIBLE else 1.0 for t in told]),
        pending=np.vstack([pending, rows.codec.encode_many(given)]) if given else pending,
    )


@dataclass(frozen=True)
class Beliefs:
    """Everything the acquisition needs.

    Attributes:
        objectives: a model each; a single one of the scalarised objectives under `weights`.
        constraints: one model a bound, feasible where <= 0 (bilog scale).
        feasibility: process of the ±1 labels less their prior mean `evaluable`; None while nothing was infeasible.
        targets: (n, o) the objectives as the models see them.
        incumbents: (m, d) the best known points, best first.
    """

    known: Known
    objectives: tuple[Model, ...]
    constraints: tuple[Model, ...]
    feasibility: GaussianProcess | None
    evaluable: float
    targets: Array
    incumbents: Array


def believe(known: Known, fits: Fits, manner: Manner, weights: Array | None = None) -> Beliefs:
    """All models from what is known.

    Args:
        manner: of the objectives.
        weights: (k,) to scalarise by, where the objectives are too many to be modelled each.

    Raises:
        np.linalg.LinAlgError: a covariance is not positive definite whatever the jitter.
    """
    y = known.y if weights is None else scalarise(known.y, weights)[:, None]
    if weights is not None:
        manner = replace(manner, is_chained=False)
    noise = known.noise if weights is None else None
    several = y.shape[1] > 1
    manner = replace(manner, transform="standard") if several and manner.transform == "auto" else manner
    objectives = tuple(
        fits.model(f"objective {j}", known.x, y[:, j], None if noise is None else noise[:, j], manner)
        for j in range(y.shape[1])
    )
    bounds = replace(manner, transform="zero", warping="off", is_chained=True)
    constraints = tuple(
        fits.model(f"constraint {j}", known.x, bilog(known.violations[:, j]), None, bounds)
        for j in range(known.violations.shape[1])
    )
    targets = np.column_stack([m.fitted.transform(y[:, j]) for j, m in enumerate(objectives)])
    process, evaluable = feasibility(known, manner.kernel)
    return Beliefs(known, objectives, constraints, process, evaluable, targets, _incumbents(known, targets))


def _incumbents(known: Known, targets: Array) -> Array:
    """The best few: feasible ones if there are any, the least violating otherwise; with several objectives, of their front."""
    from services.domain.pareto import non_dominated

    if not known.feasible.any():
        return known.x[np.argsort(bilog(np.maximum(known.violations, 0.0)).sum(1), kind="stable")[:INCUMBENTS]]
    x, y = known.x[known.feasible], targets[known.feasible]
    if y.shape[1] == 1:
        return x[np.argsort(y[:, 0], kind="stable")[:INCUMBENTS]]
    front = np.array(non_dominated(y))
    central = np.argsort(np.abs(y[front] - np.median(y[front], axis=0)).sum(1), kind="stable")[: 4 * INCUMBENTS]
    return np.asarray(x[front[central]])


def bilog(values: Array) -> Array:
    """sign(v) ln(1 + |v|): keeps the zero, tames the tails."""
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def scalarise(values: Array, weights: Array) -> Array:
    """(n,) one number for each (n, k) row: the augmented Chebyshev distance of the normalised objectives (ParEGO).

    Source: Knowles 2006, "ParEGO", eq. 2.
    """
    low, high = values.min(0), values.max(0)
    scaled = (values - low) / np.where(high > low, high - low, 1.0) * weights
    return np.asarray(scaled.max(1) + 0.05 * scaled.sum(1))


def feasibility(known: Known, kernel: Kernel) -> tuple[GaussianProcess | None, float]:
    """Where the black box can be evaluated: regression on ±1 around the share of good trials, with fixed lengthscales.

    Two things were tried and are worse. Fitted lengthscales: a step from +1 to -1 looks rough, so they shrink until the model knows
    nothing between the points. Φ(mean / sqrt(1 + variance)): no place is ever less likely than 0.16, and a promising forbidden region
    was asked again and again; the latent value being positive is what is asked here.
    """
    labels = known.labels
    if not (labels < 0).any():
        return None, 1.0
    prior = float(2.0 * ((labels > 0).sum() + 0.5) / (len(labels) + 1.0) - 1.0)
    kept = choose(-labels, MOST_LABELS)
    width = np.full(kernel.size, FEASIBILITY_LENGTHSCALE * math.sqrt(known.places.shape[1]))
    theta = Hyperparameters(width, FEASIBILITY_NOISE, 0.0)
    return GaussianProcess(known.places[kept], labels[kept] - prior, theta, kernel), prior
