"""The `rducb` method: a forest for each trial, additive models over it, the exact minimum of their confidence bound."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.history import History, Observation
from services.domain.sampling import draw, draw_many, unused
from services.domain.space import Point, point_key
from services.domain.suggester import Blob, Problem, Suggestion
from services.domain.trial import TrialState
from workers.models.decomposition import (
    AdditiveProcess,
    AdditiveTheta,
    Edges,
    draw_forest,
    fit_additive,
    polish,
    zoom,
)
from workers.models.sobol_sequence import Sobol
from workers.models.warping import standardising

if TYPE_CHECKING:
    from . import RducbOptions

Array = NDArray[np.float64]

VERSION = 1
OUTLIER = 5.0
MOST_FITTED = 150
MOST_MODELLED = 500
MOST_PENDING = 64
FORESTS = 2
ZOOMS = 2
HALVINGS = 10
DRAWN = 64
TRIES = 60
STEPS = ((50, 5), (100, 10), (300, 25))
LAST_STEP = 50
MOST_MULTIPLIER = 1e3
SAFE_CREDIT = 0.2


def checkpoint(n: int) -> int:
    """The number of outcomes that hyperparameters are fitted to when n are known."""
    step = next((step for most, step in STEPS if n <= most), LAST_STEP)
    return max(2, n - n % step)


def chosen(y: Array, most: int) -> NDArray[np.int64]:
    """Places of at most `most` outcomes: the best half, and the newest of the others; ascending."""
    n = len(y)
    if n <= most:
        return np.arange(n)
    best = np.argsort(y, kind="stable")[: most // 2]
    rest = np.setdiff1d(np.arange(n), best)
    return np.sort(np.concatenate([best, rest[-(most - len(best)) :]]))


def multiplier(series: Sequence[float], step: float) -> float:
    """The dual weight of a constraint after its outcomes in told order: up with each violation, down with each slack."""
    found = 1.0
    for value in series:
        found = min(max(0.0, found + step * value), MOST_MULTIPLIER)
    return found


@dataclass(frozen=True)
class Series:
    """A quantity that is modelled: the objective, a constraint, or whether there is a value at all.

    Attributes:
        name: of the quantity; x: (n, d) rows and told: (n,) values, in told order; make: values to targets.
        weight: of its confidence bound in what is minimised.
        unit, centre: of a target, in the metric's own.
    """

    name: str
    x: Array
    told: Array
    make: Callable[[Array], Array]
    weight: float
    unit: float = 1.0
    centre: float = 0.0

    @property
    def y(self) -> Array:
        """(n,) targets."""
        return self.make(self.told)


def _standardised(raw: Array) -> Array:
    return standardising(raw, OUTLIER)(raw)


def _scaled(column: Array) -> Array:
    """Over the root mean square: the sign stays."""
    return np.asarray(column / max(float(np.sqrt((column**2).mean())), 1e-12))


def _as_told(column: Array) -> Array:
    return column


class Rducb:
    """Reads everything from the history; the state holds fits, so that none is done twice."""

    def __init__(self, problem: Problem, options: RducbOptions, blob: Blob | None) -> None:
        self._problem, self._options = problem, options
        self._codec = Codec(problem.space)
        self._sobol = Sobol(problem)
        self._rows: dict[int, Array] = {}
        self._categorical = np.array([c.is_categorical for c in self._codec.coordinates], dtype=bool)
        levels = [c.levels for c in self._codec.coordinates]
        self._levels = np.array([math.inf if n is None else float(n) for n in levels])
        self._sizes = np.array([options.grid if n is None else n for n in levels], dtype=np.int64)
        saved: Mapping[str, Any] = blob.document if blob is not None and blob.version == VERSION else {}
        self._known = {key: _theta(numbers) for key, numbers in saved.get("fits", {}).items()}
        self._used: dict[str, AdditiveTheta] = {}

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points, each aware of the ones before it; fewer when a finite space is used up."""
        batch = _Batch(history)
        if self._used:
            self._known, self._used = self._used, {}
        series = self._series(history)
        found: list[Suggestion] = []
        for number in range(history.next_number, history.next_number + count):
            batch.next_number = number
            suggestion = self._quasi_random(batch) if series is None else self._modelled(batch, series)
            if suggestion is None:
                break
            batch.give(suggestion.parameters)
            found.append(suggestion)
        return found

    # -- what is known

    def _of(self, trials: Sequence[Observation]) -> Array:
        for trial in trials:
            if trial.number not in self._rows:
                self._rows[trial.number] = self._codec.encode(trial.parameters)
        return np.array([self._rows[t.number] for t in trials]).reshape(len(trials), self._codec.dimensions)

    def _series(self, history: History) -> list[Series] | None:
        """The quantities; None while there is too little to model."""
        told = [t for t in history.finished if t.state in (TrialState.COMPLETED, TrialState.INFEASIBLE)]
        done = [t for t in told if t.state is TrialState.COMPLETED]
        if len(told) < self._options.initial_trials or len(done) < 2:
            return None
        raw = np.array([history.values(t)[0] for t in done])
        transform = standardising(raw, OUTLIER)
        if not history.spec.constraints and np.ptp(transform(raw)) == 0:
            return None
        x, unit = self._of(done), transform.unit * transform.spread
        found = [Series("objective", x, raw, _standardised, 1.0, unit, transform.centre * transform.unit)]
        violations = np.array([history.violations(t) for t in done]).reshape(len(done), -1)
        violations = np.sign(violations) * np.log1p(np.abs(violations))
        step = self._options.dual_step
        for j, column in enumerate(violations.T):
            weight = multiplier(_scaled(column).tolist(), step)
            found.append(Series(f"constraint {j}", x, column, _scaled, weight))
        if len(told) > len(done):
            barren = np.array([t.state is TrialState.INFEASIBLE for t in told])
            weight = multiplier(np.where(barren, 1.0, -SAFE_CREDIT).tolist(), step)
            found.append(Series("feasibility", self._of(told), np.where(barren, 1.0, -1.0), _as_told, weight))
        return found

    def _fit(self, series: Series) -> AdditiveTheta:
        c = checkpoint(len(series.told))
        targets = series.make(series.told[:c])
        part = chosen(targets, MOST_FITTED)
        x, y = series.x[part], targets[part]
        digest = hashlib.blake2b(series.name.encode(), digest_size=12)
        digest.update(np.ascontiguousarray(x).tobytes() + np.ascontiguousarray(y).tobytes())
        key = digest.hexdigest()
        found = self._used.get(key) or self._known.get(key)
        if found is None:
            rng = self._problem.generator(c, f"rducb fit {series.name}")
            forests = [self._forest(rng) for _ in range(FORESTS)]
            found = fit_additive(x, y, self._categorical, forests)
        self._used[key] = found
        return found

    def _forest(self, rng: np.random.Generator) -> Edges:
        return draw_forest(self._codec.dimensions, rng, self._options.edges)

    # -- one point

    def _quasi_random(self, batch: _Batch) -> Suggestion | None:
        found = self._sobol.suggest(batch, 1)
        if not found:
            return None
        return Suggestion(parameters=found[0].parameters, reason=f"initial design: {found[0].reason}")

    def _modelled(self, batch: _Batch, series: list[Series]) -> Suggestion | None:
        rng = self._problem.generator(batch.next_number, "rducb")
        edges = self._forest(rng)
        step = len(series[0].told) - self._options.initial_trials + 1
        beta = 0.5 * math.log(2 * max(1, step)) if self._options.beta is None else self._options.beta
        try:
            models = [(s.weight, self._process(s, edges, batch)) for s in series]
        except np.linalg.LinAlgError:
            return self._quasi_random(batch)

        def tables(values: Array) -> tuple[Array, Array]:
            found = [(weight, model.tables(values, beta)) for weight, model in models if weight > 0]
            return sum(w * t[0] for w, t in found), sum(w * t[1] for w, t in found)  # type: ignore[return-value]

        tries = [zoom(tables, edges, self._sizes, rng) for _ in range(ZOOMS)]
        row, value = min(tries, key=lambda found: found[1])
        row, value = polish(tables, edges, row, value, self._levels, rng)
        point = self._new(self._admissible(row, models, beta, batch, rng), batch, rng)
        if point is None:
            return None
        reason = f"lowest confidence bound over a random forest of {len(edges)} edges"
        if len(series) > 1:
            reason += ", weighed with the constraints"
        return Suggestion(
            parameters=point, reason=reason, receipt=self._receipt(series, models, edges, beta, value, point)
        )

    def _process(self, series: Series, edges: Edges, batch: _Batch) -> AdditiveProcess:
        """The model, pending points being believed to bring their posterior means."""
        targets = series.y
        kept = chosen(targets, MOST_MODELLED)
        x, y, theta = series.x[kept], targets[kept], self._fit(series)
        process = AdditiveProcess(x, y, theta, edges, self._categorical)
        pending = self._of(batch.history.pending)
        if batch.given:
            pending = np.vstack([pending, self._codec.encode_many(batch.given)])
        pending = pending[-MOST_PENDING:]
        if not len(pending):
            return process
        believed = np.concatenate([y, process.mean(pending)])
        return AdditiveProcess(np.vstack([x, pending]), believed, theta, edges, self._categorical)

    def _admissible(
        self, row: Array, models: list[tuple[float, AdditiveProcess]], beta: float, batch: _Batch, rng: np.random.Generator
    ) -> Array:  # fmt: skip
        """The row, or where the parameter constraints break it: on the way to a known point, else the best of some draws."""
        space = self._problem.space
        if not space.constraints or not space.broken(self._codec.decode(row)):
            return row
        places = [models[0][1].x[int(np.argmin(models[0][1].y))]]
        rows = [p + (row - p) * 0.5**step for p in places for step in range(1, HALVINGS)]
        rows += list(self._codec.encode_many(draw_many(space, rng, DRAWN)))
        rows = [self._codec.snap(r) for r in rows]
        allowed = [r for r in rows if not space.broken(self._codec.decode(r))]
        return min(allowed, key=lambda r: sum(w * m.bound(r, beta) for w, m in models), default=row)

    def _new(self, row: Array, batch: _Batch, rng: np.random.Generator) -> Point | None:
        """The point, or one a grid step away in one coordinate after another until it is new; None: the space is used up."""
        space = self._problem.space
        must_differ = not batch.history.spec.is_noisy
        at = row.copy()
        for _ in range(TRIES):
            point = self._codec.decode(at)
            if not space.broken(point) and not (must_differ and batch.has_point(point_key(point))):
                return point
            j = int(rng.integers(len(at)))
            size = self._sizes[j]
            at[j] = rng.random() if self._categorical[j] else np.clip(at[j] + rng.choice([-1, 1]) / size, 0.0, 1.0)
        if space.is_finite and must_differ:
            return unused(space, batch.has_point, rng)
        return draw(space, rng)

    def _receipt(
        self, series: list[Series], models: list[tuple[float, AdditiveProcess]], edges: Edges, beta: float, value: float,
        point: Point,
    ) -> dict[str, Any]:  # fmt: skip
        objective, first, process = self._problem.spec.objectives[0], series[0], models[0][1]
        mean = float(process.mean(self._codec.encode(point)[None, :])[0]) * first.unit + first.centre
        names = [c.parameter.name for c in self._codec.coordinates]
        return {
            "mean": {objective.metric: mean if objective.goal == "minimize" else -mean},
            "acquisition": "confidence",
            "beta": beta,
            "bound": value,
            "multipliers": {s.name: s.weight for s in series[1:]},
            "model": {
                "n": len(first.told),
                "edges": [[names[i], names[j]] for i, j in edges[:50]],
                "lengthscales": dict(zip(names[:50], map(float, process.theta.lengthscales), strict=False)),
                "noise": process.theta.noise,
            },
        }

    def state(self) -> Blob | None:
        """The fits of the latest suggestion."""
        fits = {k: [*map(float, t.lengthscales), *map(float, t.scales), t.noise, t.mean] for k, t in self._used.items()}
        return Blob(version=VERSION, document={"fits": fits})


def _theta(numbers: Sequence[float]) -> AdditiveTheta:
    d = (len(numbers) - 2) // 2
    return AdditiveTheta(np.array(numbers[:d]), np.array(numbers[d : 2 * d]), numbers[-2], numbers[-1])


class _Batch(History):
    """The history as the next suggestion of a call sees it: with the points given earlier in the call."""

    def __init__(self, history: History) -> None:
        super().__init__(history.spec)
        self.history = history
        self.given: list[Point] = []
        self._given: set[str] = set()

    def give(self, point: Point) -> None:
        """Take note of a point of this call."""
        self.given.append(point)
        self._given.add(point_key(point))

    def has_point(self, key: str) -> bool:
        """Whether a trial, or an earlier suggestion of the call, has the point."""
        return key in self._given or self.history.has_point(key)
