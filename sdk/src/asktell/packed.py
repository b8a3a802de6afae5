"""Vectors that travel as bytes: `{"float32": "<base64>"}` stands for the numbers, little endian."""

from __future__ import annotations

import base64
import importlib
import math
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from .errors import Invalid

CODES = {"float32": "f", "float64": "d"}


def unpacked(value: Any) -> Any:
    """A parameter's value; a packed vector as a NumPy array, or as a list of floats where there is no NumPy."""
    if not is_packed(value):
        return value
    kind, text = next(iter(value.items()))
    data = base64.b64decode(text)
    try:
        numpy = importlib.import_module("numpy")
    except ImportError:
        numbers = array(CODES[kind])
        numbers.frombytes(data)
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tolist()
    return numpy.frombuffer(data, dtype="<f4" if kind == "float32" else "<f8").copy()


def is_packed(value: Any) -> bool:
    """Whether a parameter's value is a packed vector."""
    return isinstance(value, dict) and len(value) == 1 and not CODES.keys().isdisjoint(value)


def packed(value: Any, encoding: str, pointer: str) -> Any:
    """An array, of any shape, in packed form; what is no array of numbers as it is, for the service to name what is wrong.

    Args:
        encoding: float32, to which the numbers are rounded, or float64.
        pointer: where the value stands in the request.

    Raises:
        Invalid: a number that is not finite.
    """
    plain = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(plain, (list, tuple)):
        return value
    try:
        numbers = array("d", _flat(plain))
    except (TypeError, OverflowError):
        return value
    if not math.isfinite(sum(numbers)):  # which may also be the sum's own overflow
        for place, number in enumerate(numbers):
            if not math.isfinite(number):
                raise not_finite(f"{pointer}/{place}", number)
    column = array(CODES[encoding], numbers)
    if sys.byteorder == "big":
        column.byteswap()
    return {encoding: base64.b64encode(column.tobytes()).decode()}


def _flat(value: Sequence[Any]) -> Iterable[Any]:
    if not value or not isinstance(value[0], (list, tuple)):
        return value
    return (number for item in value for number in _flat(item))


def not_finite(pointer: str, number: float) -> Invalid:
    """The error about a number that no request can hold."""
    hint = '; tell the state "infeasible" where the point is to blame' if "/metrics/" in pointer else ""
    return Invalid.at(pointer, f"is {number}; only finite numbers can be sent{hint}")
