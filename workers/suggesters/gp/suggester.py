"""The `gp` method: beliefs from the history, then the most promising admissible point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.domain.history import History
from services.domain.space import Point, point_key
from services.domain.suggester import Blob, Problem, Suggestion
from workers.models.fitting import Priors
from workers.models.kernels import Kernel
from workers.models.sequence_codec import codec_for
from workers.models.sobol_sequence import Sobol

from .beliefs import Beliefs, Known, Rows, believe, gather
from .promise import Acquisition, normals_from
from .receipts import receipt
from .search import maximise
from .series import Fits, Manner

if TYPE_CHECKING:
    from . import GpOptions
    from .large import Descent, Drawn, Whole

VERSION = 2
MOST_INITIAL = 12
LARGE = 2000
MOST_EXACT = 8000
MOST_MODELLED_OBJECTIVES = 4
HOPELESS = np.log(0.01)
SPREAD_EVERY = 10


class GaussianProcessSearch:
    """Fits the models to the history of each suggestion; the state holds the fits so that none is done twice."""

    def __init__(self, problem: Problem, options: GpOptions, blob: Blob | None) -> None:
        self._problem = problem
        self._options = options
        self._codec = codec_for(problem.spec)
        self._rows = Rows(self._codec)
        self._sobol = Sobol(problem)
        self._initial = options.initial_trials or self._default_initial()
        self._descent: Descent | None = None
        usable = blob is not None and blob.version == VERSION
        self._fits = Fits(blob.document.get("fits") if blob is not None and usable else None)

    def _default_initial(self) -> int:
        most = self._problem.spec.limits.max_trials or 10**9
        return max(5, min(int(self._codec.groups.max()) + 2, most // 5, MOST_INITIAL))

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points, each aware of the ones before it; fewer when a finite space is used up."""
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
        told = sum(1 for t in history.trials if t.state in ("completed", "infeasible"))
        completed = history.completed
        if told < self._initial or len(completed) < 2:
            return self._quasi_random(history, number, keys, "initial design")
        if len({history.values(t) for t in completed}) == 1 and not history.spec.constraints:
            return self._quasi_random(history, number, keys, "all values are equal")
        known = gather(self._rows, history, given)
        try:
            return self._model_based(history, number, known, keys)
        except np.linalg.LinAlgError:
            return self._quasi_random(history, number, keys, "the kernel matrix is singular")

    def _model_based(self, history: History, number: int, known: Known, keys: set[str]) -> Suggestion | None:
        spec = history.spec
        beliefs = believe(known, self._fits, self._manner(known), self._weights(number))
        rng = self._problem.generator(number, "gp")
        is_noisy = self._is_noisy(known)
        kind = "confidence" if self._options.acquisition == "ucb" else "improvement"
        from_all = self._from_all(beliefs, history, number, keys, rng)
        if from_all is not None:
            return from_all
        acquisition = Acquisition(beliefs, normals_from(rng), is_noisy=is_noisy, kind=kind)
        found = self._maximise(acquisition, beliefs, history, keys, rng)
        if (
            found is not None
            and not acquisition.is_feasible_known
            and found[1] < HOPELESS
            and number % SPREAD_EVERY == 0
            and beliefs.constraints
        ):
            kind = "spread"
            acquisition = Acquisition(beliefs, normals_from(rng), is_noisy=is_noisy, kind=kind)
            found = self._maximise(acquisition, beliefs, history, keys, rng)
        if found is None:
            return None
        point, value = found
        row = self._codec.encode(point)
        unsettled = self._options.solver == "sdd" and len(known.x) >= LARGE
        return Suggestion(
            parameters=point,
            reason=_reason(beliefs, acquisition, kind, is_noisy, many=len(spec.objectives) > MOST_MODELLED_OBJECTIVES)
            + (", for dual descent did not settle" if unsettled else ""),
            receipt=receipt(
                self._codec, spec, beliefs, row, value, kind, modelled=len(spec.objectives) <= MOST_MODELLED_OBJECTIVES
            ),
        )

    def _from_all(
        self, beliefs: Beliefs, history: History, number: int, keys: set[str], rng: np.random.Generator
    ) -> Suggestion | None:
        """A point by a model of all of a large history; None where that is not wanted or its solve is not to be trusted."""
        n, solver = len(beliefs.known.x), self._options.solver
        if solver == "auto" or n < LARGE or (solver == "exact" and n > MOST_EXACT):
            return None
        from .large import Descent, whole

        if solver == "exact":
            acquisition: Drawn | Whole = whole(beliefs, self._options.device)
            said: dict[str, Any] = {"trials": n, "device": acquisition.process.where}
            reason = f"log expected improvement under a model of all {n} trials"
        else:
            self._descent = self._descent or Descent(self._problem, self._codec, self._options.device)
            model = self._descent.at(beliefs.known, self._fits, self._manner(beliefs.known))
            if not model.is_accepted:
                return None
            acquisition = self._descent.acquisition(model, beliefs, number)
            said = {"trials": len(model.solution), "residual": model.residual, "device": model.where}
            reason = f"the minimum of a function drawn from all {len(model.solution)} trials"
        found = self._maximise(acquisition, beliefs, history, keys, rng)
        if found is None:
            return None
        row = self._codec.encode(found[0])
        believed = receipt(self._codec, history.spec, beliefs, row, found[1], "drawn function", modelled=True)
        return Suggestion(parameters=found[0], reason=reason, receipt=believed | {solver: said})

    def _maximise(
        self,
        acquisition: Acquisition | Drawn | Whole,
        beliefs: Beliefs,
        history: History,
        keys: set[str],
        rng: np.random.Generator,
    ) -> tuple[Point, float] | None:
        n = len(beliefs.known.x)
        theta = beliefs.objectives[0].fitted.theta
        return maximise(
            self._codec,
            acquisition,
            rng,
            is_known=lambda key: key in keys or history.has_point(key),
            may_repeat=history.spec.is_noisy,
            incumbents=beliefs.incumbents,
            scales=theta.lengthscales[beliefs.objectives[0].process.kernel.groups],
            known=beliefs.known.all_rows,
            screened=2048 if n <= 256 else 1024 if n <= 1024 else 512,
        )

    def _manner(self, known: Known) -> Manner:
        options, columns = self._options, self._codec.coordinates
        categorical = np.array([c.is_categorical for c in columns])
        kernel = Kernel(categorical, self._codec.groups, options.kernel)
        exact = not (self._problem.spec.is_noisy or known.noise is not None)
        weak = options.priors == "weak"
        dimensions = self._codec.dimensions
        priors = Priors.weak(kernel.size) if weak else Priors.dimension_scaled(kernel.size, dimensions, exact=exact)
        warpable = np.array([c.levels is None or c.levels > 4 for c in columns]) & ~categorical
        return Manner(kernel, priors, warpable, options.target_transform, options.input_warping)

    def _is_noisy(self, known: Known) -> bool:
        wanted = self._options.acquisition
        if wanted == "auto":
            return self._problem.spec.is_noisy or known.noise is not None
        return wanted == "log_nei"

    def _weights(self, number: int) -> Any:
        count = len(self._problem.spec.objectives)
        if count <= MOST_MODELLED_OBJECTIVES:
            return None
        return self._problem.generator(number, "weights").dirichlet([1.0] * count)

    def _quasi_random(self, history: History, number: int, keys: set[str], why: str) -> Suggestion | None:
        found = self._sobol.suggest(At(history, number, keys), 1)
        return Suggestion(parameters=found[0].parameters, reason=f"{why}: {found[0].reason}") if found else None

    def state(self) -> Blob | None:
        """The fits of the latest suggestion."""
        return Blob(version=VERSION, document={"fits": self._fits.document()})


class At(History):
    """The same history for a later number of the batch."""

    def __init__(self, history: History, number: int, keys: set[str]) -> None:
        super().__init__(history.spec)
        self.next_number = number
        self._history, self._batch = history, keys

    def has_point(self, key: str) -> bool:
        """Whether a trial, or an earlier suggestion of the batch, has the point."""
        return key in self._batch or self._history.has_point(key)


def _reason(beliefs: Beliefs, acquisition: Acquisition, kind: str, is_noisy: bool, *, many: bool) -> str:
    if kind == "spread":
        return "where the constraints are least known: nothing is feasible yet"
    if not acquisition.is_feasible_known:
        return "probability of feasibility: nothing is feasible yet"
    name = "upper confidence bound" if kind == "confidence" else "log expected improvement"
    if len(beliefs.objectives) > 1:
        name = "log expected hypervolume improvement"
    parts = [f"noisy {name}" if is_noisy and kind == "improvement" else name]
    if many:
        parts.append("of a random scalarisation")
    if beliefs.constraints:
        parts.append("under constraints")
    if beliefs.feasibility is not None:
        parts.append("away from infeasible places")
    return " ".join(parts)
