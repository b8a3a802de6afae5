"""The bodies of requests: JSON of whatever Python programs hold."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from .packed import not_finite

DEEPEST = 64
"""Levels of a document to look into for what cannot be sent: no service takes deeper ones."""


def encode(document: Any) -> bytes:
    """JSON. Numbers and arrays of NumPy and the like become plain ones.

    Raises:
        Invalid: a number that is not finite, by its place.
        TypeError: a value that JSON has no form for.
    """
    try:
        return json.dumps(document, default=_plain, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        # It says which number, but not where.
        for pointer, number in _numbers(document, ""):
            if not math.isfinite(number):
                raise not_finite(pointer, number) from None
        raise


def _numbers(value: Any, pointer: str, depth: int = 0) -> Iterator[tuple[str, float]]:
    """The numbers of a document by their places."""
    if isinstance(value, float):
        yield pointer, value
    elif isinstance(value, (str, int, type(None))) or depth > DEEPEST:
        return
    elif isinstance(value, Mapping):
        for key, item in value.items():
            name = str(key).replace("~", "~0").replace("/", "~1")
            yield from _numbers(item, f"{pointer}/{name}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from _numbers(item, f"{pointer}/{place}", depth + 1)
    else:
        yield from _numbers(_plain(value), pointer, depth + 1)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
