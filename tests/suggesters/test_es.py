"""Evolution strategies by seeds: a ledger of pairs, and a log of updates that is the same whoever asks, fails or restarts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from asktell.replica import Replica
from services.domain.errors import Invalid
from services.domain.suggester import Problem
from services.domain.trial import TrialState
from services.domain.updates import Update
from tests.suggesters import law
from tests.suggesters.es_study import ask, fresh, log, problem, run, value
from tests.support.builders import study
from workers.suggesters.registry import get


def test_pairs_are_antithetic_and_share_their_noise() -> None:
    of = problem(pairs=3, sigma=0.5, rank=2, noise="popcount")
    one = law.Study(of)
    values = [value(one, n) for n in ask(one, fresh(of), 8)]
    assert [(v["pair"], v["sign"]) for v in values] == [(j, s) for j in range(4) for s in (1, -1)]
    assert all(v["sigma"] == 0.5 and v["rank"] == 2 and v["noise"] == "popcount" for v in values)
    assert len({tuple(v["seed"]) for v in values}) == 1
    assert {v["theta_version"] for v in values} == {0}


def test_a_generation_closes_when_enough_pairs_are_whole() -> None:
    of = problem(pairs=10, enough=0.8)
    one, suggester = law.Study(of), fresh(of)
    numbers = ask(one, suggester, 20)
    for number in numbers[:14]:
        one.tell(number, float(number))
    assert not ask(one, suggester, 0)
    assert log(suggester) == []
    for number in (numbers[16], numbers[14], numbers[15]):  # pair 8 lacks a half, pair 7 is the eighth whole one
        one.tell(number, float(number))
    ask(one, suggester, 0)
    (update,) = log(suggester)
    assert update.pairs == (0, 1, 2, 3, 4, 5, 6, 7)
    assert update.norm == pytest.approx(1 / (2 * 8 * 0.02))


def test_ranks_make_the_weights() -> None:
    of = problem(pairs=3, enough=1.0)
    one, suggester = law.Study(of), fresh(of)
    for number, loss in zip(ask(one, suggester, 6), (5.0, 1.0, 2.0, 2.0, -3.0, 9.0), strict=True):
        one.tell(number, loss)
    ask(one, suggester, 0)
    (update,) = log(suggester)
    places = {5.0: 4, 1.0: 1, 2.0: 2.5, -3.0: 0, 9.0: 5}
    assert update.weights == pytest.approx(
        [(places[a] - places[b]) / 5 for a, b in ((5.0, 1.0), (2.0, 2.0), (-3.0, 9.0))]
    )


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_shapings_agree_on_the_better_side(goal: str) -> None:
    for options in ({"shaping": "ranks"}, {"shaping": "zscore"}, {"shaping": "sign"}, {"rule": "snes"}):
        spec = problem(pairs=2, enough=1.0, **options).spec
        spec = spec.model_copy(update={"objectives": (spec.objectives[0].model_copy(update={"goal": goal}),)})
        of = Problem(study="st", spec=spec, seed=5)
        one, suggester = law.Study(of), fresh(of)
        for number, loss in zip(ask(one, suggester, 4), (1.0, 3.0, 8.0, 2.0), strict=True):
            one.tell(number, loss if goal == "minimize" else -loss)
        ask(one, suggester, 0)
        (update,) = log(suggester)
        assert np.sign(update.weights).tolist() == [-1, 1], options


def test_the_log_does_not_depend_on_who_came_when() -> None:
    of = problem(pairs=6, enough=1.0)
    logs = []
    for seed in range(3):
        one, suggester, rng = law.Study(of), fresh(of), np.random.default_rng(seed)
        for _ in range(4):
            numbers = ask(one, suggester, 12)
            for number in rng.permutation(numbers):
                v = value(one, int(number))
                one.tell(int(number), math.sin(v["pair"] * 7 + v["sign"]))
        ask(one, suggester, 0)
        logs.append(log(suggester))
    assert len(logs[0]) == 4
    assert logs[0] == logs[1] == logs[2]


@pytest.mark.parametrize("options", [{}, {"persistence": 3}, {"rule": "snes", "mask": {"kind": "snr", "every": 2}}])
def test_a_restart_between_any_two_calls_publishes_the_same(options: dict[str, Any]) -> None:
    def published(restart: str) -> list[Update]:
        of = problem(pairs=3, **options)
        one, suggester, updates = law.Study(of), fresh(of), list[Update]()
        waiting: list[int] = []
        for n in range(40):
            if restart == "saved":
                suggester = fresh(of, law.save(suggester))
            elif restart == "lost":
                suggester = fresh(of)
            waiting += ask(one, suggester, 1 + n % 3)
            updates += log(suggester, len(updates))
            while len(waiting) > 4:
                number = waiting.pop(n % 3)
                one.tell(number, math.sin(number), TrialState.FAILED if number % 9 == 0 else TrialState.COMPLETED)
        return updates

    never = published("never")
    assert len(never) > 5
    assert [u.theta_version for u in never] == list(range(len(never)))
    assert published("saved") == published("lost") == never


def test_a_failed_half_drops_its_pair_and_another_pair_is_opened() -> None:
    of = problem(pairs=2, enough=1.0)
    one, suggester = law.Study(of), fresh(of)
    numbers = ask(one, suggester, 4)
    one.tell(numbers[0], 0.0, TrialState.FAILED)
    for number in numbers[1:]:
        one.tell(number, float(number))
    more = ask(one, suggester, 2)
    assert [value(one, n)["pair"] for n in more] == [2, 2]
    for number in more:
        one.tell(number, float(number))
    ask(one, suggester, 0)
    (update,) = log(suggester)
    assert update.pairs == (1, 2)


def test_what_comes_too_late_changes_nothing() -> None:
    of = problem(pairs=2, enough=0.5)
    one, suggester = law.Study(of), fresh(of)
    late = ask(one, suggester, 4)
    for generation in range(4):
        numbers = late[:2] if generation == 0 else ask(one, suggester, 2)
        for number in numbers:
            one.tell(number, float(number))
    ask(one, suggester, 0)
    before = log(suggester)
    for number in late[2:]:  # three generations ago
        one.tell(number, -1e9)
    ask(one, suggester, 0)
    assert log(suggester) == before
    assert [u.theta_version for u in before] == [0, 1, 2, 3]


def test_equal_values_leave_theta_alone() -> None:
    for options in ({}, {"shaping": "zscore"}, {"shaping": "sign"}, {"rule": "snes"}):
        of = problem(pairs=2, **options)
        one, suggester = law.Study(of), fresh(of)
        for number in ask(one, suggester, 4):
            one.tell(number, 1.0)
        ask(one, suggester, 0)
        assert set(log(suggester)[0].weights) == {0.0}


def test_infeasible_ranks_last_and_huge_values_stay_finite() -> None:
    of = problem(pairs=2, enough=1.0, shaping="zscore")
    one, suggester = law.Study(of), fresh(of)
    numbers = ask(one, suggester, 4)
    one.tell(numbers[0], 0.0, TrialState.INFEASIBLE)
    for number, loss in zip(numbers[1:], (1e300, -1e300, 1e-300), strict=True):
        one.tell(number, loss)
    ask(one, suggester, 0)
    (update,) = log(suggester)
    assert update.weights[0] > 0
    assert all(math.isfinite(w) for w in update.weights)


@pytest.mark.parametrize("shaping", ["ranks", "zscore"])
def test_a_pruned_half_is_never_better_than_the_median(shaping: str) -> None:
    of = problem(pairs=2, enough=1.0, shaping=shaping)
    one, suggester = law.Study(of), fresh(of)
    numbers = ask(one, suggester, 4)
    one.tell(numbers[0], -100.0, TrialState.PRUNED)
    for number, loss in zip(numbers[1:], (1.0, 2.0, 3.0), strict=True):
        one.tell(number, loss)
    ask(one, suggester, 0)
    assert log(suggester)[0].weights[0] > 0


def test_the_end_of_the_budget_wastes_nothing() -> None:
    of = problem(pairs=50, limits={"max_trials": 7})
    one, suggester = law.Study(of), fresh(of)
    numbers = ask(one, suggester, 7)
    for number in numbers[:-1]:
        one.tell(number, float(number))
        ask(one, suggester, 0)
    assert log(suggester) == []
    one.tell(numbers[-1], 0.0)
    ask(one, suggester, 0)
    assert log(suggester)[0].pairs == (0, 1, 2)


def test_a_population_fits_the_budget_and_the_workers() -> None:
    def pairs(**limits: int) -> int:
        of = problem(limits=limits)
        return int(one_reason(of).split()[2])

    def one_reason(of: Problem) -> str:
        return law.Study(of).ask(fresh(of), 1)[0].reason

    assert pairs() == 32
    assert pairs(max_running=500) == 250
    assert pairs(max_running=500, max_trials=4000) == 100
    assert pairs(max_trials=3) == 1


def test_a_particle_keeps_its_noise_for_its_inner_run() -> None:
    of = problem(pairs=4, enough=1.0, persistence=4)
    one, suggester = law.Study(of), fresh(of)
    seen: list[list[tuple[int, int]]] = []
    for _ in range(8):
        numbers = ask(one, suggester, 8)
        seen.append([(value(one, n)["generation"], value(one, n)["step"]) for n in numbers[::2]])
        for number in numbers:
            one.tell(number, float(number % 5))
    columns = list(zip(*seen, strict=True))
    assert [generation for generation, _ in columns[0]] == [0, 0, 0, 0, 4, 4, 4, 4]
    assert [step for _, step in columns[0]] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert [generation for generation, _ in columns[1]] == [0, 0, 0, 3, 3, 3, 3, 7]  # it began one step into its run
    updates = log(suggester)
    assert [u.generations[0] for u in updates] == [0, 0, 0, 0, 4, 4, 4]


def test_masks_come_when_they_are_due() -> None:
    of = problem(pairs=1, enough=1.0, mask={"kind": "magnitude", "keep": 0.5, "rounds": 2, "every": 3})
    _, updates = run(of, lambda point: float(np.sum(point["theta"])), 20)
    masks = [u.mask for u in updates]
    assert [m is None for m in masks] == [True, True, False, True, True, False, True, True, True]
    assert [m.keep for m in masks if m is not None] == [0.5, 0.25]


@pytest.mark.parametrize(
    ("options", "bar"),
    [
        ({"rule": "adam", "lr": 0.1}, 0.05),
        ({"rule": "sgd", "lr": 0.1}, 0.3),
        ({"rule": "momentum", "lr": 0.05}, 0.3),
        ({"rule": "snes", "sigma": 0.5}, 0.05),
    ],
)
def test_theta_moves_to_the_optimum(options: dict[str, Any], bar: float) -> None:
    of, target = problem(pairs=8, **{"sigma": 0.1, **options}), np.array([1.0, -1.0, 0.5, 2.0])
    replica = Replica(np.zeros(4), dtype="float64")
    run(of, lambda point: float(np.sum((point["theta"] - target) ** 2)), 16 * 80, replica)
    assert float(np.sum((replica.theta - target) ** 2)) < bar  # from 6.25


def test_what_cannot_be_searched_by_seeds_is_refused() -> None:
    theta = {"name": "theta", "type": "vector", "encoding": "seed", "shape": [4]}
    x = {"name": "x", "type": "float", "min": 0, "max": 1}
    with pytest.raises(Invalid, match="stands alone"):
        get("es").check(study(parameters=[theta, {**theta, "name": "b"}], suggester={"name": "es"}))
    with pytest.raises(Invalid, match="type float"):
        get("es").check(study(parameters=[x], suggester={"name": "es"}))
    for options in ({"sigma": 1e-300}, {"mask": {"kind": "snr"}}, {"rule": "snes", "rank": 1}, {"enough": 0}):
        with pytest.raises(Invalid):
            problem(**options)
