"""Annealing: Metropolis' law, temperatures, chains told in any order, known points walked over, and proposals given as data."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.annealing_study import problem, run
from workers.models.chains import Chains, Rules, accepts, initial_temperature, log_chance, log_exchange
from workers.suggesters.registry import get

BITS = [{"name": f"b{i:02}", "type": "bool"} for i in range(24)]
PLANE: list[dict[str, Any]] = [{"name": n, "type": "float", "min": 0, "max": 1} for n in "xy"]


def test_the_first_temperature_lets_four_of_five_median_moves_pass() -> None:
    gaps = list(np.random.default_rng(1).lognormal(size=501))
    temperature = initial_temperature(gaps)
    assert math.exp(-float(np.median(gaps)) / temperature) == pytest.approx(0.8)
    assert initial_temperature([]) == 0.0
    assert (
        initial_temperature([1.5e308, 1.6e308]) == math.inf
    )  # without a warning; cut to what a float holds where it is used
    of = problem(PLANE, limits={"max_trials": 400})
    one = run(of, lambda p: 50 * (p["x"] - 0.3) ** 2 + 50 * (p["y"] - 0.3) ** 2, 21)
    chains = Chains(of, Rules(trials=400, end_ratio=1e-3, first=None, exchange="replace"))
    chains.read(one.history())
    values = [one.trials[n].metrics["loss"] for n in range(1, 22)]  # while it measures, every move passes
    worse = [b - a for a, b in pairwise(values) if b > a]
    assert chains.state.first[0] == pytest.approx(initial_temperature(worse))


def test_acceptance_at_the_ends() -> None:
    assert log_chance((0, 1e308), (0, -1e308), 1.0) == math.inf
    assert log_chance((0, -1e308), (0, 1e308), 1e-300) == -math.inf
    assert log_chance((0, 1.0), (0, 1.0), 0.0) == 0.0
    assert log_chance((1, 0.5), (0, 9.0), 1.0) == math.inf
    assert log_chance((0, 9.0), (1, 0.5), 1.0) == -math.inf
    assert log_chance((0, 0.0), (0, 5.0), None) == 0.0
    assert accepts(-1.0, 0.3) and not accepts(-1.0, 0.4)
    assert log_exchange((0, 3.0), (0, 1.0), 1.0, 2.0) == pytest.approx(1.0)
    assert log_exchange((0, 1.0), (0, 3.0), 1.0, 2.0) == pytest.approx(-1.0)


# -- chains


def test_each_trial_in_flight_has_a_chain_of_its_own_up_to_max_running() -> None:
    of = problem(PLANE, limits={"max_running": 3})
    one, suggester = law.Study(of), law.make(get("annealing"), of)
    asked = suggester.suggest(one.history(), 7)
    assert [s.origin["chain"] for s in asked] == [0, 1, 2, 0, 1, 2, 0]
    assert len({tuple(s.parameters.values()) for s in asked}) == 7
    alone = run(problem(PLANE), lambda p: p["x"], 30)
    assert {t.origin["chain"] for t in alone.trials.values()} == {0}


def test_a_late_outcome_moves_its_chain_only_if_its_parent_still_stands() -> None:
    of = problem(PLANE, options={"chains": 1})
    one, suggester = law.Study(of), law.make(get("annealing"), of)
    one.tell(one.start(suggester.suggest(one.history(), 1)[0]), 5.0)
    late, first = (one.start(s) for s in suggester.suggest(one.history(), 2))
    one.tell(first, 4.0)
    assert suggester.suggest(one.history(), 1)[0].origin["from"] == first
    one.tell(late, 4.5)
    assert suggester.suggest(one.history(), 1)[0].origin["from"] == first
    fresh = law.make(get("annealing"), of)
    assert fresh.suggest(one.history(), 1)[0] == suggester.suggest(one.history(), 1)[0]


def test_a_lost_trial_leaves_its_chain_where_it_was() -> None:
    of = problem(PLANE, options={"chains": 1})
    one, suggester = law.Study(of), law.make(get("annealing"), of)
    start = one.start(suggester.suggest(one.history(), 1)[0])
    one.tell(start, 5.0)
    for state in (TrialState.FAILED, TrialState.CANCELLED, TrialState.INFEASIBLE, TrialState.PRUNED):
        one.tell(one.start(suggester.suggest(one.history(), 1)[0]), -9.0, state)
        assert suggester.suggest(one.history(), 1)[0].origin["from"] == start
    lost = law.Study(of)
    lost.tell(lost.start(law.make(get("annealing"), of).suggest(lost.history(), 1)[0]), 0.0, TrialState.INFEASIBLE)
    assert law.make(get("annealing"), of).suggest(lost.history(), 1)[0].origin["parent"] is None


def test_the_worst_chain_goes_where_the_best_is_and_a_better_point_of_the_users_too() -> None:
    of = problem(PLANE, options={"chains": 3, "initial_temperature": 1e-9})
    one, suggester = law.Study(of), law.make(get("annealing"), of)
    numbers = [one.start(s) for s in suggester.suggest(one.history(), 3)]
    for number, value in zip(numbers, (3.0, 1.0, 2.0), strict=True):
        one.tell(number, value)
    own = one.add({"x": 0.1, "y": 0.1})
    one.tell(own, 0.5)
    origins = {s.origin["chain"]: s.origin["from"] for s in suggester.suggest(one.history(), 3)}
    assert origins == {0: own, 1: numbers[1], 2: numbers[2]}
    for _ in range(60):  # nothing is better: after twenty steps of each chain the worst, chain 2, leaves its place
        one.tell(one.start(suggester.suggest(one.history(), 1)[0]), 9.0)
    assert suggester.suggest(one.history(), 3)
    places = {s.origin["chain"]: s.origin["from"] for s in suggester.suggest(one.history(), 3)}
    assert places == {0: own, 1: numbers[1], 2: own}


def test_tempered_chains_bring_the_best_to_the_cold_end() -> None:
    of = problem(PLANE, options={"exchange": "tempering", "chains": 4, "end_ratio": 1, "initial_temperature": 0.01})
    one, suggester = law.Study(of), law.make(get("annealing"), of)
    history, running = one.history(), []
    by_chain: dict[int, list[float]] = {c: [] for c in range(4)}
    for _ in range(600):
        running += [one.start(s) for s in suggester.suggest(history, 4 - len(running))]
        number = running.pop(0)
        trial = one.trials[number]
        one.tell(number, sum((v - 0.3) ** 2 for v in trial.parameters.values()))
        by_chain[trial.origin["chain"]].append(one.trials[number].metrics["loss"])
        history.update([one.trials[n] for n in (number, *running)], seq=one.seq, next_number=len(one.trials) + 1)
    medians = [np.median(by_chain[c][20:]) for c in range(4)]
    assert medians[0] < medians[3]
    assert max(map(len, by_chain.values())) - min(map(len, by_chain.values())) <= 2


def test_it_walks_over_known_points_without_asking_for_them_again() -> None:
    of = problem([{"name": f"b{i}", "type": "bool"} for i in range(6)], limits={"max_trials": 64})
    one = run(of, lambda p: float(sum(p.values())), 64)
    assert len({tuple(t.parameters.values()) for t in one.trials.values()}) == 64
    walked = [t for t in one.trials.values() if t.origin["parent"] != t.origin["from"]]
    assert walked
    assert all(one.trials[t.origin["parent"]].told_seq < t.told_seq for t in walked)


def test_orders_too_many_to_count_are_not_asked_for_twice_either() -> None:
    of = problem([{"name": "o", "type": "permutation", "items": list(range(25))}], limits={"max_trials": 500})
    assert of.space.size is None
    noisy = problem(
        [{"name": "o", "type": "permutation", "items": list(range(25))}], limits={"max_trials": 500},
        objectives=[{"metric": "loss", "noisy": True}],
    )  # fmt: skip
    distinct = {}
    for name, study in (("plain", of), ("noisy", noisy)):
        one = run(study, lambda p: float(sum(a != i for i, a in enumerate(p["o"]))), 500)
        distinct[name] = len({tuple(t.parameters["o"]) for t in one.trials.values()})
    assert distinct["plain"] == 500 > distinct["noisy"]  # noise is what makes a second look worthwhile


def test_it_cools_to_the_end_of_the_budget() -> None:
    of = problem(PLANE, limits={"max_trials": 200})
    one = run(of, lambda p: p["x"] + p["y"], 200)
    chains = Chains(of, Rules(trials=200, end_ratio=1e-3, first=None, exchange="replace"))
    chains.read(one.history())
    assert chains.heat == pytest.approx(1e-3)
    known = chains.temperature(0, 0)
    first = chains.state.first[0]
    assert known is not None and first is not None
    assert known == pytest.approx(1e-3 * first)


@pytest.mark.parametrize("value", [1.0, 1e300])
def test_a_plateau_and_a_budget_of_nothing_break_nothing(value: float) -> None:
    one = run(problem(PLANE, limits={"max_trials": 2}), lambda _: value, 40)
    assert len(one.trials) == 40


def test_half_of_all_trials_fail_and_it_still_goes_down() -> None:
    of = problem(PLANE, limits={"max_trials": 400})
    one, suggester = law.Study(of), law.make(get("annealing"), of)
    history, running = one.history(), []
    for n in range(400):
        running += [one.start(s) for s in suggester.suggest(history, 8 - len(running))]
        number = running.pop(n * 7 % len(running))
        loss = sum((v - 0.3) ** 2 for v in one.trials[number].parameters.values())
        one.tell(number, loss, TrialState.FAILED if number % 2 else TrialState.COMPLETED)
        history.update([one.trials[i] for i in (number, *running)], seq=one.seq, next_number=len(one.trials) + 1)
    assert min(t.metrics["loss"] for t in one.trials.values() if t.metrics) < 2e-2


@pytest.mark.parametrize(
    ("proposal", "pointer"),
    [
        ({"order_moves": {"jump": 1}}, "/order_moves/jump"),
        ({"token_moves": {"add": 0}}, "/token_moves"),
        ({"features": {"z": [1]}}, "/features/z"),
        ({"features": {"x": [1], "y": [1, 2]}}, "/features"),
        ({"weights": {"hidden": [[1, 2, 3]], "bias": [0], "output": [1]}}, "/weights/hidden"),
        ({"weights": {"hidden": [[1, 2]], "bias": [0, 1], "output": [1]}}, "/weights/bias"),
    ],
)
def test_a_proposal_that_does_not_fit_is_refused_by_name(proposal: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        get("annealing").check(problem(PLANE, options={"proposal": proposal}).spec)
    assert error.value.errors[0].pointer == f"/suggester/options/proposal{pointer}"
