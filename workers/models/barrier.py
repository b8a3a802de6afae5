"""The progressive barrier: a direct search's two incumbents under measured constraints.

Audet, Dennis 2009, "A progressive barrier for derivative-free nonlinear programming". With f the objective and h = Σ max(0, gᵢ)²: the
best feasible point, and the lowest f among the undominated points whose h is within a bound that only falls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TRIGGER = 0.1
LARGEST = 1e150


@dataclass(frozen=True)
class Tried:
    """An evaluated point.

    Attributes:
        number: of the trial.
        point: its parameters.
        row: (d,) its coordinates.
        value: f, to be minimised.
        violation: h >= 0, zero where feasible.
        std: standard error of f, zero if unknown.
        excess: g of each bound, kept where <= 0.
    """

    number: int
    point: Mapping[str, Any]
    row: Array
    value: float
    violation: float = 0.0
    std: float = 0.0
    excess: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.violation >= 0:
            raise ValueError("a violation is not negative")


def violation(values: tuple[float, ...]) -> float:
    """h of constraint values that are feasible where <= 0; finite however large they are."""
    return sum(min(max(0.0, v), LARGEST) ** 2 for v in values)


@dataclass
class Barrier:
    """Incumbents of one descent.

    Attributes:
        feasible: the best feasible point.
        infeasible: the best point that breaks constraints by no more than `limit`.
        limit: bound of h; falls from iteration to iteration.
        undominated: infeasible points that no other one beats in f and h.
    """

    feasible: Tried | None = None
    infeasible: Tried | None = None
    limit: float = math.inf
    undominated: list[Tried] = field(default_factory=list)

    @property
    def primary(self) -> Tried | None:
        """The incumbent to poll around in full: the feasible one, unless the infeasible one is lower by far."""
        if self.feasible is None or self.infeasible is None:
            return self.feasible or self.infeasible
        far = self.infeasible.value < self.feasible.value - TRIGGER * abs(self.feasible.value)
        return self.infeasible if far else self.feasible

    @property
    def secondary(self) -> Tried | None:
        """The other one, while it may lead to something better."""
        if self.feasible is None or self.infeasible is None or self.infeasible.value >= self.feasible.value:
            return None
        return self.feasible if self.primary is self.infeasible else self.infeasible

    def dominates(self, tried: Tried) -> bool:
        """Whether a point beats the incumbent of its kind; with told standard errors, by two of their sum."""
        if tried.violation == 0:
            return self.feasible is None or _below(tried, self.feasible)
        if tried.violation > self.limit:
            return False
        return self.infeasible is None or _beats(tried, self.infeasible)

    def take(self, tried: Tried) -> bool:
        """Record a point; True if it is a success, which ends the iteration."""
        success = self.dominates(tried)
        if tried.violation == 0:
            self.feasible = tried if success else self.feasible
        elif not any(_beats(other, tried) for other in self.undominated):
            self.undominated = [other for other in self.undominated if not _beats(tried, other)] + [tried]
        return success

    def close(self, success: bool) -> bool:
        """End an iteration: tighten the bound and choose the infeasible incumbent anew.

        Returns:
            Whether some point broke the constraints less than the incumbent did, without being a success.
        """
        improving: list[float] = []
        if self.infeasible is not None:
            least = self.infeasible.violation
            improving = [t.violation for t in self.undominated if t.violation < least and not success]
            self.limit = max(improving, default=least)
        allowed = [t for t in self.undominated if t.violation <= self.limit]
        self.infeasible = min(allowed, key=lambda t: (t.value, t.violation, t.number), default=self.infeasible)
        return bool(improving)


def _below(one: Tried, other: Tried) -> bool:
    if one.value != other.value:
        return one.value < other.value - 2.0 * math.hypot(one.std, other.std)
    return one.number < other.number and one.std + other.std == 0  # so that ties do not hang on who came first


def _beats(one: Tried, other: Tried) -> bool:
    no_worse = one.value <= other.value and one.violation <= other.violation
    return no_worse and (one.value < other.value or one.violation < other.violation)
