"""Bayesian optimisation with a Gaussian process: the method of choice while evaluations are dear.

Log expected improvement (Ament et al. 2023) over an exact Gaussian process with dimension-scaled priors (Hvarfner, Hellsten,
Nardi 2024): mixed spaces, measured constraints, places where the black box cannot be evaluated, pending trials, noise told or
learned, several objectives by random Chebyshev weights (ParEGO, Knowles 2006).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.history import History
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester, Suggestion

if TYPE_CHECKING:
    from services.domain.space import Point

    from .beliefs import Beliefs

VERSION = 1
MOST_INITIAL = 20
MOST_DIMENSIONS = 2000


class GpOptions(Document):
    """What the Gaussian process can be told."""

    initial_trials: int | None = Field(
        default=None, ge=1, le=1000, description="Quasi-random trials at first; by dimension and budget if absent."
    )


class GaussianProcessSearch:
    """Fits the models to the history of each suggestion; the state holds the fits so that none is done twice."""

    def __init__(self, problem: Problem, options: GpOptions, blob: Blob | None) -> None:
        from services.domain.codec import Codec
        from workers.models.sobol_sequence import Sobol

        from .beliefs import Fits

        self._problem = problem
        self._codec = Codec(problem.space)
        self._sobol = Sobol(problem)
        self._initial = options.initial_trials or self._default_initial()
        usable = blob is not None and blob.version == VERSION
        self._fits = Fits(blob.document.get("fits") if blob is not None and usable else None)

    def _default_initial(self) -> int:
        most = self._problem.spec.limits.max_trials or 10**9
        return max(5, min(2 * self._codec.dimensions, most // 5, MOST_INITIAL))

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points, each aware of the ones before it; fewer when a finite space is used up."""
        from services.domain.space import point_key

        self._fits.forget_unused()
        found: list[Suggestion] = []
        given: list[Point] = []
        keys: set[str] = set()
        for number in range(history.next_number, history.next_number + count):
            suggestion = self._one(history, number, given, keys)
            if suggestion is None:
                break
            given.append(suggestion.parameters)
            keys.add(point_key(suggestion.parameters))
            found.append(suggestion)
        return found

    def _one(self, history: History, number: int, given: list[Point], keys: set[str]) -> Suggestion | None:
        import numpy as np

        from .beliefs import believe
        from .search import maximise

        told = sum(1 for t in history.trials if t.state in ("completed", "infeasible"))
        completed = history.completed
        if told < self._initial or len(completed) < 2:
            return self._quasi_random(history, number, keys, "initial design")
        if len({history.values(t) for t in completed}) == 1 and not history.spec.constraints:
            return self._quasi_random(history, number, keys, "all values are equal")
        pending = [t.parameters for t in history.pending] + given
        weights = self._weights(number)
        try:
            beliefs = believe(self._codec, history.spec, history, self._codec.encode_many(pending), self._fits, weights)
        except np.linalg.LinAlgError:
            return self._quasi_random(history, number, keys, "the kernel matrix is singular")
        rng = self._problem.generator(number, "gp")
        best = maximise(
            self._codec, beliefs, lambda key: key in keys or history.has_point(key), history.spec.is_noisy, rng
        )
        if best is None:
            return None
        point, value = best
        return Suggestion(parameters=point, reason=_reason(beliefs), receipt=self._receipt(beliefs, point, value))

    def _weights(self, number: int) -> Any:
        count = len(self._problem.spec.objectives)
        return None if count == 1 else self._problem.generator(number, "weights").dirichlet([1.0] * count)

    def _quasi_random(self, history: History, number: int, keys: set[str], why: str) -> Suggestion | None:
        shifted = _At(history, number, keys)
        found = self._sobol.suggest(shifted, 1)
        return Suggestion(parameters=found[0].parameters, reason=f"{why}: {found[0].reason}") if found else None

    def _receipt(self, beliefs: Beliefs, point: Point, value: float) -> dict[str, Any]:
        row = self._codec.encode(point)[None, :]
        receipt: dict[str, Any] = {"log_acquisition": value}
        model = beliefs.objective
        if model is not None:
            mean, std = model.process.predict(row)
            receipt["jitter"] = model.process.jitter
            receipt["lengthscales"] = [float(v) for v in model.process.theta.lengthscales[:50]]
            receipt["noise_std"] = float(model.process.theta.noise**0.5 * model.scale)
            objective = self._problem.spec.objectives[0]
            if len(self._problem.spec.objectives) == 1:
                sign = 1.0 if objective.goal == "minimize" else -1.0
                receipt["mean"] = {objective.metric: sign * float(mean[0] * model.scale + model.shift)}
                receipt["std"] = {objective.metric: float(std[0] * model.scale)}
        return receipt

    def state(self) -> Blob | None:
        """The fits of the latest suggestion."""
        return Blob(version=VERSION, document={"fits": self._fits.document()})


class _At(History):
    """The same history for a later number of the batch."""

    def __init__(self, history: History, number: int, keys: set[str]) -> None:
        super().__init__(history.spec)
        self.next_number = number
        self._history, self._batch = history, keys

    def has_point(self, key: str) -> bool:
        """Whether a trial, or an earlier suggestion of the batch, has the point."""
        return key in self._batch or self._history.has_point(key)


def _reason(beliefs: Beliefs) -> str:
    if beliefs.best is None:
        return "probability of feasibility: nothing is feasible yet"
    parts = ["log expected improvement"]
    if beliefs.constraints:
        parts.append("under constraints")
    if beliefs.feasibility is not None:
        parts.append("away from infeasible places")
    return " ".join(parts)


def _refuse(spec: StudySpec, _: GpOptions) -> list[FieldError]:
    d = sum(getattr(p, "length", 1) for p in spec.parameters)
    return (
        [FieldError("/parameters", f"gp serves up to {MOST_DIMENSIONS} coordinates, not {d}")]
        if d > MOST_DIMENSIONS
        else []
    )


def _create(problem: Problem, options: GpOptions, blob: Blob | None) -> Suggester:
    return GaussianProcessSearch(problem, options, blob)


SPEC = Spec(
    name="gp",
    summary="Bayesian optimisation: a Gaussian process and log expected improvement, for mixed spaces with constraints.",
    reference="Ament et al. 2023, Unexpected Improvements to Expected Improvement; Hvarfner, Hellsten, Nardi 2024",
    honours=Honours(types=ENUMERABLE | {"vector"}, max_objectives=10, examples=True),
    options=GpOptions,
    create=_create,
    refuse=_refuse,
    resources=Resources(timeout_seconds=120.0),
)
