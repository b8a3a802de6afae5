"""An augmented Lagrangian over told constraint values, adapted generation by generation.

Atamna, Auger, Hansen 2017, "Linearly convergent evolution strategies via augmented Lagrangian constraint handling"; the adaptation
is pycma's (`cma.constraints_handler.AugmentedLagrangian`), the state here is plain numbers.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np


class AugmentedLagrangian:
    """Multipliers and penalty factors of every constraint.

    Args:
        size: of the search space.
    """

    def __init__(self, size: int) -> None:
        from cma.constraints_handler import AugmentedLagrangian as Adapted

        self._adapted: Any = Adapted(size)
        self._adapted.logging = 0
        self._adapted.loggers.clear()

    def learn(self, values: Sequence[float], violations: Sequence[Sequence[float]]) -> None:
        """Adapt to the outcomes of one generation.

        Args:
            values: lower is better; violations: of each outcome, one for each constraint, feasible where <= 0.
        """
        bounded = [
            (v, [float(g) for g in row]) for v, row in zip(values, violations, strict=True) if _is_usable(v, row)
        ]
        if not bounded:
            return
        with np.errstate(all="ignore"):
            self._adapted.set_coefficients([v for v, _ in bounded], [row for _, row in bounded])
            least = min(range(len(bounded)), key=lambda i: self.value(*bounded[i]))
            self._adapted.update(*bounded[least])

    def value(self, value: float, violations: Sequence[float]) -> float:
        """What an outcome counts: its value and the penalties of its constraint values; always finite."""
        with np.errstate(all="ignore"):
            found = float(value + sum(self._adapted(np.array(violations, dtype=np.float64))))
        return found if math.isfinite(found) else sys.float_info.max

    def save(self) -> dict[str, Any]:
        """JSON."""
        a = self._adapted
        found: dict[str, Any] = {"count": a.count, "f": None if a.f is None else float(a.f)}
        for name in ("lam", "mu", "g", "_initialized"):
            array = getattr(a, name)
            found[name] = None if array is None else np.asarray(array).tolist()
        found["changes"] = a.count_mu_last_same_changes.same_changes
        found["history"] = [[float(g) for g in row] for row in a.g_history]
        return found

    def load(self, document: dict[str, Any]) -> None:
        """What `save` gave."""
        a = self._adapted
        a.count, a.f = document["count"], document["f"]
        for name in ("lam", "mu", "g"):
            setattr(a, name, None if document[name] is None else np.array(document[name], dtype=np.float64))
        a._initialized = np.array(document["_initialized"], dtype=bool)
        if document["changes"] is not None:
            a.count_mu_last_same_changes.init(len(document["changes"]))
            a.count_mu_last_same_changes.same_changes = list(document["changes"])
        a.g_history.extend(document["history"])


def _is_usable(value: float, violations: Sequence[float]) -> bool:
    return max(abs(value), *(abs(g) for g in violations)) < 1e150
