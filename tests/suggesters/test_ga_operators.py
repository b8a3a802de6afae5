"""Crossover and mutation by type, against their definitions."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from services.domain.parameters import TokensParameter
from services.domain.space import Space
from tests.support.builders import study
from workers.models.crossover import cut_crossover, order_crossover, simulated_binary
from workers.models.moves import edited, mutated, polynomial, reflected, reordered
from workers.models.offspring import Breeder, Operators


@pytest.mark.parametrize("eta", [2.0, 15.0])
def test_sbx_spreads_children_as_its_density_says(eta: float) -> None:
    from scipy.stats import kstest

    rng, n = np.random.default_rng(1), 40_000
    first, second = np.full(n, 0.49), np.full(n, 0.51)
    child = simulated_binary(first, second, eta, rng)
    crossed = child[child != first]
    assert abs(len(crossed) / n - 0.5) < 0.02
    assert abs((crossed < 0.5).mean() - 0.5) < 0.02
    spread = np.abs(2 * crossed - 1.0) / 0.02

    def below(beta: Any) -> Any:
        """The distribution of the spread factor (Deb, Agrawal 1995)."""
        return np.where(beta <= 1, beta ** (eta + 1) / 2, 1 - beta ** -(eta + 1) / 2)

    assert kstest(spread, below).pvalue > 1e-3
    assert kstest(spread, lambda b: below(b * 1.05)).pvalue < 1e-6


def test_sbx_stays_inside_also_at_the_ends() -> None:
    rng = np.random.default_rng(2)
    for low, high in ((0.0, 1.0), (0.0, 1e-9), (1 - 1e-9, 1.0), (0.3, 0.3)):
        child = simulated_binary(np.full(2000, low), np.full(2000, high), 1.0, rng)
        assert child.min() >= 0 and child.max() <= 1
        if low == high:
            assert (child == low).all()


@pytest.mark.parametrize("eta", [5.0, 20.0])
def test_polynomial_mutation_has_its_distribution_in_bounds(eta: float) -> None:
    from scipy.stats import kstest

    rng, power = np.random.default_rng(3), eta + 1
    for x in (0.5, 0.1, 0.97):
        steps = polynomial(np.full(30_000, x), eta, rng) - x

        def below(delta: Any, x: float = x) -> Any:
            left = ((1 + np.minimum(delta, 0)) ** power - (1 - x) ** power) / (2 * (1 - (1 - x) ** power))
            right = 1 - ((1 - np.maximum(delta, 0)) ** power - x**power) / (2 * (1 - x**power))
            return np.where(delta < 0, left, right)

        assert steps.min() >= -x and steps.max() <= 1 - x
        assert kstest(steps, below).pvalue > 1e-3


def test_order_crossover_keeps_a_stretch_and_the_other_s_order() -> None:
    rng = np.random.default_rng(4)
    kept_something_of_both = 0
    for _ in range(300):
        first, second = ([int(i) for i in rng.permutation(8)] for _ in range(2))
        child = order_crossover(first, second, rng)
        assert sorted(child) == list(range(8))
        same = [a == b for a, b in zip(child, first, strict=True)]
        fits = []
        for low in range(8):
            for high in range(low, 8):
                stretch = first[low : high + 1]
                around = [*second[high + 1 :], *second[: high + 1]]
                rest = [i for i in around if i not in stretch]
                fits.append(all(same[low : high + 1]) and [*child[high + 1 :], *child[:low]] == rest)
        assert any(fits)
        kept_something_of_both += child not in (first, second)
    assert kept_something_of_both > 150
    for _ in range(20):  # true and 1 are different items
        child = order_crossover([True, 1, "1"], ["1", True, 1], rng)
        assert sorted(map(repr, child)) == sorted(map(repr, [True, 1, "1"]))


@pytest.mark.parametrize(("shortest", "longest"), [(0, 12), (3, 9), (6, 6)])
def test_token_crossover_keeps_lengths_and_takes_one_piece_of_the_second(shortest: int, longest: int) -> None:
    rng, lengths = np.random.default_rng(5), set()
    for _ in range(400):
        first, second = ([f"{who}{i}" for i in range(int(rng.integers(shortest, longest + 1)))] for who in ("a", "b"))
        child = cut_crossover(first, second, shortest, longest, rng)
        assert shortest <= len(child) <= longest
        lengths.add(len(child))
        taken = [place for place, token in enumerate(child) if token[0] == "b"]
        assert taken == list(range(taken[0], taken[-1] + 1)) if taken else True
        assert [int(child[i][1:]) for i in taken] == [int(child[taken[0]][1:]) + k for k in range(len(taken))]
        mine = [token for token in child if token[0] == "a"]
        assert mine == sorted(mine, key=first.index)
    assert lengths == set(range(shortest, longest + 1))


def test_moves_of_orders_are_as_likely_back_as_there() -> None:
    rng, orders = np.random.default_rng(6), list(permutations(range(4)))
    counts = np.zeros((24, 24))
    for i, order in enumerate(orders):
        for _ in range(1500):
            counts[i, orders.index(tuple(reordered(order, rng)))] += 1
    assert counts.trace() == 0
    z = (counts - counts.T) / np.sqrt(np.maximum(counts + counts.T, 1))
    assert np.abs(z).max() < 5
    assert (counts > 0).sum(axis=1).min() >= 9  # its neighbours by reversal, insertion and exchange


def test_edits_of_tokens_keep_lengths_and_change_something() -> None:
    rng = np.random.default_rng(7)
    parameter = TokensParameter(name="t", type="tokens", vocabulary=("a", "b", 1), min_length=1, max_length=4)
    tokens: list[str | int] = ["a"]
    seen = set()
    for _ in range(600):
        after = edited(parameter, tokens, rng)
        assert abs(len(after) - len(tokens)) <= 1
        assert after != tokens or len(after) == 0
        tokens = parameter.accept(after)
        seen.add(len(tokens))
    assert seen == {1, 2, 3, 4}
    fixed = TokensParameter(name="t", type="tokens", vocabulary=("a",), min_length=2, max_length=2)
    assert edited(fixed, ["a", "a"], rng) == ["a", "a"]


def test_mutation_changes_every_type_and_mirrors_at_the_ends() -> None:
    from tests.support.builders import EVERY_TYPE

    space = study(parameters=[p for p in EVERY_TYPE if p["type"] != "text"]).space
    rng = np.random.default_rng(8)
    for parameter in space.parameters:
        value = parameter.centre()
        for _ in range(30):
            after = mutated(parameter, value, 20.0, rng)
            assert after != value or isinstance(after, bool) != isinstance(value, bool)
            assert parameter.accept(after) == after
            value = after
    assert reflected(np.array([-0.25, 1.25, 2.5, -1.5])) == pytest.approx([0.25, 0.75, 0.5, 0.5])


def test_children_keep_conditions_and_constraints_and_differ_from_their_parents() -> None:
    from services.domain.sampling import draw

    spec = study(
        parameters=[
            {"name": "kind", "type": "categorical", "choices": ["a", "b"]},
            {"name": "x", "type": "float", "min": 0, "max": 1},
            {"name": "y", "type": "float", "min": 0, "max": 1},
            {"name": "z", "type": "float", "min": 0, "max": 1, "when": {"kind": ["a"]}},
        ],
        parameter_constraints=["x + y <= 0.4", "x + z >= 0.3"],
    )
    space: Space = spec.space
    rng, breeder = np.random.default_rng(9), Breeder(spec.space, Operators(), may_repeat=False)
    kinds = set()
    for _ in range(200):
        first, second = draw(space, rng), draw(space, rng)
        assert first is not None and second is not None
        child = breeder.bred(first, second, rng)
        assert child not in (first, second)
        kept = breeder.repaired(child, first, rng)
        assert space.point(kept) == kept
        kinds.add((first["kind"], kept["kind"]))
    assert len(kinds) == 4
