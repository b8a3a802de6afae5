"""The search space: parameters, conditions between them, constraints on points, and which points are inside."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from .document import canonical
from .errors import FieldError, Invalid
from .expressions import Expression, parse
from .parameters import BoolParameter, CategoricalParameter, IntParameter, OrdinalParameter, Parameter, same

Point: TypeAlias = dict[str, Any]
"""Values of the active parameters by name, canonical: whole numbers int, reals float, arrays lists."""

_PARENTS = (BoolParameter, CategoricalParameter, OrdinalParameter, IntParameter)


@dataclass(frozen=True)
class Space:
    """A validated search space.

    Attributes:
        parameters: in the order of the study; a parent may stand after its child.
        constraints: expressions that every point must keep, as written.

    Raises:
        Invalid: names that repeat, parents that do not exist or run in a circle, expressions that do not parse.
    """

    parameters: tuple[Parameter, ...]
    constraints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = [*self._name_problems(), *self._condition_problems()]
        if not problems:
            problems += self._cycle_problems()
        if not problems:
            problems += self._constraint_problems()
        if problems:
            raise Invalid(f"{problems[0].pointer}: {problems[0].message}", errors=problems)

    @cached_property
    def by_name(self) -> dict[str, Parameter]:
        """The parameters by name."""
        return {p.name: p for p in self.parameters}

    @cached_property
    def index(self) -> dict[str, int]:
        """Each parameter's place in the study."""
        return {p.name: i for i, p in enumerate(self.parameters)}

    @cached_property
    def ordered(self) -> tuple[Parameter, ...]:
        """The parameters, parents before children."""
        done: dict[str, Parameter] = {}

        def visit(parameter: Parameter) -> None:
            if parameter.name in done:
                return
            for parent in parameter.when or {}:
                visit(self.by_name[parent])
            done[parameter.name] = parameter

        for parameter in self.parameters:
            visit(parameter)
        return tuple(done.values())

    @cached_property
    def expressions(self) -> tuple[Expression, ...]:
        """The parsed parameter constraints."""
        return tuple(parse(text, self._numeric_names()) for text in self.constraints)

    def is_active(self, parameter: Parameter, values: Mapping[str, Any]) -> bool:
        """Whether a parameter belongs to a point, given the values of its active ancestors."""
        return not parameter.when or all(
            parent in values and any(same(values[parent], wanted) for wanted in allowed)
            for parent, allowed in parameter.when.items()
        )

    def point(self, values: Any, pointer: str = "/parameters") -> Point:
        """Check a client's point and give it its canonical form.

        Raises:
            Invalid: naming each value that is missing, unknown, inactive or outside, and each constraint broken.
        """
        if not isinstance(values, dict):
            raise Invalid.at(pointer, "must be an object with a value for every active parameter")
        problems = [
            FieldError(f"{pointer}/{name}", "no such parameter in this study")
            for name in values
            if name not in self.by_name
        ]
        found: Point = {}
        for parameter in self.ordered:
            problem = self._accept(parameter, values, found)
            if problem:
                problems.append(FieldError(f"{pointer}/{parameter.name}", problem))
        if not problems:
            found = self.sorted(found)
            problems = [FieldError(pointer, f"breaks the parameter constraint {text!r}") for text in self.broken(found)]
        if problems:
            raise Invalid(f"{problems[0].pointer}: {problems[0].message}", errors=problems[:50])
        return found

    def _accept(self, parameter: Parameter, values: Mapping[str, Any], found: Point) -> str | None:
        given = parameter.name in values
        if not self.is_active(parameter, found):
            return "is not active for these parent values" if given else None
        if not given:
            return "is missing"
        try:
            found[parameter.name] = parameter.accept(values[parameter.name])
        except ValueError as error:
            return str(error)
        return None

    def sorted(self, values: Mapping[str, Any]) -> Point:
        """The same values in the order of the study's parameters."""
        return {p.name: values[p.name] for p in self.parameters if p.name in values}

    def broken(self, point: Mapping[str, Any]) -> list[str]:
        """The parameter constraints that a point breaks; one over an inactive parameter does not apply."""
        return [e.text for e in self.expressions if e.names <= point.keys() and not e.holds(point)]

    def default(self) -> Point | None:
        """The point of the declared defaults, the rest at their centre; None if nothing is declared or it is not allowed."""
        if not any(_has_default(p) for p in self.parameters):
            return None
        found: Point = {}
        for parameter in self.ordered:
            if self.is_active(parameter, found):
                value = getattr(parameter, "default", None) if _has_default(parameter) else parameter.centre()
                found[parameter.name] = parameter.accept(list(value) if isinstance(value, tuple) else value)
        point = self.sorted(found)
        return None if self.broken(point) else point

    @cached_property
    def size(self) -> int | None:
        """An upper bound of the number of distinct points: exact without conditions and constraints; None if infinite."""
        sizes = [p.size for p in self.parameters]
        return None if None in sizes else math.prod(s for s in sizes if s is not None)

    @property
    def is_finite(self) -> bool:
        """Whether its points can be counted."""
        return self.size is not None

    def _numeric_names(self) -> frozenset[str]:
        return frozenset(p.name for p in self.parameters if p.type in ("float", "int"))

    def _name_problems(self) -> list[FieldError]:
        if not self.parameters:
            return [FieldError("/parameters", "at least one parameter is needed")]
        seen: set[str] = set()
        problems = []
        for i, parameter in enumerate(self.parameters):
            if parameter.name in seen:
                problems.append(
                    FieldError(f"/parameters/{i}/name", f"{parameter.name!r} is taken by another parameter")
                )
            seen.add(parameter.name)
        return problems

    def _condition_problems(self) -> list[FieldError]:
        problems = []
        for i, parameter in enumerate(self.parameters):
            for name, allowed in (parameter.when or {}).items():
                message = self._condition_problem(name, allowed)
                if message:
                    problems.append(FieldError(f"/parameters/{i}/when/{name}", message))
        return problems

    def _condition_problem(self, name: str, allowed: Sequence[Any]) -> str | None:
        parent = self.by_name.get(name)
        if parent is None:
            return f"no parameter is named {name!r}"
        if not isinstance(parent, _PARENTS):
            return "a parent is a bool, categorical, ordinal or int parameter"
        for value in allowed:
            try:
                parent.accept(value)
            except ValueError as error:
                return str(error)
        return None

    def _cycle_problems(self) -> list[FieldError]:
        def reaches(start: str) -> bool:
            seen: set[str] = set()
            todo = list(self.by_name[start].when or {})
            while todo:
                name = todo.pop()
                if name == start:
                    return True
                if name not in seen:
                    seen.add(name)
                    todo.extend(self.by_name[name].when or {})
            return False

        return [
            FieldError(f"/parameters/{i}/when", "conditions run in a circle")
            for i, p in enumerate(self.parameters)
            if reaches(p.name)
        ]

    def _constraint_problems(self) -> list[FieldError]:
        problems = []
        for i, text in enumerate(self.constraints):
            try:
                parse(text, self._numeric_names())
            except ValueError as error:
                problems.append(FieldError(f"/parameter_constraints/{i}", str(error)))
        return problems


def _has_default(parameter: Parameter) -> bool:
    if isinstance(parameter, (CategoricalParameter, OrdinalParameter)):
        return "default" in parameter.model_fields_set and (
            parameter.default is not None or any(choice is None for choice in parameter.choices)
        )
    return getattr(parameter, "default", None) is not None


def point_key(point: Mapping[str, Any]) -> str:
    """32 hex digits that are equal for equal points."""
    return hashlib.blake2b(canonical(dict(point)).encode(), digest_size=16).hexdigest()
