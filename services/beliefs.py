"""Numbers in receipts, which are as their suggesters wrote them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def number_in(believed: Mapping[str, Any], *path: str) -> float | None:
    """A finite number in a receipt; None where there is none."""
    found: Any = believed
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    is_number = isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found)
    return float(found) if is_number else None


def spread(believed: Mapping[str, Any], metric: str, told: Mapping[str, float] | None = None) -> float:
    """The predicted deviation of a told value: of the function and of its noise.

    Args:
        told: the standard errors that came with the values, where any did; they stand in for a noise that was not learned.
    """
    std = number_in(believed, "std", metric) or 0.0
    noise = number_in(believed, "model", "noise_std", metric) or 0.0
    return math.hypot(std, max(noise, (told or {}).get(metric, 0.0)))
