"""What a region's own outcomes say: a local process of the objective, one of each constraint, one of where there are values."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.history import History, Observation
from workers.models.fitting import Priors, fit
from workers.models.gaussian_process import GaussianProcess, Hyperparameters, dimension_scaled_lengthscale
from workers.models.kernels import Kernel
from workers.models.pathwise import Path
from workers.models.warping import standardising

Array = NDArray[np.float64]

MOST_FITTED = 256
MOST_MODELLED = 1000
MOST_POOLED = 2000
MOST_PENDING = 64
MOST_LABELS = 256
OUTLIER = 5.0
STEPS = ((64, 2), (128, 4), (256, 8), (512, 16), (1024, 64))
LAST_STEP = 128
EVALUATIONS = 40
FEASIBILITY_NOISE = 0.05
FEASIBILITY_LENGTHSCALE = 0.25
LENGTHSCALES, OUTPUT_SCALE, NOISE = (0.005, 2.0), (0.05, 20.0), (5e-4, 0.2)


def checkpoint(n: int) -> int:
    """The number of outcomes that hyperparameters are fitted to when n are known."""
    step = next((step for most, step in STEPS if n <= most), LAST_STEP)
    return max(2, n - n % step)


class Rows:
    """Points as rows of the cube, each encoded once."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._rows: dict[int, Array] = {}

    def of(self, trials: Sequence[Observation]) -> Array:
        """(n, d)."""
        for trial in trials:
            if trial.number not in self._rows:
                self._rows[trial.number] = self.codec.encode(trial.parameters)
        return np.array([self._rows[t.number] for t in trials]).reshape(len(trials), self.codec.dimensions)


def bilog(values: Array) -> Array:
    """sign(v) ln(1 + |v|): keeps the zero, tames the tails."""
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def normal_scores(values: Array) -> Array:
    """Normal quantiles of the ranks, equal values sharing theirs: a Gaussian copula's margin."""
    from scipy.special import ndtri

    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - 0.5 * counts
    return np.asarray(ndtri(ranks[place] / len(values)))


class Fits:
    """Hyperparameters by what they were fitted to. Spares work; decides nothing."""

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        self._known = {key: _theta(numbers) for key, numbers in (saved or {}).items()}
        self._used: dict[str, Hyperparameters] = {}

    def begin(self) -> None:
        """Keep only what the latest suggestion used."""
        if self._used:
            self._known, self._used = self._used, {}

    def of(self, name: str, x: Array, y: Array, kernel: Kernel, fixed_noise: Array | None) -> Hyperparameters:
        """Maximum likelihood within bounds, from a fixed start."""
        digest = hashlib.blake2b(name.encode(), digest_size=12)
        for part in (x, y, np.zeros(0) if fixed_noise is None else fixed_noise):
            digest.update(np.ascontiguousarray(part).tobytes())
        key = digest.hexdigest()
        found = self._used.get(key) or self._known.get(key)
        if found is None:
            found = fit(x, y, kernel, fixed_noise, priors=_priors(kernel), evaluations=EVALUATIONS)
        self._used[key] = found
        return found

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {k: [*map(float, t.lengthscales), t.noise, t.mean, t.output_scale] for k, t in self._used.items()}


def _theta(numbers: Sequence[float]) -> Hyperparameters:
    *lengths, noise, mean, scale = numbers
    return Hyperparameters(np.array(lengths), noise, mean, scale)


def _priors(kernel: Kernel) -> Priors:
    """The published bounds. The start grows with the root of d: else all correlations vanish, and the gradient with them."""
    first = min(max(0.5, dimension_scaled_lengthscale(kernel.size)), 0.95 * LENGTHSCALES[1])
    start = Hyperparameters(np.full(kernel.size, first), 5e-3, 0.0, 1.0)
    return Priors.bounded(
        kernel.size, lengthscales=LENGTHSCALES, noise=NOISE, output_scale=OUTPUT_SCALE, start=start
    )  # fmt: skip


@dataclass(frozen=True)
class Beliefs:
    """A region's models, given its kept outcomes and what is under way.

    Attributes:
        objective: over targets; constraints: feasible where <= 0.
        feasibility: of ±1 labels less their prior mean `evaluable`; None while nothing was infeasible.
        centre: (d,) the best point, by posterior mean if values are noisy; centre_number: its trial.
        known: (k, d) kept and pending points.
        scores: (k, 2) sorted targets and the values they stand for, for the way back.
    """

    objective: GaussianProcess
    constraints: tuple[GaussianProcess, ...]
    feasibility: GaussianProcess | None
    evaluable: float
    centre: Array
    centre_number: int
    known: Array
    scores: Array

    def given(self, points: Array) -> Beliefs:
        """The same with pending points believed to bring their posterior means (kriging believer)."""
        if not len(points):
            return self
        near = points[np.argsort(np.abs(points - self.centre).max(1), kind="stable")[:MOST_PENDING]]
        return replace(
            self,
            objective=_believing(self.objective, near),
            constraints=tuple(_believing(c, near) for c in self.constraints),
            known=np.vstack([self.known, points]),
        )

    def sample(self, points: Array, rng: np.random.Generator, levels: Sequence[int | None]) -> tuple[Array, Array]:
        """(m,) objective and (m,) total violation of one function each drawn from the processes (a Thompson sample)."""
        value = Path(self.objective, rng, levels)(points)[:, 0]
        violation = np.zeros(len(points))
        for process in self.constraints:
            violation += np.maximum(Path(process, rng, levels)(points)[:, 0], 0.0)
        if self.feasibility is not None:
            latent = Path(self.feasibility, rng, levels)(points)[:, 0] + self.evaluable
            violation += np.maximum(-latent, 0.0)
        return value, violation

    def in_units(self, row: Array) -> tuple[float, float]:
        """Mean and half the width of the ±1 deviation interval at a (d,) row, to be minimised, in the metric's unit."""
        mean, std = self.objective.predict(row[None, :])
        at = np.array([mean[0] - std[0], mean[0], mean[0] + std[0]])
        low, middle, high = _extended(at, self.scores[:, 0], self.scores[:, 1])
        return float(middle), float(high / 2 - low / 2)


def _extended(at: Array, targets: Array, values: Array) -> Array:
    """Interpolation, straight on beyond the ends."""
    found = np.interp(at, targets, values)
    width = targets[-1] - targets[0]
    if width > 0:
        with np.errstate(over="ignore", invalid="ignore"):
            slope = values[-1] / width - values[0] / width
            found += np.where(at < targets[0], (at - targets[0]) * slope, 0.0)
            found += np.where(at > targets[-1], (at - targets[-1]) * slope, 0.0)
    return np.clip(np.nan_to_num(found), -1e307, 1e307)


def _believing(process: GaussianProcess, points: Array) -> GaussianProcess:
    try:
        return process.appended(points, process.predict(points)[0])
    except np.linalg.LinAlgError:
        return process


def believe(
    codec: Codec, rows: Rows, fits: Fits, history: History, numbers: list[int], barren: list[int], *,
    is_noisy: bool, transform: str,
) -> Beliefs:  # fmt: skip
    """The models of a region.

    Args:
        numbers: its completed trials in told order, two at least; barren: its infeasible ones.

    Raises:
        np.linalg.LinAlgError: a covariance is not positive definite whatever the jitter.
    """
    trials = [t for n in numbers if (t := history.get(n)) is not None]
    raw = np.array([history.values(t)[0] for t in trials])
    violations = bilog(np.array([history.violations(t) for t in trials]).reshape(len(trials), -1))
    total = np.maximum(violations, 0.0).sum(1)
    order = np.lexsort((raw, total))
    kernel = Kernel.ard(np.array([c.is_categorical for c in codec.coordinates]))
    targets, unit = _targets(raw, transform, has_constraints=violations.shape[1] > 0)
    std = np.array([t.std.get(history.spec.objectives[0].metric, 0.0) for t in trials])
    noise = np.minimum(std / unit, 1e3) ** 2 if std.any() and unit > 0 else None
    kept = _kept(trials, rows, order)
    x = rows.of([trials[i] for i in kept])

    def process(name: str, targets_of: Callable[[int], Array], known_noise: Array | None) -> GaussianProcess:
        c = checkpoint(len(trials))
        fitted = targets_of(c)
        part = _chosen(fitted, total[:c])
        some = None if known_noise is None else known_noise[part]
        theta = fits.of(name, rows.of([trials[i] for i in part]), fitted[part], kernel, some)
        y = targets_of(len(trials))
        return GaussianProcess(x, y[kept], theta, kernel, None if known_noise is None else known_noise[kept])

    has_constraints = violations.shape[1] > 0
    objective = process("objective", lambda n: _targets(raw[:n], transform, has_constraints=has_constraints)[0], noise)
    constraints = tuple(
        process(f"constraint {j}", lambda n, column=column: _scaled(column[:n]), None)  # type: ignore[misc]
        for j, column in enumerate(violations.T)
    )
    centre = int(order[0])
    if is_noisy:
        least = np.flatnonzero(total[kept] <= total[centre])
        centre = int(kept[least[np.argmin(objective.at_data()[least])]])
    places = np.argsort(targets, kind="stable")
    model, evaluable = _feasibility(rows, trials, history, barren, x, kernel)
    return Beliefs(
        objective, constraints, model, evaluable, rows.of([trials[centre]])[0], trials[centre].number, x,
        np.column_stack([targets[places], raw[places]]),
    )  # fmt: skip


def _scaled(column: Array) -> Array:
    """A constraint's values over their root mean square: the sign stays."""
    return np.asarray(column / max(float(np.sqrt((column**2).mean())), 1e-12))


def _targets(raw: Array, transform: str, *, has_constraints: bool) -> tuple[Array, float]:
    """Model targets, and how many of the metric's units one of them is (0: no fixed number)."""
    if transform == "copula" or (transform == "auto" and has_constraints):
        return normal_scores(raw), 0.0
    found = standardising(raw, OUTLIER)
    return found(raw), found.unit * found.spread


def _chosen(y: Array, total: Array) -> NDArray[np.int64]:
    """Places of the outcomes that hyperparameters are fitted to: the best half, and the newest of the others."""
    n = len(y)
    if n <= MOST_FITTED:
        return np.arange(n)
    best = np.lexsort((y, total))[: MOST_FITTED // 2]
    rest = np.setdiff1d(np.arange(n), best)
    return np.sort(np.concatenate([best, rest[-(MOST_FITTED - len(best)) :]]))


def _kept(trials: list[Observation], rows: Rows, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of at most `MOST_MODELLED` outcomes: of the best and the newest, those near the best point above all."""
    n = len(trials)
    if n <= MOST_MODELLED:
        return np.arange(n)
    pool = np.arange(n)
    if n > 2 * MOST_POOLED:
        pool = np.union1d(order[:MOST_POOLED], np.arange(n - MOST_POOLED, n))
    away = np.abs(rows.of([trials[i] for i in pool]) - rows.of([trials[order[0]]])).max(1)
    near = pool[np.argsort(away, kind="stable")[: MOST_MODELLED // 2]]
    best = order[: MOST_MODELLED // 4]
    newest = np.arange(n - MOST_MODELLED // 4, n)
    return np.union1d(np.union1d(near, best), newest)


def _feasibility(
    rows: Rows, trials: list[Observation], history: History, barren: list[int], x: Array, kernel: Kernel
) -> tuple[GaussianProcess | None, float]:
    """Regression on +1 (there was a value) and -1 (there was none) around the share of good ones, with fixed lengthscales."""
    if not barren:
        return None, 1.0
    bad = rows.of([t for n in barren[-MOST_LABELS:] if (t := history.get(n)) is not None])
    good = x[-MOST_LABELS:]
    labels = np.concatenate([np.ones(len(good)), -np.ones(len(bad))])
    prior = 2.0 * (len(trials) + 0.5) / (len(trials) + len(barren) + 1.0) - 1.0
    width = np.full(kernel.size, FEASIBILITY_LENGTHSCALE * math.sqrt(x.shape[1]))
    theta = Hyperparameters(width, FEASIBILITY_NOISE, 0.0)
    return GaussianProcess(np.vstack([good, bad]), labels - prior, theta, kernel), prior
