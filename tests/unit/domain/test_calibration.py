"""Calibration: known coverages, scores and verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from services.domain.calibration import MOST_POINTS, calibrate

Row = tuple[int, float, float, float]


def rows(count: int, *, claimed: float, actual: float, bias: float = 0.0) -> list[Row]:
    """Predictions that claim one deviation where values have another."""
    rng = np.random.default_rng(3)
    means = rng.normal(0.0, 10.0, count)
    values = means + bias + actual * rng.standard_normal(count)
    return [(i + 1, float(m), claimed, float(v)) for i, (m, v) in enumerate(zip(means, values, strict=True))]


def test_right_deviations_are_well_calibrated() -> None:
    found = calibrate("loss", rows(4000, claimed=2.0, actual=2.0))
    assert found.verdict == "well calibrated"
    assert found.coverage_50 == pytest.approx(0.5, abs=0.03)
    assert found.coverage_80 == pytest.approx(0.8, abs=0.03)
    assert found.coverage_95 == pytest.approx(0.95, abs=0.015)
    assert found.mean_z == pytest.approx(0.0, abs=0.06)
    assert found.std_z == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize(
    ("claimed", "actual", "verdict"), [(1.0, 3.0, "overconfident"), (3.0, 1.0, "underconfident"), (1.0, 1.05, "well calibrated")]
)  # fmt: skip
@pytest.mark.parametrize("count", [60, 3000])
def test_the_verdict_follows_the_ratio_of_deviations(claimed: float, actual: float, verdict: str, count: int) -> None:
    assert calibrate("loss", rows(count, claimed=claimed, actual=actual)).verdict == verdict


def test_scores_agree_with_scipy() -> None:
    given = rows(50, claimed=2.0, actual=1.0, bias=0.5)
    found = calibrate("loss", given)
    mean, std, value = (np.array([row[i] for row in given]) for i in (1, 2, 3))
    assert found.log_score == pytest.approx(stats.norm(mean, std).logpdf(value).mean())
    assert found.rank_correlation == pytest.approx(stats.spearmanr(mean, value).statistic)
    assert found.mean_z == pytest.approx(((value - mean) / std).mean())


def test_equal_values_share_their_rank() -> None:
    given = [(1, 1.0, 1.0, 2.0), (2, 1.0, 1.0, 3.0), (3, 2.0, 1.0, 3.0), (4, 5.0, 1.0, 1.0), (5, 5.0, 1.0, 9.0)]
    expected = stats.spearmanr([row[1] for row in given], [row[3] for row in given]).statistic
    assert calibrate("loss", given).rank_correlation == pytest.approx(expected)


def test_the_latest_predictions_are_listed_by_number() -> None:
    found = calibrate("loss", rows(MOST_POINTS + 50, claimed=1.0, actual=1.0)[::-1])
    assert [p.number for p in found.predictions] == list(range(51, MOST_POINTS + 51))
    assert found.count == MOST_POINTS + 50
    one = found.predictions[-1]
    assert one.z == pytest.approx((one.value - one.mean) / one.std)


def test_nothing_and_few_and_useless_rows_have_no_verdict() -> None:
    assert calibrate("loss", []).verdict == "too few"
    assert calibrate("loss", [(1, math.nan, 1.0, 1.0), (2, 1.0, math.inf, 1.0), (3, 1.0, -1.0, 1.0)]).count == 0
    found = calibrate("loss", rows(7, claimed=1.0, actual=9.0))
    assert (found.count, found.verdict) == (7, "too few")


def test_no_spread_at_all_still_has_finite_numbers() -> None:
    found = calibrate("loss", [(i, 5.0, 0.0, 5.0) for i in range(1, 12)])
    assert found.std_z == 0.0
    assert found.log_score is not None
    assert math.isfinite(found.log_score)
    assert found.rank_correlation is None
