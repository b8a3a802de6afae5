"""The (1+1) evolution strategy: the rule, its rate, and outcomes in whatever order they come."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from services.domain.trial import TrialState
from tests.suggesters import law, local_study
from tests.suggesters.local_study import CELLS, ask, from_best_cell, lowest, optimise, path, values
from tests.support.objectives import sphere
from workers.models.normal_steps import NormalSteps
from workers.models.success_rule import Chain
from workers.suggesters.one_plus_one import OnePlusOne
from workers.suggesters.registry import get

COMPLETED, FAILED, INFEASIBLE, PRUNED = (
    TrialState.COMPLETED, TrialState.FAILED, TrialState.INFEASIBLE, TrialState.PRUNED,
)  # fmt: skip
UP, DOWN = 1.5, 1.5**-0.25


def problem(d: int = 4, seed: int = 5, options: dict[str, Any] | None = None, **fields: Any) -> law.Problem:
    return local_study.problem("one-plus-one", d, seed, options, **fields)


def vector(n: int) -> list[dict[str, Any]]:
    return [{"name": "w", "type": "vector", "length": n, "min": 0, "max": 1}]


def chain(one: law.Study, place: int = 0) -> Chain:
    """Where a chain stands."""
    suggester = local_study.fresh(one.problem)
    assert isinstance(suggester, OnePlusOne)
    suggester.suggest(one.history(), 1)
    saved = suggester.state()
    return Chain(**saved.document["chains"][place])


def begun(of: law.Problem, value: float = 5.0) -> law.Study:
    """A study whose first trial, the start, is told."""
    one = law.Study(of)
    one.tell(ask(one)[0], value)
    return one


# -- the rule


def test_a_study_follows_the_rule_trial_by_trial() -> None:
    of = problem(3)
    one = optimise(of, sphere, 80)
    x, sigma = np.full(3, 0.5), 0.2
    best, sigmas = sphere(list(x)), []
    for number in range(2, 81):
        child = x + sigma * of.generator(number, "one-plus-one 0").standard_normal(3)
        child = np.array([v % 2 if v % 2 < 1 else 2 - v % 2 for v in child])  # walls are mirrors
        np.testing.assert_allclose(values(one, number), child, rtol=1e-9)
        if sphere(list(child)) <= best:
            x, best, sigma = child, sphere(list(child)), sigma * UP
        else:
            sigma *= DOWN
        sigmas.append(sigma)
    assert min(sigmas) < 0.02
    assert best < 1e-3
    assert chain(one).sigma == pytest.approx(sigma)


def test_the_sphere_is_left_behind_at_the_rate_of_the_literature() -> None:
    """ln(distance) falls by 0.202 / n an evaluation at the best step size (Rechenberg 1973); the rule keeps most of that."""
    n, rates = 20, []
    for seed in range(3):
        one = optimise(problem(seed=seed, parameters=vector(n)), lambda p: sphere(p[0]), 1200)
        best = np.minimum.accumulate([t.metrics["loss"] for t in one.trials.values()])
        rates.append(n * (math.log(best[299]) - math.log(best[1199])) / 2 / 900)
    assert 0.14 < np.median(rates) < 0.22


@pytest.mark.filterwarnings("ignore:Bounds are")
def test_it_is_nevergrads_at_the_same_first_step() -> None:
    import nevergrad as ng

    ours, theirs = [], []
    for seed in range(4):
        place = np.random.default_rng(seed).uniform(0.2, 0.8, 20)

        def distance(x: Any, place: Any = place) -> float:
            return float(((np.asarray(x) - place) ** 2).sum())

        of = problem(seed=seed, parameters=vector(20))
        ours.append(lowest(optimise(of, lambda p, distance=distance: distance(p[0]), 250)))
        space = ng.p.Array(init=np.full(20, 0.5)).set_bounds(0, 1).set_mutation(sigma=0.2)
        space.random_state.seed(seed)
        other = ng.optimizers.registry["OnePlusOne"](space, budget=250)
        found = []
        for _ in range(250):
            point = other.ask()
            found.append(distance(point.value))
            other.tell(point, found[-1])
        theirs.append(min(found))
    assert 0.2 < np.exp(np.mean(np.log(ours)) - np.mean(np.log(theirs))) < 5


def test_many_workers_serve_one_search() -> None:
    """Eight at a time cost little beside one at a time; with a chain each they are far behind."""

    def reached(options: dict[str, Any]) -> float:
        one, out = law.Study(problem(10, options=options)), list[int]()
        suggester, history = local_study.fresh(one.problem), one.history()
        for _ in range(400):
            number = one.start(suggester.suggest(history, 1)[0])
            out.append(number)
            changed = [number]
            if len(out) == 8:
                changed.append(out.pop(0))
                one.tell(changed[-1], sphere(values(one, changed[-1])))
            history.update([one.trials[n] for n in changed], seq=one.seq, next_number=number + 1)
        return min(t.metrics["loss"] for t in one.trials.values() if t.metrics)

    assert reached({}) < 1e-3
    assert reached({"chains": 8}) > 1e-2


# -- outcomes


def test_stale_children_compete_but_say_nothing_about_the_step() -> None:
    one = begun(problem(2))
    first, second, third = ask(one, 3)
    one.tell(first, 4.0)
    assert chain(one) == Chain(0.2 * UP, first)
    one.tell(second, 4.5)  # its parent has been left
    assert chain(one) == Chain(0.2 * UP, first, idle=1)
    one.tell(third, 3.0)
    assert chain(one) == Chain(0.2 * UP, third)


@pytest.mark.parametrize(
    ("state", "sigma"), [(FAILED, 1.0), (TrialState.CANCELLED, 1.0), (INFEASIBLE, DOWN), (PRUNED, DOWN)]
)
def test_what_was_not_evaluated_is_no_success_and_what_was_lost_is_nothing(state: TrialState, sigma: float) -> None:
    one = begun(problem(2))
    one.tell(ask(one)[0], -9.0, state)
    assert chain(one) == Chain(pytest.approx(0.2 * sigma), 1, idle=int(sigma < 1))


def test_a_start_that_cannot_be_evaluated_is_looked_for_elsewhere() -> None:
    one = law.Study(problem(2))
    first = ask(one)[0]
    assert values(one, first) == [0.5, 0.5]
    one.tell(first, 0.0, INFEASIBLE)
    second = ask(one)[0]
    assert values(one, second) != [0.5, 0.5]
    one.tell(second, 3.0)
    assert chain(one) == Chain(0.2, second)


def test_a_users_better_point_is_gone_on_from() -> None:
    one = begun(problem(2))
    worse, better = one.add({"x0": 0.1, "x1": 0.1}), one.add({"x0": 0.9, "x1": 0.9})
    one.tell(worse, 6.0)
    assert chain(one).parent == 1
    one.tell(better, 4.0)
    assert chain(one) == Chain(0.2, better)
    fresh = law.Study(problem(2, options={"sigma0": 1e-4}))
    fresh.tell(fresh.add({"x0": 0.9, "x1": 0.9}), 4.0)
    np.testing.assert_allclose(values(fresh, ask(fresh)[0]), 0.9, atol=1e-3)


def test_declared_defaults_are_where_it_starts_while_they_are_out() -> None:
    parameters = [{"name": n, "type": "float", "min": 0, "max": 1, "default": 0.2} for n in "xy"]
    one = law.Study(problem(parameters=parameters, options={"sigma0": 1e-4}))
    one.add({"x": 0.2, "y": 0.2})
    starts = np.array([values(one, number) for number in ask(one, 20)])
    near = np.abs(starts - 0.2).max(axis=1) < 1e-3
    assert 4 < near.sum() < 16  # the rest from anywhere, for defaults may be where nothing can be evaluated


def test_equal_values_lengthen_the_step_and_a_chain_that_finds_nothing_begins_again() -> None:
    one = optimise(problem(2), lambda x: 1.0, 12)
    assert chain(one).sigma == 1.0
    stuck = optimise(problem(2), lambda x: float(x != [0.5, 0.5]), 1 + 300 + 20 + 1)
    assert chain(stuck) == Chain(0.2, round=1)
    number = ask(stuck)[0]
    assert stuck.trials[number].origin["round"] == 1
    stuck.tell(number, 7.0)  # worse than the round before, and yet where this one begins
    assert chain(stuck).parent == number


def test_under_noise_the_parent_is_asked_again_and_the_newer_value_counts() -> None:
    of = problem(2, objectives=[{"metric": "loss", "noisy": True}])
    one = begun(of, -100.0)  # luck
    for _ in range(30):
        number = ask(one)[0]
        again = one.trials[number].origin.get("again")
        if again:
            assert values(one, number) == values(one, again)
        one.tell(number, sphere(values(one, number)))
    assert chain(one).parent != 1
    assert lowest(one) == -100.0


# -- every kind of parameter


def test_numbers_move_together_and_one_level_in_the_mean() -> None:
    parameters = [{"name": f"b{i}", "type": "bool"} for i in range(10)]
    parameters += [{"name": "kind", "type": "categorical", "choices": ["a", "b", "c"]}]
    parameters += [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(3)]
    of = problem(parameters=parameters)
    space, steps = of.space, NormalSteps(of.space)
    assert steps.size == 14
    parent = {p.name: p.accept(p.centre()) for p in space.parameters}
    changed, numbers = [], 0
    for seed in range(400):
        child, tells = steps.child(parent, 0.1, np.random.default_rng(seed))
        assert space.point(child) == child
        differ = {name for name in parent if child[name] != parent[name]}
        numbers += tells
        assert differ == {"x0", "x1", "x2"} if tells else not any(name.startswith("x") for name in differ)
        changed += [] if tells else [len(differ)]
    assert 160 < numbers < 240
    assert min(changed) == 1
    assert 1.2 < np.mean(changed) < 1.6  # 1 in the mean, and one where there would be none


def test_conditional_parameters_come_and_go_with_their_parents() -> None:
    one = optimise(problem(**law.SPACES["mixed"]), lambda x: 1.0, 60)
    kinds = {t.parameters["kind"] for t in one.trials.values()}
    assert len(kinds) == 4
    assert all(("child" in t.parameters) == (t.parameters["kind"] == "b") for t in one.trials.values())


def test_a_mixed_space_and_a_discrete_one_reach_the_best_cell() -> None:
    bits = [{"name": f"b{i}", "type": "bool"} for i in range(12)]
    for seed in range(3):
        assert lowest(optimise(problem(parameters=CELLS, seed=seed), from_best_cell, 250)) < 0.1
        assert lowest(optimise(problem(parameters=bits, seed=seed), lambda p: p.count(False), 150)) == 0


def test_constraints_are_met_first_and_then_the_objective_falls() -> None:
    for seed in range(3):
        of = problem(2, seed, constraints=[{"metric": "c", "max": 0.0}])
        one = optimise(of, lambda x: {"loss": sphere(x), "c": 1.4 - sum(x)}, 150)
        assert one.trials[1].feasible is False
        assert lowest(one) == pytest.approx(0.32, abs=0.03)
    walled = optimise(problem(2, parameter_constraints=["x0 + x1 >= 1.4"]), sphere, 150)
    assert lowest(walled) == pytest.approx(0.32, abs=0.02)


# -- bad days


@pytest.mark.parametrize("noisy", [False, True])
def test_restarts_of_the_worker_change_nothing(noisy: bool) -> None:
    fields = {**law.SPACES["mixed"], "constraints": [{"metric": "c", "max": 0.5}]}
    if noisy:
        fields["objectives"] = [{"metric": "loss", "noisy": True}]
    of = problem(options={"chains": 3}, **fields)

    def walk(restart: str) -> list[dict[str, Any]]:
        one, suggester, found, out = law.Study(of), local_study.fresh(of), [], list[int]()
        for n in range(60):
            if restart != "never":
                suggester = law.make(get("one-plus-one"), of, law.save(suggester) if restart == "saved" else None)
            suggestion = suggester.suggest(one.history(), 1)[0]
            found.append(suggestion.parameters)
            out.append(one.start(suggestion))
            while len(out) > 3:
                number = out.pop(n * 7919 % len(out))
                state = COMPLETED if number % 9 else list(TrialState)[-1 - number // 9 % 4]
                one.tell(number, math.sin(number), state, c=math.cos(number))
        return found

    undisturbed = walk("never")
    assert walk("saved") == undisturbed
    assert walk("lost") == undisturbed


def test_nor_do_they_across_rounds_and_lost_leases() -> None:
    of = problem(1, parameters=[{"name": "x0", "type": "float", "min": 0, "max": 1e-300}], seed=2)
    assert path(of, 40, 2, 3) == path(of, 40, 2, 1000)
    usual = law.with_lost_leases(problem(2), "never", 20)
    assert law.with_lost_leases(problem(2), "saved", 20) == usual
    assert law.with_lost_leases(problem(2), "lost", 20) == usual
