"""Generations that are read from the trials: any order, any outcome, kills between any two calls, bad days."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from services.domain.trial import TrialState
from tests.suggesters import law
from tests.suggesters.cmaes_study import Array, Driven, Parameters, floats
from tests.support.builders import study
from tests.support.objectives import sphere
from workers.models.augmented_lagrangian import AugmentedLagrangian
from workers.suggesters.registry import get

PLAIN = {"surrogate": "none"}


def bowl(x: Array) -> float:
    """Minimum 0 at 0.3."""
    return float(((x - 0.3) ** 2).sum())


def test_a_generation_closes_with_the_outcome_that_fills_it_and_late_ones_are_late() -> None:
    driven = Driven(floats(4), 5, PLAIN)
    numbers = [driven.start(s) for s in driven.ask(10)]
    assert [driven.one.trials[n].origin["row"] for n in numbers] == list(range(10))
    for number in reversed(numbers[2:]):
        driven.tell(number, float(number))
    following = driven.ask()[0]
    assert following.origin["generation"] == 1
    for number in numbers[:2]:
        driven.tell(number, -1e9)  # too late to count for this generation, however good
    assert driven.make().suggest(driven.history, 1)[0].parameters == following.parameters


def test_failed_trials_are_replaced_and_infeasible_ones_count() -> None:
    driven = Driven(floats(4), 5, PLAIN)
    for n in range(16):
        suggestion = driven.ask()[0]
        assert suggestion.origin["generation"] == 0
        state = (TrialState.FAILED, TrialState.INFEASIBLE if n % 4 == 1 else TrialState.COMPLETED)[n % 2]
        driven.tell(driven.start(suggestion), float(n), state)
    assert driven.ask()[0].origin == {"method": "cmaes", "generation": 1, "row": 0}


def test_failing_more_often_than_not_counts_as_infeasible() -> None:
    driven = Driven(floats(4), 5, PLAIN)
    for _ in range(60):
        suggestion = driven.ask()[0]
        x = np.array(list(suggestion.parameters.values()))
        state = TrialState.FAILED if x[0] < 0.6 else TrialState.COMPLETED
        driven.tell(driven.start(suggestion), bowl(x), state)
    last = [t.parameters["x00"] for t in driven.history.trials[-10:]]
    assert driven.ask()[0].origin["generation"] > 1
    assert np.mean(last) > 0.55


def test_a_plateau_widens_the_step() -> None:
    driven = Driven(floats(4), 5, PLAIN)
    for _ in range(24):
        driven.tell(driven.start(driven.ask()[0]), 1.0)
    assert float(driven.ask()[0].reason.rsplit(" ", 1)[1]) > 0.3


def test_hardly_any_outcome_halves_the_step_and_none_at_all_fills_the_box() -> None:
    driven = Driven(floats(4), 5, PLAIN)
    for n in range(8):
        driven.tell(driven.start(driven.ask()[0]), 1.0, TrialState.COMPLETED if n == 3 else TrialState.INFEASIBLE)
    suggestion = driven.ask()[0]
    assert float(suggestion.reason.rsplit(" ", 1)[1]) == pytest.approx(0.15)
    kept = np.array(list(driven.one.trials[4].parameters.values()))
    found = driven.suggester._distribution.adapter
    np.testing.assert_allclose(found.box.inside(found.mean) + 0.5, kept, atol=1e-12)
    nothing = Driven(floats(4), 5, PLAIN)
    for _ in range(24):
        nothing.tell(nothing.start(nothing.ask()[0]), state=TrialState.INFEASIBLE)
    rows = np.array([list(s.parameters.values()) for s in nothing.ask(64)])
    assert (np.abs(rows.mean(0) - 0.5) < 0.03).all()  # quasi-random
    assert (rows.min(0) < 0.05).all()
    assert (rows.max(0) > 0.95).all()


def test_a_straggler_a_hundred_times_slower_holds_nobody_up() -> None:
    driven = Driven(floats(4), 1, PLAIN)
    straggler = driven.start(driven.ask()[0])
    for n in range(300):
        suggestion = driven.ask()[0]
        x = np.array(list(suggestion.parameters.values()))
        driven.tell(driven.start(suggestion), bowl(x))
        if n % 100 == 99:
            driven.tell(straggler, bowl(np.array(list(driven.one.trials[straggler].parameters.values()))))
            straggler = driven.start(driven.ask()[0])
    assert min(t.metrics["loss"] for t in driven.history.completed) < 1e-4


def test_tells_from_three_generations_ago_disturb_nothing() -> None:
    def path(late: bool) -> float:
        driven, waiting, best = Driven(floats(4), 2, PLAIN), [], np.inf
        for n in range(400):
            suggestion = driven.ask()[0]
            number, value = driven.start(suggestion), bowl(np.array(list(suggestion.parameters.values())))
            best = min(best, value)
            if late and n % 3 == 0:
                waiting.append((number, value))
                if len(waiting) > 9:
                    driven.tell(*waiting.pop(0))
            else:
                driven.tell(number, value)
        return best

    assert path(late=True) < 1e-4
    assert path(late=False) < 1e-5


def test_foreign_points_attract_a_fifth_at_most_and_no_further_than_is_plausible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driven = Driven(floats(4), 3, PLAIN | {"sigma0": 0.1})
    good = dict.fromkeys((f"x0{i}" for i in range(4)), 0.97)
    numbers = [driven.start(s) for s in driven.ask(8)]
    for k in range(5):
        driven.add({name: value - 0.001 * k for name, value in good.items()}, -10.0 - k)
    before = driven.suggester._distribution.adapter
    told: list[Any] = []
    tell = before.tell

    def spy(points: Any, ranks: Any, foreign: Any = ()) -> None:
        told.append((points, ranks, foreign))
        tell(points, ranks, foreign)

    monkeypatch.setattr(before, "tell", spy)
    mean = before.mean
    limit = np.sqrt(4) + 2 * 4 / 6
    for number in numbers:
        driven.tell(number, float(number))
    driven.ask()
    points, ranks, foreign = told[0]
    assert list(foreign) == [8]
    assert len(points) == 9
    assert ranks[8] == 0
    assert np.linalg.norm((points[8] - mean) / 0.1) == pytest.approx(limit, rel=1e-3)
    assert (driven.suggester._distribution.adapter.mean > mean).all()


def test_bad_foreign_points_are_ignored() -> None:
    paths = []
    for worst in (None, 1e9):
        driven = Driven(floats(4), 3, PLAIN)
        numbers = [driven.start(s) for s in driven.ask(8)]
        if worst is not None:
            driven.add(dict.fromkeys((f"x0{i}" for i in range(4)), 0.97), worst)
        for number in numbers:
            driven.tell(number, float(number))
        paths.append(driven.ask()[0].parameters)
    assert paths[0] == paths[1]


@pytest.mark.parametrize("options", [{}, PLAIN], ids=["lq", "plain"])
def test_a_population_larger_than_the_study_still_learns(options: dict[str, Any]) -> None:
    driven = Driven(floats(3), 1, options | {"popsize": 1000}, limits={"max_trials": 90})
    driven.run(bowl, 90)
    generations = [t.origin["generation"] for t in driven.history.trials]
    assert max(generations) >= 2


# -- kills

WHOLE: Parameters = [{"name": f"i{k}", "type": "int", "min": 0, "max": 9} for k in range(4)]
MIXED: Parameters = law.SPACES["mixed"]["parameters"]
CASES: dict[str, tuple[Parameters, dict[str, Any], dict[str, Any]]] = {
    "lq": (floats(4), {}, {}),
    "pair": (floats(2), PLAIN, {}),
    "pair lq": (floats(2), {}, {}),
    "full": (floats(4), PLAIN, {}),
    "diagonal": (floats(4), {"diagonal": True}, {}),
    "whole": (WHOLE + floats(2), PLAIN, {}),
    "whole lq": (WHOLE + floats(2), {}, {}),
    "mixed": (MIXED, {}, {}),
    "auglag": (floats(3), {"constraints": "auglag"}, {"constraints": [{"metric": "c", "max": 0.1}]}),
    "constrained": (floats(3), {"surrogate": "lq"}, {"parameter_constraints": ["x00 + x01 + x02 <= 0.8", "x00 >= x01"]}),
}  # fmt: skip


def path(case: str, restart: str, trials: int, values: str = "mixed") -> tuple[list[dict[str, Any]], int]:
    """Points and the number of the last run; outcomes out of order and of every kind, now and then a kill."""
    parameters, options, fields = CASES[case]
    driven = Driven(parameters, 11, options, **fields)
    running: list[int] = []
    if case != "mixed":
        driven.add(driven.one.problem.space.point({p["name"]: p["min"] for p in parameters}), 0.7)
    for n in range(trials):
        if restart == "saved":
            driven.suggester = driven.make(law.save(driven.suggester))
        elif restart == "lost" and n % 7 == 0:
            driven.suggester = driven.make()
        running += [driven.start(s) for s in driven.ask(1 + n % 2)]
        while len(running) > 4:
            number = running.pop(n * 7919 % len(running))
            point = driven.one.trials[number].parameters
            numbers = [float(v) for v in point.values() if isinstance(v, (int, float))]
            is_plain = number % 9 or values == "flat"
            state = TrialState.COMPLETED if is_plain else list(TrialState)[-1 - number // 9 % 4]
            value = sphere(numbers) if values == "mixed" else 1e-13 * (number % 2)
            metrics = {"c": numbers[0] - 0.5} if "constraints" in fields else {}
            driven.tell(number, value, state, **metrics)
    return [t.parameters for t in driven.history.trials], driven.suggester._run.number


@pytest.mark.parametrize("case", [case for case in CASES if "pair" not in case])
def test_a_kill_between_any_two_calls_changes_no_bit(case: str) -> None:
    np.random.seed(1)  # the path must not depend on NumPy's global generator
    expected = path(case, "never", 60)
    np.random.seed(2)
    assert path(case, "saved", 60) == expected
    assert path(case, "lost", 60) == expected


@pytest.mark.parametrize("case", ["pair lq", "pair"])
def test_a_kill_between_runs_changes_no_bit(case: str) -> None:
    expected = path(case, "never", 150, "flat")  # equal values end a run after a few dozen generations
    assert expected[1] > 0
    assert path(case, "saved", 150, "flat") == expected


def test_equal_values_end_a_run() -> None:
    driven = Driven(floats(4), 1, PLAIN)
    driven.run(lambda x: 1.0, 600, count=8)
    assert driven.suggester._run.number > 0


def test_the_augmented_lagrangian_survives_json() -> None:
    rng, one, other = np.random.default_rng(0), AugmentedLagrangian(3), AugmentedLagrangian(3)
    for _ in range(25):
        values, violations = rng.normal(size=9).tolist(), rng.normal(size=(9, 2)).tolist()
        other_state = json.loads(json.dumps(one.save()))
        other = AugmentedLagrangian(3)
        other.load(other_state)
        one.learn(values, violations)
        other.learn(values, violations)
        assert one.value(1.0, [0.5, -0.2]) == other.value(1.0, [0.5, -0.2])
    assert one.value(1.0, [5.0, 5.0]) > one.value(1.0, [-0.2, -0.2])
    assert np.isfinite(one.value(1e300, [1e200, 0.0]))


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


@pytest.mark.parametrize("restart", ["saved", "lost"])
@pytest.mark.parametrize("surrogate", ["lq", "none"])
def test_the_late_outcome_of_a_lost_lease_counts_as_if_it_had_not_been_lost(surrogate: str, restart: str) -> None:
    options = {"popsize": 4, "surrogate": surrogate}
    of = law.problem(get("cmaes"), "plane", suggester={"name": "cmaes", "options": options})
    live, again = (law.with_lost_leases(of, how, 40, lambda n: n % 8 != 0, delay=12) for how in ("never", restart))
    assert again == live
