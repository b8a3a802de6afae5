"""Forests are drawn fairly, messages find the exact minimum, the additive process is a Gaussian process, and it pays."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import minimise
from workers.models.decomposition import (
    AdditiveProcess,
    AdditiveTheta,
    draw_forest,
    isolated,
    log_evidence,
    minimise_forest,
    polish,
    zoom,
)
from workers.suggesters.rducb.suggester import multiplier
from workers.suggesters.registry import get


def numbers(d: int) -> list[dict[str, Any]]:
    """`d` floats."""
    return [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(d)]


def study_of(seed: int = 1, options: dict[str, Any] | None = None, **fields: Any) -> law.Study:
    """A study for `rducb`."""
    made = study(suggester={"name": "rducb", "options": options or {}}, seed=seed, **fields)
    made.check()
    return law.Study(law.Problem(study="s", spec=made, seed=seed))


def test_messages_find_what_brute_force_finds() -> None:
    rng, d, w = np.random.default_rng(0), 6, 4
    every = np.array(list(itertools.product(range(w), repeat=d)))
    for _ in range(200):
        edges = draw_forest(d, rng, rng.uniform(0.1, 1.0))
        pairs, singles = rng.normal(size=(len(edges), w, w)), rng.normal(size=(d, w))
        chosen, value = minimise_forest(d, edges, pairs, singles)
        cost = singles[np.arange(d), every].sum(1)
        for (i, j), table in zip(edges, pairs, strict=True):
            cost = cost + table[every[:, i], every[:, j]]
        assert value == pytest.approx(cost.min(), abs=1e-12)
        assert tuple(chosen) == tuple(every[np.argmin(cost)])


def test_edges_form_a_forest_of_the_right_size_and_every_pair_is_equally_likely() -> None:
    rng, d, rounds = np.random.default_rng(1), 12, 6000
    counts = np.zeros((d, d))
    for _ in range(rounds):
        edges = draw_forest(d, rng)
        assert len(edges) == 2
        seen = [{i} for i in range(d)]
        for i, j in edges:
            assert i < j
            a, b = (next(group for group in seen if k in group) for k in (i, j))
            assert a is not b  # no cycle
            seen.remove(b)
            a |= b
            counts[i, j] += 1
        assert set(isolated(d, edges)) == set(range(d)) - {k for e in edges for k in e}
    told = counts[np.triu_indices(d, 1)]
    expected = told.sum() / len(told)
    chi = float(((told - expected) ** 2 / expected).sum())
    freedom = len(told) - 1
    assert abs(chi - freedom) < 4 * math.sqrt(2 * freedom)
    assert draw_forest(1, rng) == ()
    assert len(draw_forest(3, rng, 1.0)) == 2


def data() -> tuple[np.ndarray, np.ndarray, AdditiveTheta, np.ndarray]:
    """Mixed inputs."""
    rng = np.random.default_rng(3)
    x = rng.random((25, 5))
    x[:, 4] = (np.floor(x[:, 4] * 3) + 0.5) / 3
    y = np.sin(5 * x[:, 0]) + x[:, 1] * x[:, 2] + x[:, 4]
    theta = AdditiveTheta(np.array([0.3, 0.5, 0.7, 1.0, 0.9]), np.array([0.5, 0.2, 0.3, 0.1, 0.4]), 0.02, 0.1)
    return x, (y - y.mean()) / y.std(), theta, np.array([False] * 4 + [True])


def test_the_components_are_those_of_a_dense_reference_and_sum_to_the_mean() -> None:
    x, y, theta, categorical = data()
    edges = ((0, 4), (1, 2))
    process = AdditiveProcess(x, y, theta, edges, categorical)

    def kernel(part: tuple[int, ...], a: np.ndarray, b: np.ndarray) -> float:
        r2 = sum(((a[j] != b[j]) if categorical[j] else (a[j] - b[j]) ** 2) / theta.lengthscales[j] ** 2 for j in part)
        return math.sqrt(sum(theta.scales[j] ** 2 for j in part)) * math.exp(-0.5 * r2)

    parts = [(0, 4), (1, 2), (3,)]
    k = np.array([[sum(kernel(p, a, b) for p in parts) for b in x] for a in x]) + theta.noise * np.eye(len(x))
    inverse, row = np.linalg.inv(k), x[3] * 0.9
    row[4] = x[3, 4]
    means, bounds = [], []
    for part in parts:
        at = np.array([kernel(part, row, b) for b in x])
        mean = at @ inverse @ (y - theta.mean)
        std = math.sqrt(kernel(part, row, row) - at @ inverse @ at)
        means.append(mean)
        bounds.append(mean - 1.7 * std)
    pairs, singles = process.tables(np.repeat(row[:, None], 4, axis=1), 1.7)
    np.testing.assert_allclose(pairs[0], bounds[0], atol=1e-9)
    np.testing.assert_allclose(pairs[1], bounds[1], atol=1e-9)
    np.testing.assert_allclose(singles, [[0.0] * 4] * 3 + [[bounds[2]] * 4] + [[0.0] * 4], atol=1e-9)
    assert process.mean(row[None, :])[0] == pytest.approx(sum(means) + theta.mean)
    assert process.bound(row, 1.7) == pytest.approx(sum(bounds))


def test_the_gradient_of_the_evidence_is_its_slope() -> None:
    x, y, theta, categorical = data()
    vector = np.concatenate([np.log(theta.lengthscales), np.log(theta.scales), [math.log(theta.noise), theta.mean]])
    _, gradient = log_evidence(vector, x, y, ((0, 4), (1, 2)), categorical)
    for j in range(len(vector)):
        step = np.zeros(len(vector))
        step[j] = 1e-6
        up, down = (log_evidence(vector + s * step, x, y, ((0, 4), (1, 2)), categorical)[0] for s in (1, -1))
        assert gradient[j] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-6)


def test_zooming_and_polishing_find_the_minimum_of_a_smooth_sum() -> None:
    rng, d = np.random.default_rng(5), 8
    best = rng.random(d)
    best[7] = 0.5
    edges = ((0, 1), (2, 5), (1, 6))

    def tables(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        away = values - best[:, None]
        pairs = np.array([(away[i][:, None] + away[j][None, :]) ** 2 for i, j in edges])
        return pairs, away**2

    sizes = np.array([150] * 7 + [3])
    row, value = zoom(tables, edges, sizes, rng)
    np.testing.assert_allclose((row * sizes) % 1.0, 0.5)
    assert value < 0.1
    levels = np.array([math.inf] * 7 + [3.0])
    nearer, lower = polish(tables, edges, row, value, levels, rng, rounds=20)
    assert lower < 1e-3
    np.testing.assert_allclose(nearer, best, atol=0.03)


def test_an_additive_function_in_thirty_dimensions_is_found_better_than_by_random_search() -> None:
    def additive(row: list[float]) -> float:
        x = np.array(row)
        return float(np.sin(6 * x).sum() + (x[0::2] * x[1::2]).sum())

    for seed in range(2):
        assert minimise("rducb", additive, 60, seed, 30) < minimise("random", additive, 300, seed, 30) - 3


def test_each_trial_has_a_forest_of_its_own_and_one_call_gives_what_many_give() -> None:
    one, spec = study_of(parameters=numbers(8)), get("rducb")
    for _ in range(12):
        s = law.make(spec, one.problem).suggest(one.history(), 1)[0]
        one.tell(one.start(s), sum(s.parameters.values()))
    together = law.make(spec, one.problem).suggest(one.history(), 3)
    forests = []
    for suggestion in together:
        single = law.make(spec, one.problem).suggest(one.history(), 1)[0]
        assert single.parameters == suggestion.parameters
        assert suggestion.receipt is not None
        forests.append(str(suggestion.receipt["model"]["edges"]))
        one.start(single)
    assert len(set(forests)) > 1


def test_multipliers_rise_with_violations_and_fall_with_slack() -> None:
    assert multiplier([], 1.0) == 1.0
    assert multiplier([0.5, 0.5], 1.0) == 2.0
    assert multiplier([-3.0, 0.25], 2.0) == 0.5
    assert multiplier([1e9], 1.0) == 1e3


def test_constraints_pull_it_to_where_they_hold() -> None:
    one = study_of(parameters=numbers(6), constraints=[{"metric": "c", "max": 0.0}])
    suggester, feasible = law.make(get("rducb"), one.problem), []
    for _ in range(60):
        s = suggester.suggest(one.history(), 1)[0]
        row = np.array(list(s.parameters.values()))
        loss, c = float(row.sum()), float(2.0 - row[:4].sum())
        number = one.start(s)
        one.tell(number, loss)
        one.trials[number] = law.with_metrics(one.trials[number], {"loss": loss, "c": c}, c <= 0)
        feasible.append(loss if c <= 0 else math.inf)
    assert s.receipt is not None
    assert "constraint 0" in s.receipt["multipliers"]
    assert min(feasible) < 2.4
    assert sum(math.isfinite(v) for v in feasible[20:]) >= 10


def test_places_without_a_value_are_left_and_no_point_of_a_grid_comes_twice() -> None:
    parameters = [
        *({"name": f"n{i}", "type": "int", "min": 0, "max": 5} for i in range(4)),
        {"name": "kind", "type": "categorical", "choices": list("abcde")},
    ]
    one = study_of(parameters=parameters)
    suggester, bad = law.make(get("rducb"), one.problem), []
    known: set[str] = set()
    for _ in range(50):
        found = list(suggester.suggest(one.history(), 1))
        law.check_points(one.problem, found, known)
        point = found[0].parameters
        bad.append(point["n0"] == 0)
        state = TrialState.INFEASIBLE if bad[-1] else TrialState.COMPLETED
        one.tell(one.start(found[0]), float(sum(point[f"n{i}"] for i in range(4)) + (point["kind"] != "c")), state)
    assert sum(bad[25:]) <= 12
    values = [t.metrics["loss"] for t in one.history().completed]
    assert min(values) <= 2


def test_parameter_constraints_are_kept() -> None:
    one = study_of(parameters=numbers(4), parameter_constraints=["x0 + x1 + x2 + x3 <= 0.5"])
    suggester = law.make(get("rducb"), one.problem)
    for _ in range(16):
        s = suggester.suggest(one.history(), 1)[0]
        row = list(s.parameters.values())
        assert sum(row) <= 0.5 + 1e-12
        one.tell(one.start(s), -sum(row))
    assert min(t.metrics["loss"] for t in one.history().completed) < -0.4
