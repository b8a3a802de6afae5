"""A Gaussian process for more data than a Cholesky factor can hold: stochastic dual descent.

Lin et al. 2024, "Stochastic Gradient Descent for Gaussian Processes Done Right". (K + σ²I) α = b is solved as the minimum of
½ α'(K + σ²I)α - α'b, whose gradient is the residual; a step moves a random batch of coordinates, with momentum, and the iterates are
averaged geometrically. The noise of such a gradient vanishes at the solution, so a constant step does. Functions are drawn from
the posterior by the same solve with other right-hand sides (Wilson et al. 2020), all of them sharing the batch's kernel rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from .fitting import Priors, fit
from .gaussian_process import LEAST_VARIANCE, Hyperparameters
from .kernels import Kernel
from .pathwise import Features
from .torch_process import TorchKernel, chosen_device

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
Places = NDArray[np.int64]
Draws = Callable[[str], np.random.Generator]

LEAST_NOISE = 1e-4
WINDOW = 200
CHECKED = 2000
POWER_STEPS = 20
LARGEST_STEP = 50.0
CHUNK = 2048
GROWTH = 1.1
SETTLED = 1e-6
MOST_LEARNED = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """How the descent goes.

    Attributes:
        iterations: at most; batch: coordinates moved in each; momentum: share of the step before.
        averaging: weight of the newest iterate in the average; 100 / iterations if absent.
        step: step length times n; from the largest eigenvalue if absent.
        tolerance: relative residual at which it stops, looked at every 500 iterations; accepted: below it the result is trusted.
        most_bytes: the kernel matrix is stored if it takes no more.
    """

    iterations: int = 5000
    batch: int = 512
    momentum: float = 0.9
    averaging: float | None = None
    step: float | None = None
    tolerance: float = 0.01
    accepted: float = 0.05
    most_bytes: int = 2**30


def subset(y: Array, rng: np.random.Generator, most: int = MOST_LEARNED) -> Places:
    """Places that hyperparameters are learned from: two fifths the best, a fifth the newest, the rest drawn."""
    n = len(y)
    if n <= most:
        return np.arange(n)
    best = np.argsort(y, kind="stable")[: 2 * most // 5]
    newest = np.arange(n - most // 5, n)
    taken = np.union1d(best, newest)
    rest = np.setdiff1d(np.arange(n), taken)
    return np.sort(np.concatenate([taken, rng.choice(rest, most - len(taken), replace=False)]))


def learn(
    x: Array, y: Array, kernel: Kernel, rng: np.random.Generator, *, fixed_noise: Array | None = None,
    priors: Priors | None = None, most: int = MOST_LEARNED, evaluations: int = 20,
) -> Hyperparameters:  # fmt: skip
    """Maximum a posteriori hyperparameters of a subset, with the noise floor that the descent needs.

    Args:
        x: (n, d) in the unit cube; y: (n,) standardised targets; fixed_noise: (n,) known variances.
    """
    part = subset(y, rng, most)
    some = None if fixed_noise is None else fixed_noise[part]
    theta = fit(x[part], y[part], kernel, some, priors=priors, evaluations=evaluations)
    return replace(theta, noise=max(theta.noise, LEAST_NOISE))


class DualDescent:
    """Posterior mean, and functions drawn from the posterior, for n in the ten thousands.

    Args:
        x: (n, d) in the unit cube; y: (n,) standardised targets.
        theta: hyperparameters (`learn`); noise below 1e-4 is raised to it.
        kernel: compares rows.
        draws: a fresh generator for each purpose, always the same one: of the batches, features, prior weights and noise.
        fixed_noise: (n,) known variances beside the learned one.
        levels: of categorical columns, as in `Features.draw`.
        samples: how many functions are drawn; features: of their prior part.
        start: (n0, 1 + samples) `solution` of an earlier solve over the first n0 rows, with the same draws.
        device: `auto` is the accelerator where there is one.

    Attributes:
        residual: the largest relative residual of the right-hand sides, on 2000 rows at most.
        iterations: done; step: that was used in the end (times n).
    """

    def __init__(
        self, x: Array, y: Array, theta: Hyperparameters, kernel: Kernel, draws: Draws, *,
        fixed_noise: Array | None = None, levels: Sequence[int | None] | None = None, samples: int = 16,
        features: int = 2048, plan: Plan | None = None, start: Array | None = None, device: str = "auto",
    ) -> None:  # fmt: skip
        self.theta = replace(theta, noise=max(theta.noise, LEAST_NOISE))
        self.plan, self._draws = plan or Plan(), draws
        self._k = TorchKernel(kernel, self.theta, chosen_device(device))
        self._bent = self._k.bent(self._k.tensor(x))
        noise = self.theta.noise + (np.zeros(len(x)) if fixed_noise is None else fixed_noise)
        self._noise = self._k.tensor(noise)
        self._features = Features.draw(self.theta, kernel, features, draws("features"), levels)
        self._weights = draws("weights").standard_normal((features, samples))
        drawn = self._prior(x) + draws("noise").standard_normal((len(x), samples)) * np.sqrt(noise)[:, None]
        self._targets = self._k.tensor(np.column_stack([y - self.theta.mean, drawn]))
        stored = 8 * len(x) ** 2 <= self.plan.most_bytes
        self._matrix = self._k.value(self._bent, self._bent) if stored else None
        self.step = self.plan.step or self._safe_step()
        self.iterations, self.residual = 0, math.inf
        self._alpha = self._descend(self._started(start))

    @property
    def where(self) -> str:
        """The device that is used."""
        return str(self._k.device)

    @property
    def is_accepted(self) -> bool:
        """Whether the residual is small enough to be trusted; else fall back to a local model."""
        return self.residual < self.plan.accepted

    @property
    def solution(self) -> Array:
        """(n, 1 + samples) dual weights of the mean and of the functions' zero-mean parts."""
        return np.asarray(self._alpha.cpu().numpy())

    # -- the solve

    def _rows(self, places: Tensor) -> Tensor:
        if self._matrix is not None:
            return self._matrix[places]
        return self._k.value(self._bent[places], self._bent)

    def _residual(self, alpha: Tensor, places: Tensor) -> Tensor:
        """(b, 1 + samples) rows of (K + σ²I) α - b."""
        return self._rows(places) @ alpha + self._noise[places, None] * alpha[places] - self._targets[places]

    def gradient(self, alpha: Array, places: Places) -> Array:
        """(n, 1 + samples) unbiased estimate of the dual gradient from a batch of coordinates."""
        at = self._k.tensor(places)
        found = torch.zeros_like(self._targets)
        found[at] = self._residual(self._k.tensor(alpha), at) * (len(found) / len(places))
        return np.asarray(found.cpu().numpy())

    def _safe_step(self) -> float:
        """Half of what the largest eigenvalue (power iteration on a subsample) bears; at most 50, nor above a batch's own limit."""
        n = len(self._targets)
        rng = self._draws("power")
        part = self._k.tensor(np.sort(rng.choice(n, min(n, CHECKED), replace=False)))
        block = self._k.value(self._bent[part], self._bent[part])
        vector = self._k.tensor(rng.standard_normal(len(part)))
        for _ in range(POWER_STEPS):
            vector = block @ vector
            vector = vector / vector.norm()
        share = float((vector @ (block @ vector)) / len(part))
        batch = min(self.plan.batch, n)
        own = self.theta.output_scale + float(self._noise.max())
        return min(LARGEST_STEP, 0.5 / max(share, 1e-12), 0.5 * batch / own)

    def _started(self, start: Array | None) -> Tensor:
        """Zeros for rows that no earlier solve knew."""
        alpha = torch.zeros_like(self._targets)
        if start is not None and start.shape[1] == alpha.shape[1] and len(start) <= len(alpha):
            alpha[: len(start)] = self._k.tensor(start)
        return alpha

    def _descend(self, alpha: Tensor) -> Tensor:
        plan, n = self.plan, len(alpha)
        batch = min(plan.batch, n)
        share = plan.averaging or min(1.0, 100.0 / max(1, plan.iterations))
        rng, order = self._draws("batches"), np.zeros(0, dtype=np.int64)
        velocity, average = torch.zeros_like(alpha), alpha.clone()
        kept = (alpha.clone(), average.clone())
        total = torch.zeros((), dtype=alpha.dtype, device=alpha.device)
        check = self._k.tensor(np.sort(self._draws("check").choice(n, min(n, CHECKED), replace=False)))
        size = before = float(self._targets.norm()) / math.sqrt(max(1, self._targets.numel()))
        for t in range(1, plan.iterations + 1):
            if len(order) < batch:
                order = rng.permutation(n)
            places, order = self._k.tensor(order[:batch]), order[batch:]
            residual = self._residual(alpha + plan.momentum * velocity, places)
            velocity *= plan.momentum
            velocity[places] -= residual * (self.step / batch)
            alpha = alpha + velocity
            average += share * (alpha - average)
            total += residual.square().mean()
            self.iterations = t
            if t % WINDOW:
                continue
            now = math.sqrt(float(total) / WINDOW) if bool(torch.isfinite(total)) else math.inf
            total.zero_()
            if not now < math.inf or (now > GROWTH * before and now > SETTLED * size):
                self.step /= 2.0  # it grew: back to the end of the last window that went well, with half the step
                alpha, average = kept[0].clone(), kept[1].clone()
                velocity = torch.zeros_like(alpha)
                continue
            before, kept = now, (alpha.clone(), average.clone())
            if t % 1000 == 0 and self._relative(average, check) < plan.tolerance:
                break
        self.residual = self._relative(average, check)
        return average

    def _relative(self, alpha: Tensor, places: Tensor) -> float:
        parts = [self._residual(alpha, p).square().sum(0) for p in torch.split(places, CHUNK)]
        size = self._targets[places].square().sum(0).clamp(min=1e-300)
        found = float((torch.stack(parts).sum(0) / size).max().sqrt())
        return found if math.isfinite(found) else math.inf

    # -- what it believes

    def _prior(self, points: Array) -> Array:
        """(m, samples) prior parts of the functions."""
        parts = [points[i : i + CHUNK] for i in range(0, max(1, len(points)), CHUNK)]
        return np.concatenate([self._features.values(p) @ self._weights for p in parts])

    def _correction(self, points: Array) -> Array:
        """(m, 1 + samples) of k(x, X) α."""
        parts = []
        for i in range(0, max(1, len(points)), CHUNK):
            bent = self._k.bent(self._k.tensor(points[i : i + CHUNK]))
            parts.append((self._k.value(bent, self._bent) @ self._alpha).cpu().numpy())
        return np.concatenate(parts)

    def predict(self, points: Array) -> tuple[Array, Array]:
        """(m,) means and (m,) standard deviations of the function itself; the latter from the drawn functions' spread."""
        found = self._correction(points)
        spread = self._prior(points) - found[:, 1:]
        variance = (spread**2).mean(1) if spread.shape[1] else np.full(len(points), self.theta.output_scale)
        return self.theta.mean + found[:, 0], np.sqrt(np.maximum(variance, LEAST_VARIANCE))

    def paths(self, points: Array) -> Array:
        """(m, samples) values of the drawn functions at (m, d) points."""
        found = self._correction(points)
        return np.asarray(self.theta.mean + found[:, :1] + self._prior(points) - found[:, 1:])

    def path_with_gradient(self, place: int, points: Array) -> tuple[Array, Array]:
        """(m,) values of one drawn function and their (m, d) gradients; zero along categorical columns."""
        at = self._k.tensor(points)
        bent = self._k.bent(at)
        k, slope = self._k.value_and_slope(bent, self._bent)
        alpha = self._alpha[:, 0] - self._alpha[:, 1 + place]
        angles, weights = self._features.angles(points), self._weights[:, place] * self._features.amplitude
        value = self.theta.mean + (k @ alpha).cpu().numpy() + np.cos(angles) @ weights
        by_prior = -(np.sin(angles) * weights) @ self._features.frequencies.T
        slopes = self._k.bent_slopes(at)
        if slopes is not None:
            by_prior = by_prior * slopes.cpu().numpy()
        gradient = self._k.pulled(at, bent, self._bent, slope * alpha).cpu().numpy() + by_prior
        return value, np.asarray(gradient)
