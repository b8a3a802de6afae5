"""CMA-ES is pycma's, whoever asks in whatever order: its path, its speed, bounds, whole numbers, choices, constraints, restarts."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from tests.suggesters import law
from tests.suggesters.cmaes_study import Array, Driven, adapter, floats
from tests.support.builders import study
from tests.support.objectives import ellipsoid, minimise, sphere, wins
from workers.models.folding import Box
from workers.suggesters.cmaes.choices import Choices
from workers.suggesters.cmaes.cube import Cube
from workers.suggesters.registry import get

PLAIN = {"surrogate": "none", "restarts": "none"}


def scaled(x: Array) -> float:
    """An ellipsoid around 0.1, condition 10³."""
    return float((10 ** (3 * np.arange(len(x)) / (len(x) - 1)) * (x - 0.1) ** 2).sum())


# -- the update


def test_it_takes_the_path_of_plain_pycma() -> None:
    import cma

    driven = Driven(floats(4), 5, PLAIN)
    peer = cma.CMAEvolutionStrategy(
        [0] * 4, 0.3, {"bounds": [-0.5, 0.5], "popsize": 8, "CMA_mirrors": 0, "seed": np.nan, "verbose": -9}
    )
    for generation in range(25):
        normals = np.array(
            [driven.one.problem.generator(generation, f"cmaes 0 {k}").standard_normal(4) for k in range(8)]
        )
        peer.opts["randn"] = peer.randn = peer.sm.randn = lambda *shape, normals=normals: normals
        expected = peer.ask()
        for k in range(8):
            point = driven.ask()[0]
            np.testing.assert_allclose(
                np.array(list(point.parameters.values())) - 0.5, expected[k], rtol=1e-9, atol=1e-12
            )
            driven.tell(driven.start(point), scaled(expected[k]))
        peer.tell(expected, [scaled(x) for x in expected])


@pytest.mark.parametrize("seed", range(2))
def test_the_update_is_the_textbooks_with_pycmas_constants(seed: int) -> None:
    from cma.utilities.math import Mh
    from cmaes import CMA

    n, rng = 6, np.random.default_rng(seed)
    ours, peer = adapter(n), CMA(mean=np.zeros(n), sigma=0.3, population_size=9)
    es: Any = ours._es
    peer._c_sigma, peer._d_sigma, peer._cmu = es.adapt_sigma.cs, es.adapt_sigma.damps, es.sp.cmu
    peer._weights, peer._chi_n, peer._C = np.array(es.sp.weights), Mh.chiN(n), np.array(es.sm.C)
    for _ in range(50):
        points = [ours.row(rng.standard_normal(n)) for _ in range(9)]
        ours.tell(points, [scaled(x) for x in points])
        peer.tell([(x, scaled(x)) for x in points])
        np.testing.assert_allclose(ours.mean, peer._mean, rtol=1e-9, atol=1e-12)
        assert ours.sigma == pytest.approx(peer._sigma, rel=1e-7)  # the peer adds 1e-8 to a norm
        np.testing.assert_allclose(es.sm.C, peer._C, rtol=1e-7, atol=1e-9 * np.abs(peer._C).max())


def evaluations(function: Callable[[Array], float], at: float, sigma: float, seed: int) -> int:
    """Evaluations to 1e-10 in 10 dimensions without bounds to speak of."""
    ours, rng, told = adapter(10, 10, start=at, sigma=sigma), np.random.default_rng(seed), 0
    while told < 20_000:
        points = [ours.row(rng.standard_normal(10)) for _ in range(10)]
        values = [float(function(x)) for x in points]
        if min(values) <= 1e-10:
            return told + next(i for i, value in enumerate(values, 1) if value <= 1e-10)
        told += 10
        ours.tell(points, values)
    return told


@pytest.mark.parametrize(
    ("name", "at", "sigma", "median"), [("sphere", 1, 0.5, 1660), ("elli", 1, 0.5, 4320), ("rosen", 0, 0.1, 5110)]
)
def test_it_needs_as_many_evaluations_as_pycma(name: str, at: float, sigma: float, median: int) -> None:
    import cma

    needed = [evaluations(getattr(cma.ff, name), at, sigma, seed) for seed in range(5)]
    assert statistics.median(needed) == pytest.approx(median, rel=0.1), needed


def test_a_turned_space_is_searched_as_the_space_is() -> None:
    """Up to pycma's first axes, which differ by up to 8e-5 so that they have an order."""
    n, rng = 5, np.random.default_rng(3)
    turn = np.linalg.qr(rng.standard_normal((n, n)))[0]
    ours, turned = adapter(n), adapter(n)
    for _ in range(40):
        points = [ours.row(rng.standard_normal(n)) for _ in range(9)]
        values = [scaled(x) for x in points]
        ours.tell(points, values)
        turned.tell([turn @ x for x in points], values)
        np.testing.assert_allclose(turned.mean, turn @ ours.mean, rtol=1e-9, atol=1e-12)
        assert turned.sigma == pytest.approx(ours.sigma, rel=1e-3)
    there, here = np.array(turned._es.sm.C), np.array(ours._es.sm.C)
    np.testing.assert_allclose(there, turn @ here @ turn.T, atol=2e-3 * np.abs(here).max())


def test_only_the_order_of_values_counts() -> None:
    paths = []
    for power in (1, 3, 0.25):
        driven = Driven(floats(4), 3, PLAIN)
        driven.run(lambda x, power=power: math.exp(scaled(x) / 1e3) ** power, 80)
        paths.append([t.parameters for t in driven.history.trials])
    assert paths[0] == paths[1] == paths[2]


@pytest.mark.parametrize(("objective", "trials"), [(sphere, 150), (ellipsoid, 250)])
def test_it_beats_random_search(objective: Any, trials: int) -> None:
    ours = [minimise("cmaes", objective, trials, seed, 5, surrogate="none") for seed in range(3)]
    random = [minimise("random", objective, trials, seed, 5) for seed in range(3)]
    assert wins(ours, random) == 3


def test_diagonal_learns_scales() -> None:
    diagonal = [minimise("cmaes", ellipsoid, 400, seed, 6, diagonal=True) for seed in range(3)]
    random = [minimise("random", ellipsoid, 400, seed, 6) for seed in range(3)]
    assert wins(diagonal, random) == 3


# -- the space


def test_the_box_folds_as_pycmas_and_back() -> None:
    import cma

    ours, peer, rng = Box(np.full(4, -0.5), np.full(4, 0.5)), cma.boundary_handler.BoundTransform([-0.5, 0.5]), 0
    for rng in range(200):
        x = np.random.default_rng(rng).standard_normal(4) * (0.2, 1, 10)[rng % 3]
        inside = ours.inside(x)
        np.testing.assert_allclose(inside, peer.transform(x.copy()), atol=1e-12)
        np.testing.assert_allclose(ours.inside(ours.outside(inside)), inside, atol=1e-12)
        np.testing.assert_allclose(ours.inside(-x), -inside, atol=1e-12)  # no side is preferred


def test_an_optimum_on_the_bound_is_reached() -> None:
    driven = Driven(floats(4), 1, {"surrogate": "none"})
    assert driven.run(lambda x: float(x.sum() + x[0]), 700, 1e-5)[1] <= 1e-5


def test_points_and_coordinates_are_inverse() -> None:
    space = law.problem(get("cmaes"), "mixed").space
    cube, rng = Cube(space), np.random.default_rng(0)
    assert cube.free == [4]  # more than three choices: probabilities instead of coordinates
    for _ in range(50):
        x = cube.settled(cube.lower + cube.widths * rng.random(cube.size))
        point = cube.point(x, [int(rng.integers(4))])
        assert space.point(point) == point
        picks = [0 if pick is None else pick for pick in cube.picks(point)]
        np.testing.assert_allclose(
            cube.coordinates(cube.point(cube.coordinates(point), picks)), cube.coordinates(point)
        )


def test_whole_numbers_are_solved() -> None:
    parameters = [{"name": f"i{k}", "type": "int", "min": -10, "max": 10} for k in range(3)] + floats(2, -10, 10)
    for seed in range(2):
        driven = Driven(parameters, seed, {"surrogate": "none"})
        assert driven.run(lambda x: float(((x - 2) ** 2 * (1, 10, 100, 1, 10)).sum()), 1500, 1e-6)[1] <= 1e-6


def test_choices_are_found_and_none_dies() -> None:
    choices = Choices([8])
    for _ in range(200):
        choices.learn([[3], [3], [3]], np.full(3, 1 / 3))
    assert choices.tables[0].argmax() == 3
    assert choices.tables[0].min() >= 0.9 / 32
    assert choices.tables[0].sum() == pytest.approx(1)
    parameters = [
        {"name": "k", "type": "categorical", "choices": list("abcdefgh")},
        {"name": "s", "type": "categorical", "choices": list("abc")},
        *floats(3),
    ]
    driven = Driven(parameters, 2)
    for _ in range(400):
        suggestion = driven.ask()[0]
        point = dict(suggestion.parameters)
        wrong = (point.pop("k") != "d") + (point.pop("s") != "b")
        driven.tell(driven.start(suggestion), wrong + sphere(list(point.values())))
    last = [(t.parameters["k"], t.parameters["s"]) for t in driven.history.trials[-60:]]
    assert last.count(("d", "b")) > 30


def test_inactive_coordinates_neither_drift_nor_shrink() -> None:
    parameters = [
        {"name": "kind", "type": "categorical", "choices": ["a", "b", "c"]},
        *floats(3),
        {"name": "idle", "type": "float", "min": 0, "max": 1, "when": {"kind": ["c"]}},
    ]
    driven = Driven(parameters, 4)
    for _ in range(300):
        suggestion = driven.ask()[0]
        worse = 10.0 * (suggestion.parameters["kind"] == "c")
        driven.tell(
            driven.start(suggestion), worse + sum((suggestion.parameters[f"x0{i}"] - 0.3) ** 2 for i in range(3))
        )
    found: Any = driven.suggester._distribution.adapter
    relative = np.sqrt(np.asarray(found._es.sm.variances))
    assert abs(found.mean[-1]) < 0.25
    assert relative[-1] > 0.3 * relative[3:-1].max()


@pytest.mark.parametrize("how", ["lexicographic", "auglag"])
def test_an_optimum_on_a_constraint_is_reached(how: str) -> None:
    driven = Driven(floats(4), 1, {"constraints": how}, constraints=[{"metric": "c", "max": 0.0}])
    best = math.inf
    for _ in range(900):
        suggestion = driven.ask()[0]
        x = np.array(list(suggestion.parameters.values()))
        broken = 1 - x[0] - x[1]
        value = float(((x - 0.3) ** 2).sum())
        driven.tell(driven.start(suggestion), value, c=broken)
        best = min(best, value if broken <= 0 else math.inf)
    assert best == pytest.approx(0.08, abs=1e-4)


# -- what is refused


def test_what_it_does_not_serve_is_refused_by_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for options, parameters in (
            ({"surrogate": "lq"}, [*floats(3), {"name": "k", "type": "categorical", "choices": ["a", "b"]}]),
            ({"surrogate": "lq", "constraints": "auglag"}, floats(3)),
            ({}, floats(1)),
        ):
            made = study(parameters=parameters, suggester={"name": "cmaes", "options": options})
            with pytest.raises(Invalid, match="cmaes"):
                get("cmaes").check(made)
