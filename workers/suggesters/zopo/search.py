"""The climb: the slope of a local model, a step, the nearest untried text; or the surroundings where the model is unsure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History
from services.domain.suggester import Blob, Problem, Suggestion
from workers.models.pool_making import PoolMaker, Prepared
from workers.models.tangent_kernel import TangentKernel, TangentRegression
from workers.models.text_pool import Evaluations, Pool, standardised

from . import ZopoOptions
from .climb import Climb, Track

Array = NDArray[np.float64]
STRIDE = 0.5
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
    reason: str
    receipt: Mapping[str, Any]
    climb: Climb | None = None


class Zopo:
    """Proposes members of the pool. All it knows is on the trials and in the ledger."""

    def __init__(self, problem: Problem, options: ZopoOptions) -> None:
        self._problem, self._options = problem, options
        self._maker = PoolMaker(problem, options, 2 * options.neighbours)
        self._ascent: Ascent | None = None

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` members; fewer when the pool is used up.

        Raises:
            NeedsReplies: calls for candidates or vectors.
        """
        prepared = self._maker.prepared(history, count)
        known = prepared.known
        if self._ascent is None or self._ascent.pool is not known.pool:
            self._ascent = Ascent(self._problem, self._options, known.pool)
        track = Track.read(history)
        found: list[Suggestion] = []
        while len(found) < count and len(known.free):
            proposal = self._started(known) or self._ascent.proposed(known, track, history.next_number + len(found))
            found.append(self._suggestion(proposal, prepared, history.seq))
            known.take(proposal.member)
            if proposal.climb is not None:
                track = Track(proposal.climb)
        return found

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None

    def _started(self, known: Evaluations) -> Proposal | None:
        """The next of the texts that are tried first; None after them."""
        rng = self._problem.generator(0, "zopo start")
        found = known.start(self._options.n_init, rng, starts_first=not self._options.faithful)
        return None if found is None else Proposal(*found, {"step": "start"})

    def _suggestion(self, proposal: Proposal, prepared: Prepared, seq: int) -> Suggestion:
        origin = {"step": "start"} if proposal.climb is None else proposal.climb.origin(seq)
        return Suggestion(
            parameters=self._problem.space.sorted(prepared.known.pool.members[proposal.member]),
            reason=prepared.reason(proposal.reason),
            origin=origin | {"pool": prepared.mark},
            receipt=dict(proposal.receipt) | {"pool": prepared.receipt},
        )


class Ascent:
    """Proposes where to go from where the climb stands, in one pool."""

    def __init__(self, problem: Problem, options: ZopoOptions, pool: Pool) -> None:
        self.pool, self._options = pool, options
        self._kernel = TangentKernel(pool.vectors.shape[1], problem.generator(0, "zopo network"))
        self._most = problem.spec.limits.max_trials
        self._rate = options.learning_rate or FAITHFUL_RATE
        if options.learning_rate is None and not options.faithful:
            # Adam's first step has the rate's length in each dimension: together half of the way between two members.
            self._rate = STRIDE * pool.spacing(problem.generator(0, "zopo spacing")) / np.sqrt(pool.vectors.shape[1])

    def proposed(self, known: Evaluations, track: Track, number: int) -> Proposal:
        """The next member, for the trial of this number."""
        merits = {trial: float(known.merits[row]) for trial, row in known.rows.items()}
        best = max(merits, key=lambda trial: (merits[trial], -trial))
        climb = track.now(merits, best, self.pool.vectors.shape[1], self._options.tolerance, self.pool.encoder)
        if climb.step == "around":
            around = self._around(known, climb)
            if around is not None:
                return around
        return self._climbed(known, climb, number)

    # -- the climb

    def _climbed(self, known: Evaluations, climb: Climb, number: int) -> Proposal:
        """Up to `max_steps` steps, the first one always, a further one only where the model is sure before and after."""
        options = self._options
        x = known.vectors[known.rows[climb.at]]
        local = self._fitted(known, x)
        member, steps = -1, 0
        is_sure, share = self._sureness(local, x)
        climb = replace(climb, hot=0 if is_sure else climb.hot + 1)
        is_too_hot = climb.hot >= options.hot_limit and self._has_time(number)
        while steps == 0 or (is_sure and steps < options.max_steps):
            slope = np.clip(np.nan_to_num(local.model.slope(x)), -STEEPEST, STEEPEST)
            if not slope.any() or (is_too_hot and steps == 0):
                other = self._looked_around(known, climb, local, is_stuck=not slope.any() and steps == 0)
                if other is not None:
                    return other
                climb = replace(climb, hot=0, stall=0)
            moments, step = climb.moments.after(slope)
            climb = replace(climb, moments=moments)
            was_sure = is_sure
            member = self._nearest_free(known, x + self._rate * step)
            x, steps = self.pool.vectors[member], steps + 1
            is_sure, share = self._sureness(local, x)
            is_sure = is_sure and was_sure
        receipt = {
            "step": "climb", "around": climb.at, "steps": steps, "mean": float(local.merits(x[None, :])[0]), "unsure": share,
        }  # fmt: skip
        words = "1 step" if steps == 1 else f"{steps} steps"
        return Proposal(member, f"{words} up from trial {climb.at}", receipt, replace(climb, step="climb"))

    def _sureness(self, local: Local, x: Array) -> tuple[bool, float]:
        """Whether the model is sure at a place, and its variance there as a share of the prior's."""
        variance, prior = (float(v[0]) for v in local.model.variance(x[None, :]))
        share = variance / prior
        return (variance if self._options.faithful else share) < self._options.threshold, share

    def _has_time(self, number: int) -> bool:
        """Whether a whole exploration fits into the study's trials."""
        return self._most is None or number <= self._most - self._options.neighbours

    def _nearest_free(self, known: Evaluations, x: Array) -> int:
        free = known.free
        return int(free[np.argmin(_distances(self.pool.vectors[free], x))])

    # -- beside the climb

    def _looked_around(self, known: Evaluations, climb: Climb, local: Local, *, is_stuck: bool) -> Proposal | None:
        """An exploration; where all around is tried, a jump if there is no slope either."""
        climb = replace(climb, hot=0, stall=0)  # the authors' code forgives failures here, too
        return self._around(known, climb) or (self._jump(known, climb, local) if is_stuck else None)

    def _around(self, known: Evaluations, climb: Climb) -> Proposal | None:
        """The next untried one of the nearest members; None if all are tried."""
        x = known.vectors[known.rows[climb.at]]
        nearest = np.argsort(_distances(self.pool.vectors, x), kind="stable")[: self._options.neighbours]
        member = next((int(i) for i in nearest if not known.taken[i]), None)
        if member is None:
            return None
        receipt = {"step": "around", "around": climb.at}
        return Proposal(member, f"a neighbour of trial {climb.at}", receipt, replace(climb, step="around"))

    def _jump(self, known: Evaluations, climb: Climb, local: Local) -> Proposal:
        """The best mean, the least sure one among equals."""
        free = known.free
        x = self.pool.vectors[free]
        mean, (variance, _) = local.model.mean(x), local.model.variance(x)
        member = int(free[np.lexsort((-variance, -mean))[0]])
        why = "the best mean: no slope, and all around is tried"
        return Proposal(member, why, {"step": "jump"}, replace(climb, step="jump"))

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
