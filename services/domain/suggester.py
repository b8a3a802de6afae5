"""What the service and the algorithms promise each other.

A suggester proposes points. It sees a `History` (what is known up to a `seq` of the study) and answers with suggestions; it
never sees a client, a database or a clock.

The laws every suggester obeys (tests/suggesters/law.py holds each to them):

1. Same problem, same history, same numbers: same suggestions. All randomness comes from `Problem.generator(number, purpose)`.
2. `state()` only saves work. A suggester restored from any earlier state of the same study, or from none, and shown the whole history
   proposes the same points, on any machine. The history has the latest outcome of a trial alone: where one replaces another (the
   trial failed with its lease and was told after all), what followed from the earlier one is read anew.
3. Points are inside the space, in canonical form, keep the parameter constraints, and repeat no point of a finite
   space while the study is not noisy. Fewer suggestions than asked for mean: the space is exhausted; where it is infinite and the
   suggester does not say that it `exhausts`, they mean: no more for now, ask again later.
4. What it does not serve it declares in its `Spec`, and the study is refused at creation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_serializer

from .document import Document, canonical, invalid_from
from .errors import FieldError, Invalid
from .history import History
from .sampling import generator
from .space import Point, Space
from .study import StudySpec
from .trial import Outcome
from .updates import Update

NUMERIC = frozenset({"float", "int", "bool", "ordinal"})
ENUMERABLE = NUMERIC | {"categorical"}
EVERY_TYPE = ENUMERABLE | {"vector", "tokens", "permutation", "text"}
SEED = "seed"  # a vector with `"encoding": "seed"`


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A proposed point.

    Attributes:
        parameters: the point, canonical (`Space.point` accepts it unchanged).
        reason: why this point, a few words for people.
        origin: what the suggester wants to find again on the trial (JSON), such as generation and slot.
        receipt: what was believed about the point (JSON): predicted mean, spread, feasibility, acquisition value, model.
        suggester: the catalogue name that proposed it; empty for the study's own.
        fallback: the method could not be used and this is the quasi-random net instead.
        evaluate_on: `{"split", "ids"}` to score it on fewer examples than the full set; None for the full set.
        finding: what the method concludes about the study as a whole at this trial (JSON): `{"kind": "infeasible_suspected",
            "trial": number, "evidence": {...}}`; None for nothing, which withdraws what it concluded before.
    """

    parameters: Point
    reason: str
    origin: Mapping[str, Any] = field(default_factory=dict)
    receipt: Mapping[str, Any] | None = None
    suggester: str = ""
    fallback: bool = False
    evaluate_on: Mapping[str, Any] | None = None
    finding: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Saved state: a JSON document and arrays by name. Never pickled.

    Attributes:
        version: of the state's layout; another version is ignored and the state rebuilt from the history.
        document: JSON.
        arrays: stored as npz.
    """

    version: int
    document: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What stays the same for a study: its space, goals and seed.

    Attributes:
        study: id, for logs only.
        spec: the study as created.
        seed: of every draw of the study.
    """

    study: str
    spec: StudySpec
    seed: int

    @property
    def space(self) -> Space:
        """The search space."""
        return self.spec.space

    def generator(self, number: int, purpose: str) -> np.random.Generator:
        """A fresh generator for one purpose of one trial, equal on every machine."""
        return generator(self.seed, number, purpose)


class Suggester(Protocol):
    """The interface of every method; made by `Spec.create(problem, options, blob)`."""

    def suggest(self, history: History, count: int) -> Sequence[Suggestion]:
        """Propose up to `count` points for the trials `history.next_number`, `history.next_number + 1`, …

        Args:
            history: everything known, pending trials included; the same object grows from call to call.
            count: >= 1; a `Publisher` is also asked for 0, when only its updates are wanted.

        Returns:
            `count` suggestions, fewer only when no further point exists (law 3).

        Raises:
            NeedsReplies: language model calls that it cannot go on without.
        """
        ...

    def state(self) -> Blob | None:
        """What to save so that another process need not repeat work; None for nothing."""
        ...


@runtime_checkable
class Publisher(Protocol):
    """A suggester that moves a seed-encoded vector: after `suggest` it tells the updates that its log does not have yet."""

    def updates(self, since: int) -> Sequence[Update]:
        """Updates from a version of theta on, in order and without gaps; the same ones after every restart."""
        ...


class Resources(Document):
    """What one suggestion computation needs."""

    cpus: float = 1.0
    gpus: float = Field(default=0.0, description="Used when the node has one; every method also runs without.")
    timeout_seconds: float = Field(default=120.0, description="After this the computation counts as hung.")


class Honours(Document):
    """What a suggester takes into account; a study that asks for more is refused at creation."""

    types: frozenset[str]
    conditions: bool = True
    parameter_constraints: bool = True
    constraints: bool = True
    max_objectives: int = 1
    noise: bool = True
    defaults: bool = True
    feedback: bool = False
    examples: bool = False
    llm: Literal["none", "optional", "preferred", "required"] = Field(
        default="none",
        description="Whether it asks a language model: preferred where the server has one, optional where the study says so.",
    )
    max_parameters: int | None = None

    @field_serializer("types")
    def _in_order(self, types: frozenset[str]) -> list[str]:
        return sorted(types)


class NoOptions(Document):
    """A suggester without options."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A catalogue entry. Importing it must stay cheap: heavy libraries load inside `create`.

    Attributes:
        name: in the catalogue.
        summary: one sentence.
        reference: authors, year, title.
        honours: what it serves.
        options: pydantic model of its options; its JSON Schema is shown to clients.
        inline: suggestions need no state and under a millisecond: made inside the ask.
        exhausts: runs out of points also where the space does not; a function of the study where that depends on it.
        create: builds the suggester from problem, parsed options and saved state (None, or of an older version, means: start fresh).
        resources: for a pooled one.
        refuse: says what else speaks against a study: a list of (JSON pointer, message).
        lacks: what a completed outcome of a point does not bring although the method learns from nothing else, likewise. Asked at
            every tell, so it reads the options as they were given. Imported trials are not held to it.
    """

    name: str
    summary: str
    reference: str
    honours: Honours
    options: type[Document] = NoOptions
    inline: bool = False
    exhausts: bool | Callable[[StudySpec], bool] = False
    create: Callable[[Problem, Any, Blob | None], Suggester]
    resources: Resources = field(default_factory=Resources)
    refuse: Callable[[StudySpec, Any], Sequence[FieldError]] = lambda spec, options: ()
    lacks: Callable[[StudySpec, Point, Outcome], Sequence[FieldError]] = lambda spec, point, outcome: ()

    def parse_options(self, options: Mapping[str, Any]) -> Document:
        """The options as a typed value.

        Raises:
            Invalid: an unknown option or a bad value, by JSON pointer under `/suggester/options`.
        """
        from pydantic import ValidationError

        try:
            return self.options.model_validate_json(canonical(dict(options)))
        except ValidationError as error:
            found = invalid_from(error, dict(options), "/suggester/options")
            known = ", ".join(sorted(self.options.model_fields)) or "none"
            errors = [
                FieldError(e.pointer, f"there is no such option; there are {known}") if _is_extra(e) else e
                for e in found.errors
            ]
            raise Invalid(f"{errors[0].pointer}: {errors[0].message}", errors=errors) from None

    def runs_out(self, spec: StudySpec) -> bool:
        """Whether fewer suggestions than wanted may mean that there are no more also where the space is infinite."""
        return self.exhausts(spec) if callable(self.exhausts) else self.exhausts

    def check(self, spec: StudySpec) -> None:
        """Refuse a study that this suggester would not serve in full.

        Raises:
            Invalid: naming each thing that is not honoured.
        """
        options = self.parse_options(spec.suggester.options)
        problems = self._unserved(spec) or list(self.refuse(spec, options))
        if problems:
            who = f"suggester {self.name!r}"
            first = problems[0]
            is_whole = first.message.startswith(who)
            raise Invalid(
                first.message if is_whole else f"{who}: {first.pointer}: {first.message}", errors=problems[:50]
            )

    def check_outcome(self, spec: StudySpec, point: Point, outcome: Outcome) -> None:
        """Refuse a completed outcome from which this suggester could never learn.

        Raises:
            Invalid: naming what is missing.
        """
        problems = self.lacks(spec, point, outcome) if outcome.state == "completed" else ()
        if problems:
            message = f"{problems[0].pointer}: {problems[0].message}"
            raise Invalid(message, errors=problems[:50])

    def _unserved(self, spec: StudySpec) -> list[FieldError]:
        honours, who = self.honours, f"suggester {self.name!r}"
        problems = [
            FieldError(f"/parameters/{i}/type", f"{who} does not serve parameters of type {_named(p.kind)}")
            for i, p in enumerate(spec.parameters)
            if p.kind not in honours.types
        ]
        checks = [
            (any(p.when for p in spec.parameters) and not honours.conditions, "/parameters", "conditional parameters"),
            (
                bool(spec.parameter_constraints) and not honours.parameter_constraints,
                "/parameter_constraints",
                "parameter constraints",
            ),
            (bool(spec.constraints) and not honours.constraints, "/constraints", "constraints"),
            (
                len(spec.objectives) > honours.max_objectives,
                "/objectives",
                f"more than {honours.max_objectives} objectives",
            ),
            (spec.is_noisy and not honours.noise, "/objectives", "noise"),
            (spec.examples is not None and not honours.examples, "/examples", "examples"),
            (spec.llm is not None and honours.llm == "none", "/llm", "a language model"),
        ]
        problems += [FieldError(pointer, f"{who} does not honour {what}") for bad, pointer, what in checks if bad]
        if honours.max_parameters is not None and len(spec.parameters) > honours.max_parameters:
            problems.append(FieldError("/parameters", f"{who} takes at most {honours.max_parameters} parameters"))
        return problems


def _is_extra(error: FieldError) -> bool:
    """An option that is not there, at the top level."""
    return error.message == "Extra inputs are not permitted" and error.pointer.count("/") == 3


def _named(kind: str) -> str:
    return "vector with encoding seed" if kind == SEED else kind
