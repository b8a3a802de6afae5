"""Chooses the suggester by the study: types, dimension, budget, objectives, how many trials run at once; says why on each trial.

The policy in one look:

- texts, tokens or permutations beside whatever else: `random`, which draws them (methods for text come with their own suggesters).
- one objective, a budget of more than 50 trials a dimension (300 at least), numbers only: `gp` at first, `cmaes` from 30 trials a
  dimension (150 at least) on, where a model of everything costs more than it brings.
- over 100 dimensions, one objective, numbers only: `cmaes`, over 300 with scales alone, no correlations.
- over 1000 dimensions otherwise: `sobol`, for no model here would learn anything in time.
- everything else: `gp`.
"""

from __future__ import annotations

from dataclasses import replace

from services.domain.codec import ENCODABLE
from services.domain.history import History
from services.domain.study import StudySpec
from services.domain.suggester import (
    EVERY_TYPE,
    Blob,
    Honours,
    NoOptions,
    Problem,
    Resources,
    Spec,
    Suggester,
    Suggestion,
)

VERSION = 1
FEW_PARAMETERS = 100
MOST_CORRELATED = 300
MOST_MODELLED = 1000


class Auto:
    """Delegates to one suggester at a time. All of them are pure functions of the history, so a switch loses nothing."""

    def __init__(self, problem: Problem, blob: Blob | None) -> None:
        self._problem = problem
        self._made: dict[str, Suggester] = {}
        self._blobs: dict[str, Blob] = {}
        if blob is not None and blob.version == VERSION:
            name = str(blob.document["name"])
            self._blobs[name] = Blob(
                version=blob.document["version"], document=blob.document["state"], arrays=blob.arrays
            )
        self._latest = ""

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points of the suggester that fits now."""
        name, why = choose(self._problem.spec, len(history.completed))
        self._latest = name
        return [
            replace(s, suggester=name, reason=f"{s.reason} (auto: {why})")
            for s in self._get(name).suggest(history, count)
        ]

    def _get(self, name: str) -> Suggester:
        from .registry import get

        if name not in self._made:
            spec = get(name)
            problem = self._problem
            options = {"diagonal": True} if name == "cmaes" and dimensions(problem.spec) > MOST_CORRELATED else {}
            self._made[name] = spec.create(problem, spec.parse_options(options), self._blobs.get(name))
        return self._made[name]

    def state(self) -> Blob | None:
        """The state of the suggester that was used last."""
        inner = self._made[self._latest].state() if self._latest in self._made else None
        if inner is None:
            return None
        document = {"name": self._latest, "version": inner.version, "state": dict(inner.document)}
        return Blob(version=VERSION, document=document, arrays=inner.arrays)


def dimensions(spec: StudySpec) -> int:
    """How many numbers a point has, an item of a vector being one."""
    return sum(getattr(p, "length", 1) for p in spec.parameters)


def choose(spec: StudySpec, completed: int) -> tuple[str, str]:
    """The suggester for a study with so many completed trials, and why."""
    foreign = sorted({p.type for p in spec.parameters} - ENCODABLE)
    if foreign:
        return "random", f"parameters of type {foreign[0]} are drawn"
    d = dimensions(spec)
    budget = spec.limits.max_trials
    numeric = all(p.type in ("float", "int", "vector") and not p.when for p in spec.parameters) and d >= 2
    if len(spec.objectives) == 1 and numeric and not spec.is_noisy:
        if d > FEW_PARAMETERS:
            return "cmaes", f"{d} dimensions are many for a model of everything"
        is_large = budget is not None and budget >= max(300, 50 * d)
        if is_large and completed >= max(150, 30 * d):
            return "cmaes", f"the budget is large and {completed} trials are told"
    if d > MOST_MODELLED:
        return "sobol", f"{d} dimensions are too many to learn from"
    return "gp", "trials are dear"


def _create(problem: Problem, _: NoOptions, blob: Blob | None) -> Suggester:
    return Auto(problem, blob)


SPEC = Spec(
    name="auto",
    summary="Picks and switches by types, dimension, budget and objectives; the reason stands on every trial.",
    reference="the policy of this page",
    honours=Honours(types=EVERY_TYPE, max_objectives=10, examples=True),
    create=_create,
    resources=Resources(timeout_seconds=120.0),
)
