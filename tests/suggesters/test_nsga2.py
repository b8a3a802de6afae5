"""NSGA-II: fronts and crowding against brute force, constraints, directions, and the volume that its populations dominate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.domain.pareto import hypervolume, non_dominated
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from workers.models.crossover import simulated_binary
from workers.models.domination import Compromises, crowding, directions, fronts, niches, normalised
from workers.models.moves import polynomial
from workers.suggesters.registry import get

Goals = Callable[[Any], tuple[float, ...]]
N = 40


def problem(parameters: list[dict[str, Any]], m: int, seed: int = 5, popsize: int = N, **fields: Any) -> Any:
    """A study with objectives f0, f1, …"""
    choice = {"name": "nsga2", "options": {"popsize": popsize}}
    fields.setdefault("objectives", [{"metric": f"f{i}"} for i in range(m)])
    made = study(parameters=parameters, suggester=choice, seed=seed, **fields)
    made.check()
    return law.Problem(study="s", spec=made, seed=seed)


def told(values: tuple[float, ...]) -> dict[str, float]:
    """Values as metrics."""
    return {f"f{i}": float(v) for i, v in enumerate(values)}


def run(of: Any, goals: Goals, trials: int, name: str = "nsga2") -> tuple[law.Study, Any]:
    """Trials one after another."""
    one = law.Study(of)
    suggester = law.make(get(name), of) if name == "nsga2" else get(name).create(of, get(name).parse_options({}), None)
    history = one.history()
    for _ in range(trials):
        suggestion = suggester.suggest(history, 1)[0]
        number = one.start(suggestion)
        one.tell(number, 0.0, **told(goals(suggestion.parameters)))
        history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    return one, suggester


def places(of: Any, history: Any, numbers: Any) -> list[float]:
    """Places of trials among each other."""
    ranking = Compromises(of.spec, len(numbers))
    for number in numbers:
        ranking.add(history, history.get(number))
    return ranking.merits().tolist()


def values(trials: Any, m: int) -> np.ndarray:
    """(n, m) values of trials."""
    return np.array([[t.metrics[f"f{i}"] for i in range(m)] for t in trials])


# -- fronts and crowding


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_fronts_are_those_of_brute_force(m: int) -> None:
    rng = np.random.default_rng(m)
    for levels in (3, 1000):
        points = rng.integers(levels, size=(60, m)).astype(float)
        expected, left, front = np.empty(60, dtype=int), set(range(60)), 0
        while left:
            first = {
                i for i in left
                if not any((points[j] <= points[i]).all() and (points[j] < points[i]).any() for j in left)
            }  # fmt: skip
            expected[list(first)] = front
            left, front = left - first, front + 1
        found = fronts(points)
        assert (found == expected).all()
        assert sorted(np.flatnonzero(found == 0)) == non_dominated(points)


def test_crowding_is_the_sum_of_the_gaps_between_neighbours() -> None:
    points = np.array([[0.0, 10.0], [1.0, 6.0], [2.0, 5.0], [4.0, 0.0]])
    assert crowding(points).tolist() == pytest.approx([math.inf, 0.5 + 0.5, 0.75 + 0.6, math.inf])
    assert crowding(np.zeros((3, 2))).tolist() == [math.inf, 0.0, math.inf]
    assert not np.isnan(crowding(np.array([[1e308, -1e308], [-1e308, 1e308], [0.0, 0.0]]))).any()


@pytest.mark.parametrize(("m", "most", "count"), [(3, 91, 91), (3, 100, 91), (4, 100, 84), (5, 100, 85), (10, 100, 65)])
def test_directions_are_the_lattice_of_the_simplex(m: int, most: int, count: int) -> None:
    """Das, Dennis: comb(m + p - 1, p) of them for p divisions; two layers where one has only edges (Deb, Jain 2014)."""
    found = directions(m, most)
    assert found.shape == (count, m)
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert len({tuple(np.round(row, 9)) for row in found}) == count
    for corner in np.eye(m):
        assert (np.abs(found - corner).max(axis=1) < 1e-12).any()


def test_a_point_on_a_direction_belongs_to_it() -> None:
    of = directions(4, 60)
    nearest, out = niches(of * 3.0, of)
    assert nearest.tolist() == list(range(len(of)))
    np.testing.assert_allclose(out, 3 * np.linalg.norm(of, axis=1), atol=1e-6)


def test_scales_of_the_objectives_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    points = np.abs(rng.standard_normal((80, 4)))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points = np.concatenate([points, np.eye(4)])
    scaled = points * np.array([1e-6, 1.0, 1e3, 1e200]) + np.array([5e-6, -3.0, 1e6, 0.0])
    plain = normalised(points, fronts(points))
    np.testing.assert_allclose(plain[-4:], np.eye(4), atol=1e-9)
    np.testing.assert_allclose(normalised(scaled, fronts(scaled)), plain, atol=1e-6)


# -- who stays


def test_constrained_domination() -> None:
    of = problem(
        [{"name": "x", "type": "float", "min": 0, "max": 1}], 2, popsize=4, constraints=[{"metric": "c", "max": 0}]
    )
    one, suggester = law.Study(of), law.make(get("nsga2"), of)
    rows = [(1.0, 4.0, 0.0), (4.0, 1.0, -1.0), (5.0, 5.0, 0.0), (0.0, 0.0, 0.1), (0.0, 0.0, 9.0), (9.0, 9.0, 0.05)]
    for f0, f1, c in rows:
        one.tell(one.start(suggester.suggest(one.history(), 1)[0]), 0.0, f0=f0, f1=f1, c=c)
    history = one.history()
    assert places(of, history, range(1, 7)) == [0.0, 0.0, 2.0, 4.0, 5.0, 3.0]
    assert {t.number for t in suggester.members(history)} == {1, 2, 3, 6}


def test_what_was_not_evaluated_is_last_and_pruned_ones_are_no_better_than_the_median() -> None:
    of = problem([{"name": "x", "type": "float", "min": 0, "max": 1}], 2)
    one, suggester = law.Study(of), law.make(get("nsga2"), of)
    states = [TrialState.COMPLETED] * 3 + [TrialState.PRUNED, TrialState.INFEASIBLE]
    for k, state in enumerate(states):
        row = {"f0": float(k), "f1": float(k)} if k < 3 else {"f0": -9.0, "f1": -9.0}
        one.tell(one.start(suggester.suggest(one.history(), 1)[0]), 0.0, state, **row)
    history = one.history()
    assert places(of, history, range(1, 6)) == [0.0, 1.0, 3.0, 2.0, 4.0]


def test_a_maximised_goal_and_late_outcomes_count() -> None:
    of = problem(
        [{"name": n, "type": "float", "min": 0, "max": 1} for n in "xy"], 2, popsize=4,
        objectives=[{"metric": "f0"}, {"metric": "f1", "goal": "maximize"}],
    )  # fmt: skip
    one, suggester = law.Study(of), law.make(get("nsga2"), of)
    numbers = [one.start(s) for s in suggester.suggest(one.history(), 6)]
    for number in numbers[1:]:
        one.tell(number, 0.0, f0=float(number), f1=float(number))
    one.tell(numbers[0], 0.0, f0=0.0, f1=100.0)
    assert {t.number for t in suggester.members(one.history())} >= {1}
    assert suggester.suggest(one.history(), 1)[0] == law.make(get("nsga2"), of).suggest(one.history(), 1)[0]


# -- benchmarks


def zdt1(x: Any) -> tuple[float, float]:
    """Zitzler, Deb, Thiele 2000: convex front."""
    g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
    return x[0], g * (1 - math.sqrt(x[0] / g))


def zdt2(x: Any) -> tuple[float, float]:
    """Zitzler, Deb, Thiele 2000: concave front."""
    g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
    return x[0], g * (1 - (x[0] / g) ** 2)


def dtlz2(m: int) -> Callable[[Any], tuple[float, ...]]:
    """Deb, Thiele, Laumanns, Zitzler 2002: the front is the unit sphere."""

    def goals(x: Any) -> tuple[float, ...]:
        found = []
        for i in range(m):
            value = 1 + sum((v - 0.5) ** 2 for v in x[m - 1 :])
            for angle in x[: m - 1 - i]:
                value *= math.cos(angle * math.pi / 2)
            found.append(value * math.sin(x[m - 1 - i] * math.pi / 2) if i else value)
        return tuple(found)

    return goals


def textbook(goals: Goals, n: int, trials: int, seed: int) -> np.ndarray:
    """Generational NSGA-II of the paper: the best half of parents and children."""
    rng = np.random.default_rng(seed)
    x = rng.random((N, n))
    f = np.array([goals(row) for row in x])

    def standing(f: np.ndarray) -> list[tuple[int, float]]:
        front, gaps = fronts(f), np.empty(len(f))
        for k in range(front.max() + 1):
            gaps[front == k] = crowding(f[front == k])
        return [(int(a), -float(b)) for a, b in zip(front, gaps, strict=True)]

    for _ in range(trials // N - 1):
        keys, children = standing(f), []
        for _ in range(N):
            pair = [x[min(rng.integers(N, size=2), key=lambda i: keys[i])] for _ in range(2)]
            child = simulated_binary(pair[0], pair[1], 15.0, rng) if rng.random() < 0.9 else pair[0].copy()
            hit = rng.random(n) < 1 / n
            child[hit] = polynomial(child[hit], 20.0, rng)
            children.append(child)
        x = np.concatenate([x, children])
        f = np.concatenate([f, [goals(row) for row in children]])
        keys = standing(f)
        kept = sorted(range(len(f)), key=lambda i: keys[i])[:N]
        x, f = x[kept], f[kept]
    return f


@pytest.mark.parametrize(
    ("goals", "m", "n", "corner"),
    [(zdt1, 2, 6, 1.1), (zdt2, 2, 6, 1.1), (dtlz2(3), 3, 7, 1.2)],
    ids=["zdt1", "zdt2", "dtlz2"],
)
def test_its_population_dominates_more_than_that_of_the_generational_form(
    goals: Goals, m: int, n: int, corner: float
) -> None:
    ours, theirs = [], []
    for seed in range(2):
        of = problem([{"name": "x", "type": "vector", "length": n, "min": 0, "max": 1}], m, seed)
        one, suggester = run(of, lambda p: goals(p["x"]), 800)
        members = suggester.members(one.history())
        assert len(members) == N
        ours.append(hypervolume(values(members, m), [corner] * m))
        theirs.append(hypervolume(textbook(goals, n, 800, seed), [corner] * m))
    assert np.mean(ours) > np.mean(theirs)


def test_with_four_goals_it_comes_to_the_front_and_covers_its_directions() -> None:
    of = problem([{"name": "x", "type": "vector", "length": 8, "min": 0, "max": 1}], 4, popsize=56)
    one, suggester = run(of, lambda p: dtlz2(4)(p["x"]), 800)
    found = values(suggester.members(one.history()), 4)
    by_chance, _ = run(of, lambda p: dtlz2(4)(p["x"]), 800, "random")
    assert np.median(np.linalg.norm(found, axis=1) - 1) < 0.1
    chance = values(by_chance.trials.values(), 4)
    chance = chance[non_dominated(chance)]
    assert np.median(np.linalg.norm(chance, axis=1) - 1) > 0.2
    nearest, _ = niches(normalised(found, fronts(found)), directions(4, 56))
    assert len(set(nearest.tolist())) > 0.7 * len(directions(4, 56))


def test_subsets_with_two_goals_find_nearly_the_whole_front() -> None:
    """Eight items, gains against weights: 256 subsets, the front by brute force."""
    rng = np.random.default_rng(4)
    gains, weights = rng.integers(1, 30, 8), rng.integers(1, 30, 8)
    every = np.array(list(itertools.product((0, 1), repeat=8)))
    front = non_dominated(np.stack([-(every @ gains), every @ weights], axis=1))
    best = {tuple(int(v) for v in (-(every[i] @ gains), every[i] @ weights)) for i in front}

    def goals(p: Any) -> tuple[float, float]:
        chosen = np.array(list(p.values()))
        return -float(gains[chosen].sum()), float(weights[chosen].sum())

    one, _ = run(problem([{"name": f"b{i}", "type": "bool"} for i in range(8)], 2, popsize=16), goals, 120)
    found = {tuple(int(v) for v in row) for row in values(one.trials.values(), 2)}
    share = len(best & found) / len(best)
    by_chance, _ = run(problem([{"name": f"b{i}", "type": "bool"} for i in range(8)], 2), goals, 120, "random")
    chance = {tuple(int(v) for v in row) for row in values(by_chance.trials.values(), 2)}
    assert share > 0.9
    assert share > len(best & chance) / len(best) + 0.2


def test_failures_ties_and_extremes_block_nothing() -> None:
    of = problem([{"name": n, "type": "float", "min": 0, "max": 1} for n in "xy"], 5, popsize=12)
    one, suggester = law.Study(of), law.make(get("nsga2"), of)
    for n in range(90):
        suggestion = suggester.suggest(one.history(), 1)[0]
        value = (1.0, 1e300, -1e300)[n % 3] if n > 40 else 1.0
        one.tell(one.start(suggestion), value, TrialState.FAILED if n % 2 else TrialState.COMPLETED)
    assert len(suggester.members(one.history())) == 12
