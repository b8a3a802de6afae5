"""Spaces that `zo` descends in, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from tests.suggesters import law
from tests.suggesters.zo_study import Run, floats, problem, squares, vector
from workers.suggesters.registry import get

# -- spaces


def test_conditional_parameters_keep_their_place_while_inactive() -> None:
    parameters = [
        {"name": "on", "type": "bool", "default": False},
        {"name": "x", "type": "float", "min": 0, "max": 1},
        {"name": "y", "type": "float", "min": 0, "max": 1, "when": {"on": [True]}},
    ]
    run = Run(problem(parameters, rule="adam")).until(
        150, lambda p: {"loss": (p["x"] - 0.8) ** 2 + p["on"] + p.get("y", 0.0)}
    )
    assert run.recommended["on"] is False
    assert run.recommended["x"] == pytest.approx(0.8, abs=0.1)


def test_whole_numbers_find_their_level() -> None:
    parameters = [{"name": f"n{i}", "type": "int", "min": 0, "max": 20} for i in range(3)] + floats("x")
    run = Run(problem(parameters)).until(
        500, lambda p: {"loss": sum((p[f"n{i}"] - 6 * i - 2) ** 2 for i in range(3)) + (p["x"] - 0.3) ** 2}
    )
    assert [run.recommended[f"n{i}"] for i in range(3)] == [2, 8, 14]


def test_where_points_come_once_only_what_was_told_before_stands_for_a_probe() -> None:
    run = Run(problem([{"name": name, "type": "int", "min": 0, "max": 19} for name in "xyz"], 2, evaluate=0))
    run.until(150, squares)
    points = [tuple(t.parameters.values()) for t in run.one.trials.values()]
    assert len(set(points)) == 150
    assert points.index((2, 3, 4)) < 120
    assert run.steps > 40  # more than 150 new points could pay for, two a step, had the old ones to be asked again
    rows = [t.origin["row"] for t in run.one.trials.values()]
    assert rows.index(-1) > 40  # then all around is known, and the rest is drawn at random


def test_parameter_constraints_hold_at_every_probe_and_the_edge_is_reached() -> None:
    run = Run(problem(floats("x", "y"), fields={"parameter_constraints": ["x + y <= 0.6"]}))
    run.until(300, lambda p: {"loss": (p["x"] - 0.9) ** 2 + (p["y"] - 0.7) ** 2})
    points = [t.parameters for t in run.one.trials.values()]
    assert all(p["x"] + p["y"] <= 0.6 for p in points)
    assert run.recommended["x"] + run.recommended["y"] > 0.57
    assert sum(t.origin["row"] == -1 for t in run.one.trials.values()) == 0


def test_a_vector_of_a_thousand_numbers_is_served_in_batches() -> None:
    run = Run(problem(vector(1000, low=-1, high=1), fields={"limits": {"max_running": 64}}))
    assert run.ask()[0].origin["directions"] == 32
    run.until(400, lambda p: {"loss": float(np.square(np.array(p["w"]) - 0.5).sum())}, count=64)
    assert {t.parameters["w"].__len__() for t in run.one.trials.values()} == {1000}
    assert run.steps >= 5


# -- refusals


@pytest.mark.parametrize(
    ("parameters", "options", "fields", "pointer"),
    [
        (vector(3), {"rule": "adahessian"}, {}, "rule"),
        (vector(3), {"rule": "torch:AdaHessian"}, {}, "rule"),
        (vector(3), {"rule": "torch:LBFGS"}, {}, "rule"),
        (vector(3), {"rule": "torch:NoSuchClass"}, {}, "rule"),
        (vector(3), {"rule": "sophia-zo"}, {}, "rule"),
        (vector(3), {"rule": "sophia-zo", "estimator": "spsa"}, {}, "rule"),
        (vector(3), {"rule": "asgo"}, {}, "rule"),
        (vector(3), {"rule": "adam", "rule_options": {"beta9": 1}}, {}, "rule_options/beta9"),
        (vector(3), {"rule": "adam", "rule_options": {"beta1": 2}}, {}, "rule_options/beta1"),
        (vector(3), {"rule": "sgdr(adam)", "rule_options": {"restart_period": 0}}, {}, "rule_options/restart_period"),
        (vector(3), {"rule": "adam", "rule_options": {"lr": -1}}, {}, "rule_options/lr"),
        (vector(3), {"rule": "torch:Adam", "rule_options": {"momentum": 1}}, {}, "rule_options/momentum"),
        (vector(3), {"rule": "torch:AdamW", "rule_options": {"betas": [2, 0.9]}}, {}, "rule_options/betas"),
        (vector(3), {"rule": "torch:Ranger21"}, {}, "rule_options"),
        (vector(3), {"rule": "spsa", "rule_options": {"beta1": 1}}, {}, "rule_options"),
        (vector(3), {"rule": "adam", "scheme": "frank-wolfe"}, {}, "rule"),
        (vector(3), {"rule": "adam", "estimator": "residual"}, {}, "rule"),
        (vector(3), {"rule": "spsa", "scheme": "conservative"}, {}, "rule"),
        (vector(3), {"radius": 1e-300}, {}, "radius"),
        (vector(3), {"radius": 0.7}, {}, "radius"),
        (vector(3), {"lr": 0.1, "scheme": "frank-wolfe"}, {}, "lr"),
        (vector(3), {"radius": 0.01, "scheme": "frank-wolfe"}, {}, "radius"),
        (vector(3), {"domain": "simplex"}, {}, "domain"),
        (vector(3, low=0.2), {"domain": "simplex", "scheme": "frank-wolfe"}, {}, "domain"),
        (floats("x", "y"), {"domain": "l1", "scheme": "frank-wolfe"}, {}, "domain"),
        (floats("x", "y"), {"estimator": "residual"}, {}, "estimator"),
        (vector(30_000), {"estimator": "orth2"}, {}, "estimator"),
        (vector(30_000), {"directions": 1000}, {}, "directions"),
        (vector(3), {"estimator": "forward-grad"}, {}, "tangent"),
        (vector(3), {"tangent": "w"}, {}, "tangent"),
        (vector(3), {"crn": "w"}, {}, "crn"),
        (vector(3), {"crn": "nobody"}, {}, "crn"),
        (vector(3), {"variance_reduction": "spider", "estimator": "one-point"}, {}, "variance_reduction"),
        (
            vector(3),
            {"variance_reduction": "spider"},
            {"objectives": [{"metric": "loss", "noisy": True}]},
            "variance_reduction",
        ),
        (
            [{"name": "n", "type": "int", "min": 0, "max": 5}],
            {"estimator": "forward"},
            {},
            "estimator",
        ),
        (
            vector(3),
            {"estimator": "one-point"},
            {"constraints": [{"metric": "c", "max": 0}]},
            "estimator",
        ),
        (
            vector(3),
            {"aggregator": "no-such"},
            {"objectives": [{"metric": "a"}, {"metric": "b"}]},
            "aggregator",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(parameters: Any, options: Any, fields: Any, pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        problem(parameters, fields=fields, **options)
    assert error.value.errors[0].pointer == f"/suggester/options/{pointer}"
    assert f"/suggester/options/{pointer}: " in error.value.detail  # the sentence alone says which option, too


def test_categoricals_and_fixed_spaces_are_refused() -> None:
    for parameters in ([{"name": "c", "type": "categorical", "choices": ["a", "b"]}], floats("x", low=1.0)):
        with pytest.raises(Invalid):
            problem(parameters)


def test_a_told_residual_is_kept_on_the_observation() -> None:
    run = Run(problem(vector(2), estimator="residual"))
    trial = run.ask()[0]
    run.one.trials[trial.number] = replace(trial, residual=(1.0, -2.0))
    run.tell(trial.number, 5.0)
    np.testing.assert_allclose(run.recommended["w"], [-0.1, 0.2])


def test_the_largest_standard_errors_are_no_overflow() -> None:
    of = law.problem(
        get("zo"), "vector", objectives=[{"metric": "loss", "noisy": True}],
        suggester={"name": "zo", "options": {"estimator": "gauss2"}},
    )  # fmt: skip
    one, suggester = law.Study(of), law.make(get("zo"), of)
    for n in range(20):
        number = one.start(suggester.suggest(one.history(), 1)[0])
        one.tell(number, float(n % 4))
        one.trials[number] = law.with_std(one.trials[number], {"loss": 1e300})
    assert np.isfinite(suggester._steps.scheme.x).all()
