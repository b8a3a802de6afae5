"""Vectors as bytes: `{"float32": "…"}` holds the numbers little endian in base64, exact and a quarter as long as their digits."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float64": np.dtype("<f8")}


def pack(values: Array, encoding: str) -> dict[str, str]:
    """(n,) numbers in packed form, rounded to the type."""
    return {encoding: base64.b64encode(np.asarray(values).astype(TYPES[encoding]).tobytes()).decode()}


def unpack(value: Mapping[str, Any], encoding: str) -> Array:
    """(n,) numbers of a packed form.

    Raises:
        ValueError: it is not base64 of whole numbers of this type.
    """
    text = value.get(encoding)
    if len(value) != 1 or not isinstance(text, str):
        raise ValueError(f'must be an array of numbers or {{"{encoding}": "<base64>"}}')
    try:
        data = base64.b64decode(text, validate=True)
        return np.asarray(np.frombuffer(data, dtype=TYPES[encoding]), dtype=np.float64)
    except (binascii.Error, ValueError):
        raise ValueError(f"is not base64 of little-endian {encoding} numbers") from None
