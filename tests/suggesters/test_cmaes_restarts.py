"""Population sizes, and when a run ends and how the next one starts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.suggesters.cmaes_study import Driven, adapter, floats
from workers.suggesters.cmaes.restarts import Progress, Run, generations_of


@pytest.mark.parametrize(
    ("fields", "options", "popsize"),
    [
        ({}, {}, 8),
        ({"limits": {"max_running": 30}}, {}, 30),
        ({"limits": {"max_running": 2}}, {}, 8),
        ({"limits": {"max_running": 64, "max_trials": 60}}, {}, 20),
        ({"limits": {"max_trials": 30}}, {"popsize": 500}, 10),
        ({"objectives": [{"metric": "loss", "noisy": True}]}, {}, 16),
    ],
)
def test_popsize_fits_the_study(fields: dict[str, Any], options: dict[str, Any], popsize: int) -> None:
    driven = Driven(floats(4), 1, options, **fields)
    assert f", {popsize} trials, " in driven.ask()[0].reason


def test_bipop_alternates_as_its_paper_says() -> None:
    rng = np.random.default_rng(0)
    run = Run(0, 8, generations_of(5, 8))
    run = run.following(1000, 8, 5, 10_000, bipop=True, rng=rng)
    assert (run.popsize, run.is_large, run.shrink) == (16, True, 1.0)  # the first run counts as small
    run = run.following(500, 8, 5, 10_000, bipop=True, rng=rng)
    assert (run.popsize, run.is_large, run.spent_small, run.spent_large) == (32, True, 1000, 500)
    run = run.following(4000, 8, 5, 10_000, bipop=True, rng=np.random.default_rng(1))
    u = np.random.default_rng(1).random(2)
    assert (run.is_large, run.small_runs) == (False, 1)
    assert run.popsize == int(8 * 4 ** (u[0] ** 2))  # the last large population was 4 times the first
    assert run.shrink == pytest.approx(0.01 ** u[1])
    assert run.generations == min(generations_of(5, run.popsize), int(0.5 * 4500 / run.popsize))
    ipop = Run(0, 8, 100)
    for doubled in (16, 32, 64):
        ipop = ipop.following(10**6, 8, 5, 50, bipop=False, rng=rng)
        assert ipop.popsize == min(doubled, 50)


def test_stop_rules() -> None:
    found = adapter(room=0.5)
    run, widths = Run(0, 9, 1000), np.ones(6)

    def progress(values: list[float], spread: float = 1.0) -> Progress:
        made = Progress(6, 9, False)
        for value in values:
            made.add([(0, value + spread * i) for i in range(9)], 9)
        return made

    assert progress([1.0 / k for k in range(1, 60)]).verdict(found, widths, [], run) is None
    assert progress([1.0] * 40, 1e-14).verdict(found, widths, [], run) == "the values are equal"
    assert progress([1.0] * 40).verdict(found, widths, [], run) is None  # the best is, the others are not
    assert progress([1.0] * 300).verdict(found, widths, [], run) == "the median stagnates"
    assert progress([1.0 / k for k in range(1, 60)]).verdict(found, widths, [], Run(0, 9, 50)) == "the run is long"
    found._es.sigma = 1e-12
    assert progress([1.0 / k for k in range(1, 60)]).verdict(found, widths, [], run) == "the distribution is a point"
    found._es.sigma = 1e4
    assert progress([1.0 / k for k in range(1, 60)]).verdict(found, widths, [], run) == "the step size diverges"
    found._es.sigma = 0.3
    found._es.D = np.array([1e-8, 1, 1, 1, 1, 1])
    assert progress([1.0 / k for k in range(1, 60)]).verdict(found, widths, [], run) == "the covariance is degenerate"
    flat = Progress(6, 9, True)
    for _ in range(40):
        flat.add([(0, 1.0)] * 9, 9)
    found._es.D = np.ones(6)
    assert flat.verdict(found, widths, [], run) is None  # steps make equal values usual


@pytest.mark.parametrize("restarts", ["bipop", "ipop"])
def test_restarts_leave_a_local_minimum(restarts: str) -> None:
    driven = Driven(floats(2, -4, 6), 3, {"restarts": restarts, "surrogate": "none"})
    rastrigin = lambda x: float((x**2 - 10 * np.cos(2 * np.pi * x) + 10).sum())  # noqa: E731
    assert driven.run(rastrigin, 6000, 1e-6, count=6)[1] <= 1e-6
    assert driven.suggester._run.number > 0


def test_without_restarts_a_run_goes_on() -> None:
    driven = Driven(floats(2), 3, {"surrogate": "none", "restarts": "none"})
    driven.run(lambda x: float((x**2).sum()), 1200, count=6)
    assert driven.suggester._run.number == 0
