"""STEP: one global line search, then sweeps over the coordinates, then the entry."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from services.domain.errors import Invalid
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from workers.models.line_search import PLAN, Line, search
from workers.models.local_runs import FEASIBLE, UNKNOWN, VIOLATED, Outcome
from workers.suggesters.registry import get
from workers.suggesters.step import sweeps

Array = NDArray[np.float64]
ROUND = len((0.0, 0.25, 0.5, 0.75, 1.0)) + sum(a + b for a, b in PLAN)


def rastrigin(x: Array) -> float:
    """Ten bumps a unit range along each coordinate, one of them the least: 0 at the origin."""
    z = 10 * np.asarray(x)
    return float(np.sum(z**2 - 10 * np.cos(2 * math.pi * z) + 10))


def along(function: Callable[[float], float], start: float) -> tuple[float, float, int]:
    """The best place, its value, evaluations."""
    asks, count = search(start, function(start)), 0
    place = next(asks)
    while True:
        count += 1
        try:
            place = asks.send(function(place))
        except StopIteration as end:
            return (*end.value, count)


def sweep(
    outcome: Callable[[Array], Outcome], start: Array, patience: int = 3, count: int = 2, most: int = 5000
) -> tuple[list[Array], list[Outcome]]:
    """What the sweeps asked for, and what they were told."""
    wishes = sweeps(start, patience, count)
    points, told = [], []
    wish = next(wishes)
    while len(points) < most:
        (point,) = wish.needed
        points.append(point)
        told.append(outcome(point))
        try:
            wish = wishes.send([told[-1]])
        except StopIteration:
            return points, told
    raise AssertionError("the sweeps do not end")


def feasible(function: Callable[[Array], float]) -> Callable[[Array], Outcome]:
    return lambda x: Outcome(FEASIBLE, function(x), ())


@pytest.mark.parametrize("seed", range(10))
def test_a_line_search_finds_the_least_of_ten_valleys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    least, start = rng.uniform(0.05, 0.95), rng.uniform()
    place, value, count = along(lambda x: rastrigin(np.array([x - least])), start)
    assert place == pytest.approx(least, abs=1e-6)
    assert value < 1e-8
    assert count <= ROUND


def test_a_line_search_reaches_a_bound() -> None:
    assert along(lambda x: x, 0.5)[:2] == (0.0, 0.0)
    assert along(lambda x: -x, 0.2)[:2] == (1.0, -1.0)


@pytest.mark.parametrize("function", [lambda x: 1.0, lambda x: 1e300 if x < 0.5 else -1e300, lambda x: float(x > 0.3)])
def test_plateaus_and_cliffs_end_a_line_search_too(function: Callable[[float], float]) -> None:
    place, value, count = along(function, 0.6)
    assert 0 <= place <= 1
    assert value == min(function(x) for x in (0.0, 0.6, 1.0))
    assert count <= ROUND


def test_the_refinement_lands_on_the_bottom_of_a_parabola() -> None:
    line = Line(0.5, (0.5 - 0.43) ** 2)
    for place in (0.3, 0.7):
        line.add(place, (place - 0.43) ** 2)
    assert line.refined() == pytest.approx(0.43, abs=1e-12)


def test_the_easiest_interval_is_where_values_are_low_and_places_far_apart() -> None:
    line = Line(0.0, 1.0)
    for place, value in ((0.2, 0.0), (0.7, 0.1), (1.0, 5.0)):
        line.add(place, value)
    assert line.easiest() == pytest.approx(0.45)


@pytest.mark.parametrize("n", [2, 5, 10])
def test_a_rugged_sum_is_solved_by_one_sweep(n: int) -> None:
    rng = np.random.default_rng(n)
    least = rng.uniform(0.1, 0.9, n)
    points, told = sweep(feasible(lambda x: rastrigin(x - least)), rng.uniform(size=n))
    first = [o.value for o in told[: n * ROUND + 1]]
    assert min(first) < 1e-7
    assert all(np.all((p >= 0) & (p <= 1)) for p in points)


def test_where_the_coordinates_bring_nothing_the_search_is_short() -> None:
    n, patience = 20, 3
    start = np.full(n, 0.37)
    points, _ = sweep(feasible(lambda x: float(np.abs(x - start).max())), start, patience)
    assert len(points) <= 1 + patience * ROUND


def test_a_search_ends_after_its_sweeps_where_each_brings_a_little_more() -> None:
    valley = feasible(lambda x: float(np.sum((x - 0.5) ** 2) - 1.8 * (x[0] - 0.5) * (x[1] - 0.5)))
    lengths = [len(sweep(valley, np.array([0.1, 0.9]), count=count)[0]) for count in (1, 3)]
    assert lengths == pytest.approx([1 + 2 * ROUND, 1 + 6 * ROUND], abs=6)


def test_what_is_not_allowed_is_never_the_best() -> None:
    def outcome(x: Array) -> Outcome:
        if x[0] > 0.6:
            return Outcome(UNKNOWN, 0.0, ())
        return Outcome(VIOLATED if x[1] > 0.7 else FEASIBLE, -float(x.sum()), (x[1] - 0.7,))

    points, told = sweep(outcome, np.array([0.2, 0.2]))
    best = min((o.value, tuple(p)) for p, o in zip(points, told, strict=True) if o.kind == FEASIBLE)[1]
    assert best == pytest.approx([0.6, 0.7], abs=2e-3)
    assert sum(p[0] > 0.6 for p in points) < len(points) / 2


def optimise(of: law.Problem, function: Callable[[Array], float], trials: int, fails: int = 0) -> law.Study:
    """One trial after another; every `fails`-th is lost."""
    one, suggester = law.Study(of), law.make(get("step"), of)
    history = one.history()
    for i in range(trials):
        number = one.start(suggester.suggest(history, 1)[0])
        lost = fails > 0 and i % fails == 1
        value = function(np.array(list(one.trials[number].parameters.values())))
        one.tell(number, value, TrialState.FAILED if lost else TrialState.COMPLETED)
        history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    return one


def problem(n: int = 3) -> law.Problem:
    parameters = [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(n)]
    return law.Problem(study="s", spec=study(parameters=parameters, suggester={"name": "step"}, seed=3), seed=3)


@pytest.mark.parametrize("fails", [0, 3])
def test_the_entry_solves_a_rugged_sum_also_where_trials_are_lost(fails: int) -> None:
    one = optimise(problem(), lambda x: rastrigin(x - 0.321), 3 * ROUND * (2 if fails else 1), fails)
    assert min(t.metrics["loss"] for t in one.trials.values() if t.metrics) < 1e-6


def test_it_starts_at_the_best_that_others_told() -> None:
    one = law.Study(problem())
    for place, value in ((0.2, 5.0), (0.9, 1.0), (0.4, 3.0)):
        one.tell(one.add({f"x{i}": place for i in range(3)}), value)
    (suggestion,) = law.make(get("step"), one.problem).suggest(one.history(), 1)
    assert suggestion.origin["from"] == 2
    assert [suggestion.parameters[name] for name in ("x1", "x2")] == [0.9, 0.9]


def test_too_many_coordinates_are_refused() -> None:
    vector = {"name": "v", "type": "vector", "length": 1001, "min": 0, "max": 1}
    with pytest.raises(Invalid) as error:
        get("step").check(study(parameters=[vector], suggester={"name": "step"}))
    assert "1000 coordinates" in error.value.errors[0].message
