"""The distribution of SNES and when its runs are over: constants, the separable CMA-ES beside it, and points it did not draw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from services.domain import blob as blobs
from services.domain.suggester import Blob
from workers.models.cross_entropy import Columns
from workers.models.generations import ranked
from workers.models.natural import (
    Member,
    NaturalDistribution,
    first_width,
    learning_rate,
    usual_popsize,
    utilities,
    worth,
)
from workers.models.stagnation import Run

Array = NDArray[np.float64]


def test_constants_are_the_papers() -> None:
    assert [usual_popsize(n) for n in (1, 10, 100, 1000, 100_000)] == [4, 10, 17, 24, 38]
    assert [learning_rate(n) for n in (10, 1000)] == pytest.approx([0.335365, 0.062662], abs=1e-6)
    assert utilities(4) == pytest.approx(np.array([1.0986, 0.4055, 0, 0]) / 1.5041 - 0.25, abs=1e-4)
    assert worth([0.0, 1.5, 1.5, 3.0]) == pytest.approx([utilities(4)[0], *2 * [utilities(4)[1:3].mean()], -0.25])
    assert worth([1.0, 1.0, 1.0]) == pytest.approx([0, 0, 0])


def direct(f: Callable[[Array], float], n: int, seed: int, target: float, most: int) -> int:
    """Evaluations to a target, generation by generation, without a service."""
    rng, size = np.random.default_rng(seed), usual_popsize(n)
    search = NaturalDistribution(Columns(np.zeros(n, dtype=np.int64), ()), np.full(n, 0.3), 0.06, 1 / 3)
    for told in range(size, most, size):
        draws = rng.standard_normal((size, n))
        found = [f(search.sample(z, np.empty(0))) for z in draws]
        if min(found) < target:
            return told
        order = ranked([(0, v) for v in found])
        search.learn([Member(z, z, rank) for z, rank in zip(draws, order, strict=True)])
    return most


def reference(f: Callable[[Array], float], n: int, seed: int, target: float, most: int) -> int:
    """The same by the separable CMA-ES of PyPI's `cmaes`."""
    from cmaes import SepCMA

    other = SepCMA(mean=np.full(n, 0.3), sigma=0.06, seed=seed)
    for told in range(other.population_size, most, other.population_size):
        found = [(x, f(x)) for x in (other.ask() for _ in range(other.population_size))]
        if min(v for _, v in found) < target:
            return told
        other.tell(found)
    return most


@pytest.mark.parametrize(
    ("n", "exponent", "target", "low", "high"),
    [(10, 0, 1e-8, 1.1, 2.2), (10, 6, 1e-6, 0.7, 1.4), (100, 0, 1e-1, 1.2, 3.5), (100, 6, 1e4, 0.3, 1.0)],
    ids=["sphere 10", "ellipsoid 10", "sphere 100", "ellipsoid 100"],
)
def test_evaluations_to_a_target_beside_the_separable_cma_es(
    n: int, exponent: int, target: float, low: float, high: float
) -> None:
    scales = 10 ** (exponent * np.arange(n) / (n - 1))

    def f(x: Array) -> float:
        return float((scales * (x - 0.5) ** 2).sum())

    ours, theirs = (np.median([who(f, n, s, target, 60_000) for s in range(3)]) for who in (direct, reference))
    assert ours < 60_000
    assert low < ours / theirs < high


def test_what_it_did_not_draw_moves_the_mean_only_towards_itself_and_no_deviation() -> None:
    draws = np.random.default_rng(1).standard_normal((5, 3))

    def ends(rank: float, step: float) -> tuple[Array, Array]:
        search = NaturalDistribution(Columns(np.zeros(3, dtype=np.int64), ()), np.full(3, 0.5), 0.1, 1 / 3)
        ranks = iter(r for r in range(6) if r != rank)
        own = [Member(z, z, next(ranks)) for z in draws]
        search.learn([*own, Member(np.full(3, step), np.zeros(3), rank, is_drawn=False)])
        return search.mean, search.deviation

    np.testing.assert_array_equal(ends(5, 2.0)[0], ends(5, -2.0)[0])
    assert (ends(0, 2.0)[0] > ends(0, -2.0)[0]).all()
    np.testing.assert_array_equal(ends(0, 2.0)[1], ends(0, 9.0)[1])


def test_a_run_stalls_where_medians_stagnate_or_values_are_equal() -> None:
    better, flat, steps = Run(), Run(), Run()
    for g in range(200):
        keys = [(0, 1.0 - g / 1e3), (0, 2.0), (0, 3.0), (0, 4.0)]
        better.add([4 * g + k for k in range(4)], keys)
        for run in (flat, steps):
            run.add([4 * g + k for k in range(4)], [(0, 1.0)] * 4)
    assert better.best is not None and better.best[0] == 796
    assert better.has_stalled([(0, 0.8), (0, 2.0)], 1, knows_plateaus=False)  # its median has never moved
    assert not better.has_stalled([(0, 0.8), (0, 2.0)], 8, knows_plateaus=False)
    assert flat.has_stalled([(0, 1.0)] * 4, 8, knows_plateaus=False)
    assert not steps.has_stalled([(0, 1.0)] * 4, 8, knows_plateaus=True)
    assert Run.load(blobs.loads(blobs.dumps(Blob(version=1, document=flat.save()))).document) == flat


def test_the_first_width_is_half_the_spread_of_the_good_ones_where_enough_are_known() -> None:
    good = [np.full(4, 0.5), np.full(4, 0.52), np.full(4, 0.44)]
    assert first_width(good, 32, 0.2) == pytest.approx(0.02)
    assert first_width(good, 31, 0.2) == 0.2
    assert first_width([good[0]] * 3, 32, 0.2) == 1e-3
