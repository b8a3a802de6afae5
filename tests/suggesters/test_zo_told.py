"""What clients can tell `zo` beside values: a derivative along the direction, a residual."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.history import Observation
from services.domain.trial import Outcome, TrialState
from tests.suggesters.zo_study import Run, problem, sphere, vector
from workers.suggesters.registry import get


def w(trial: Observation) -> np.ndarray:
    """Its vector."""
    return np.array(trial.parameters["w"])


def test_a_told_derivative_along_the_carried_direction_is_enough() -> None:
    tangent = [{"name": "u", "type": "vector", "length": 5, "min": -1, "max": 1}]
    run = Run(
        problem(vector(5, default=1.0) + tangent, 1, {"limits": {"max_trials": 400}}, estimator="forward-grad",
                tangent="u", evaluate=0)
    )  # fmt: skip

    def outcome(p: dict[str, Any]) -> dict[str, float]:
        assert np.linalg.norm(p["u"]) == pytest.approx(1.0)
        return sphere(p) | {"jvp": float(2 * np.array(p["w"]) @ np.array(p["u"]))}

    run.until(398, outcome)
    assert sphere(run.recommended)["loss"] < 0.01
    silent = Run(problem(vector(5) + tangent, estimator="forward-grad", tangent="u", evaluate=0)).until(20, sphere)
    assert silent.steps == 0  # values alone are not what was asked for


def test_packed_vectors_carry_point_and_direction_and_a_matrix_gives_its_shape_to_the_rule() -> None:
    packed = {"type": "vector", "length": 6, "min": -1, "max": 1, "encoding": "float64"}
    parameters = [packed | {"name": "w", "shape": [2, 3], "default": [0.5] * 6}, packed | {"name": "u"}]
    run = Run(problem(parameters, 1, None, estimator="forward-grad", tangent="u", rule="asgo", lr=0.02))
    read = run.one.problem.space.by_name

    def outcome(p: dict[str, Any]) -> dict[str, float]:
        x, u = (np.asarray(read[name].numbers(p[name])) for name in "wu")  # type: ignore[union-attr]
        return {"loss": float(x @ x), "jvp": float(2 * x @ u)}

    run.until(300, outcome)
    assert outcome(run.recommended | {"u": [0.0] * 6})["loss"] < 0.1  # from 1.5


def test_forward_gradients_are_unbiased_in_the_clients_unit() -> None:
    tangent = [{"name": "u", "type": "vector", "length": 4, "min": -1, "max": 1}]
    a = np.array([1.0, -2.0, 0.5, 3.0])
    run = Run(
        problem(vector(4, low=0, high=10) + tangent, 1, None, estimator="forward-grad", tangent="u", rule="sgd",
                lr=1e-6, directions=2000, evaluate=0, rule_options={"clip": 1e9})
    )  # fmt: skip
    for trial in run.ask(2000):
        run.answer(trial, lambda p: {"loss": 0.0, "jvp": float(a @ np.array(p["u"]))})
    assert run.steps == 1
    g = (0.5 - run.x) / 1e-6 / 10  # back from shares of the range
    np.testing.assert_allclose(g, a, atol=5 * np.linalg.norm(a) * np.sqrt(4 / 2000))


def test_a_fixed_point_is_found_from_residuals_alone() -> None:
    rng = np.random.default_rng(0)
    m = rng.normal(size=(6, 6))
    m = np.eye(6) + 0.2 * (m @ m.T) / 6
    aim = rng.uniform(-1, 1, 6)
    run = Run(problem(vector(6), 1, None, estimator="residual", lr=0.5, evaluate=0))
    for _ in range(60):
        trial = run.ask()[0]
        residual = m @ w(trial) + 0.1 * np.sin(w(trial)) - aim
        run.one.trials[trial.number] = replace(trial, residual=tuple(float(v) for v in residual))
        run.tell(trial.number, float(residual @ residual))
    assert run.steps == 60
    assert run.one.trials[60].metrics["loss"] < 1e-12
    first, second = run.ask(2)
    assert first.parameters == second.parameters  # nobody waits for a lost answer
    run.one.trials[second.number] = replace(second, residual=(0.0,) * 5)
    run.tell(second.number, 0.0)
    assert run.steps == 60  # a residual of another length is none


@pytest.mark.parametrize("scale", [30.0, 1e5])
def test_a_residual_that_is_too_steep_for_lr_shortens_it(scale: float) -> None:
    rng = np.random.default_rng(0)
    m = rng.normal(size=(6, 6))
    m, aim = scale * (np.eye(6) + 0.3 * m @ m.T / 6), rng.uniform(-1, 1, 6)
    run = Run(problem(vector(6), 1, None, estimator="residual", evaluate=0))
    residual = np.zeros(6)
    for _ in range(120):
        trial = run.ask()[0]
        residual = m @ w(trial) - scale * aim
        run.one.trials[trial.number] = replace(trial, residual=tuple(float(v) for v in residual))
        run.tell(trial.number, float(residual @ residual))
    assert np.linalg.norm(residual) < 1e-9 * scale
    scheme: Any = run.suggester._steps.scheme
    assert scheme.lr < 2 / np.linalg.eigvalsh(m)[-1]


def test_a_noisy_residual_leaves_lr_as_it_is() -> None:
    rng, aim = np.random.default_rng(0), np.ones(6)
    run = Run(problem(vector(6), 1, None, estimator="residual", evaluate=0))
    for _ in range(200):
        trial = run.ask()[0]
        residual = w(trial) - aim + 0.1 * rng.normal(size=6)
        run.one.trials[trial.number] = replace(trial, residual=tuple(float(v) for v in residual))
        run.tell(trial.number, float(residual @ residual))
    scheme: Any = run.suggester._steps.scheme
    assert scheme.lr == 0.1
    assert np.linalg.norm(np.array(run.recommended["w"]) - aim) < 0.2


def is_open(x: np.ndarray) -> bool:
    """Whether there is anything to be measured."""
    return bool(x[0] < -1.0)


@pytest.mark.parametrize("seed", range(3))
def test_where_no_residual_could_be_measured_it_starts_elsewhere_and_comes_back_from_an_edge(seed: int) -> None:
    aim = np.array([-1.5, 2.0])
    run = Run(problem(vector(2), seed, estimator="residual", lr=1.2))  # the middle of the space is closed
    states, last = [], np.inf
    for _ in range(150):
        trial = run.ask()[0]
        x, state = w(trial), TrialState.COMPLETED if is_open(w(trial)) else TrialState.INFEASIBLE
        states.append(state)
        if state is TrialState.COMPLETED:
            run.one.trials[trial.number] = replace(trial, residual=tuple((x - aim).tolist()))
            last = float(np.linalg.norm(x - aim))
        run.tell(trial.number, last, state)
    assert states[0] is TrialState.INFEASIBLE
    assert last < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_where_no_derivative_could_be_measured_it_starts_elsewhere(seed: int) -> None:
    tangent = [{"name": "u", "type": "vector", "length": 2, "min": -1, "max": 1}]
    fields = {"limits": {"max_trials": 500}}
    run = Run(problem(vector(2) + tangent, seed, fields, estimator="forward-grad", tangent="u", evaluate=0))
    aim = np.array([-2.0, 2.0])
    for _ in range(499):
        trial = run.ask()[0]
        x, u = w(trial), np.array(trial.parameters["u"])
        if is_open(x):
            run.answer(
                trial, lambda _, x=x, u=u: {"loss": float((x - aim) @ (x - aim)), "jvp": float(2 * (x - aim) @ u)}
            )
        else:
            run.tell(trial.number, 0.0, TrialState.INFEASIBLE)
    assert np.linalg.norm(np.array(run.recommended["w"]) - aim) < 0.5
    assert run.one.trials[1].state is TrialState.INFEASIBLE


NEEDS = [
    ({"estimator": "residual"}, [], {}, "/residual", "is missing: estimator residual of zo"),
    ({"estimator": "residual"}, [], {"residual": [1.0]}, "/residual", "has 1 items: .* as long as x: 3 numbers"),
    ({"estimator": "residual"}, [], {"residual": [1.0, 2.0, 3.0]}, "", ""),
    (
        {"estimator": "forward-grad", "tangent": "u"}, [{"name": "u", "type": "vector", "length": 3, "min": -1, "max": 1}],
        {}, "/metrics/jvp", "is missing: .* the derivative along 'u'",
    ),
    (
        {"scheme": "two-losses", "fidelity": "f"}, [{"name": "f", "type": "ordinal", "choices": ["proxy", "full"]}],
        {}, "/metrics/proxy", "is missing: this trial is of the proxy",
    ),
    ({}, [], {}, "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("options", "more", "told", "place", "message"), NEEDS)
def test_an_outcome_that_could_teach_nothing_is_refused_by_name(
    options: dict[str, Any], more: list[dict[str, Any]], told: dict[str, Any], place: str, message: str
) -> None:
    spec = problem(vector(3) + more, **options).spec
    point = {"w": [0.0] * 3, "u": [0.0] * 3, "f": "proxy"}
    outcome = Outcome.read_value({"metrics": {"loss": 1.0}, **told})
    get("zo").check_outcome(spec, point, Outcome(state="infeasible"))  # nothing is wanted of it
    if not place:
        get("zo").check_outcome(spec, point, outcome)
        return
    with pytest.raises(Invalid, match=message) as refused:
        get("zo").check_outcome(spec, point, outcome)
    assert [error.pointer for error in refused.value.errors] == [place]
