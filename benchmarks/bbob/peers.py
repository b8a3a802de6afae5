"""Other optimisers, each as its users would call it. All that take a start begin in the middle of the box; the rest is at random."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .functions import LOWER, UPPER, Array, Function

Method = Callable[[Function, int, int], None]
"""Minimises a function with a budget and a seed until the function says that it is done."""
SIGMA = 0.2 * (UPPER - LOWER)


def _starts(function: Function, seed: int) -> Callable[[], Array]:
    """The middle of the box first, then points from anywhere in it."""
    rng, calls = np.random.default_rng(seed), itertools.count()

    def start() -> Array:
        return np.zeros(function.dimension) if next(calls) == 0 else rng.uniform(LOWER, UPPER, function.dimension)

    return start


def _cma_options(seed: int, **more: Any) -> dict[str, Any]:
    return {"verbose": -9, "verb_log": 0, "verb_disp": 0, "seed": seed, **more}


def bipop(function: Function, budget: int, seed: int) -> None:
    """pycma with bounds and BIPOP restarts."""
    import cma

    for again in itertools.count():  # it ends by itself after nine large restarts
        options = _cma_options(seed + again, bounds=[LOWER, UPPER], maxfevals=budget)
        cma.fmin2(function, _starts(function, seed + again), SIGMA, options, restarts=9, bipop=True)


def lq(function: Function, budget: int, seed: int) -> None:
    """pycma with its linear-quadratic surrogate and IPOP restarts; without bounds, which it does better without."""
    import cma

    for again in itertools.count():
        options = _cma_options(seed + again, maxfevals=budget)
        cma.fmin_lq_surr2(function, _starts(function, seed + again), SIGMA, options, restarts=9)


def differential_evolution(population: int) -> Method:
    """SciPy's, with its polishing, started again when it has converged.

    Args:
        population: `popsize`, members a dimension (SciPy's default is 15).
    """

    def run(function: Function, budget: int, seed: int) -> None:
        from scipy.optimize import Bounds
        from scipy.optimize import differential_evolution as minimize

        bounds = Bounds(np.full(function.dimension, LOWER), np.full(function.dimension, UPPER))
        for again in itertools.count():
            generations = max(1, budget // (population * function.dimension) - 1)
            minimize(function, bounds, popsize=population, maxiter=generations, rng=seed + again)

    return run


def cobyla(function: Function, budget: int, seed: int) -> None:
    """SciPy's COBYLA with bounds, started again when it has converged."""
    from scipy.optimize import minimize

    bounds, start = [(LOWER, UPPER)] * function.dimension, _starts(function, seed)
    while True:
        minimize(
            function, start(), method="COBYLA", bounds=bounds, tol=1e-8, options={"maxiter": budget, "rhobeg": SIGMA}
        )


def nevergrad(name: str) -> Method:
    """One of nevergrad's, told the budget."""

    def run(function: Function, budget: int, seed: int) -> None:
        import nevergrad as ng

        space = ng.p.Array(shape=(function.dimension,)).set_bounds(LOWER, UPPER)
        space.random_state.seed(seed)
        optimizer = ng.optimizers.registry[name](space, budget=budget, num_workers=1)
        while True:
            candidate = optimizer.ask()
            optimizer.tell(candidate, function(candidate.value))

    return run


def random_search(function: Function, budget: int, seed: int) -> None:
    """Points from anywhere in the box."""
    rng = np.random.default_rng(seed)
    for _ in range(budget + 1):
        function(rng.uniform(LOWER, UPPER, function.dimension))


ANYTIME: dict[str, Method] = {
    "pycma-bipop": bipop,
    "pycma-lq": lq,
    "scipy-cobyla": cobyla,
    "random": random_search,
}
"""What they do does not depend on the budget: one long run gives the shorter ones."""
TOLD: dict[str, Method] = {
    "scipy-de": differential_evolution(15),
    "scipy-de-small": differential_evolution(5),
    "nevergrad-NGOpt": nevergrad("NGOpt"),
    "nevergrad-NgIohTuned": nevergrad("NgIohTuned"),
}
"""Told the budget that they are judged at: one run a budget."""


def quiet() -> None:
    """No warnings from libraries."""
    warnings.simplefilter("ignore")
