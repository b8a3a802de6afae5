"""A problem as a solver meets it: a space in the service's own words, and what a point is worth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Parameters = list[dict[str, Any]]


@dataclass(frozen=True)
class Instance:
    """One problem at one seed.

    Attributes:
        parameters: as in a study.
        evaluate: the noise-free metrics of a point: every objective (to minimise) and every constraint (feasible <= 0);
            None where the point cannot be evaluated.
        objectives: metrics to minimise.
        constraints: metrics that must not exceed 0.
        optimum: the least feasible value, None if unknown; the largest dominated volume for several objectives.
        reference: corner of the dominated volume, for several objectives.
    """

    parameters: Parameters
    evaluate: Callable[[dict[str, Any]], dict[str, float] | None]
    objectives: tuple[str, ...] = ("loss",)
    constraints: tuple[str, ...] = ()
    optimum: float | None = None
    reference: tuple[float, ...] = ()


class Box:
    """`d` numbers between two bounds, named x0, x1, …; or any list of float parameters."""

    def __init__(self, d: int, low: float, high: float) -> None:
        self.parameters: Parameters = [{"name": f"x{i}", "type": "float", "min": low, "max": high} for i in range(d)]

    @classmethod
    def of(cls, parameters: Parameters) -> Box:
        """The box of these float parameters."""
        box = cls(0, 0.0, 0.0)
        box.parameters = parameters
        return box

    def row(self, point: dict[str, Any]) -> Array:
        """(d,) the values."""
        return np.array([float(point[p["name"]]) for p in self.parameters])

    def unit(self, point: dict[str, Any]) -> Array:
        """(d,) the values through their scales, as numbers in [-1, 1]."""
        found = []
        for p in self.parameters:
            low, high, x = (through(p, float(v)) for v in (p["min"], p["max"], point[p["name"]]))
            found.append(2 * (x - low) / (high - low) - 1)
        return np.array(found)


def through(parameter: dict[str, Any], value: float) -> float:
    """A number on its scale."""
    match parameter.get("scale", "linear"):
        case "log":
            return math.log(value)
        case "logit":
            return math.log(value / (1 - value))
    return value
