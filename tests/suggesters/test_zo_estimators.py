"""The estimators of `zo`: what they are on average, how far they scatter, and what outliers, edges and levels do to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.domain.suggester import Problem
from tests.support.builders import study
from workers.models.estimators import ESTIMATORS, estimates
from workers.models.estimators.directions import Directions, Family, guiding_basis
from workers.suggesters.zo import gradient
from workers.suggesters.zo.coordinates import Coordinates
from workers.suggesters.zo.probes import Probes

EXACT = [name for name, kind in ESTIMATORS.items() if kind.is_exact and kind.slope in ("value", "previous")]
PAIRED = [name for name, kind in ESTIMATORS.items() if kind.is_paired]
COUNT = 3000
FLOATS = {"type": "float", "min": 0, "max": 1}


def problem(n: int = 5, **fields: Any) -> Problem:
    """n numbers between 0 and 1."""
    fields.setdefault("parameters", [{"name": f"x{i}", **FLOATS} for i in range(n)])
    return Problem(study="s", spec=study(suggester={"name": "zo"}, **fields), seed=5)


def probes(name: str, of: Problem, x: Any, radius: float = 0.01, block: int = 1, **more: Any) -> Probes:
    """The probes of step 0 at x."""
    kind = ESTIMATORS[name]
    return Probes(
        Coordinates(of, frozenset()), kind, of.generator, step=0, block=block, lead=kind.lead, radius=radius,
        bases=[np.asarray(x, dtype=float)], **more,
    )  # fmt: skip


def estimated(name: str, made: Probes, f: Any, count: int, previous: Any = None) -> gradient.Slopes:
    """Slopes of the first directions."""
    rows = range(made.rows(count))
    values = {row: np.array([f(made.coordinates(made.place(row)))]) for row in rows}
    return gradient.slopes(ESTIMATORS[name], made, values, range(count), previous=previous)


def linear(n: int, seed: int = 0) -> Any:
    """A slope and its function."""
    a = np.random.default_rng(seed).normal(size=n)
    return a, lambda x: float(a @ x) + 3.0


@pytest.mark.parametrize("name", EXACT)
def test_the_mean_of_many_estimates_is_the_gradient(name: str) -> None:
    a, f = linear(5)
    made = probes(name, problem(), np.full(5, 0.5), block=COUNT if name == "forward" else 1)
    found = estimated(name, made, f, COUNT, previous=np.array([f(np.full(5, 0.5)) + 0.001]))
    each = found.slopes * found.weights
    error = each.std(axis=0) / np.sqrt(COUNT)
    assert np.all(np.abs(each.mean(axis=0) - a) < 3 * error + 1e-9)
    assert np.all(error < 0.1 * np.linalg.norm(a))


@pytest.mark.parametrize("name", ["sign", "es-rank"])
def test_signs_and_ranks_have_the_right_direction(name: str) -> None:
    a, f = linear(5)
    found = estimated(name, probes(name, problem(), np.full(5, 0.5)), f, 2000)
    g = found.gradient()[0]
    assert g @ a / np.linalg.norm(g) / np.linalg.norm(a) > 0.99
    stretched = estimated(name, probes(name, problem(), np.full(5, 0.5)), lambda x: 1e6 * f(x), 2000)
    np.testing.assert_array_equal(stretched.gradient()[0], g)  # whatever the unit of the objective


def test_guided_directions_prefer_the_latest_steps() -> None:
    n, a = 6, np.arange(1.0, 7.0)
    basis = guiding_basis(np.array([np.ones(n), np.eye(n)[0], np.ones(n)]))
    assert basis.shape == (n, 2)
    made = probes("guided", problem(n), np.full(n, 0.5), basis=basis)
    found = estimated("guided", made, lambda x: float(a @ x), COUNT)
    each = found.slopes * found.weights
    expected = 0.5 * a + 0.5 * n / 2 * basis @ (basis.T @ a)
    assert np.all(np.abs(each.mean(axis=0) - expected) < 4 * each.std(axis=0) / np.sqrt(COUNT))


@pytest.mark.parametrize(
    ("name", "law"), [("sphere2", 49), ("spsa", 49), ("gauss2", 51), ("forward", 51), ("coord", 49), ("orth2", 49)]
)
def test_one_direction_explains_one_nth_of_the_gradient(name: str, law: float) -> None:
    n = 50
    a, f = linear(n)
    count = 10_000 if name.startswith("g") or name == "forward" else COUNT  # a normal direction's length scatters too
    made = probes(name, problem(n), np.full(n, 0.5), block=count if name == "forward" else 1)
    found = estimated(name, made, f, count)
    errors = np.square(found.slopes * found.weights - a).sum(axis=1) / (a @ a)
    assert errors.mean() == pytest.approx(law, rel=0.05)


@pytest.mark.parametrize(("name", "law"), [("gauss2", 51 / 25), ("orth2", 1.0), ("coord", 1.0)])
def test_many_directions_divide_the_error_and_orthogonal_ones_more(name: str, law: float) -> None:
    n, q = 50, 25
    a, f = linear(n)
    found = estimated(name, probes(name, problem(n), np.full(n, 0.5), block=q), f, 200 * q)
    each = (found.slopes * found.weights).reshape(200, q, n).mean(axis=1)
    assert (np.square(each - a).sum(axis=1) / (a @ a)).mean() == pytest.approx(law, rel=0.05)


@pytest.mark.parametrize("name", ["orth2", "coord"])
def test_as_many_orthogonal_directions_as_coordinates_are_exact_on_quadratics(name: str) -> None:
    n, rng = 30, np.random.default_rng(1)
    h = rng.normal(size=(n, n))
    h = h @ h.T
    x = rng.uniform(0.3, 0.7, n)
    made = probes(name, problem(n), x, block=n, radius=0.02)
    found = estimated(name, made, lambda y: float(0.5 * y @ h @ y), n).gradient()[0]
    np.testing.assert_allclose(found, h @ x, rtol=1e-9, atol=1e-10 * float(np.linalg.norm(h @ x)))


@pytest.mark.parametrize("name", ["gauss2", "coord"])
def test_second_differences_are_the_diagonal_of_the_hessian(name: str) -> None:
    n, rng = 3, np.random.default_rng(2)
    h = rng.normal(size=(n, n))
    h = h @ h.T
    count = n if name == "coord" else 10_000
    kind = ESTIMATORS[name]
    of = problem(n)
    made = Probes(
        Coordinates(of, frozenset()), kind, of.generator, step=0, block=count, lead=True, radius=0.02,
        bases=[np.full(n, 0.5)],
    )  # fmt: skip
    rows = range(made.rows(count))
    values = {}
    for row in rows:
        y = made.coordinates(made.place(row))
        assert y is not None
        values[row] = np.array([0.5 * y @ h @ y])
    found = gradient.hessian(kind, made, values, range(count))
    np.testing.assert_allclose(found, np.diag(h), rtol=1e-6 if name == "coord" else 0.25)


def test_directions_are_the_same_for_the_same_seed_and_step_only() -> None:
    of = problem()
    families: tuple[Family, ...] = ("rademacher", "gauss", "sphere", "orthonormal", "coordinate")
    for family in families:
        one = Directions(family, 5, 3, 4, of.generator)
        again = [Directions(family, 5, 3, 4, of.generator).draw(k) for k in (6, 2)]
        np.testing.assert_array_equal(one.draw(2), again[1])
        np.testing.assert_array_equal(one.draw(6), again[0])
        later = Directions(family, 5, 4, 4, of.generator)
        assert any(not np.array_equal(later.draw(k), one.draw(k)) for k in range(4))


def test_axes_come_once_each_before_any_comes_again() -> None:
    of = problem()
    axes = [
        int(np.argmax(Directions("coordinate", 7, step, 3, of.generator).draw(k)))
        for step in range(14)
        for k in range(3)
    ]
    for start in range(0, 42, 7):
        assert sorted(axes[start : start + 7]) == list(range(7))


# -- edges and levels


@pytest.mark.parametrize("name", PAIRED)
def test_at_a_corner_both_probes_stay_inside_and_the_slope_is_right(name: str) -> None:
    a, f = linear(5)
    x = np.array([0.0, 1.0, 0.0, 0.5, 1.0])
    made = probes(name, problem(), x, radius=0.1)
    for index in range(200):
        direction = made.direction(index)
        assert direction is not None
        low, high = direction.centres[0] - direction.offset, direction.centres[0] + direction.offset
        assert min(low.min(), high.min()) > -1e-12
        assert max(low.max(), high.max()) < 1 + 1e-12
        assert np.abs(direction.centres[0] - x).max() <= 0.1 * 3.2
    if ESTIMATORS[name].slope == "value" and ESTIMATORS[name].is_exact:
        found = estimated(name, made, f, 2000)
        each = found.slopes * found.weights
        assert np.all(np.abs(each.mean(axis=0) - a) < 4 * each.std(axis=0) / np.sqrt(2000) + 1e-9)


def test_one_sided_probes_at_a_corner_are_right_too() -> None:
    a, f = linear(5)
    made = probes("forward", problem(), [0.0, 1.0, 0.0, 0.5, 1.0], radius=0.05, block=2000)
    found = estimated("forward", made, f, 2000)
    each = found.slopes * found.weights
    # A direction that is cut short where it leaves is no longer symmetric; on a linear function that does not matter for pairs.
    assert np.all(np.abs(each.mean(axis=0) - a) < 5 * each.std(axis=0) / np.sqrt(2000) + 1e-9)


@pytest.mark.parametrize("name", ["spsa", "gauss2", "coord"])
def test_probes_of_whole_numbers_reach_the_next_level(name: str) -> None:
    of = problem(parameters=[{"name": "n", "type": "int", "min": 0, "max": 9}, {"name": "on", "type": "bool"}])
    coordinates = Coordinates(of, frozenset())
    made = probes(name, of, [0.55, 0.25], radius=1e-3)
    assert made.radius.min() >= (0.1 if name == "coord" else 0.05)
    differ = 0
    for index in range(40):
        rows = [made.row(index, 0, side) for side in (0, 1)]
        low, high = (coordinates.point(made.coordinates(made.place(row))) for row in rows)  # type: ignore[arg-type]
        differ += low != high
    assert differ >= 35 if name != "gauss2" else 15


# -- outliers


def test_outliers_are_held_within_ten_deviations() -> None:
    rng = np.random.default_rng(0)
    usual = rng.normal(size=(50, 1))
    held = estimates.winsorised(np.array([[1e300], [0.3], [-1e300]]), usual)
    assert abs(held[0, 0]) < 10.5
    assert held[1, 0] == 0.3
    assert held[2, 0] > -10.5
    alone = estimates.winsorised(np.array([[1e300], [0.3]]), np.empty((0, 1)))
    assert alone[0, 0] == 1e300  # too few to say what is usual
    same = estimates.winsorised(np.array([[5.0]]), np.zeros((20, 1)))
    assert same[0, 0] == 5.0  # after a plateau anything is unusual


def test_huge_slopes_give_finite_gradients() -> None:
    g = estimates.gradient(np.array([[1e150], [-1e150]]), np.array([[1e9, 1.0], [-1e9, 1.0]]))
    np.testing.assert_array_equal(g, [[1e100, 0.0]])


def test_ranks_are_centred_and_ties_share() -> None:
    found = estimates.centred_ranks(np.array([[3.0], [1.0], [3.0], [9.0]]))
    np.testing.assert_allclose(found[:, 0], [0.0, -0.5, 0.0, 0.5])
    assert not estimates.centred_ranks(np.ones((4, 1))).any()
