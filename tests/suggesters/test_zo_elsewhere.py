"""Where nothing could be evaluated at first: `zo` starts elsewhere, inside the set of its iterates, and measures noise later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.domain.trial import TrialState
from tests.suggesters.zo_study import Run, floats, problem, vector


@pytest.mark.parametrize("domain", ["simplex", "l1"])
def test_it_starts_elsewhere_in_the_set(domain: str) -> None:
    space = vector(3, low=-1, high=1)
    for seed in range(3):
        run = Run(problem(space, seed, None, scheme="frank-wolfe", domain=domain, evaluate=0))
        was_open = []
        for _ in range(150):
            for trial in run.ask():
                z = np.array(trial.parameters["w"])
                was_open.append(z[0] >= 0.5)  # the middle of neither set, with its probes, comes near
                run.tell(trial.number, -z[0], TrialState.COMPLETED if was_open[-1] else TrialState.INFEASIBLE)
        z = -1 + 2 * run.x
        assert np.abs(z).sum() <= 1 + 1e-12
        assert domain == "l1" or (abs(z.sum() - 1) < 1e-12 and z.min() > -1e-12)
        assert sum(was_open) > 20, seed


@pytest.mark.parametrize("directions", [1, 2])
def test_noise_is_measured_once_something_can_be_evaluated(directions: int) -> None:
    fields: dict[str, Any] = {"objectives": [{"metric": "loss", "noisy": True}], "limits": {"max_trials": 2000}}
    run = Run(problem(floats("x", "y"), 1, fields, rule="adam", directions=directions, evaluate=0))
    rng = np.random.default_rng(0)
    for _ in range(400):
        for trial in run.ask():
            p = trial.parameters
            state = TrialState.COMPLETED if p["x"] <= 0.4 else TrialState.INFEASIBLE
            run.tell(trial.number, (p["x"] - 0.2) ** 2 + p["y"] ** 2 + 0.01 * rng.normal(), state)
    steps: Any = run.suggester._steps
    assert steps.step > 60  # beyond the step in which the radius is taken from the noise again
    assert steps.radius >= 0.02  # a radius of exact values would drown in the noise


@pytest.mark.parametrize("options", [{}, {"rule": "adam"}, {"rule": "schedule-free"}, {"scheme": "conservative"}])
def test_where_nothing_could_ever_be_evaluated_it_starts_elsewhere(options: dict[str, Any]) -> None:
    for seed in range(3):
        run = Run(problem(floats("x", "y"), seed=seed, fields={"limits": {"max_trials": 400}}, **options))
        while len(run.one.trials) < 400:
            for trial in run.ask():
                p = trial.parameters
                is_open = p["x"] <= 0.2
                value = (p["x"] - 0.1) ** 2 + (p["y"] - 0.2) ** 2
                run.tell(trial.number, value, TrialState.COMPLETED if is_open else TrialState.INFEASIBLE)
        found = run.recommended
        assert (found["x"] - 0.1) ** 2 + (found["y"] - 0.2) ** 2 < 0.01, seed
