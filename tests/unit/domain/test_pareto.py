"""Dominance and dominated volume, against the slow way."""

from __future__ import annotations

import numpy as np
import pytest

from services.domain.pareto import hypervolume, non_dominated


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_front_is_what_nobody_dominates(k: int) -> None:
    for seed in range(20):
        points = np.random.default_rng(seed).integers(0, 5, (30, k)).astype(float)
        slow = [i for i, p in enumerate(points) if not any(np.all(q <= p) and np.any(q < p) for q in points)]
        assert non_dominated(points) == slow


def test_nothing_has_no_front() -> None:
    assert non_dominated([]) == []


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_volume_is_that_of_counted_cells(k: int) -> None:
    points = np.random.default_rng(k).integers(0, 5, (6, k)).astype(float)
    cells = np.stack(np.meshgrid(*[np.arange(5)] * k, indexing="ij"), axis=-1).reshape(-1, k)
    counted = sum(bool(np.any(np.all(points <= cell, axis=1))) for cell in cells)
    assert hypervolume(points, [5.0] * k) == pytest.approx(counted)


def test_points_beyond_the_reference_add_nothing() -> None:
    assert hypervolume([[1.0, 6.0]], [5.0, 5.0]) == 0.0
