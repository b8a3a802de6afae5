"""All of a very large history in one model, on the accelerator of a worker that has one.

`solver: "exact"` factors the whole covariance; `solver: "sdd"` solves it by stochastic dual descent, and each trial maximises a
function drawn from the posterior.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.suggester import Problem
from workers.models.acquisition import log_expected_improvement, log_probability_below
from workers.models.dual_descent import DualDescent, Plan, learn
from workers.models.torch_process import TorchProcess

from .beliefs import FEASIBILITY_NOISE, Beliefs, Known
from .series import Fits, Manner

if TYPE_CHECKING:
    from workers.models.gaussian_process import GaussianProcess

Array = NDArray[np.float64]

FUNCTIONS = 16
LEAST_NOISE = 5e-3
MOST_WORK = 1e12
ACCEPTED = 0.2
"""Largest relative residual of a solve that is used. What is left of it lies along directions of tiny eigenvalues, which move
weights but hardly functions: at 0.11 the drawn functions' spread was within 6 % of the exact posterior's."""


def epoch(n: int) -> int:
    """How many outcomes the functions that serve now have seen: all of them at every sixteenth."""
    return n - n % FUNCTIONS


def plan_for(n: int, dimensions: int) -> Plan:
    """As many iterations as a minute or so allows on one core; the monitor tells whether they were enough."""
    work = 512.0 * n * (dimensions + 2 * FUNCTIONS)
    return Plan(iterations=int(np.clip(MOST_WORK / work, 500, 3000)), accepted=ACCEPTED)


@dataclass(frozen=True)
class Drawn:
    """A drawn function upside down, plus the log probability that a place can be evaluated."""

    process: DualDescent
    place: int
    feasibility: GaussianProcess | None
    evaluable: float

    def values(self, points: Array) -> Array:
        """(m,) at (m, d) rows; larger is better."""
        return self.value_and_gradient(points)[0]

    def value_and_gradient(self, points: Array) -> tuple[Array, Array]:
        """(m,) and (m, d)."""
        value, gradient = self.process.path_with_gradient(self.place, points)
        chance, pull = _evaluable(self.feasibility, self.evaluable, points)
        return chance - value, pull - gradient


@dataclass(frozen=True)
class Whole:
    """Log expected improvement under the exact posterior of all trials, plus the log probability that a place can be evaluated."""

    process: TorchProcess
    best: float
    feasibility: GaussianProcess | None
    evaluable: float

    def values(self, points: Array) -> Array:
        """(m,) at (m, d) rows; larger is better."""
        return self.value_and_gradient(points)[0]

    def value_and_gradient(self, points: Array) -> tuple[Array, Array]:
        """(m,) and (m, d)."""
        mean, std, trace = self.process.traced(points)
        promise = log_expected_improvement(mean, std, self.best)
        gradient = self.process.pull_back(trace, promise.by_mean, promise.by_std)
        chance, pull = _evaluable(self.feasibility, self.evaluable, points)
        return promise.value + chance, gradient + pull


def whole(beliefs: Beliefs, device: str) -> Whole:
    """All trials, under the transform and hyperparameters of the subset's model; it believes its own mean at pending points."""
    known, model = beliefs.known, beliefs.objectives[0]
    targets, theta = beliefs.targets[:, 0], model.fitted.theta
    noise = None if known.noise is None else model.fitted.transform.variances(known.noise[:, 0])
    kernel = model.process.kernel
    x = known.x
    if len(known.pending):
        believed, _ = model.process.predict(known.pending)
        x, targets = np.vstack([x, known.pending]), np.concatenate([targets, believed])
        noise = None if noise is None else np.concatenate([noise, np.zeros(len(known.pending))])
    process = TorchProcess(x, targets, theta, kernel, noise, device=device)
    best = process.predict(known.x)[0].min() if known.noise is not None else targets.min()
    return Whole(process, float(best), beliefs.feasibility, beliefs.evaluable)


def _evaluable(process: GaussianProcess | None, evaluable: float, points: Array) -> tuple[Array, Array]:
    """The log probability that places can be evaluated, and its gradient."""
    if process is None:
        return np.zeros(len(points)), np.zeros_like(points)
    mean, std, trace = process.traced(points)
    wide = np.sqrt(FEASIBILITY_NOISE + std**2)
    chance = log_probability_below(-mean, wide, evaluable)
    return chance.value, process.pull_back(trace, -chance.by_mean, chance.by_std * std / wide)


class Descent:
    """The functions of the latest epoch; found again where they were lost."""

    def __init__(self, problem: Problem, codec: Codec, device: str) -> None:
        self._problem = problem
        self._levels = [c.levels for c in codec.coordinates]
        self._device = device
        self._latest: tuple[int, DualDescent] | None = None

    def at(self, known: Known, fits: Fits, manner: Manner) -> DualDescent:
        """The model of the latest epoch's outcomes; hyperparameters are those of a subset, under priors that keep the noise up.

        The descent slows with the condition number, so noise is not let vanish: of thousands of values it averages out.
        """
        n = epoch(len(known.x))
        if self._latest is not None and self._latest[0] == n:
            return self._latest[1]
        fitted = fits.fitted("objective 0", known.x[:n], known.y[:n, 0], None, manner)
        noise = None if known.noise is None else fitted.transform.variances(known.noise[:n, 0])
        targets = fitted.transform(known.y[:n, 0])
        rng = self._problem.generator(n, "sdd subset")
        theta = learn(known.x[:n], targets, manner.kernel, rng, fixed_noise=noise)
        theta = replace(theta, noise=max(theta.noise, LEAST_NOISE))
        found = DualDescent(
            known.x[:n], targets, theta, manner.kernel,
            lambda purpose: self._problem.generator(n, f"sdd {purpose}"), fixed_noise=noise, levels=self._levels,
            samples=FUNCTIONS, plan=plan_for(n, known.x.shape[1]), device=self._device,
        )  # fmt: skip
        self._latest = (n, found)
        return found

    def acquisition(self, found: DualDescent, beliefs: Beliefs, number: int) -> Drawn:
        """The function that serves a trial."""
        return Drawn(found, number % FUNCTIONS, beliefs.feasibility, beliefs.evaluable)
