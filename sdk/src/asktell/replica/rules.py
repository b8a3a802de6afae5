"""How a direction becomes a step: sgd, momentum, adam, snes, each on a range of entries, in double precision.

Whatever is remembered between updates is rounded to theta's type first and used as rounded: the bits of the next step depend on
nothing that a saved replica lacks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..arrays import Arrays
from ..updates import Update
from .tensor import Tensor

MEMORIES = ("first", "second", "scale")


@dataclass
class Rules:
    """The rule in use, and the powers of Adam's betas, multiplied step by step: no client's `pow` is trusted with the last bit."""

    arrays: Arrays
    dtype: str
    name: str = ""
    beta1_power: float = 1.0
    beta2_power: float = 1.0

    def begin(self, update: Update, tensors: list[Tensor]) -> None:
        """Take up an update's rule; another rule than before forgets the moments."""
        if update.rule != self.name:
            self.forget(tensors)
            self.name = update.rule
        self.beta1_power *= update.beta1
        self.beta2_power *= update.beta2

    def forget(self, tensors: list[Tensor], *, scales: bool = False) -> None:
        """Begin anew: no moments, no steps made; with `scales`, deviations of 1."""
        self.beta1_power = self.beta2_power = 1.0
        for tensor in tensors:
            scale = tensor.memory.pop("scale", None)
            tensor.memory.clear()
            if scale is not None and not scales:
                tensor.memory["scale"] = scale

    def step(self, update: Update, tensor: Tensor, span: tuple[int, int], gradient: Any) -> None:
        """theta[span] ← (1 − lr · decay) theta − lr · direction(gradient).

        Args:
            gradient: (span,) float64, in the unit of theta.
        """
        low, high = span
        theta = self.arrays.cast(tensor.theta[low:high], "float64")
        if update.weight_decay and tensor.decays:
            theta = theta * (1.0 - update.lr * update.weight_decay)
        theta = theta - self._direction(update, tensor, span, gradient) * update.lr
        if tensor.active is None:
            tensor.theta[low:high] = theta
        else:
            active = tensor.active[low:high]
            tensor.theta[low:high][active] = self.arrays.cast(theta, self.dtype)[active]

    def _direction(self, update: Update, tensor: Tensor, span: tuple[int, int], gradient: Any) -> Any:
        if update.rule == "momentum":
            return self._remember(tensor, "first", span, update.beta1, gradient)
        if update.rule == "adam":
            first = self._remember(tensor, "first", span, update.beta1, gradient * (1.0 - update.beta1))
            square = (gradient * gradient) * (1.0 - update.beta2)
            second = self._remember(tensor, "second", span, update.beta2, square)
            root = self.arrays.xp.sqrt(second / (1.0 - self.beta2_power))
            return first / (1.0 - self.beta1_power) / (root + update.epsilon)
        if update.rule == "snes" and "scale" in tensor.memory:
            return gradient * self.arrays.cast(tensor.memory["scale"][span[0] : span[1]], "float64") * update.sigma
        return gradient * update.sigma if update.rule == "snes" else gradient

    def _remember(self, tensor: Tensor, name: str, span: tuple[int, int], beta: float, new: Any) -> Any:
        """memory ← beta · memory + new, as it is then remembered."""
        low, high = span
        memory = tensor.recalled(name, self.arrays, self.dtype)
        memory[low:high] = self.arrays.cast(memory[low:high], "float64") * beta + new
        return self.arrays.cast(memory[low:high], "float64")

    def widen(self, update: Update, tensor: Tensor, span: tuple[int, int], spread: Any, active: int) -> None:
        """The deviations of `snes`: s ← s · exp(−η/2 · norm · Σ (s⁺ + s⁻)(ε² − 1)), η = (3 + ln n) / (5 sqrt(n)).

        Args:
            spread: (span,) float64, norm · Σ ….
            active: n, how many entries take part.

        Source: Wierstra et al. 2014, "Natural Evolution Strategies", algorithm 6 (weights of losses: lower is better).
        """
        low, high = span
        eta = (3.0 + math.log(active)) / (5.0 * math.sqrt(active))
        scale = tensor.recalled("scale", self.arrays, self.dtype, 1.0)
        factor = self.arrays.xp.exp(spread * (-0.5 * eta))
        scale[low:high] = self.arrays.cast(scale[low:high], "float64") * factor
