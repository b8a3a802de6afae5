"""64 bits of theta, so that a client that lost an update, or adds other noise, is found out."""

from __future__ import annotations

from collections.abc import Sequence

from ..arrays import Arrays, float32_bytes
from .tensor import Tensor

MOST_ENTRIES = 1024
FNV_START, FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


def fingerprint(arrays: Arrays, tensors: Sequence[Tensor]) -> str:
    """FNV-1a 64 over 1024 entries as float32, little endian: entry ⌊i n / 1024⌋ of all tensors end to end, or all if n ≤ 1024.

    Args:
        tensors: in the order of their numbers.
    """
    total = sum(tensor.size for tensor in tensors)
    count = min(total, MOST_ENTRIES)
    numbers: list[float] = []
    first, i = 0, 0
    for tensor in tensors:
        places = []
        while i < count and i * total // count < first + tensor.size:
            places.append(i * total // count - first)
            i += 1
        if places:
            numbers += arrays.cast(tensor.theta[arrays.integers(places)], "float32").tolist()
        first += tensor.size
    return f"{fnv1a(float32_bytes(numbers)):016x}"


def fnv1a(data: bytes) -> int:
    """FNV-1a of 64 bits (Fowler, Noll, Vo)."""
    found = FNV_START
    for byte in data:
        found = (found ^ byte) * FNV_PRIME & 0xFFFFFFFFFFFFFFFF
    return found
