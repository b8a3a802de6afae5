"""The climb: the slope of a local model, a step, the nearest untried text; or the surroundings where the model is unsure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History
from services.domain.suggester import Blob, Problem, Suggestion
from workers.models.tangent_kernel import TangentKernel, TangentRegression
from workers.models.text_pool import Evaluations, make_pool, standardised

from . import ZopoOptions
from .climb import Climb, Track

Array = NDArray[np.float64]
SHARE_OF_SPACING = 0.01
FAITHFUL_RATE = 0.01
NOISE = 0.01
STEEPEST = 1e15
MOST_EXPECTED = 1e3


@dataclass(frozen=True)
class Local:
    """A model of the merits around a place, in its own units: merit = centre + scale · value."""

    model: TangentRegression
    centre: float
    scale: float

    def merits(self, x: Array) -> Array:
        """(n,) expected at (n, d) places, finite wherever those told are."""
        values = np.clip(np.nan_to_num(self.model.mean(x)), -MOST_EXPECTED, MOST_EXPECTED)
        return np.asarray(self.centre + self.scale * values)


@dataclass(frozen=True)
class Proposal:
    """A member of the pool, and what to write on its trial."""

    member: int
    climb: Climb | None
    reason: str
    receipt: dict[str, Any]


class Zopo:
    """Proposes members of the pool. All it knows is on the trials; the pool is the same in every process."""

    def __init__(self, problem: Problem, options: ZopoOptions) -> None:
        self._problem, self._options = problem, options
        self._pool = pool = make_pool(problem, options)
        self._first = pool.order(problem.generator(0, "zopo start"), starts_first=not options.faithful)
        self._kernel = TangentKernel(pool.vectors.shape[1], problem.generator(0, "zopo network"))
        self._rate = options.learning_rate or FAITHFUL_RATE
        if options.learning_rate is None and not options.faithful:
            self._rate = SHARE_OF_SPACING * pool.spacing(problem.generator(0, "zopo spacing"))

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` members; fewer when the pool is used up."""
        known, track = Evaluations(self._pool, history), Track.read(history)
        found: list[Suggestion] = []
        while len(found) < count and len(known.free):
            proposal = self._next(known, track)
            origin = {"step": "start"} if proposal.climb is None else proposal.climb.origin(history.seq)
            found.append(
                Suggestion(
                    parameters=self._problem.space.sorted(self._pool.members[proposal.member]),
                    reason=proposal.reason, origin=origin, receipt=proposal.receipt,
                )
            )  # fmt: skip
            known.take(proposal.member)
            if proposal.climb is not None:
                track = Track(proposal.climb)
        return found

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None

    def _next(self, known: Evaluations, track: Track) -> Proposal:
        wanted = min(self._options.n_init, len(self._pool) // 2)
        evaluated = len(known.merits) + len(known.pending)
        if evaluated < wanted or len(known.merits) < 2:
            member = next(i for i in self._first if not known.taken[i])
            return Proposal(member, None, f"start {evaluated + 1} of {wanted}", {"step": "start"})
        merits = {number: float(known.merits[row]) for number, row in known.rows.items()}
        best = max(merits, key=lambda number: (merits[number], -number))
        climb = track.now(merits, best, self._pool.vectors.shape[1], self._options.tolerance)
        if climb.step == "around":
            around = self._around(known, climb)
            if around is not None:
                return around
        return self._climbed(known, climb, evaluated)

    # -- the climb

    def _climbed(self, known: Evaluations, climb: Climb, evaluated: int) -> Proposal:
        options = self._options
        x = known.vectors[known.rows[climb.at]]
        local = self._fitted(known, x)
        member, steps, sure, share = -1, 0, True, 0.0
        while steps < options.max_steps and (steps == 0 or sure):
            slope = np.clip(np.nan_to_num(local.model.slope(x)), -STEEPEST, STEEPEST)
            sure, share = self._sureness(local, x)
            if steps == 0:
                climb = replace(climb, hot=0 if sure else climb.hot + 1)
                is_flat = not slope.any()
                if is_flat or (climb.hot >= options.hot_limit and self._has_time(evaluated)):
                    climb = replace(climb, hot=0, stall=0)
                    other = self._around(known, climb) or (self._jump(known, climb, local) if is_flat else None)
                    if other is not None:
                        return other
            moments, step = climb.moments.after(slope)
            climb = replace(climb, moments=moments)
            member = self._nearest_free(known, x + self._rate * step)
            x, steps = self._pool.vectors[member], steps + 1
        receipt = {
            "step": "climb",
            "around": climb.at,
            "steps": steps,
            "mean": float(local.merits(x[None, :])[0]),
            "unsure": share,
        }
        return Proposal(member, replace(climb, step="climb"), f"{steps} steps up from trial {climb.at}", receipt)

    def _sureness(self, local: Local, x: Array) -> tuple[bool, float]:
        """Whether the model is sure at a place, and its variance there as a share of the prior's."""
        variance, prior = (float(v[0]) for v in local.model.variance(x[None, :]))
        share = variance / prior
        return (variance if self._options.faithful else share) < self._options.threshold, share

    def _has_time(self, evaluated: int) -> bool:
        most = self._problem.spec.limits.max_trials
        return most is None or evaluated + 1 <= most - self._options.neighbours

    def _nearest_free(self, known: Evaluations, x: Array) -> int:
        free = known.free
        return int(free[np.argmin(_distances(self._pool.vectors[free], x))])

    # -- beside the climb

    def _around(self, known: Evaluations, climb: Climb) -> Proposal | None:
        """The next untried one of the nearest members; None if all are tried."""
        x = known.vectors[known.rows[climb.at]]
        nearest = np.argsort(_distances(self._pool.vectors, x), kind="stable")[: self._options.neighbours]
        member = next((int(i) for i in nearest if not known.taken[i]), None)
        if member is None:
            return None
        receipt = {"step": "around", "around": climb.at}
        return Proposal(member, replace(climb, step="around"), f"a neighbour of trial {climb.at}", receipt)

    def _jump(self, known: Evaluations, climb: Climb, local: Local) -> Proposal:
        """Where the model has no slope and all around is tried: the best mean, the least sure one among equals."""
        free = known.free
        x = self._pool.vectors[free]
        mean, (variance, _) = local.model.mean(x), local.model.variance(x)
        member = int(free[np.lexsort((-variance, -mean))[0]])
        receipt = {"step": "jump"}
        return Proposal(
            member, replace(climb, step="jump"), "the best mean: no slope, and all around is tried", receipt
        )

    # -- the model

    def _fitted(self, known: Evaluations, x: Array) -> Local:
        """On the evaluated candidates nearest to a place; pending ones count as told what is expected of them."""
        local = self._fit(x, known.vectors, known.merits)
        if not known.pending:
            return local
        waiting = np.array(known.pending)
        merits = np.concatenate([known.merits, local.merits(waiting)])
        return self._fit(x, np.concatenate([known.vectors, waiting]), merits)

    def _fit(self, x: Array, vectors: Array, merits: Array) -> Local:
        nearest = np.argsort(_distances(vectors, x), kind="stable")[: self._options.nearest]
        values, centre, scale = merits[nearest], 0.0, 1.0
        if not self._options.faithful:
            values, centre, scale = standardised(values)
        return Local(TangentRegression(self._kernel, vectors[nearest], values, NOISE), centre, scale)


def _distances(vectors: Array, x: Array) -> Array:
    """(n,) squared distances, less |x|², of (n, d) vectors from x."""
    return np.asarray((vectors * vectors).sum(axis=1) - 2.0 * (vectors @ x))
