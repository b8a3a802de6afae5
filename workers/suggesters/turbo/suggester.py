"""The `turbo` method: the region from the outcomes, then the best candidate of a function drawn from the local model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.history import History, Observation
from services.domain.sampling import draw, draw_many, unused
from services.domain.space import Point, point_key
from services.domain.suggester import Blob, Problem, Suggestion
from services.domain.trial import TrialState
from workers.models.sobol_sequence import Sobol
from workers.models.trust_region import Outcome, Rules, TrustRegion, box, perturbed

from .beliefs import Beliefs, Fits, Rows, believe, bilog

if TYPE_CHECKING:
    from . import TurboOptions

Array = NDArray[np.float64]

VERSION = 1
MOST_INITIAL = 100
MOST_CANDIDATES = 5000
CONSTRAINED_CANDIDATES = 512
MOST_SEQUENCED = 1000
HALVINGS = 7
DRAWN = 64
MOST_LOOKED_AT = 2000
NEARBY = 1e-6


class Turbo:
    """Reads the open region from the history at each call; the state holds fits, so that none is done twice."""

    def __init__(self, problem: Problem, options: TurboOptions, blob: Blob | None) -> None:
        self._problem, self._options = problem, options
        self._codec = Codec(problem.space)
        self._rows = Rows(self._codec)
        self._sobol = Sobol(problem)
        d = self._codec.dimensions
        self._initial = options.initial_trials or self._default_initial()
        self._rules = Rules(
            failures=options.failure_tolerance or max(4, d), successes=options.success_tolerance, first=options.length
        )
        usable = blob is not None and blob.version == VERSION
        self._fits = Fits(blob.document.get("fits") if blob is not None and usable else None)
        self._levels = [c.levels for c in self._codec.coordinates]
        self._categorical = np.array([c.is_categorical for c in self._codec.coordinates], dtype=bool)

    def _default_initial(self) -> int:
        budget = self._problem.spec.limits.max_trials or 10**9
        return max(4, min(2 * self._codec.dimensions, MOST_INITIAL, max(10, budget // 5)))

    # -- the region

    def region(self, history: History) -> TrustRegion:
        """The open region after every outcome told so far."""
        found = TrustRegion(self._rules)
        for trial in history.finished:
            if trial.state in (TrialState.COMPLETED, TrialState.INFEASIBLE, TrialState.PRUNED):
                found.tell(_outcome(history, trial))
        return found

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points, each aware of the ones before it; fewer when a finite space is used up."""
        region = self.region(history)
        batch = _Batch(history, region)
        self._fits.begin()
        beliefs = self._beliefs(batch) if self._is_modelled(batch) else None
        found: list[Suggestion] = []
        for number in range(history.next_number, history.next_number + count):
            batch.next_number = number
            started = batch.initial + len(region.numbers) + len(region.barren)
            suggestion = (
                self._quasi_random(batch, "initial design")
                if beliefs is None or started < self._initial
                else self._from_box(batch, beliefs)
            )
            if suggestion is None:
                break
            batch.give(suggestion)
            found.append(suggestion)
        return found

    def _is_modelled(self, batch: _Batch) -> bool:
        """Whether half of the initial design is told, and there is something to learn from it."""
        numbers = batch.region.numbers
        if len(numbers) < max(2, min(self._initial, batch.initial + len(numbers)) // 2):
            return False
        trials = [t for n in numbers if (t := batch.history.get(n)) is not None]
        return bool(batch.history.spec.constraints) or len({batch.history.values(t) for t in trials}) > 1

    def _beliefs(self, batch: _Batch) -> Beliefs | None:
        history, region = batch.history, batch.region
        told = any(t.std for n in region.numbers[:50] if (t := history.get(n)) is not None)
        try:
            return believe(
                self._codec, self._rows, self._fits, history, region.numbers, region.barren,
                is_noisy=history.spec.is_noisy or told, transform=self._options.target_transform,
            )  # fmt: skip
        except np.linalg.LinAlgError:
            return None

    def _quasi_random(self, batch: _Batch, why: str) -> Suggestion | None:
        found = self._sobol.suggest(batch, 1)
        if not found:
            return None
        reason = f"{why} of region {batch.region.restart}: {found[0].reason}"
        origin = {"region": batch.region.restart, "phase": "initial"}
        return Suggestion(parameters=found[0].parameters, reason=reason, origin=origin)

    # -- one point of the box

    def _from_box(self, batch: _Batch, beliefs: Beliefs) -> Suggestion | None:
        rng = self._problem.generator(batch.next_number, "turbo")
        pending = self._rows.of(batch.history.pending)
        if batch.given:
            pending = np.vstack([pending, self._codec.encode_many(batch.given)])
        now = beliefs.given(pending)
        rows = self._candidates(batch, now, rng)
        value, violation = now.sample(rows, rng, self._levels)
        order = np.lexsort((value, violation))
        point = self._first_new(rows[order], batch, now, rng)
        if point is None:
            return None
        region = batch.region
        reason = f"Thompson sample in the box of side {region.length:.3g} of region {region.restart}"
        if beliefs.constraints or beliefs.feasibility is not None:
            reason += ", constraints sampled too"
        return Suggestion(
            parameters=point, reason=reason, origin={"region": region.restart, "phase": "box"},
            receipt=self._receipt(region, beliefs, self._codec.encode(point)),
        )  # fmt: skip

    def _candidates(self, batch: _Batch, beliefs: Beliefs, rng: np.random.Generator) -> Array:
        """(m, d) admissible rows of the box."""
        space, d = self._problem.space, self._codec.dimensions
        m = CONSTRAINED_CANDIDATES if space.constraints else min(MOST_CANDIDATES, max(2000, 200 * d))
        centre, trial = beliefs.centre, batch.history.get(beliefs.centre_number)
        active = self._codec.active(trial.parameters) if trial is not None else np.ones(d, dtype=bool)
        several = np.array([n is None or n > 1 for n in self._levels])
        theta = beliefs.objective.theta
        lower, upper = box(
            centre, batch.region.length, theta.lengthscales[beliefs.objective.kernel.groups], self._levels
        )
        rows = perturbed(
            centre, lower, upper, _spread(m, d, rng), rng,
            movable=active & several, categorical=self._categorical, free=~active,
        )  # fmt: skip
        rows = self._codec.snap_many(rows)
        return self._allowed(rows, centre, rng) if space.constraints else rows

    def _allowed(self, rows: Array, centre: Array, rng: np.random.Generator) -> Array:
        """Rows that keep the parameter constraints: those that break them are drawn towards the centre, which keeps them."""
        space, found, left = self._problem.space, [], rows
        for step in range(HALVINGS):
            nearer = centre + (left - centre) * 0.5**step
            tried = self._codec.snap_many(np.where(self._categorical, left, nearer))
            broken = np.array([bool(space.broken(self._codec.decode(row))) for row in tried], dtype=bool)
            found += list(tried[~broken])
            left = left[broken]
            if not len(left):
                break
        if len(found) < DRAWN:
            found += list(self._codec.encode_many(draw_many(space, rng, DRAWN)))
        return np.array(found).reshape(len(found), self._codec.dimensions)

    def _first_new(self, rows: Array, batch: _Batch, beliefs: Beliefs, rng: np.random.Generator) -> Point | None:
        """The first row that is worth a trial; another point where none of the box is left; None: the space is used up."""
        space = self._problem.space
        may_repeat = batch.history.spec.is_noisy
        for row in rows[:MOST_LOOKED_AT]:
            point = self._codec.decode(row)
            key = point_key(point)
            if batch.is_pending(key):
                continue
            if may_repeat or not (batch.has_point(key) or np.abs(beliefs.known - row).max(1).min() < NEARBY):
                return point
        if not space.is_finite:
            return draw(space, rng)
        if may_repeat:
            return self._codec.decode(rows[0]) if len(rows) else draw(space, rng)
        return unused(space, batch.has_point, rng)

    def _receipt(self, region: TrustRegion, beliefs: Beliefs, row: Array) -> dict[str, Any]:
        objective = self._problem.spec.objectives[0]
        mean, std = beliefs.in_units(row)
        theta = beliefs.objective.theta
        names = [p.name for p in self._codec.space.parameters][:50]
        return {
            "mean": {objective.metric: mean if objective.goal == "minimize" else -mean},
            "std": {objective.metric: std},
            "acquisition": "thompson",
            "region": {
                "restart": region.restart, "length": region.length, "successes": region.successes,
                "failures": region.failures, "centre": beliefs.centre_number, "n": len(region.numbers),
            },
            "model": {
                "n": len(beliefs.objective.x),
                "lengthscales": {n: float(theta.lengthscales[self._codec.slices[n]].min()) for n in names},
                "noise": theta.noise,
                "jitter": beliefs.objective.jitter,
            },
        }  # fmt: skip

    def state(self) -> Blob | None:
        """The fits of the latest suggestion."""
        return Blob(version=VERSION, document={"fits": self._fits.document()})


def _spread(m: int, d: int, rng: np.random.Generator) -> Array:
    """(m, d) even draws of the cube."""
    from scipy.stats import qmc

    if d > MOST_SEQUENCED:
        return rng.random((m, d))
    return np.asarray(qmc.Sobol(d, scramble=True, rng=rng).random_base2((m - 1).bit_length())[:m])


def _outcome(history: History, trial: Observation) -> Outcome:
    place = trial.origin.get("region")
    region = place if isinstance(place, int) else None
    counts = region is not None and trial.origin.get("phase") == "box"
    if trial.state is not TrialState.COMPLETED:
        return Outcome(trial.number, region, counts, None, is_barren=trial.state is TrialState.INFEASIBLE)
    violations = history.violations(trial)
    total = float(np.maximum(bilog(np.array(violations)), 0.0).sum()) if violations else 0.0
    return Outcome(trial.number, region, counts, total, history.values(trial)[0])


class _Batch(History):
    """The history as the next suggestion of a call sees it: with the points given earlier in the call."""

    def __init__(self, history: History, region: TrustRegion) -> None:
        super().__init__(history.spec)
        self.history, self.region = history, region
        self.given: list[Point] = []
        self._given: set[str] = set()
        pending = history.pending
        self._open = {point_key(t.parameters) for t in pending}
        self.initial = sum(1 for t in pending if t.origin == {"region": region.restart, "phase": "initial"})

    def give(self, suggestion: Suggestion) -> None:
        """Take note of a suggestion of this call."""
        self.given.append(suggestion.parameters)
        self._given.add(point_key(suggestion.parameters))
        self.initial += suggestion.origin["phase"] == "initial"

    def is_pending(self, key: str) -> bool:
        """Whether the outcome at this point is still to come."""
        return key in self._open or key in self._given

    def has_point(self, key: str) -> bool:
        """Whether a trial, or an earlier suggestion of the call, has the point."""
        return key in self._given or self.history.has_point(key)
