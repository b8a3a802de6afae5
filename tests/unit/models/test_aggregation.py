"""Gradients combined: against torchjd, and by what defines the directions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchjd.aggregation import MGDA, Mean, UPGrad
from torchjd.linalg import DualConeProjector

from workers.models.aggregation import NAMES, aggregate, weights

Array = NDArray[np.float64]
SHAPES = [(2, 30), (3, 5), (5, 40), (6, 6)]


def gradients(shape: tuple[int, int], seed: int) -> Array:
    """Correlated, of different lengths."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(size=(shape[0], 1))) * (rng.standard_normal(shape) + 0.3 * rng.standard_normal(shape[1]))


class ByEnumeration(DualConeProjector):
    """min wᵀGw over w ≥ u by trying every set of bounds that may be active: slow, and exact."""

    def __call__(self, U: torch.Tensor, G: torch.Tensor) -> torch.Tensor:
        gramian = G.numpy()
        return torch.tensor(np.array([self._projected(u, gramian) for u in U.numpy()]))

    def _projected(self, u: Array, gramian: Array) -> Array:
        m, best, least = len(u), u, np.inf
        for active in itertools.product([True, False], repeat=m):
            fixed = np.array(active)
            w, free = u.copy(), ~fixed
            if free.any():
                w[free] = np.linalg.lstsq(gramian[np.ix_(free, free)], -gramian[np.ix_(free, fixed)] @ u[fixed])[0]
            if np.all(w >= u - 1e-12) and w @ gramian @ w < least:
                best, least = w, float(w @ gramian @ w)
        return best


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(5))
def test_upgrad_is_torchjds(shape: tuple[int, int], seed: int) -> None:
    found = gradients(shape, seed)
    expected = UPGrad(projector=ByEnumeration())(torch.tensor(found)).numpy()
    np.testing.assert_allclose(aggregate(found, "upgrad"), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(2))
def test_mgda_is_what_torchjds_iteration_approaches_from_above(shape: tuple[int, int], seed: int) -> None:
    found = gradients(shape, seed)
    approximate = MGDA(epsilon=1e-9, max_iters=2_000)(torch.tensor(found)).numpy()
    exact = aggregate(found, "mgda")
    assert np.linalg.norm(exact) <= np.linalg.norm(approximate) * (1 + 1e-12)
    np.testing.assert_allclose(exact, approximate, atol=0.02 * np.max(np.abs(found)))


def test_the_mean_is_torchjds() -> None:
    found = gradients((4, 9), 0)
    np.testing.assert_allclose(aggregate(found, "mean"), Mean()(torch.tensor(found)).numpy(), rtol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["upgrad", "mgda"])
def test_no_objective_is_harmed(shape: tuple[int, int], name: str) -> None:
    harmed_by_the_mean = 0
    for seed in range(20):
        found = gradients(shape, seed)
        direction = aggregate(found, name)
        assert np.min(found @ direction) > -1e-10 * np.max(found @ found.T)
        harmed_by_the_mean += int(np.min(found @ aggregate(found, "mean")) < 0)
    assert harmed_by_the_mean > 0


def test_mgda_has_the_same_product_with_every_gradient_that_it_uses() -> None:
    found = gradients((5, 40), 3)
    share, direction = weights(found, "mgda"), aggregate(found, "mgda")
    products = found @ direction
    assert share.sum() == pytest.approx(1) and np.all(share >= 0)
    np.testing.assert_allclose(products[share > 1e-9], direction @ direction, rtol=1e-8)
    assert np.all(products >= direction @ direction * (1 - 1e-8))


@pytest.mark.parametrize("name", NAMES)
def test_agreeing_gradients_are_averaged_or_shortened_and_opposed_ones_cancel(name: str) -> None:
    agreeing = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    np.testing.assert_allclose(aggregate(agreeing, name), [0.5, 0.5, 0.0], atol=1e-12)
    opposed = np.array([[1.0, 2.0], [-1.0, -2.0]])
    np.testing.assert_allclose(aggregate(opposed, name), 0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_degenerate_gradients_give_finite_directions(name: str) -> None:
    for found in (
        np.zeros((3, 4)),
        np.ones((3, 4)),
        1e300 * gradients((3, 4), 0),
        1e-300 * gradients((3, 4), 0),
        gradients((1, 4), 0),
    ):
        assert np.all(np.isfinite(aggregate(found, name)))
    alone = gradients((1, 4), 0)
    np.testing.assert_allclose(aggregate(alone, name), alone[0])


@pytest.mark.parametrize("name", ["upgrad", "mgda"])
def test_descent_ends_on_the_pareto_front_and_the_order_of_objectives_does_not_matter(name: str) -> None:
    """Two quadratics: the front is the segment between their bottoms."""
    bottoms = np.array([[0.2, 0.2, 0.5], [0.8, 0.6, 0.5]])

    def end(order: list[int]) -> Array:
        x = np.array([0.1, 0.9, 0.9])
        for _ in range(400):
            x = x - 0.1 * aggregate((x - bottoms)[order], name)
        return x

    x = end([0, 1])
    share = float((x - bottoms[0]) @ (bottoms[1] - bottoms[0]) / np.sum((bottoms[1] - bottoms[0]) ** 2))
    assert 0 <= share <= 1
    np.testing.assert_allclose(x, bottoms[0] + share * (bottoms[1] - bottoms[0]), atol=1e-4)
    np.testing.assert_allclose(x, end([1, 0]), atol=1e-9)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="no aggregator 'pcgrad'; there are upgrad"):
        aggregate(np.ones((2, 2)), "pcgrad")
