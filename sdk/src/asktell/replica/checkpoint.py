"""A replica as plain numbers and arrays, to go on from without replaying every update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..arrays import Arrays
from .rules import MEMORIES, Rules
from .tensor import Tensor


def saved(arrays: Arrays, dtype: str, tensors: Mapping[str, Tensor], rules: Rules) -> dict[str, Any]:
    """Copies of everything but theta_0: `rule`, `beta1_power`, `beta2_power`, and flat arrays as `theta/NAME`, `active/NAME`, …."""
    found = {"rule": rules.name, "beta1_power": rules.beta1_power, "beta2_power": rules.beta2_power}
    for name, tensor in tensors.items():
        kept = {"theta": tensor.theta, **tensor.memory}
        found |= {f"{what}/{name}": arrays.flat(array, dtype, True) for what, array in kept.items()}
        if tensor.active is not None:
            found[f"active/{name}"] = arrays.flat(tensor.active, "bool", True)
    return found


def restore(arrays: Arrays, dtype: str, tensors: Mapping[str, Tensor], rules: Rules, state: Mapping[str, Any]) -> None:
    """Put back what `saved` gave.

    Raises:
        ValueError: the state is of other tensors.
    """
    theta = {name: arrays.flat(state[f"theta/{name}"], dtype, True) for name in tensors if f"theta/{name}" in state}
    if {name: array.shape[0] for name, array in theta.items()} != {name: t.size for name, t in tensors.items()}:
        raise ValueError("the state is of other tensors")
    for name, tensor in tensors.items():
        tensor.theta[:] = theta[name]
        active = state.get(f"active/{name}")
        tensor.active = None if active is None else arrays.flat(active, "bool", True)
        kept = [what for what in MEMORIES if f"{what}/{name}" in state]
        tensor.memory = {what: arrays.flat(state[f"{what}/{name}"], dtype, True) for what in kept}
    rules.name = str(state["rule"])
    rules.beta1_power, rules.beta2_power = float(state["beta1_power"]), float(state["beta2_power"])
