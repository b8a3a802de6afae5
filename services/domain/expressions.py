"""Parameter constraints: a small arithmetic language, parsed and checked, never evaluated as code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .arithmetic import BINARY, CALLS, ColumnTerm, Term, column_term, term

Array: TypeAlias = NDArray[np.float64]
Comparison: TypeAlias = Callable[[Any, Any], Any]

MAX_LENGTH = 2000
MAX_NODES = 200
MOST_EXCESS = 1e300

_COMPARE: dict[type[ast.cmpop], Comparison] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True)
class Expression:
    """A comparison (or a chain of them) over numeric parameters.

    Attributes:
        text: as the study wrote it.
        names: the parameters it speaks of.
    """

    text: str
    names: frozenset[str]
    _tree: ast.Compare = field(repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return parse, (self.text, self.names)

    @cached_property
    def _terms(self) -> tuple[Term, ...]:
        return tuple(term(node) for node in (self._tree.left, *self._tree.comparators))

    @cached_property
    def _column_terms(self) -> tuple[ColumnTerm, ...]:
        return tuple(column_term(node) for node in (self._tree.left, *self._tree.comparators))

    @cached_property
    def _comparisons(self) -> tuple[Comparison, ...]:
        return tuple(_COMPARE[type(op)] for op in self._tree.ops)

    def _pairs(self, values: Mapping[str, Any]) -> list[tuple[float, float]] | None:
        """What is compared with what; None where arithmetic has no value."""
        try:
            found = [of(values) for of in self._terms]
        except (ArithmeticError, ValueError):
            return None
        return list(pairwise(found))

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it is true at a point; arithmetic that has no value (1/0, overflow) is false."""
        pairs = self._pairs(values)
        return pairs is not None and all(
            compare(left, right) for compare, (left, right) in zip(self._comparisons, pairs, strict=True)
        )

    def excess(self, values: Mapping[str, Any]) -> float:
        """By how much it is broken at a point: 0 or more, at most 1e300; the latter where arithmetic has no value."""
        pairs = self._pairs(values)
        if pairs is None:
            return MOST_EXCESS
        compared = zip(self._comparisons, pairs, strict=True)
        found = sum(abs(left - right) for compare, (left, right) in compared if not compare(left, right))
        return found if found < MOST_EXCESS else MOST_EXCESS  # also where it is no number

    def margin(self, values: Mapping[str, Any]) -> float:
        """Where it is kept by how much, below 0; else the excess. Of a chain the comparison that is closest to breaking.

        An equality and an inequality have no room: 0 where they are kept.
        """
        excess = self.excess(values)
        if excess > 0:
            return excess
        if any(isinstance(op, (ast.Eq, ast.NotEq)) for op in self._tree.ops):
            return 0.0
        pairs = self._pairs(values)
        return MOST_EXCESS if pairs is None else -min(abs(left - right) for left, right in pairs)

    def holds_many(self, columns: Mapping[str, Array], count: int) -> NDArray[np.bool_]:
        """(n,) `holds` at n points, the same to the last bit.

        Args:
            columns: (n,) values of each parameter named.
            count: n.
        """
        found, pairs = self._column_pairs(columns, count)
        for compare, (left, right) in zip(self._comparisons, pairs, strict=True):
            found &= compare(left, right)
        return found

    def excess_many(self, columns: Mapping[str, Array], count: int) -> Array:
        """(n,) `excess` at n points, the same to the last bit; arguments as for `holds_many`."""
        has_value, pairs = self._column_pairs(columns, count)
        found = np.zeros(count)
        with np.errstate(all="ignore"):
            for compare, (left, right) in zip(self._comparisons, pairs, strict=True):
                found += np.where(compare(left, right), 0.0, np.abs(left - right))
        return np.where(has_value & (found < MOST_EXCESS), found, MOST_EXCESS)

    def _column_pairs(
        self, columns: Mapping[str, Array], count: int
    ) -> tuple[NDArray[np.bool_], list[tuple[Array, Array]]]:
        """(n,) where arithmetic has a value, and the pairs of columns that are compared."""
        has_none = np.zeros(count, dtype=bool)
        with np.errstate(all="ignore"):
            found = [of(columns, has_none) for of in self._column_terms]
        return ~has_none, list(pairwise(found))


def parse(text: str, names: frozenset[str]) -> Expression:
    """Parse a constraint such as `"layers * lr <= 0.2"`.

    A name that is no plain identifier stands in backquotes: `` `learning-rate` * 2 < 1 ``.

    Args:
        text: comparisons of `+ - * / **`, `min`, `max`, `abs`, numbers and parameters.
        names: the numeric parameters of the study.

    Raises:
        ValueError: it does not parse, speaks of something else, or compares nothing.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} characters")
    encoded, aliases = _encode(text, names)
    try:
        tree = ast.parse(encoded.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError("does not parse: write for example 'a * b <= 0.2'") from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise ValueError("has too many terms")
    if not isinstance(tree, ast.Compare):
        raise ValueError("is no comparison: write for example 'a * b <= 0.2'")
    found: set[str] = set()
    tree = _Names(aliases).visit(tree)
    for op in tree.ops:
        if type(op) not in _COMPARE:
            raise ValueError("only < <= > >= == != may compare")
    for node in (tree.left, *tree.comparators):
        _check(node, names, found)
    if not found:
        raise ValueError("speaks of no parameter")
    return Expression(text, frozenset(found), tree)


class _Names(ast.NodeTransformer):
    def __init__(self, aliases: Mapping[str, str]) -> None:
        self.aliases = aliases

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(self.aliases.get(node.id, node.id), node.ctx), node)


def _encode(text: str, names: frozenset[str]) -> tuple[str, dict[str, str]]:
    # Python's parser knows identifiers only; backquoted names and dotted names get one each.
    aliases: dict[str, str] = {}
    parts = text.split("`")
    if len(parts) % 2 == 0:
        raise ValueError("a backquote is not closed")
    for index in range(1, len(parts), 2):
        alias = f"quoted_{index}"
        while alias in names:
            alias += "_"
        aliases[alias] = parts[index]
        parts[index] = f" {alias} "
    return "".join(parts), aliases


def _check(node: ast.AST, names: frozenset[str], found: set[str]) -> None:
    match node:
        case ast.Constant(value=value) if isinstance(value, (int, float)) and not isinstance(value, bool):
            if abs(value) > 1e300:
                raise ValueError("a number is too large")
        case ast.Name(id=name):
            if name not in names:
                raise ValueError(f"{name!r} is not a numeric parameter of this study")
            found.add(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            _check(left, names, found)
            _check(right, names, found)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            _check(operand, names, found)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in CALLS and arguments:
            if name == "abs" and len(arguments) != 1:
                raise ValueError("abs takes one value")
            if name != "abs" and len(arguments) < 2:
                raise ValueError(f"{name} takes two values or more")
            for argument in arguments:
                _check(argument, names, found)
        case _:
            raise ValueError("only numbers, numeric parameters, + - * / **, min, max and abs are allowed")
