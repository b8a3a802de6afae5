"""Whether a model's predictions held: residuals in predicted deviations, coverage of its intervals, order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from .document import Document

MOST_POINTS = 200
FEWEST = 8
HALF_WIDTHS = {50: 0.6744897501960817, 80: 1.2815515655446004, 95: 1.959963984540054}
LEAST_STD = 1e-12
LEAST_LEEWAY = 0.07

Verdict = Literal["too few", "well calibrated", "overconfident", "underconfident"]


class Prediction(Document):
    """One prediction and how it turned out. `z` is (value - mean) / std."""

    number: int
    mean: float
    std: float
    value: float
    z: float


class Calibration(Document):
    """How a metric's predictions held, over the trials that were proposed with one and told.

    Coverages are shares of the told values inside the central 50, 80 and 95 % intervals; null where there is no prediction.
    """

    metric: str
    count: int
    coverage_50: float | None = None
    coverage_80: float | None = None
    coverage_95: float | None = None
    mean_z: float | None = None
    std_z: float | None = None
    log_score: float | None = None
    rank_correlation: float | None = None
    verdict: Verdict = "too few"
    predictions: tuple[Prediction, ...] = ()


def calibrate(metric: str, rows: Sequence[tuple[int, float, float, float]]) -> Calibration:
    """The summary of (trial number, predicted mean, predicted std with noise, told value) rows, in any order.

    `log_score` is the mean log density of the told values, in the metric's own unit. Too few are fewer than 8.
    """
    usable = sorted(row for row in rows if all(map(math.isfinite, row[1:])) and row[2] >= 0)
    if not usable:
        return Calibration(metric=metric, count=0)
    mean, std, value = (np.array([row[i] for row in usable]) for i in (1, 2, 3))
    std = np.maximum(std, LEAST_STD * np.maximum(1.0, np.abs(value)))
    z = (value - mean) / std
    inside = {level: float((np.abs(z) <= width).mean()) for level, width in HALF_WIDTHS.items()}
    score = -0.5 * z**2 - np.log(std) - 0.5 * math.log(2 * math.pi)
    points = tuple(
        Prediction(number=row[0], mean=row[1], std=row[2], value=row[3], z=float(s))
        for row, s in zip(usable[-MOST_POINTS:], z[-MOST_POINTS:], strict=True)
    )
    return Calibration(
        metric=metric,
        count=len(usable),
        coverage_50=inside[50],
        coverage_80=inside[80],
        coverage_95=inside[95],
        mean_z=float(z.mean()),
        std_z=float(z.std()),
        log_score=float(score.mean()),
        rank_correlation=_rank_correlation(mean, value),
        verdict=_verdict(inside[80], len(usable)),
        predictions=points,
    )


def _verdict(coverage: float, count: int) -> Verdict:
    """By the 80 % interval, with two standard errors of leeway: the tails say little in short studies.

    The leeway never falls below 0.07: in long ones errors would be called out that nobody would notice.
    """
    if count < FEWEST:
        return "too few"
    leeway = max(LEAST_LEEWAY, 2.0 * math.sqrt(0.8 * 0.2 / count))
    if coverage < 0.8 - leeway:
        return "overconfident"
    return "underconfident" if coverage > min(0.8 + leeway, 0.99) else "well calibrated"


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's; None where one side is constant."""
    if len(a) < 3:
        return None
    ranks = [_ranks(a), _ranks(b)]
    if any(r.std() == 0 for r in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """(n,) ranks from 1; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks
