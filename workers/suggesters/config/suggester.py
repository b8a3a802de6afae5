"""The `config` method over any space: bounds from the models of `gp`, the auxiliary problem by its search, the verdict by prefixes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.history import History
from services.domain.space import Point, point_key
from services.domain.suggester import Blob, Problem, Suggestion
from workers.models.fitting import Priors
from workers.models.gaussian_process import GaussianProcess
from workers.models.kernels import Kernel
from workers.models.optimistic import LeastViolation, LowerBound, Optimistic
from workers.models.sobol_sequence import Sobol

from ..gp.beliefs import Beliefs, Known, Rows, believe, gather
from ..gp.receipts import receipt
from ..gp.search import Acquisition, maximise
from ..gp.series import Fits, Manner

if TYPE_CHECKING:
    from . import ConfigOptions

Array = NDArray[np.float64]

VERSION = 1
MOST_INITIAL = 12
CAUTION = 1.5
CONSECUTIVE = 3
TOLERANCE = 1e-6
CLOSE = 1e-4
EVALUABLE_BETA = 1.0


@dataclass(frozen=True)
class _Verdict:
    """Whether no point may be feasible, and what says so."""

    least: float
    row: Array
    bounds: tuple[float, ...]


class Config:
    """Fits the models of `gp`, then solves the auxiliary problem: the least l_0 where every l_i <= 0."""

    def __init__(self, problem: Problem, options: ConfigOptions, blob: Blob | None) -> None:
        self._problem = problem
        self._options = options
        self._codec = Codec(problem.space)
        self._rows = Rows(self._codec)
        self._sobol = Sobol(problem)
        budget = problem.spec.limits.max_trials or 10**9
        self._initial = options.initial_trials or max(5, min(self._codec.dimensions + 1, budget // 5, MOST_INITIAL))
        usable = blob is not None and blob.version == VERSION
        self._fits = Fits(blob.document.get("fits") if blob is not None and usable else None)

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points, each aware of the ones before it; fewer when a finite space is used up."""
        self._fits.forget_unused()
        found: list[Suggestion] = []
        keys: set[str] = set()
        for number in range(history.next_number, history.next_number + count):
            suggestion = self._one(history, number, [s.parameters for s in found], keys)
            if suggestion is None:
                break
            keys.add(point_key(suggestion.parameters))
            found.append(suggestion)
        return found

    def _one(self, history: History, number: int, given: list[Point], keys: set[str]) -> Suggestion | None:
        known = gather(self._rows, history, given)
        if len(known.places) < self._initial or len(known.x) < 2:
            return self._quasi_random(history, number, keys, "initial design")
        if not known.violations.shape[1] and len(np.unique(known.y)) == 1:
            return self._quasi_random(history, number, keys, "all values are equal")
        try:
            return self._optimistic(history, number, known, keys)
        except np.linalg.LinAlgError:
            return self._quasi_random(history, number, keys, "the kernel matrix is singular")

    def _optimistic(self, history: History, number: int, known: Known, keys: set[str]) -> Suggestion | None:
        beliefs = believe(known, self._fits, self._manner(known))
        beta = self._options.beta
        constraints = self._constraints(beliefs, beta)
        finding, kind = None, "lower confidence bound under optimistic constraints"
        acquisition: Acquisition = Optimistic(LowerBound(_believed(beliefs, 0), beta), constraints)
        if known.violations.shape[1]:
            verdict = self._verdict(known, number)
            finding = None if verdict is None else self._finding(known, number, verdict)
            least = self._least(LeastViolation(constraints), beliefs, number, "phase a")
            if least.least > TOLERANCE * beta:
                acquisition, kind = LeastViolation(constraints), "least optimistic violation: no bound is feasible"
        found = self._search(acquisition, beliefs, history, number, keys)
        if found is None:
            return None
        row = self._codec.encode(found[0])
        if not history.spec.is_noisy and len(known.all_rows) and np.abs(known.all_rows - row).max(1).min() < CLOSE:
            spread = Optimistic(LowerBound(_believed(beliefs, 0), 1e6), constraints, penalty=1e9)
            found = self._search(spread, beliefs, history, number, keys) or found
            kind = "largest spread under optimistic constraints: the best bound is at a known point"
            row = self._codec.encode(found[0])
        believed = receipt(self._codec, history.spec, beliefs, row, found[1], "optimistic", modelled=True)
        believed["beta"] = beta
        return Suggestion(parameters=found[0], reason=kind, receipt=believed, finding=finding)

    def _constraints(self, beliefs: Beliefs, beta: float) -> list[LowerBound]:
        """Bounds of the measured constraints, and of not being evaluable where trials were infeasible."""
        found = [LowerBound(_believed(beliefs, 1 + i), beta) for i in range(len(beliefs.constraints))]
        if beliefs.feasibility is not None:
            found.append(LowerBound(beliefs.feasibility, EVALUABLE_BETA, sign=-1.0, shift=-beliefs.evaluable))
        return found

    def _least(self, violation: LeastViolation, beliefs: Beliefs, number: int, purpose: str) -> _Verdict:
        """The smallest of the largest bounds, over all of the space, known points included."""
        found = maximise(
            self._codec, violation, self._problem.generator(number, purpose), is_known=lambda _: False,
            may_repeat=True, incumbents=beliefs.incumbents, scales=self._scales(beliefs), known=np.empty((0, 0)),
            screened=2048 if len(beliefs.known.x) <= 256 else 1024,
        )  # fmt: skip
        assert found is not None
        row = self._codec.encode(found[0])
        bounds = tuple(float(c.values(row[None, :])[0]) for c in violation.constraints)
        return _Verdict(-found[1], row, bounds)

    def _verdict(self, known: Known, number: int) -> _Verdict | None:
        """Whether no point may be feasible after each of the last three outcomes, under bounds half as wide again."""
        latest = None
        for back in range(CONSECUTIVE):
            n = len(known.x) - back
            if n < self._initial:
                return None
            part = _before(known, n)
            beliefs = believe(part, self._fits, self._manner(part))
            beta = CAUTION * self._options.beta
            violation = LeastViolation([LowerBound(m.process, beta) for m in beliefs.constraints])
            found = self._least(violation, beliefs, n, "verdict")
            if part.feasible.any() or found.least <= TOLERANCE * beta:
                return None
            latest = latest or found
        return latest

    def _finding(self, known: Known, number: int, verdict: _Verdict) -> dict[str, Any]:
        point = self._codec.decode(verdict.row)
        return {
            "kind": "infeasible_suspected",
            "trial": number,
            "evidence": {
                "least_bound": verdict.least,
                "bounds": list(verdict.bounds),
                "at": point,
                "beta": CAUTION * self._options.beta,
                "consecutive": CONSECUTIVE,
                "trials": len(known.x),
                "unit": "standard deviations of each constraint on a bilog scale; feasible where <= 0",
            },
        }

    def _search(
        self, acquisition: Acquisition, beliefs: Beliefs, history: History, number: int, keys: set[str]
    ) -> tuple[Point, float] | None:
        return maximise(
            self._codec, acquisition, self._problem.generator(number, "config"),
            is_known=lambda key: key in keys or history.has_point(key), may_repeat=history.spec.is_noisy,
            incumbents=beliefs.incumbents, scales=self._scales(beliefs), known=beliefs.known.all_rows,
            screened=4096 if len(beliefs.known.x) <= 128 else 2048 if len(beliefs.known.x) <= 512 else 1024,
        )  # fmt: skip

    def _scales(self, beliefs: Beliefs) -> Array:
        model = beliefs.objectives[0]
        return np.asarray(model.fitted.theta.lengthscales[model.process.kernel.groups])

    def _manner(self, known: Known) -> Manner:
        categorical = np.array([c.is_categorical for c in self._codec.coordinates])
        kernel = Kernel.ard(categorical, self._options.kernel)
        exact = not (self._problem.spec.is_noisy or known.noise is not None)
        none = np.zeros(len(categorical), dtype=bool)
        return Manner(kernel, Priors.dimension_scaled(kernel.size, exact=exact), none, "standard", "off")

    def _quasi_random(self, history: History, number: int, keys: set[str], why: str) -> Suggestion | None:
        from ..gp.suggester import At

        found = self._sobol.suggest(At(history, number, keys), 1)
        return Suggestion(parameters=found[0].parameters, reason=f"{why}: {found[0].reason}") if found else None

    def state(self) -> Blob | None:
        """The fits of the latest suggestion."""
        return Blob(version=VERSION, document={"fits": self._fits.document()})


def _believed(beliefs: Beliefs, place: int) -> GaussianProcess:
    """The process of the objective (0) or a constraint (1, …), which believes its own mean at pending points."""
    process = [*beliefs.objectives, *beliefs.constraints][place].process
    pending = beliefs.known.pending
    return process.appended(pending, process.predict(pending)[0]) if len(pending) else process


def _before(known: Known, n: int) -> Known:
    """What was known when n trials were completed, pending ones left out."""
    return replace(
        known,
        x=known.x[:n],
        y=known.y[:n],
        noise=None if known.noise is None else known.noise[:n],
        violations=known.violations[:n],
        feasible=known.feasible[:n],
        pending=known.pending[:0],
    )
