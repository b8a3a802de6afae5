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


def path(parameters: list[dict[str, object]], options: dict[str, object], restart: str) -> list[dict[str, object]]:
    """A hundred points, outcomes out of order, with every kind of outcome, now and then with a restart."""
    made = study(parameters=parameters, suggester={"name": "cmaes", "options": options}, seed=11)
    of = law.Problem(study="s", spec=made, seed=11)
    one, suggester, found, running = law.Study(of), law.make(get("cmaes"), of), [], []
    for n in range(100):
        if restart == "saved":
            suggester = law.make(get("cmaes"), of, law.save(suggester))
        elif restart == "lost" and n % 9 == 0:
            suggester = law.make(get("cmaes"), of)
        for suggestion in suggester.suggest(one.history(), 1):
            found.append(suggestion.parameters)
            running.append(one.start(suggestion))
        while len(running) > 4:
            number = running.pop(number_of(n, len(running)))
            numbers = [v for v in one.trials[number].parameters.values() if isinstance(v, (int, float))]
            state = TrialState.COMPLETED if number % 9 else list(TrialState)[-1 - number // 9 % 4]
            one.tell(number, 1.0 if number < 20 else sphere(numbers), state)
    return found


def number_of(n: int, most: int) -> int:
    """A place below `most` that looks random."""
    return n * 7919 % most


WHOLE = [{"name": f"i{k}", "type": "int", "min": 0, "max": 9} for k in range(4)]
REAL = [{"name": f"x{k}", "type": "float", "min": 0, "max": 1} for k in range(4)]
MIXED = law.SPACES["mixed"]["parameters"]


@pytest.mark.parametrize("restart", ["saved", "lost"])
@pytest.mark.parametrize("options", [{}, {"diagonal": True}], ids=["full", "diagonal"])
@pytest.mark.parametrize("parameters", [REAL, WHOLE + REAL[:2], MIXED], ids=["real", "whole", "mixed"])
def test_restarts_change_nothing_over_many_generations(
    parameters: list[dict[str, object]], options: dict[str, object], restart: str
) -> None:
    np.random.seed(1)  # the path must not depend on NumPy's global generator
    expected = path(parameters, options, "never")
    np.random.seed(2)
    assert path(parameters, options, restart) == expected


@pytest.mark.parametrize("name", ["cmaes", "auto"])
def test_hundreds_of_dimensions_are_served_and_saved(name: str) -> None:
    made = study(
        parameters=[{"name": "w", "type": "vector", "length": 320, "min": -1, "max": 1}],
        suggester={"name": name},
        seed=1,
    )
    of = law.Problem(study="s", spec=made, seed=1)
    one, suggester = law.Study(of), law.make(get(name), of)
    for _ in range(30):
        suggestion = suggester.suggest(one.history(), 1)[0]
        one.tell(one.start(suggestion), sphere(suggestion.parameters["w"]))
    restored = law.make(get(name), of, law.save(suggester))
    assert restored.suggest(one.history(), 1)[0].parameters == suggester.suggest(one.history(), 1)[0].parameters


def test_diagonal_learns_scales() -> None:
    diagonal = [minimise("cmaes", ellipsoid, 400, seed, 6, diagonal=True) for seed in range(3)]
    random = [minimise("random", ellipsoid, 400, seed, 6) for seed in range(3)]
    assert wins(diagonal, random) == 3
