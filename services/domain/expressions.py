"""Parameter constraints: a small arithmetic language, parsed and checked, never evaluated as code."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_LENGTH = 2000
MAX_NODES = 200
MOST_EXCESS = 1e300

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_CALLS: dict[str, Callable[..., float]] = {"min": min, "max": max, "abs": abs}


@dataclass(frozen=True)
class Expression:
    """A comparison (or a chain of them) over numeric parameters.

    Attributes:
        text: as the study wrote it.
        names: the parameters it speaks of.
    """

    text: str
    names: frozenset[str]
    _tree: ast.Compare

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it is true at a point; arithmetic that has no value (1/0, overflow) is false."""
        try:
            terms = [_value(node, values) for node in (self._tree.left, *self._tree.comparators)]
        except (ArithmeticError, ValueError):
            return False
        pairs = zip(self._tree.ops, terms, terms[1:], strict=False)
        return all(_COMPARE[type(op)](left, right) for op, left, right in pairs)

    def excess(self, values: Mapping[str, Any]) -> float:
        """By how much it is broken at a point: 0 or more, at most 1e300; the latter where arithmetic has no value."""
        try:
            terms = [_value(node, values) for node in (self._tree.left, *self._tree.comparators)]
        except (ArithmeticError, ValueError):
            return MOST_EXCESS
        pairs = zip(self._tree.ops, terms, terms[1:], strict=False)
        found = sum(abs(left - right) for op, left, right in pairs if not _COMPARE[type(op)](left, right))
        return found if found < MOST_EXCESS else MOST_EXCESS  # also where it is no number

    def margin(self, values: Mapping[str, Any]) -> float:
        """Where it is kept by how much, below 0; else the excess. Of a chain the comparison that is closest to breaking.

        An equality and an inequality have no room: 0 where they are kept.
        """
        excess = self.excess(values)
        if excess > 0:
            return excess
        try:
            terms = [_value(node, values) for node in (self._tree.left, *self._tree.comparators)]
        except (ArithmeticError, ValueError):
            return MOST_EXCESS
        pairs = zip(self._tree.ops, terms, terms[1:], strict=False)
        room = [abs(left - right) for op, left, right in pairs if not isinstance(op, (ast.Eq, ast.NotEq))]
        return -min(room) if len(room) == len(self._tree.ops) else 0.0


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
            if not math.isfinite(value) or abs(value) > 1e300:
                raise ValueError("a number is too large")
        case ast.Name(id=name):
            if name not in names:
                raise ValueError(f"{name!r} is not a numeric parameter of this study")
            found.add(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(left, names, found)
            _check(right, names, found)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            _check(operand, names, found)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _CALLS and arguments:
            if name == "abs" and len(arguments) != 1:
                raise ValueError("abs takes one value")
            if name != "abs" and len(arguments) < 2:
                raise ValueError(f"{name} takes two values or more")
            for argument in arguments:
                _check(argument, names, found)
        case _:
            raise ValueError("only numbers, numeric parameters, + - * / **, min, max and abs are allowed")


def _value(node: ast.AST, values: Mapping[str, Any]) -> float:
    match node:
        case ast.Constant(value=value):
            return float(value)  # type: ignore[arg-type]
        case ast.Name(id=name):
            return float(values[name])
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, values), _value(right, values))
        case ast.UnaryOp(op=op, operand=operand):
            inner = _value(operand, values)
            return -inner if isinstance(op, ast.USub) else inner
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _CALLS[name](*(_value(argument, values) for argument in arguments))
    raise ValueError("unreachable after parse()")
