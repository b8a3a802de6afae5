"""Populations whose members move one at a time: turns, late outcomes, bad days and restarts, the same for all that are built so."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from services.domain.sampling import draw
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import sphere
from workers.suggesters.registry import get

NAMES = ["de", "pso", "cbo", "symbol"]
every = pytest.mark.parametrize("name", NAMES)
MIXED = law.SPACES["mixed"]["parameters"]


def problem(name: str, d: int = 3, seed: int = 5, popsize: int | None = 6, **fields: Any) -> law.Problem:
    """A numeric study, or one over the given parameters."""
    fields = {"parameters": [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(d)]} | fields
    options = fields.pop("options", {}) | ({} if popsize is None else {"popsize": popsize})
    made = study(suggester={"name": name, "options": options}, seed=seed, **fields)
    made.check()
    return law.Problem(study="s", spec=made, seed=seed)


def numbers(point: dict[str, Any]) -> list[float]:
    """Its numbers, those of vectors included."""
    return [float(v) for v in point.values() if isinstance(v, (int, float))]


def start(one: law.Study, name: str, count: int = 1) -> list[int]:
    """Trials of a suggester that was just made."""
    return [one.start(s) for s in law.make(get(name), one.problem).suggest(one.history(), count)]


def begun(name: str, **fields: Any) -> law.Study:
    """A study whose first round is told: values 1, 2, 3, ...."""
    one = law.Study(problem(name, **fields))
    for number in start(one, name, 6):
        one.tell(number, float(number))
    return one


# turns


@every
def test_rows_are_asked_in_turn_whatever_is_still_running(name: str) -> None:
    one = law.Study(problem(name))
    for n in range(20):
        number = start(one, name)[0]
        assert (one.trials[number].origin["generation"], one.trials[number].origin["row"]) == divmod(n, 6)
        assert one.trials[number].origin["method"] == name
    keys = {law.point_key(t.parameters) for t in one.trials.values()}
    assert len(keys) == 20


@every
def test_one_large_batch_is_what_single_asks_would_give(name: str) -> None:
    of = problem(name)
    one = begun(name)
    batch = [s.parameters for s in law.make(get(name), of).suggest(one.history(), 9)]
    assert batch == [one.trials[start(one, name)[0]].parameters for _ in range(9)]


@every
def test_a_late_outcome_competes_with_its_own_row(name: str) -> None:
    one = begun(name)
    late = start(one, name)[0]  # row 0
    for _ in range(3):  # three more rounds
        for number in start(one, name, 6):
            one.tell(number, 50.0)
    suggester = law.make(get(name), one.problem)
    suggester.suggest(one.history(), 1)
    best_before = list(suggester.best)  # type: ignore[attr-defined]
    one.tell(late, 0.5)
    suggester.suggest(one.history(), 1)
    assert suggester.best[0] == late  # type: ignore[attr-defined]
    assert suggester.best[1:] == best_before[1:]  # type: ignore[attr-defined]
    assert suggester.now[0] > late or name == "de"  # type: ignore[attr-defined]


@every
def test_a_users_own_point_takes_the_place_of_the_worst(name: str) -> None:
    one = begun(name)
    own = one.add({"x0": 0.1, "x1": 0.2, "x2": 0.3})
    one.tell(own, 0.0)
    worse = one.add({"x0": 0.9, "x1": 0.2, "x2": 0.3})
    one.tell(worse, 99.0)
    suggester = law.make(get(name), one.problem)
    suggester.suggest(one.history(), 1)
    assert sorted(suggester.best) == [1, 2, 3, 4, 5, own]  # type: ignore[attr-defined]


# bad days


@every
def test_half_of_the_trials_fail_and_the_rest_goes_on(name: str) -> None:
    one = law.Study(problem(name, popsize=8))
    suggester = law.make(get(name), one.problem)
    states = [TrialState.FAILED, TrialState.COMPLETED, TrialState.CANCELLED, TrialState.COMPLETED]
    for n in np.random.default_rng(1).integers(4, size=160):
        suggestion = suggester.suggest(one.history(), 1)[0]
        state = states[n]
        one.tell(one.start(suggestion), sphere(numbers(suggestion.parameters)), state)
    assert not suggestion.reason.endswith("drawn at random")
    values = [t.metrics["loss"] for t in one.trials.values() if t.metrics]
    assert np.median(values[-20:]) < np.median(values[:20]) / 3


@every
def test_a_pruned_trial_counts_as_its_last_value_but_never_as_better_than_the_median(name: str) -> None:
    one = begun(name)  # values 1 to 6, the median 4
    first, *_, last = start(one, name, 6)
    for number in (first, last):
        one.tell(number, -9.0, TrialState.PRUNED)
    suggester = law.make(get(name), one.problem)
    suggester.suggest(one.history(), 1)
    one.tell(one.add({"x0": 0.1, "x1": 0.2, "x2": 0.3}), 5.5)  # behind the pruned one, which counts as the median
    suggester.suggest(one.history(), 1)
    assert suggester.best == [1, 2, 3, 4, 5, last]  # type: ignore[attr-defined]


@every
@pytest.mark.parametrize("state", [TrialState.INFEASIBLE, TrialState.PRUNED])
def test_nothing_but_trials_without_values(name: str, state: TrialState) -> None:
    one = law.Study(problem(name))
    suggester = law.make(get(name), one.problem)
    for n in range(40):
        one.tell(one.start(suggester.suggest(one.history(), 1)[0]), float(n), state)
    assert suggester.suggest(one.history(), 3)


@every
def test_one_straggler_blocks_nothing(name: str) -> None:
    one = law.Study(problem(name))
    suggester = law.make(get(name), one.problem)
    lost = one.start(suggester.suggest(one.history(), 1)[0])
    for _ in range(60):
        suggestion = suggester.suggest(one.history(), 1)[0]
        one.tell(one.start(suggestion), sphere(numbers(suggestion.parameters)))
    one.tell(lost, -1.0)
    suggester.suggest(one.history(), 1)
    assert suggester.best[0] == lost  # type: ignore[attr-defined]


@every
def test_a_population_beyond_the_budget_and_one_within_it(name: str) -> None:
    one = law.Study(problem(name, popsize=50, limits={"max_trials": 12}))
    assert len(start(one, name, 12)) == 12
    assert law.make(get(name), problem(name, popsize=50, limits={"max_trials": 90})).size == 30  # type: ignore[attr-defined]
    within = law.make(get(name), problem(name, popsize=None, limits={"max_trials": 100}))
    assert within.size <= 10  # type: ignore[attr-defined]


@every
def test_measured_constraints_come_first(name: str) -> None:
    of = problem(name, 2, popsize=10, constraints=[{"metric": "c", "max": 0.0}])
    one, suggester = law.Study(of), law.make(get(name), of)
    for _ in range(200):
        suggestion = suggester.suggest(one.history(), 1)[0]
        x = numbers(suggestion.parameters)
        one.tell(one.start(suggestion), sphere(x), c=1.4 - sum(x))
    feasible = [t.metrics["loss"] for t in one.trials.values() if t.feasible]
    assert min(feasible) < 0.40  # 0.32 where the constraint touches
    assert len(feasible) > 80


@every
def test_it_finds_the_best_cell_of_a_mixed_space(name: str) -> None:
    parameters = [
        {"name": "n", "type": "int", "min": 0, "max": 20},
        {"name": "kind", "type": "categorical", "choices": ["a", "b", "c", "d"]},
        {"name": "x", "type": "float", "min": 0, "max": 1},
        {"name": "y", "type": "float", "min": 0, "max": 1, "when": {"kind": ["c"]}},
    ]

    def value(p: dict[str, Any]) -> float:
        return abs(p["n"] - 13) / 5 + (p["kind"] != "c") + (p["x"] - 0.2) ** 2 + (p.get("y", 0.0) - 0.7) ** 2

    found = []
    for seed in range(3):
        one = law.Study(problem(name, seed=seed, popsize=16, parameters=parameters))
        suggester, best = law.make(get(name), one.problem), math.inf
        for _ in range(300):
            suggestion = suggester.suggest(one.history(), 1)[0]
            best = min(best, value(suggestion.parameters))
            one.tell(one.start(suggestion), value(suggestion.parameters))
        found.append(best)
    assert sorted(found)[1] < 0.2  # the next cell costs 0.2 more


@pytest.mark.parametrize("name", ["de", "pso", "symbol"])
def test_under_noise_the_best_is_evaluated_again_and_what_is_newer_counts(name: str) -> None:
    one = begun(name, objectives=[{"metric": "loss", "noisy": True}])
    given = start(one, name, 6)
    assert one.trials[given[0]].parameters == one.trials[1].parameters
    assert one.trials[given[0]].origin["again"] == 1
    assert all("again" not in one.trials[n].origin for n in given[1:])
    one.tell(given[0], 2.5)  # it was luck
    suggester = law.make(get(name), one.problem)
    suggester.suggest(one.history(), 1)
    assert suggester.best == [given[0], 2, 3, 4, 5, 6]  # type: ignore[attr-defined]
    assert suggester.now[0] == 1  # type: ignore[attr-defined]
    assert suggester.by_merit(one.history())[0] == 1  # type: ignore[attr-defined]
    again = begun(name)
    assert all("again" not in again.trials[n].origin for n in start(again, name, 6))


# restarts


def path(
    name: str, parameters: list[dict[str, Any]], options: dict[str, Any], restart: str, noisy: bool
) -> list[dict[str, Any]]:
    """Ninety points, outcomes out of order, with every kind of outcome, now and then with a restart."""
    objectives = [{"metric": "loss", "noisy": noisy}]
    of = problem(name, seed=11, parameters=parameters, options=options, objectives=objectives)
    one, suggester, found, running = law.Study(of), law.make(get(name), of), [], list[int]()
    for n in range(90):
        if restart == "saved":
            suggester = law.make(get(name), of, law.save(suggester))
        elif restart == "lost" and n % 9 == 0:
            suggester = law.make(get(name), of)
        if n % 20 == 3:
            own = draw(of.space, np.random.default_rng(n))
            assert own is not None
            one.tell(one.add(own), float(n % 3))
        for suggestion in suggester.suggest(one.history(), 1 + n % 2):
            found.append(suggestion.parameters)
            running.append(one.start(suggestion))
        while len(running) > 4:
            number = running.pop(n * 7919 % len(running))
            state = TrialState.COMPLETED if number % 9 else list(TrialState)[-1 - number // 9 % 4]
            one.tell(number, sphere(numbers(one.trials[number].parameters)), state)
    return found


REAL = [{"name": f"x{k}", "type": "float", "min": 0, "max": 1} for k in range(3)]
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES),
    ("cbo", {"memory": 0.4, "renoise": True, "weight": "effective"}),
    ("cbo", {"polar": 0.2, "batch": 3, "isotropic": True}),
    ("symbol", {"rule": "0.5*dx + randx*(gw + -pb)"}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=[f"{n}-{'-'.join(o)}" for n, o in OPTIONS])
def test_restarts_change_nothing_over_many_rounds(name: str, options: dict[str, Any]) -> None:
    for parameters, noisy in ((REAL, True), (MIXED, False)):
        expected = path(name, parameters, options, "never", noisy)
        for restart in ("saved", "lost"):
            assert path(name, parameters, options, restart, noisy) == expected


@every
def test_a_changed_budget_rebuilds_the_state(name: str) -> None:
    one = begun(name, limits={"max_trials": 100})
    saved = law.save(law.make(get(name), one.problem))
    other = problem(name, limits={"max_trials": 200})
    given = law.make(get(name), other, saved).suggest(one.history(), 2)
    assert [s.parameters for s in given] == [s.parameters for s in law.make(get(name), other).suggest(one.history(), 2)]


@every
def test_a_population_in_one_place_begins_anew_and_keeps_its_best(name: str) -> None:
    one = law.Study(problem(name))
    for number in start(one, name, 6):
        one.tell(number, float(number))
    place = {"x0": 0.5, "x1": 0.5, "x2": 0.5}
    for value in range(6):
        one.tell(one.add(place), -1.0 - value)
    old, *others = start(one, name, 6)
    for number in (old, *others):
        one.trials[number] = law.replace(one.trials[number], parameters=place)
    for number in others:
        one.tell(number, 50.0)
    suggester = law.make(get(name), one.problem)
    suggester.suggest(one.history(), 1)
    assert suggester.era == 0  # type: ignore[attr-defined]
    late = start(one, name)[0]
    one.tell(old, 50.0)  # the round's last outcome
    suggestion = suggester.suggest(one.history(), 1)[0]
    assert suggester.era == 1  # type: ignore[attr-defined]
    assert suggestion.origin["era"] == 1
    assert [n for n in suggester.best if n is not None] == [12]  # type: ignore[attr-defined]
    one.tell(late, 0.0)  # proposed before: it has a place only if it beats the best
    suggester.suggest(one.history(), 1)
    assert [n for n in suggester.best if n is not None] == [12]  # type: ignore[attr-defined]
    for number in start(one, name, 6):
        one.tell(number, 1.0)
    suggester.suggest(one.history(), 1)
    assert None not in suggester.best  # type: ignore[attr-defined]
