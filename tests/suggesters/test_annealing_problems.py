"""Annealing's acceptance and moves on known ground: Boltzmann's law, tours, subsets, causal orders."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.support.annealing_study import best, problem, run
from workers.models.chains import accepts, initial_temperature, log_chance
from workers.models.moves import reordered
from workers.models.proposals import Network, Proposal, Proposer

BITS = [{"name": f"b{i:02}", "type": "bool"} for i in range(24)]


def visits(space: Any, energy: Any, temperature: float, steps: int, proposal: Proposal, *, odds: bool = True) -> Any:
    """Points visited at a fixed temperature, through the acceptance and proposals of the suggester, every tenth step."""
    rng, proposer = np.random.default_rng(7), Proposer(space, proposal)
    point = {p.name: p.centre() for p in space.parameters}
    found = []
    for step in range(steps):
        after, log_odds = proposer.propose(point, 1.0, rng)
        ratio = log_chance((0, energy(point)), (0, energy(after)), temperature) + (log_odds if odds else 0.0)
        if accepts(ratio, float(rng.random())):
            point = after
        if step % 10 == 9:
            found.append(tuple(point.values()))
    return found


def surprise(found: list[Any], energy: Any, names: list[str], states: list[Any], temperature: float) -> float:
    """The p-value of Pearson's test against the Boltzmann distribution."""
    from scipy.stats import chisquare

    weights = np.exp(-np.array([energy(dict(zip(names, s, strict=True))) for s in states]) / temperature)
    counts = [sum(f == s for f in found) for s in states]
    return float(chisquare(counts, weights / weights.sum() * len(found)).pvalue)


@pytest.mark.parametrize(
    "parameter",
    [
        {"name": "k", "type": "int", "min": 0, "max": 9},
        {"name": "k", "type": "categorical", "choices": list(range(10))},
        {"name": "k", "type": "float", "min": 0, "max": 9, "step": 1},
    ],
)
def test_ten_states_are_visited_as_boltzmann_says(parameter: dict[str, Any]) -> None:
    def energy(point: Any) -> float:
        return [0.0, 1.0, 0.4, 2.0, 1.3, 0.1, 0.9, 1.7, 0.2, 0.6][int(point["k"])]

    of = problem([parameter])
    found = visits(of.space, energy, 0.8, 25_000, Proposal())
    states = [(k,) for k in range(10)]
    assert surprise(found, energy, ["k"], states, 0.8) > 1e-3
    assert surprise(found, energy, ["k"], states, 1.1) < 1e-6  # the test tells temperatures apart


def test_orders_and_subsets_are_visited_evenly_where_all_is_equal() -> None:
    from scipy.stats import chisquare

    of = problem([{"name": "o", "type": "permutation", "items": ["a", "b", "c", "d"]}])
    found = visits(of.space, lambda _: 0.0, 1.0, 24_000, Proposal())
    counts = {}
    for (order,) in found:
        counts[tuple(order)] = counts.get(tuple(order), 0) + 1
    assert len(counts) == 24
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_a_network_s_proposals_keep_the_law_by_their_odds() -> None:
    def energy(point: Any) -> float:
        return 1.1 * point["a"] - 0.7 * point["b"] + 0.9 * (point["a"] == point["c"])

    of = problem([{"name": n, "type": "bool"} for n in "abc"])
    network = Network(hidden=((2.0, 0.0, 1.0), (-1.5, 0.0, -2.0)), bias=(-1.0, 0.5), output=(1.5, 1.0))
    proposal = Proposal(weights=network, features={"a": (1.0,), "b": (-0.5,), "c": (0.2,)})
    states = [(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]
    for odds in (True, False):
        found = visits(of.space, energy, 0.7, 16_000, proposal, odds=odds)
        p = surprise(found, energy, list("abc"), states, 0.7)
        assert p > 1e-3 if odds else p < 1e-6


# -- problems of the field


def tour(distances: Any, order: list[int]) -> float:
    """Length of a closed tour."""
    total = distances[order[-1]][order[0]]
    for a, b in pairwise(order):
        total += distances[a][b]
    return float(total)


def annealed(distances: Any, steps: int, seed: int) -> float:
    """The shortest tour of one chain, by the suggester's moves, temperatures and acceptance."""
    rng = np.random.default_rng(seed)
    order = list(range(len(distances)))
    length, gaps = tour(distances, order), []
    for _ in range(100):
        order = reordered(order, rng)
        gaps.append(tour(distances, order) - length)
        length += gaps[-1]
    first = initial_temperature([g for g in gaps if g > 0])
    shortest, uniform = length, rng.random(steps)
    for step in range(steps):
        after = reordered(order, rng)
        longer = tour(distances, after)
        if accepts(log_chance((0, length), (0, longer), first * 1e-3 ** (step / steps)), uniform[step]):
            order, length = after, longer
            shortest = min(shortest, length)
    return shortest


def two_opt(distances: Any, order: list[int]) -> float:
    """The tour at which no reversal of a stretch is shorter."""
    n, improved = len(order), True
    while improved:
        improved = False
        for i in range(n - 1):
            for j in range(i + 2, n - (i == 0)):
                a, b, c, d = order[i], order[i + 1], order[j], order[(j + 1) % n]
                if distances[a][c] + distances[b][d] < distances[a][b] + distances[c][d] - 1e-12:
                    order[i + 1 : j + 1] = order[i + 1 : j + 1][::-1]
                    improved = True
    return tour(distances, order)


@pytest.mark.parametrize("seed", range(2))
def test_a_tour_of_fifty_towns_is_within_six_percent_of_the_best_of_thirty_two_opts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    towns = rng.random((50, 2))
    distances = np.linalg.norm(towns[:, None] - towns[None], axis=2).tolist()
    reference = min(two_opt(distances, [int(i) for i in rng.permutation(50)]) for _ in range(30))
    assert annealed(distances, 40_000, seed) <= 1.06 * reference


def knapsack(seed: int) -> tuple[Any, Any, float, float]:
    """Weights, gains, capacity, and the gain of the best subset."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(10, 60, len(BITS))
    gains = weights + rng.integers(-8, 25, len(BITS))
    capacity = int(weights.sum() * 0.4)
    most = np.zeros(capacity + 1, dtype=int)
    for weight, gain in zip(weights, gains, strict=True):
        most[weight:] = np.maximum(most[weight:], most[: capacity + 1 - weight] + gain)
    return weights, gains, capacity, float(most[-1])


def packed(seed: int, trials: int, **options: Any) -> float:
    """The best subset's gain as a share of the optimum."""
    weights, gains, capacity, optimum = knapsack(3)

    def score(point: Any) -> dict[str, float]:
        chosen = np.array(list(point.values()))
        return {"loss": -float(gains[chosen].sum()), "weight": float(weights[chosen].sum())}

    limits, constraints = {"max_trials": trials}, [{"metric": "weight", "max": capacity}]
    return -best(run(problem(BITS, seed, options, limits=limits, constraints=constraints), score, trials)) / optimum


def test_a_knapsack_is_packed_better_than_at_random() -> None:
    shares = [packed(seed, 500) for seed in range(3)]
    assert np.mean(shares) > 0.94
    weights, gains, capacity, optimum = knapsack(3)
    rng = np.random.default_rng(0)
    drawn = rng.random((1500, len(BITS))) < 0.5
    by_chance = (drawn @ gains)[drawn @ weights <= capacity].max() / optimum
    assert np.mean(shares) > by_chance


def test_a_network_given_as_data_packs_better_than_even_proposals() -> None:
    """Four units that together score worth times (1 where the item is out, -1 where it is in): good ones in, bad ones out."""
    weights, gains, _, _ = knapsack(3)
    worth = gains / weights - np.median(gains / weights)
    features = {p["name"]: [float(4 * w)] for p, w in zip(BITS, worth, strict=True)}
    hidden = [[-4.0, 0.0, 1.0], [-4.0, 0.0, 1.0], [4.0, 0.0, 1.0], [4.0, 0.0, 1.0]]
    network = {"hidden": hidden, "bias": [1.0, 3.0, -3.0, -1.0], "output": [2.0, -2.0, -2.0, 2.0]}
    learned = [packed(seed, 200, proposal={"weights": network, "features": features}) for seed in range(3)]
    even = [packed(seed, 200) for seed in range(3)]
    assert np.mean(learned) > np.mean(even)


def test_topological_swaps_find_the_order_of_a_linear_model() -> None:
    """Equal noise variances: the residual variances sum to the least exactly at the causal orders (Peters, Bühlmann 2014)."""
    rng, d = np.random.default_rng(2), 8
    causal = [int(i) for i in rng.permutation(d)]
    weights = np.zeros((d, d))
    for later in range(1, d):
        for earlier in rng.choice(later, min(later, 2), replace=False):
            weights[causal[earlier], causal[later]] = rng.choice([-1, 1]) * rng.uniform(0.7, 1.5)
    mixing = np.linalg.inv(np.eye(d) - weights)
    covariance = mixing.T @ mixing

    def residual(order: list[int]) -> float:
        total = 0.0
        for place, node in enumerate(order):
            before = order[:place]
            part = covariance[node, node]
            if before:
                cross = covariance[np.ix_(before, [node])][:, 0]
                part = part - cross @ np.linalg.solve(covariance[np.ix_(before, before)], cross)
            total += float(part)
        return total

    parameters = [{"name": "order", "type": "permutation", "items": list(range(d))}]
    options = {"proposal": {"order_moves": {"swap": 1}}}
    for seed in range(2):
        of = problem(parameters, seed, options, limits={"max_trials": 600})
        one = run(of, lambda p: residual(p["order"]), 600)
        assert best(one) == pytest.approx(residual(causal), abs=1e-9)
        order = min(one.trials.values(), key=lambda t: t.metrics["loss"]).parameters["order"]
        assert all(order.index(a) < order.index(b) for a, b in zip(*np.nonzero(weights), strict=True))
