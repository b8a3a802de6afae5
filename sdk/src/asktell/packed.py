"""Vectors that travel as bytes: `{"float32": "<base64>"}` stands for the numbers, little endian."""

from __future__ import annotations

import base64
import importlib
import sys
from array import array
from typing import Any

CODES = {"float32": "f", "float64": "d"}


def unpacked(value: Any) -> Any:
    """A parameter's value; a packed vector as a NumPy array, or as a list of floats where there is no NumPy."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    kind, text = next(iter(value.items()))
    if kind not in CODES:
        return value
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
