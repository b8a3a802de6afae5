"""The genetic algorithm: operators by type against their definitions, the steady state, and what it finds."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from workers.suggesters.registry import get

PLANE: list[dict[str, Any]] = [{"name": n, "type": "float", "min": 0, "max": 1} for n in "xy"]


def problem(
    parameters: list[dict[str, Any]], seed: int = 5, options: dict[str, Any] | None = None, **fields: Any
) -> Any:
    """A study of the genetic algorithm."""
    made = study(parameters=parameters, suggester={"name": "ga", "options": options or {}}, seed=seed, **fields)
    made.check()
    return law.Problem(study="s", spec=made, seed=seed)


def run(of: Any, score: Any, trials: int, name: str = "ga") -> law.Study:
    """Trials one after another; `score` gives a value or metrics."""
    one, suggester = law.Study(of), get(name).create(of, get(name).parse_options({}), None)
    history = one.history()
    for _ in range(trials):
        suggestion = suggester.suggest(history, 1)[0]
        number, told = one.start(suggestion), score(suggestion.parameters)
        one.tell(number, 0.0, **told) if isinstance(told, dict) else one.tell(number, told)
        history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    return one


def best(one: law.Study) -> float:
    """The lowest loss of feasible trials."""
    return min(t.metrics["loss"] for t in one.trials.values() if t.metrics and t.feasible is not False)


# -- the steady state


def test_it_covers_the_space_first_and_then_breeds_from_what_was_told() -> None:
    of = problem(PLANE, options={"popsize": 8})
    one, suggester = law.Study(of), law.make(get("ga"), of)
    asked = suggester.suggest(one.history(), 20)
    assert all("parents" not in s.origin for s in asked)  # nothing is told: nobody waits
    numbers = [one.start(s) for s in asked]
    for number in numbers[:3]:
        one.tell(number, float(number))
    assert "parents" not in suggester.suggest(one.history(), 1)[0].origin
    one.tell(numbers[3], 1.0)
    child = suggester.suggest(one.history(), 1)[0]
    assert set(child.origin["parents"]) <= set(numbers[:4])


def test_the_users_points_are_founders() -> None:
    of = problem(PLANE, options={"popsize": 6})
    one = law.Study(of)
    for k in range(6):
        one.tell(one.add({"x": 0.1 * k, "y": 0.5}), float(k))
    child = law.make(get("ga"), of).suggest(one.history(), 1)[0]
    assert set(child.origin["parents"]) <= set(range(1, 7))


def test_a_late_outcome_joins_if_it_is_good_enough_and_the_worst_leaves() -> None:
    of = problem(PLANE, options={"popsize": 4})
    one, suggester = law.Study(of), law.make(get("ga"), of)
    numbers = [one.start(s) for s in suggester.suggest(one.history(), 6)]
    for number in numbers[2:]:
        one.tell(number, float(number))
    assert {t.number for t in suggester.members(one.history())} == {3, 4, 5, 6}
    one.tell(numbers[0], 4.5)
    one.tell(numbers[1], 9.0)
    assert {t.number for t in suggester.members(one.history())} == {1, 3, 4, 5}
    one.tell(one.start(suggester.suggest(one.history(), 1)[0]), 0.0, TrialState.FAILED)
    assert {t.number for t in suggester.members(one.history())} == {1, 3, 4, 5}


def test_feasibility_decides_first_then_value_or_violation() -> None:
    of = problem(PLANE, options={"popsize": 4}, constraints=[{"metric": "c", "max": 0}])
    one, suggester = law.Study(of), law.make(get("ga"), of)
    told = [(0.0, 5.0), (9.0, -1.0), (0.0, 1.0), (3.0, 0.0), (1.0, 2.0), (8.0, -2.0)]
    for loss, c in told:
        one.tell(one.start(suggester.suggest(one.history(), 1)[0]), 0.0, loss=loss, c=c)
    assert {t.number for t in suggester.members(one.history())} == {2, 3, 4, 6}


def test_asks_in_batches_and_one_by_one_meet_the_same_population() -> None:
    of = problem(PLANE, options={"popsize": 8})
    batches, single = law.Study(of), law.Study(of)
    for _ in range(6):
        for s in law.make(get("ga"), of).suggest(batches.history(), 8):
            batches.start(s)
        suggester = law.make(get("ga"), of)
        for _ in range(8):
            single.start(suggester.suggest(single.history(), 1)[0])
        for one in (batches, single):
            for number in sorted(n for n, t in one.trials.items() if t.is_pending)[::-1]:
                one.tell(number, sum(one.trials[number].parameters.values()))
    assert [t.parameters for t in batches.trials.values()] == [t.parameters for t in single.trials.values()]


def test_equal_values_and_failures_by_the_half_block_nothing() -> None:
    of = problem(PLANE, options={"popsize": 8}, limits={"max_trials": 20})
    one, suggester = law.Study(of), law.make(get("ga"), of)
    points = set()
    for n in range(80):
        suggestion = suggester.suggest(one.history(), 1)[0]
        points.add(tuple(suggestion.parameters.values()))
        one.tell(one.start(suggestion), 1.0, TrialState.FAILED if n % 2 else TrialState.COMPLETED)
    assert len(points) == 80
    assert len(suggester.members(one.history())) == 6  # a third of the budget


# -- what it finds

BITS = [{"name": f"b{i}", "type": "bool"} for i in range(30)]
TOWNS = np.random.default_rng(1).random((12, 2))


def tour(point: Any) -> float:
    """Length of a closed tour of twelve towns."""
    order = [*point["o"], point["o"][0]]
    return sum(math.dist(TOWNS[a], TOWNS[b]) for a, b in pairwise(order))


def distance(point: Any) -> float:
    """Edits from a hidden word."""
    word, target = point["t"], "bacabcab"
    row = list(range(len(target) + 1))
    for i, token in enumerate(word, 1):
        before, row[0] = row[0], i
        for j, letter in enumerate(target, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (token != letter))
    return float(row[-1])


CASES: dict[str, tuple[list[dict[str, Any]], Any, int, float]] = {
    "numbers": (
        [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(4)],
        lambda p: sum((v - 0.3) ** 2 for v in p.values()),
        300,
        2e-3,
    ),
    "vector": (
        [{"name": "w", "type": "vector", "length": 6, "min": -1, "max": 1}],
        lambda p: sum((v - 0.3) ** 2 for v in p["w"]),
        400,
        2e-2,
    ),
    "subset": (BITS, lambda p: 30.0 - sum(p.values()), 500, 0.0),
    "order": ([{"name": "o", "type": "permutation", "items": list(range(12))}], tour, 900, 3.6),
    "word": (
        [{"name": "t", "type": "tokens", "vocabulary": ["a", "b", "c"], "min_length": 1, "max_length": 14}],
        distance,
        500,
        0.0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_finds_what_random_search_does_not(case: str) -> None:
    parameters, score, trials, target = CASES[case]
    ours = [best(run(problem(parameters, seed), score, trials)) for seed in range(3)]
    chance = [best(run(problem(parameters, seed), score, trials, "random")) for seed in range(3)]
    assert float(np.median(ours)) <= target
    assert max(ours) < min(chance)


def test_it_comes_to_a_constrained_minimum() -> None:
    def score(p: Any) -> dict[str, float]:
        return {"loss": p["x"] + p["y"], "c": 0.5 - p["x"] * p["y"]}  # least at x = y = sqrt(0.5)

    found = [best(run(problem(PLANE, s, constraints=[{"metric": "c", "max": 0}]), score, 400)) for s in range(3)]
    assert max(found) < 2 * math.sqrt(0.5) + 0.02
