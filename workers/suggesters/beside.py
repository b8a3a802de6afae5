"""Prompts beside numbers: lets a method for texts (or tokens, or vectors) serve spaces that have other parameters too.

Turns are taken, trial by trial: either the method proposes new texts with the other values of the best trial, or `auto` proposes other
values for the texts of the best trial. Each part sees a history of its own:

- the method sees the trials that it proposed, a text counting as the best that it reached with any other values;
- `auto` sees the trials that share the best trial's texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from services.domain.document import canonical
from services.domain.errors import FieldError
from services.domain.history import History, Observation
from services.domain.sampling import draw, unused
from services.domain.space import Point, point_key
from services.domain.study import StudySpec, SuggesterChoice
from services.domain.suggester import Blob, Problem, Suggester, Suggestion
from services.domain.trial import TrialState
from workers.models.merit import Scored, best, is_full, scored

Create = Callable[[Problem, Any, Blob | None], Suggester]
TEXT = frozenset({"text"})
REST = "rest"


def beside(create: Create, own: frozenset[str] = TEXT, *, credits_best: bool = True) -> Create:
    """A suggester's `create` that also takes spaces with parameters of other types than its `own`.

    Args:
        credits_best: a point of the method's counts as the best that it reached with any other values; else as told, for methods
            that must find old outcomes unchanged.
    """

    def made(problem: Problem, options: Any, blob: Blob | None) -> Suggester:
        if all(p.type in own for p in problem.spec.parameters):
            return create(problem, options, blob)
        return Beside(problem, lambda part: create(part, options, blob), own, credits_best)

    return made


def unserved(spec: StudySpec, own: frozenset[str] = TEXT) -> list[FieldError]:
    """What speaks against a study for a suggester made with `beside`: no parameter of its own, or a conditional one."""
    found = [
        FieldError(f"/parameters/{i}/when", f"a {p.type} parameter must not be conditional here")
        for i, p in enumerate(spec.parameters)
        if p.type in own and p.when
    ]
    if not any(p.type in own for p in spec.parameters):
        found.append(FieldError("/parameters", f"needs a parameter of type {' or '.join(sorted(own))}"))
    return found


class Beside:
    """A method for some of the parameters, `auto` for the rest."""

    def __init__(
        self, problem: Problem, create: Callable[[Problem], Suggester], own: frozenset[str], credits_best: bool = True
    ) -> None:
        self._problem, self._credits_best = problem, credits_best
        self._own = _part(problem, own, is_own=True)
        self._rest = _part(problem, own, is_own=False)
        self._method = create(self._own)

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points, in turns."""
        found = scored(history)
        top = best([s for s in found if s.is_valid and is_full(s.trial, history.spec)])
        numbers = range(history.next_number, history.next_number + count)
        turns = [self._takes_rest(number, top) for number in numbers]
        texts = self._texts(history, found, top, turns.count(False))
        given: list[Suggestion] = []
        for is_rest in turns:
            other = self._others(history, top, given) if top is not None and (is_rest or not texts) else None
            if other is not None:
                given.append(other)
            elif texts:
                given.append(texts.pop(0))
        return given + self._unused(history, given, count - len(given))

    def _unused(self, history: History, given: Sequence[Suggestion], count: int) -> list[Suggestion]:
        """Points that no trial has, where the method has no more of its own and the whole space is finite."""
        space, found = self._problem.space, list[Suggestion]()
        keys = {point_key(s.parameters) for s in given}
        rng = self._problem.generator(history.next_number, "beside unused")
        while len(found) < count and space.is_finite:
            point = unused(space, lambda key: key in keys or history.has_point(key), rng)
            if point is None:
                break
            keys.add(point_key(point))
            found.append(Suggestion(parameters=point, reason="a point that nobody tried", origin={REST: True}))
        return found

    def state(self) -> Blob | None:
        """The method's own."""
        return self._method.state()

    def _takes_rest(self, number: int, top: Scored | None) -> bool:
        return top is not None and bool(self._problem.generator(number, "beside").integers(2))

    # -- new texts, the best trial's other values

    def _texts(self, history: History, found: Sequence[Scored], top: Scored | None, count: int) -> list[Suggestion]:
        if count == 0:
            return []
        values = self._point(self._rest, top.trial) if top is not None else self._first(history.next_number)
        proposed = self._method.suggest(self._seen_by_method(history, found), count)
        return [replace(s, parameters=self._joined(s.parameters, values)) for s in proposed]

    def _first(self, number: int) -> Point:
        space = self._rest.space
        found = space.default() or draw(space, self._problem.generator(number, "beside start"))
        return found or {}

    def _seen_by_method(self, history: History, found: Sequence[Scored]) -> History:
        """The trials that it proposed (and the users'), texts credited with the best that they reached."""
        reached: dict[str, Scored] = {}
        for candidate in found if self._credits_best else ():
            key = self._key(candidate.trial)
            if candidate.is_valid and (key not in reached or candidate.merit > reached[key].merit):
                reached[key] = candidate
        own = [t for t in history.trials if not t.origin.get(REST)]
        seen = History(self._own.spec)
        seen.update(
            (self._projected(t, self._own, reached.get(self._key(t))) for t in own),
            seq=history.seq,
            next_number=history.next_number,
        )
        seen.replies = history.replies
        return seen

    # -- the best trial's texts, new other values

    def _others(self, history: History, top: Scored, given: Sequence[Suggestion]) -> Suggestion | None:
        from .registry import get

        key = self._key(top.trial)
        seen = History(self._rest.spec)
        same = [t for t in history.trials if self._key(t) == key and (t.is_pending or is_full(t, history.spec))]
        trials = [self._projected(t, self._rest, None) for t in same]
        ahead = [s for s in given if s.origin.get(REST)]
        for number, suggestion in enumerate(ahead, history.next_number):
            trials.append(_pending(number, history.seq, self._rest.space.sorted(suggestion.parameters)))
        seen.update(trials, seq=history.seq, next_number=history.next_number + len(given))
        # Made anew each time: which trials it sees changes with the best one, and what it keeps warm would be another study's.
        entry = get("auto")
        proposed = entry.create(self._rest, entry.parse_options({}), None).suggest(seen, 1)
        if not proposed:
            return None
        suggestion = proposed[0]
        return replace(
            suggestion,
            parameters=self._joined(self._point(self._own, top.trial), suggestion.parameters),
            reason=f"other values for the texts of trial {top.trial.number}: {suggestion.reason}",
            origin={REST: True},
            finding=None,
        )

    # -- points and their parts

    def _key(self, trial: Observation) -> str:
        return canonical(self._point(self._own, trial))

    @staticmethod
    def _point(part: Problem, trial: Observation) -> Point:
        return {name: value for name, value in trial.parameters.items() if name in part.space.by_name}

    def _joined(self, own: Point, rest: Point) -> Point:
        return self._problem.space.sorted({**own, **rest})

    def _projected(self, trial: Observation, part: Problem, reached: Scored | None) -> Observation:
        projected = replace(trial, parameters=self._point(part, trial))
        if reached is None or trial.is_pending or not trial.metrics:
            return projected
        return replace(projected, metrics=reached.trial.metrics, std=reached.trial.std, feasible=reached.trial.feasible)


def _part(problem: Problem, own: frozenset[str], *, is_own: bool) -> Problem:
    """The same study over the method's own parameters, or over the others (on which the parameter constraints are)."""
    spec = problem.spec.model_copy(
        update={
            "parameters": tuple(p for p in problem.spec.parameters if (p.type in own) == is_own),
            "parameter_constraints": () if is_own else problem.spec.parameter_constraints,
            "suggester": problem.spec.suggester if is_own else SuggesterChoice(),
            "examples": problem.spec.examples if is_own else None,
        }
    )
    spec.__dict__.pop("space", None)  # the cached space of the whole
    return Problem(study=problem.study, spec=spec, seed=problem.seed)


def _pending(number: int, seq: int, point: Point) -> Observation:
    return Observation(number=number, told_seq=seq, state=TrialState.WAITING, parameters=point, origin={REST: True})
