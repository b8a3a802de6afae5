"""Differential evolution: its step, its memory, its shrinking population, and how it compares."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import ellipsoid, rosenbrock, sphere, wins
from workers.suggesters.de import _adapted, crossed, mutated
from workers.suggesters.registry import get


def problem(d: int, seed: int = 5, limits: dict[str, int] | None = None, **options: Any) -> law.Problem:
    """A study over one vector."""
    parameters = [{"name": "x", "type": "vector", "length": d, "min": 0, "max": 1}]
    made = study(parameters=parameters, suggester={"name": "de", "options": options}, seed=seed, limits=limits or {})
    return law.Problem(study="s", spec=made, seed=seed)


def optimise(of: law.Problem, objective: Callable[[Any], float], trials: int, batch: int = 1) -> tuple[float, Any]:
    """The best value, and the suggester as it ended."""
    one, suggester = law.Study(of), law.make(get("de"), of)
    history, best = one.history(), math.inf
    while len(one.trials) < trials:
        given = [one.start(s) for s in suggester.suggest(history, batch)]
        for number in given:
            one.tell(number, float(objective(one.trials[number].parameters["x"])))
            best = min(best, one.trials[number].metrics["loss"])
        history.update([one.trials[n] for n in given], seq=one.seq, next_number=len(one.trials) + 1)
    suggester.suggest(history, 1)
    return best, suggester


def test_the_step_is_current_to_pbest_with_walls_half_way() -> None:
    x, p, a, b = (np.array(v) for v in ([0.2, 0.9, 0.5], [0.4, 1.0, 0.5], [0.3, 0.9, 0.1], [0.1, 0.1, 0.9]))
    # 0.2 + 0.5 * 0.2 + 0.5 * 0.2;  0.9 + 0.05 + 0.4 is beyond 1: (0.9 + 1) / 2;  0.5 - 0.4
    np.testing.assert_allclose(mutated(x, p, a, b, 0.5), [0.4, 0.95, 0.1])
    np.testing.assert_allclose(mutated(x, p, b, a, 0.5)[0], 0.2)
    assert mutated(np.array([0.1]), np.array([0.0]), np.array([0.0]), np.array([0.9]), 0.5)[0] == 0.05


def test_crossover_takes_one_group_at_least_and_choices_together() -> None:
    groups, rng = np.array([0, 1, 1, 1, 2]), np.random.default_rng(1)
    shares = []
    for _ in range(2000):
        taken = crossed(np.zeros(5), np.ones(5), groups, 0.3, rng)
        assert taken.sum() >= 1
        assert len(set(taken[1:4])) == 1
        shares.append(taken[0])
    assert np.mean(shares) == pytest.approx(0.3 + 0.7 / 3, abs=0.03)
    assert crossed(np.zeros(5), np.ones(5), groups, 0.0, rng).sum() in (1, 3)


def test_the_memory_takes_weighted_lehmer_means_and_a_terminal_crossover() -> None:
    scale, crossover = _adapted([(0.5, 0.8, 3.0), (0.9, 0.2, 1.0)], 0.9)
    assert scale == pytest.approx((3 * 0.25 + 0.81) / (3 * 0.5 + 0.9))
    assert crossover == pytest.approx((3 * 0.64 + 0.04) / (3 * 0.8 + 0.2))
    assert _adapted([(0.5, 0.0, 1.0)], 0.9)[1] is None  # nothing but 0 succeeded: 0 for good
    assert _adapted([(0.5, 0.8, 1.0)], None)[1] is None
    assert _adapted([(0.5, 0.8, None), (0.7, 0.4, None)], 0.9)[0] == pytest.approx((0.25 + 0.49) / 1.2)
    assert _adapted([(0.5, 0.5, 1e308), (0.5, 0.5, 1e308)], 0.9) == (0.5, 0.5)


def reference(of: law.Problem, objective: Callable[[Any], float], rounds: int, size: int) -> list[np.ndarray]:
    """SHADE generation by generation, written from the papers, on the suggester's draws."""
    x = np.array(
        [law.make(get("de"), of).suggest(law.Study(of).history(), size)[i].parameters["x"] for i in range(size)]
    )
    f = np.array([objective(v) for v in x])
    m_f, m_cr, k, archive, seen = [0.5] * 6, [0.9] * 6, 0, [], [x.copy()]
    told = size
    for t in range(1, rounds):
        order, trials, used = np.argsort(f, kind="stable"), [], []
        for i in range(size):
            rng = of.generator(t, f"de {i}")
            r = rng.integers(6)
            cr = np.clip(rng.normal(m_cr[r], 0.1), 0, 1)
            while (scale := m_f[r] + 0.1 * rng.standard_cauchy()) <= 0:
                pass
            scale = min(scale, 1.0)
            best = x[order[: max(2, round(0.1 * size))][rng.integers(max(2, round(0.1 * size)))]]
            others = [j for j in order if j != i]
            a = others[rng.integers(size - 1)]
            pool = [x[j] for j in others if j != a] + archive
            v = x[i] + scale * (best - x[i]) + scale * (x[a] - pool[rng.integers(len(pool))])
            v = np.where(v < 0, x[i] / 2, np.where(v > 1, (1 + x[i]) / 2, v))
            taken = rng.random(len(v)) < cr
            taken[rng.integers(len(v))] = True
            trials.append(np.where(taken, v, x[i]))
            used.append((scale, cr))
        gains = []
        for i, u in enumerate(trials):
            value = objective(u)
            if value < f[i]:
                gains.append((*used[i], f[i] - value))
                archive.append(x[i].copy())
                rng = of.generator(told, "de archive")
                while len(archive) > size:
                    archive.pop(rng.integers(len(archive)))
            if value <= f[i]:
                x[i], f[i] = u, value
            told += 1
        if gains:
            s_f, s_cr, w = (np.array(v) for v in zip(*gains, strict=True))
            m_f[k], m_cr[k] = (w * s_f**2).sum() / (w * s_f).sum(), (w * s_cr**2).sum() / (w * s_cr).sum()
            k = (k + 1) % 6
        seen.append(np.array(trials))
    return seen


def test_asked_and_told_round_by_round_it_is_shade() -> None:
    of = problem(4, popsize=10)
    expected = reference(of, rosenbrock, 15, 10)
    one, suggester = law.Study(of), law.make(get("de"), of)
    for trials in expected:
        given = suggester.suggest(one.history(), 10)
        np.testing.assert_allclose([s.parameters["x"] for s in given], trials, rtol=1e-9, atol=1e-12)
        for suggestion in given:
            one.tell(one.start(suggestion), rosenbrock(suggestion.parameters["x"]))


def test_the_population_shrinks_to_four_over_the_budget() -> None:
    _, suggester = optimise(problem(3, popsize=20, limits={"max_trials": 300}), sphere, 300)
    assert len(suggester.live) == 4
    _, suggester = optimise(problem(3, popsize=20, limits={"max_trials": 300}), sphere, 150)
    assert 10 <= len(suggester.live) <= 14
    _, suggester = optimise(problem(3, popsize=20, limits={"max_trials": 300}, shrink=False), sphere, 300)
    assert len(suggester.live) == 20


def test_an_outcome_of_a_row_that_is_gone_takes_the_place_of_the_worst() -> None:
    of = problem(2, popsize=6, limits={"max_trials": 12})
    one = law.Study(of)
    first = [one.start(s) for s in law.make(get("de"), of).suggest(one.history(), 8)]
    for number in first[:6]:
        one.tell(number, float(-number))  # row 0 is the worst and leaves
    suggester = law.make(get("de"), of)
    suggester.suggest(one.history(), 1)
    assert 0 not in suggester.live  # type: ignore[attr-defined]
    one.tell(first[6], -50.0)  # proposed for row 0
    suggester.suggest(one.history(), 1)
    assert first[6] in [suggester.best[r] for r in suggester.live]  # type: ignore[attr-defined]


def test_infeasible_and_pruned_trials_are_no_success() -> None:
    of = problem(3, popsize=6)
    one, suggester = law.Study(of), law.make(get("de"), of)
    for suggestion in suggester.suggest(one.history(), 6):
        one.tell(one.start(suggestion), 1.0)
    for n, suggestion in enumerate(suggester.suggest(one.history(), 12)):
        one.tell(one.start(suggestion), 0.0, (TrialState.INFEASIBLE, TrialState.FAILED)[n % 2])
    suggester.suggest(one.history(), 1)
    assert sorted(suggester.best) == [1, 2, 3, 4, 5, 6]  # type: ignore[attr-defined]
    assert suggester.document()["successes"] == []  # type: ignore[attr-defined]


def nevergrad(name: str, objective: Callable[[Any], float], trials: int, seed: int, d: int) -> float:
    """The best value of one of its optimizers in the same box."""
    import nevergrad as ng

    box = ng.p.Array(shape=(d,), lower=0, upper=1)
    box.random_state.seed(seed)
    optimizer, best = ng.optimizers.registry[name](box, budget=trials), math.inf
    for _ in range(trials):
        candidate = optimizer.ask()
        value = float(objective(candidate.value))
        optimizer.tell(candidate, value)
        best = min(best, value)
    return best


@pytest.mark.parametrize("objective", [sphere, ellipsoid])
def test_it_is_ahead_of_nevergrads_when_the_budget_is_known(objective: Callable[[Any], float]) -> None:
    warnings.filterwarnings("ignore")
    ours = [optimise(problem(5, seed, {"max_trials": 300}), objective, 300)[0] for seed in range(3)]
    for name in ("DE", "TwoPointsDE"):
        theirs = [nevergrad(name, objective, 300, seed, 5) for seed in range(3)]
        assert np.median(ours) < np.median(theirs) / 5
        assert wins(ours, theirs) == 3


def test_many_workers_cost_little() -> None:
    one = [optimise(problem(5, s), sphere, 600)[0] for s in range(3)]
    many = [optimise(problem(5, s), sphere, 600, batch=20)[0] for s in range(3)]
    assert np.median(many) < 1e-3
    assert np.median(one) < 1e-3
