"""Where the first run starts: at the centre, at the declared defaults, or where others have been."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.suggester import Problem
from services.domain.trial import TrialState

from .cube import Cube

if TYPE_CHECKING:
    from . import CmaesOptions

Array = NDArray[np.float64]

NEAR_DEFAULT = 2 / 3
BEST_SHARE = 0.25
FEWEST_BEST = 3
SMALLEST_SIGMA = 1e-3
KNOWN_TO_NARROW = 8


@dataclass(frozen=True)
class Start:
    """Mean (n,) in the box and step size, as a share of the ranges."""

    mean: Array
    sigma: float


def usual_popsize(problem: Problem, options: CmaesOptions, size: int) -> tuple[int, int]:
    """Outcomes a generation of the first run, and the most that a run may have.

    4 + 3 ln n, as many as run at one time if those are more, twice that under noise. Where the study ends after few trials, a third
    of them at most: a generation that never closes teaches nothing.
    """
    limits = problem.spec.limits
    wanted = options.popsize
    if wanted is None:
        wanted = max(4 + math.floor(3 * math.log(max(2, size))), limits.max_running or 0)
        wanted *= 2 if problem.spec.is_noisy else 1
    most = 10_000 if limits.max_trials is None else max(4, min(10_000, limits.max_trials // 3))
    return min(wanted, most), most


def first_start(
    problem: Problem, options: CmaesOptions, cube: Cube, history: History, known: Sequence[Observation]
) -> Start:
    """Where the first run starts.

    Args:
        known: trials of others, told before.
    """
    centre = np.array((cube.lower + cube.upper) / 2)
    default = problem.space.default()
    usual = Start(centre, options.sigma0)
    if default is not None:
        usual = Start(cube.coordinates(default), NEAR_DEFAULT * options.sigma0)
    return (options.warm_start and _from_known(options, cube, history, known)) or usual


def _from_known(options: CmaesOptions, cube: Cube, history: History, known: Sequence[Observation]) -> Start | None:
    """At the best feasible point, as wide as the best quarter is spread around it, where enough are known to tell."""
    feasible = [
        t for t in known if t.state is TrialState.COMPLETED and max(history.violations(t), default=0.0) <= 0
    ]  # fmt: skip
    if not feasible:
        return None
    feasible.sort(key=lambda t: (history.values(t)[0], t.number))
    best = feasible[: max(1 + FEWEST_BEST, math.ceil(BEST_SHARE * len(feasible)))]
    mean = cube.coordinates(best[0].parameters)
    if len(best) <= FEWEST_BEST:
        return Start(mean, NEAR_DEFAULT * options.sigma0)
    if len(feasible) < KNOWN_TO_NARROW * cube.size:
        return Start(mean, options.sigma0)  # a few steps of a local search lie close together wherever they are
    steps = (np.array([cube.coordinates(t.parameters) for t in best[1:]]) - mean) / cube.widths
    # Per coordinate: a row of step size s is about s * sqrt(n) away from the mean.
    sigma = 0.5 * float(np.median(np.sqrt(np.mean(steps**2, axis=1))))
    return Start(mean, min(max(sigma, SMALLEST_SIGMA), options.sigma0))
