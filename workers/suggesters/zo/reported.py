"""Gradients that clients tell: the derivative along a direction, or a residual that stands for one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.trial import TrialState

from .gradient import Slopes
from .options import JVP
from .probes import Direction

Array = NDArray[np.float64]
LARGEST = 1e150  # squares of values are still numbers


def is_known(trial: Observation, slope: str, size: int) -> bool:
    """Whether a trial told its derivative (slope `told`) or a residual of (size,) numbers (slope `residual`)."""
    if trial.state is not TrialState.COMPLETED:
        return False
    if slope == "told":
        return JVP in trial.metrics
    return trial.residual is not None and len(trial.residual) == size


def value(history: History, trials: Sequence[Observation]) -> float:
    """Mean of the objective, to be minimised."""
    return float(np.mean([np.clip(history.values(t)[0], -LARGEST, LARGEST) for t in trials]))


def residual(trial: Observation, width: float) -> Array:
    """(n,) in cube units; the client's unit is `width` of the range."""
    assert trial.residual is not None
    return np.clip(np.array(trial.residual) / width, -1e100, 1e100)


def gradient(history: History, known: Sequence[tuple[Direction | None, Observation]], width: float) -> Array:
    """(n,) in cube units, the mean over directions with their told derivatives."""
    sign = 1.0 if history.spec.objectives[0].goal == "minimize" else -1.0
    slopes = np.clip(np.array([[sign * t.metrics[JVP]] for _, t in known]), -LARGEST, LARGEST)
    units = np.array([d.unit for d, _ in known if d is not None])
    found: Array = Slopes(slopes, units * np.sqrt(units.shape[1]) * width, np.ones(len(slopes))).gradient()[0]
    return found
