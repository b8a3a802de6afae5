"""Random projections of soft prompts: their spread, their seeds, and a light SDK."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from asktell.soft_prompts import Projection, clipped_statistics


@pytest.mark.parametrize(("std", "alpha", "sigma"), [(0.14, 1.0, 1.0), (2.5, 0.5, 1.0), (0.8, 1.0, 0.2)])
def test_prompts_have_the_spread_that_was_asked_for(std: float, alpha: float, sigma: float) -> None:
    projection = Projection(length=500, tokens=20, hidden=64, std=std, alpha=alpha, sigma=sigma, seed=3)
    rng = np.random.default_rng(0)
    prompts = np.array([projection(rng.normal(0, sigma, 500)) for _ in range(200)])
    assert prompts.shape == (200, 20, 64)
    assert prompts.std() == pytest.approx(alpha * std, rel=0.01)
    assert abs(prompts.mean()) < 0.01 * alpha * std
    assert projection.matrix.std() == pytest.approx(projection.scale, rel=0.01)


def test_the_first_versions_matrix_is_uniform() -> None:
    projection = Projection(length=100, tokens=5, hidden=200, kind="uniform")
    assert np.abs(projection.matrix).max() <= 0.1
    assert projection.matrix.std() == pytest.approx(projection.scale, rel=0.01)


def test_a_matrix_is_fixed_by_seed_and_layer() -> None:
    def matrix(seed: int, layer: int) -> np.ndarray:
        return Projection(length=4, tokens=2, hidden=3, seed=seed, layer=layer).matrix

    assert np.array_equal(matrix(1, 2), matrix(1, 2))
    others = [matrix(1, 2), matrix(1, 3), matrix(2, 2), matrix(2, 1)]
    assert not any(np.array_equal(a, b) for a, b in pairwise(others))


def test_a_prompt_is_linear_in_its_vector() -> None:
    projection = Projection(length=4, tokens=2, hidden=3)
    a, b = [1.0, 0.0, -2.0, 0.5], [0.5, 1.0, 1.0, 0.0]
    total = projection([x + 2 * y for x, y in zip(a, b, strict=True)])
    np.testing.assert_allclose(total, projection(a) + 2 * projection(b), rtol=1e-5)
    assert not projection([0.0] * 4).any()


def test_outliers_are_clipped_round_by_round() -> None:
    values = np.random.default_rng(1).normal(2, 0.5, 10_000)
    values[:20] = 1000
    expected = values.copy()
    for _ in range(5):
        expected = np.clip(expected, expected.mean() - 3 * expected.std(), expected.mean() + 3 * expected.std())
    mean, std = clipped_statistics(values.reshape(100, 100))
    assert mean == pytest.approx(expected.mean())
    assert std == pytest.approx(expected.std())
    assert std < values.std() / 10
    assert clipped_statistics(values, rounds=0)[1] == pytest.approx(values.std())


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Projection(length=0, tokens=1, hidden=1)
    with pytest.raises(ValueError, match="finite"):
        Projection(length=1, tokens=1, hidden=1, std=float("nan"))
    with pytest.raises(ValueError, match="finite"):
        clipped_statistics([1.0, float("inf")])


def test_the_sdk_stays_light() -> None:
    code = "import sys, asktell, asktell.soft_prompts; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import sys; sys.modules['numpy'] = None; from asktell.soft_prompts import *; clipped_statistics([1])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install numpy" in done.stderr
