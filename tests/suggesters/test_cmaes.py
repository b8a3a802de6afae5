"""CMA-ES is pycma's, whoever asks in whatever order; its generations are read from the trials."""

from __future__ import annotations

import numpy as np
import pytest

from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import ellipsoid, minimise, rosenbrock, sphere, wins
from workers.suggesters.registry import get


def problem(d: int = 4, seed: int = 5, **fields: object) -> law.Problem:
    """A numeric study."""
    parameters = [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(d)]
    made = study(parameters=parameters, suggester={"name": "cmaes"}, seed=seed, **fields)
    return law.Problem(study="s", spec=made, seed=seed)


def test_it_takes_the_path_of_plain_pycma() -> None:
    import cma

    of = problem()
    one, suggester = law.Study(of), law.make(get("cmaes"), of)
    peer = cma.CMAEvolutionStrategy(
        [0.5] * 4, 0.3, {"bounds": [0, 1], "popsize": 8, "CMA_mirrors": 0, "seed": np.nan, "verbose": -9}
    )
    for generation in range(12):
        rows = [of.generator(generation, f"cmaes 0 {k}").standard_normal(4) for k in range(64)]
        taken = iter(rows)

        def source(*shape: int, taken: object = taken) -> np.ndarray:
            return np.array([next(taken) for _ in range(shape[0])])  # type: ignore[call-overload]

        peer.opts["randn"] = peer.randn = peer.sm.randn = source
        expected = peer.ask(64)[:8]
        for k in range(8):
            point = suggester.suggest(one.history(), 1)[0]
            np.testing.assert_allclose(list(point.parameters.values()), expected[k], rtol=1e-12)
            one.tell(one.start(point), sphere(list(point.parameters.values())))
        peer.tell(expected, [sphere(x) for x in expected])


@pytest.mark.parametrize(("objective", "trials"), [(sphere, 200), (ellipsoid, 400), (rosenbrock, 400)])
def test_it_beats_random_search(objective: object, trials: int) -> None:
    ours = [minimise("cmaes", objective, trials, seed, 5) for seed in range(5)]
    random = [minimise("random", objective, trials, seed, 5) for seed in range(5)]
    assert wins(ours, random) == 5


def test_a_generation_closes_with_the_outcome_that_fills_it_and_late_ones_are_late() -> None:
    of = problem()
    one, suggester = law.Study(of), law.make(get("cmaes"), of)
    numbers = [one.start(s) for s in suggester.suggest(one.history(), 10)]
    assert [one.trials[n].origin for n in numbers] == [{"generation": 0, "row": k} for k in range(10)]
    for number in reversed(numbers[2:]):
        one.tell(number, float(number))
    following = suggester.suggest(one.history(), 1)[0]
    assert following.origin["generation"] == 1
    late = law.make(get("cmaes"), of)
    for number in numbers[:2]:
        one.tell(number, -1e9)  # too late to count, however good
    assert late.suggest(one.history(), 1)[0].parameters == following.parameters


def test_failed_trials_are_replaced_and_infeasible_ones_count() -> None:
    of = problem()
    one, suggester = law.Study(of), law.make(get("cmaes"), of)
    for n in range(16):
        suggestion = suggester.suggest(one.history(), 1)[0]
        assert suggestion.origin["generation"] == 0
        state = (TrialState.FAILED, TrialState.INFEASIBLE if n % 4 == 1 else TrialState.COMPLETED)[n % 2]
        one.tell(one.start(suggestion), float(n), state)
    assert suggester.suggest(one.history(), 1)[0].origin == {"generation": 1, "row": 0}


def test_a_plateau_widens_the_step() -> None:
    of = problem()
    one, suggester = law.Study(of), law.make(get("cmaes"), of)
    for _ in range(24):
        one.tell(one.start(suggester.suggest(one.history(), 1)[0]), 1.0)
    reason = suggester.suggest(one.history(), 1)[0].reason
    assert float(reason.rsplit(" ", 1)[1]) > 0.3


def test_it_restarts_with_twice_the_population() -> None:
    of = problem(2)
    one, suggester = law.Study(of), law.make(get("cmaes"), of)
    history, sizes = one.history(), set()
    for _ in range(700):
        suggestion = suggester.suggest(history, 1)[0]
        sizes.add(suggestion.reason.split(" of ")[1].split(",")[0])
        number = one.start(suggestion)
        one.tell(number, sphere(list(suggestion.parameters.values())))
        history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    assert {"6", "12"} <= sizes
