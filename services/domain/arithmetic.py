"""What the terms of parameter constraints are worth: at one point, or at many at once with the same result to the last bit.

A parsed term becomes a function once; evaluating it walks no tree. Columns follow Python's floats: where those raise (1/0, a power
that overflows or is no real number) a column says so in a mask, and its number there means nothing.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

Term: TypeAlias = Callable[[Mapping[str, Any]], float]
"""The value at a point; raises ArithmeticError or ValueError where there is none."""
ColumnTerm: TypeAlias = Callable[[Mapping[str, Array], Mask], Array]
"""(n,) values, or one for all, at n points given as columns; writes on the (n,) mask where there is none."""

BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
CALLS: dict[str, Callable[..., float]] = {"min": min, "max": max, "abs": abs}


def term(node: ast.AST) -> Term:
    """The function of one point that a checked term stands for."""
    match node:
        case ast.Constant(value=value):
            number = float(value)  # type: ignore[arg-type]
            return lambda values: number
        case ast.Name(id=name):
            return lambda values: float(values[name])
        case ast.BinOp(left=left, op=op, right=right):
            apply, one, other = BINARY[type(op)], term(left), term(right)
            return lambda values: apply(one(values), other(values))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = term(operand)
            return lambda values: -inner(values)
        case ast.UnaryOp(operand=operand):
            return term(operand)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            call, terms = CALLS[name], [term(argument) for argument in arguments]
            return lambda values: call(*[of(values) for of in terms])
    raise ValueError("only checked terms have a value")


def column_term(node: ast.AST) -> ColumnTerm:
    """The function of columns that a checked term stands for."""
    match node:
        case ast.Constant(value=value):
            number = np.asarray(float(value))  # type: ignore[arg-type]
            return lambda columns, has_none: number
        case ast.Name(id=name):
            return lambda columns, has_none: columns[name]
        case ast.BinOp(left=left, op=op, right=right):
            apply, one, other = _COLUMN_BINARY[type(op)], column_term(left), column_term(right)
            return lambda columns, has_none: apply(one(columns, has_none), other(columns, has_none), has_none)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = column_term(operand)
            return lambda columns, has_none: np.negative(inner(columns, has_none))
        case ast.UnaryOp(operand=operand):
            return column_term(operand)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            call, terms = _COLUMN_CALLS[name], [column_term(argument) for argument in arguments]
            return lambda columns, has_none: call([of(columns, has_none) for of in terms])
    raise ValueError("only checked terms have a value")


def _quotient(left: Array, right: Array, has_none: Mask) -> Array:
    has_none |= right == 0.0
    return np.divide(left, right)


def _power(left: Array, right: Array, has_none: Mask) -> Array:
    """By the C library, number by number: NumPy's own powers differ in the last bit from machine to machine."""
    bases = np.broadcast_to(left, has_none.shape).tolist()
    exponents = np.broadcast_to(right, has_none.shape).tolist()
    try:
        return np.array(list(map(math.pow, bases, exponents)))
    except (ArithmeticError, ValueError):
        found = np.zeros(has_none.shape)
    for i, (base, exponent) in enumerate(zip(bases, exponents, strict=True)):
        try:
            found[i] = math.pow(base, exponent)
        except (ArithmeticError, ValueError):
            has_none[i] = True
    return found


def _least(terms: list[Array]) -> Array:
    """As `min`, which keeps what it has unless the next one is lower: it matters where something is no number."""
    found = terms[0]
    for other in terms[1:]:
        found = np.where(other < found, other, found)
    return found


def _greatest(terms: list[Array]) -> Array:
    found = terms[0]
    for other in terms[1:]:
        found = np.where(other > found, other, found)
    return found


_COLUMN_BINARY: dict[type[ast.operator], Callable[[Array, Array, Mask], Array]] = {
    ast.Add: lambda left, right, _: np.add(left, right),
    ast.Sub: lambda left, right, _: np.subtract(left, right),
    ast.Mult: lambda left, right, _: np.multiply(left, right),
    ast.Div: _quotient,
    ast.Pow: _power,
}
_COLUMN_CALLS: dict[str, Callable[[list[Array]], Array]] = {
    "min": _least,
    "max": _greatest,
    "abs": lambda terms: np.abs(terms[0]),
}
