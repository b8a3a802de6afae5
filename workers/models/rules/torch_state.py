"""The state of a torch optimizer as JSON and float64 arrays, and back, bit for bit. Never pickle."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from .rule import Array

LARGEST_EXACT = 2**53


def frozen(value: Any, path: str, arrays: dict[str, Array]) -> Any:
    """A JSON value; tensors go into `arrays` under their path, as float64 (which holds all smaller types exactly).

    Raises:
        TypeError: it holds something that has no such form.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"float": str(value)}
        case torch.Tensor():
            return _frozen_tensor(value, path, arrays)
        case torch.dtype():
            return {"dtype": str(value).removeprefix("torch.")}
        case dict():
            return {"dict": [[_key(key), frozen(item, f"{path}/{key}", arrays)] for key, item in value.items()]}
        case list() | tuple() | deque():
            items = [frozen(item, f"{path}/{i}", arrays) for i, item in enumerate(value)]
            if isinstance(value, deque):
                return {"deque": items, "most": value.maxlen}
            return items if type(value) is list else {"tuple": items}
        case _:
            raise TypeError(f"{path}: no plain form of a {type(value).__name__}")


def thawed(saved: Any, arrays: Mapping[str, Array]) -> Any:
    """What `frozen` was given."""
    if isinstance(saved, list):
        return [thawed(item, arrays) for item in saved]
    if not isinstance(saved, dict):
        return saved
    if "float" in saved:
        return float(saved["float"])
    if "tensor" in saved:
        found = torch.from_numpy(np.array(arrays[saved["tensor"]], dtype=np.float64))
        return found.to(getattr(torch, saved["type"])).clone()
    if "dtype" in saved:
        return getattr(torch, saved["dtype"])
    if "dict" in saved:
        return {key: thawed(item, arrays) for key, item in saved["dict"]}
    if "deque" in saved:
        return deque((thawed(item, arrays) for item in saved["deque"]), maxlen=saved["most"])
    return tuple(thawed(item, arrays) for item in saved["tuple"])


def _key(key: Any) -> str | int | float:
    if isinstance(key, str | int | float):
        return key
    raise TypeError(f"no plain form of the key {key!r}")


def _frozen_tensor(value: torch.Tensor, path: str, arrays: dict[str, Array]) -> dict[str, str]:
    if value.is_complex() or value.is_sparse:
        raise TypeError(f"{path}: no plain form of this tensor")
    if value.dtype == torch.int64 and value.numel() and int(value.abs().max()) > LARGEST_EXACT:
        raise TypeError(f"{path}: whole numbers beyond 2^53")
    arrays[path] = np.array(value.detach().to(torch.float64).numpy())
    return {"tensor": path, "type": str(value.dtype).removeprefix("torch.")}
