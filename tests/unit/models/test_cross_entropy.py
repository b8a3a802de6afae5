"""The distribution of the cross-entropy method, the weights of path integrals, coloured noise."""

from __future__ import annotations

import numpy as np
import pytest

from workers.models.cross_entropy import Columns, SearchDistribution, coloured, path_integral_weights

REALS = Columns(np.zeros(3, dtype=np.int64), ())


def test_the_sphere_is_reached_as_the_literature_figure_says() -> None:
    """n = 10, start in [-3, 3], s0 = 2, N = 50, E = 10, a = 0.7, 60 rounds without a least deviation: a median of 1e-3."""
    found = []
    for seed in range(11):
        rng = np.random.default_rng(seed)
        columns = Columns(np.zeros(10, dtype=np.int64), ())
        search = SearchDistribution(columns, 0.5 + rng.uniform(-3, 3, 10) / 40, 2 / 40)
        for _ in range(60):
            sample = np.array([search.sample(rng.standard_normal(10), np.empty(0)) for _ in range(50)])
            elite = sample[np.argsort(((sample - 0.5) ** 2).sum(axis=1))[:10]]
            search.fit(elite, np.ones((10, 10), dtype=bool), np.ones(10), 0.7, spread=True)
        found.append((((search.mean - 0.5) * 40) ** 2).sum())
    assert 2e-4 < np.median(found) < 4e-3


def test_samples_follow_the_truncated_normal() -> None:
    search = SearchDistribution(REALS, np.array([0.1, 0.5, 0.95]), 0.3)
    rng = np.random.default_rng(1)
    sample = np.array([search.sample(rng.standard_normal(3), np.empty(0)) for _ in range(4000)])
    assert sample.min() >= 0
    assert sample.max() <= 1
    from scipy.stats import truncnorm

    for j, mean in enumerate(search.mean):
        exact = truncnorm((0 - mean) / 0.3, (1 - mean) / 0.3, mean, 0.3)
        assert sample[:, j].mean() == pytest.approx(exact.mean(), abs=0.02)
        assert sample[:, j].std() == pytest.approx(exact.std(), abs=0.02)


def test_an_update_is_smoothed_and_inactive_coordinates_count_for_nothing() -> None:
    search = SearchDistribution(REALS, np.full(3, 0.5), 0.3)
    seen = np.array([[0.2, 0.9, 0.5], [0.4, 0.1, 0.5]])
    active = np.array([[True, True, False], [True, False, False]])
    search.fit(seen, active, np.ones(2), 0.7, spread=True)
    np.testing.assert_allclose(search.mean, [0.3 * 0.5 + 0.7 * 0.3, 0.3 * 0.5 + 0.7 * 0.9, 0.5])
    np.testing.assert_allclose(search.deviation, [0.3 * 0.3 + 0.7 * 0.1, 0.3 * 0.3, 0.3])


def test_shares_of_categories_keep_a_floor_and_sum_to_one() -> None:
    search = SearchDistribution(Columns(np.array([5], dtype=np.int64), (0,)), np.array([0.5]), 0.3)
    for _ in range(40):
        search.fit(np.full((4, 1), 0.7), np.ones((4, 1), dtype=bool), np.ones(4), 0.7, spread=True)
    assert search.shares[0].sum() == pytest.approx(1)
    np.testing.assert_allclose(search.shares[0], [0.05, 0.05, 0.05, 0.8, 0.05], atol=1e-9)


@pytest.mark.parametrize("effective", [1.5, 4.0, 20.0])
def test_path_integral_weights_count_for_as_many_trials_as_wanted(effective: float) -> None:
    costs = np.random.default_rng(2).normal(size=40)
    for scale in (1.0, 1e-200, 1e300):
        weights = path_integral_weights(costs * scale, None, effective)
        assert 1 / (weights**2).sum() == pytest.approx(effective, rel=1e-4)
        assert (np.argsort(weights) == np.argsort(-costs)).all()


def test_path_integral_weights_of_a_temperature() -> None:
    costs = np.array([3.0, 1.0, 2.0])
    expected = np.exp(-costs / 0.5) / np.exp(-costs / 0.5).sum()
    np.testing.assert_allclose(path_integral_weights(costs, 0.5, 1.0), expected)
    assert path_integral_weights(np.array([1e300, -1e300]), 0.1, 1.0).tolist() == [0.0, 1.0]
    assert path_integral_weights(np.array([1.0, 1.0]), None, 1.0).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("n", [8, 9, 40])
def test_coloured_noise_has_unit_variance_and_the_spectrum_it_should(n: int) -> None:
    white = np.random.default_rng(3).standard_normal((6000, n))
    np.testing.assert_array_equal(coloured(white[0], 0.0), white[0])
    correlations = []
    for exponent in (1.0, 2.0, 3.0):
        noise = np.array([coloured(w, exponent) for w in white])
        np.testing.assert_allclose(noise.std(axis=0), 1.0, atol=0.05)
        power = (np.abs(np.fft.rfft(noise)) ** 2).mean(axis=0)
        inner = slice(1, (n + 1) // 2)
        slope = np.polyfit(np.log(np.fft.rfftfreq(n)[inner]), np.log(power[inner]), 1)[0]
        assert slope == pytest.approx(-exponent, abs=0.1)
        correlations.append(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1])
    assert correlations == sorted(correlations)
    assert correlations[0] > 0.2
