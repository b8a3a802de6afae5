"""The native update rules on quadratics, restored, clipped, composed and refused."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from services.domain.blob import dumps, loads
from services.domain.suggester import Blob
from tests.suggesters.rule_gradients import BOTTOM, HESSIAN, START, Array, N, gradients
from workers.models import rules
from workers.models.rules.catalogue import REFUSED, RULES, WRAPPERS
from workers.models.rules.wrappers import Clipped


def descend(name: str, steps: int, noise: float = 0.0, seed: int = 0, options: dict[str, Any] | None = None) -> float:
    """Excess of the recommended point on a quadratic in the unit cube, as a share of the start's."""
    rng = np.random.default_rng(seed)
    rule = rules.make(name, N, options, (3, 4))
    x = START.copy()

    def excess(z: Array) -> float:
        return float(0.5 * (z - BOTTOM) @ (HESSIAN * (z - BOTTOM)))

    for _ in range(steps * rule.gradients_per_step):
        at = np.clip(rule.probe_at(x), 0, 1)
        g = HESSIAN * (at - BOTTOM) + noise * rng.standard_normal(N)
        x = np.clip(rule.step(x, g, excess(at), {"hessian": HESSIAN}), 0, 1)
    return excess(rule.recommend(x)) / excess(START)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_descends_with_its_defaults(name: str) -> None:
    assert descend(name, 200) < 0.01


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_wrapper_descends_around_adam(wrapper: str) -> None:
    assert descend(f"{wrapper}(adam)", 200) < 0.01


def test_the_learning_rate_free_rules_need_none_over_six_orders_of_scale() -> None:
    for name in ("dog", "u-dog", "d-adapt", "d-adapt-sgd"):
        for scale in (1e-3, 1.0, 1e3):
            rule, x = rules.make(name, N), START.copy()
            for _ in range(300 * rule.gradients_per_step):
                x = np.clip(rule.step(x, scale * HESSIAN * (np.clip(rule.probe_at(x), 0, 1) - BOTTOM)), 0, 1)
            found = rule.recommend(x)
            assert np.linalg.norm(found - BOTTOM) < 0.05 * np.linalg.norm(START - BOTTOM), (name, scale)


def test_u_dog_is_ahead_of_dog_for_the_same_gradients_on_a_long_valley() -> None:
    """Acceleration: an ill-conditioned quadratic without noise, 400 gradients for either."""
    hessian = np.geomspace(1e-4, 1.0, 100)
    start = np.full(100, 0.3)

    def after(name: str) -> float:
        rule, x = rules.make(name, 100, {"gamma": 8.0} if name == "dog" else {}), start.copy()
        for _ in range(400):
            x = rule.step(x, hessian * rule.probe_at(x))
        found = rule.recommend(x)
        return float(found @ (hessian * found))

    assert after("u-dog") < 0.5 * after("dog")


def test_an_average_of_noisy_iterates_is_better_than_the_last_one() -> None:
    last = np.median([descend("adam", 300, noise=1.0, seed=seed) for seed in range(9)])
    averaged = np.median([descend("averaged(adam)", 300, noise=1.0, seed=seed) for seed in range(9)])
    assert averaged < 0.4 * last


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_schedule_reaches_the_rule_through_every_wrapper(wrapper: str) -> None:
    options = {"lr": 1.0, "restart_period": 10, "restart_growth": 1} | ({} if wrapper == "clipped" else {"clip": 0})
    rule, g = rules.make(f"sgdr({wrapper}(sgd))", N, options), 1e-3 * np.ones(N)
    first, *rest = [float(np.linalg.norm(START - rule.step(START, g))) for _ in range(6)]
    assert rest[-1] == pytest.approx(first / 2, rel=0.2 if wrapper in ("cosine", "sgdr") else 1e-9)


# -- states


def restored(rule: rules.Rule, name: str, options: dict[str, Any]) -> rules.Rule:
    scalars, arrays = rule.save()
    blob = loads(dumps(Blob(version=1, document=scalars, arrays=arrays)))
    copy = rules.make(name, N, options, (3, 4))
    copy.load(blob.document, blob.arrays)
    return copy


def journey(name: str, options: dict[str, Any], saved_after: set[int]) -> Array:
    rule, x, path = rules.make(name, N, options, (3, 4)), START.copy(), []
    for k, g in enumerate(gradients(6, 60)):
        if k in saved_after:
            rule = restored(rule, name, options)
        x = np.clip(rule.step(x, g, float(g @ g), {"hessian": np.abs(g)}), 0, 1)
        path += [x, rule.probe_at(x), rule.recommend(x)]
    return np.array(path)


@pytest.mark.parametrize(
    "name", [*RULES, *(f"{wrapper}(adam)" for wrapper in WRAPPERS), "averaged(cautious(sgdr(lion)))"]
)
def test_a_restored_rule_goes_on_bit_for_bit(name: str) -> None:
    assert np.array_equal(journey(name, {}, set()), journey(name, {}, {0, 1, 2, 3, 7, 30, 31}))


@pytest.mark.parametrize("name", [*RULES, "averaged(momentum)"])
def test_what_is_recommended_stays_in_the_domain(name: str) -> None:
    """Iterates are projected outside of the rule; averages of them never leave the box, opt-amsgrad's look ahead may."""
    rule, x = rules.make(name, N, {}, (3, 4)), START.copy()
    for g in 5 * gradients(7, 60):
        x = np.clip(rule.step(x, g, 1.0, {"hessian": np.ones(N)}), 0, 1)
        seen = [rule.recommend(x)] if name == "opt-amsgrad" else [rule.recommend(x), rule.probe_at(x)]
        assert all(np.all(z > -1e-12) and np.all(z < 1 + 1e-12) for z in seen)


@pytest.mark.parametrize("name", [*RULES, *(f"{wrapper}(adam)" for wrapper in WRAPPERS)])
def test_gradients_of_zero_and_beyond_all_measure_leave_numbers(name: str) -> None:
    rule, x = rules.make(name, N, {}, (3, 4)), START.copy()
    for g in (
        np.zeros(N),
        np.zeros(N),
        gradients()[0],
        1e300 * gradients()[1],
        np.zeros(N),
        1e-300 * gradients()[2],
        gradients()[3],
    ):
        x = np.clip(rule.step(x, g, 1.0, {"hessian": np.abs(g)}), 0, 1)
        assert (
            np.all(np.isfinite(x)) and np.all(np.isfinite(rule.recommend(x))) and np.all(np.isfinite(rule.probe_at(x)))
        )


def test_a_rule_leaves_what_it_was_given_alone() -> None:
    for name in RULES:
        rule, g, x = rules.make(name, N, {}, (3, 4)), gradients()[0], START.copy()
        told = {"hessian": np.ones(N)}
        for _ in range(3):
            rule.step(x, g, 1.0, told)
            rule.probe_at(x)
            rule.recommend(x)
        assert (
            np.array_equal(g, gradients()[0])
            and np.array_equal(x, START)
            and np.array_equal(told["hessian"], np.ones(N))
        )


# -- clipping, names, options


def test_an_outlier_is_shortened_to_five_median_lengths() -> None:
    rule = rules.make("sgd", N, {"lr": 1.0})
    assert isinstance(rule, Clipped)
    found = gradients(8, 30)
    for g in found:
        rule.step(START, g)
    outlier = 1e6 * np.ones(N)
    move = START - rule.step(START, outlier)
    median = np.median(np.append(np.linalg.norm(found, axis=1), np.linalg.norm(outlier)))
    assert np.linalg.norm(move) == pytest.approx(5 * median)
    np.testing.assert_allclose(move / np.linalg.norm(move), np.ones(N) / math.sqrt(N))


@pytest.mark.parametrize("name", ["sgd", "clipped(sgd)"])
def test_without_clipping_an_outlier_counts_in_full(name: str) -> None:
    rule = rules.make(name, N, {"lr": 1.0, "clip": 0})
    for g in gradients(8, 30):
        rule.step(START, g)
    np.testing.assert_allclose(START - rule.step(START, 1e6 * np.ones(N)), 1e6 * np.ones(N))


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("adan", {}, "no rule 'adan'; there are sgd"),
        ("gauss-newton", {}, "residuals"),
        ("shampoo", {}, "torch:Shampoo"),
        ("adam", {"momentum": 0.9}, "no option momentum"),
        ("adam", {"lr": -1.0}, "option lr"),
        ("adam", {"lr": "fast"}, "option lr"),
        ("cautious(adan)", {}, "no rule 'adan'"),
        ("careful(adam)", {}, "no rule 'careful"),
        ("sgdr(adam)", {"restart_period": 0}, "restart_period"),
        ("adam", {"clip": -1.0}, "clip"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_reason(name: str, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("(", r"\(")):
        rules.make(name, N, options)


def test_a_rule_over_matrices_needs_one() -> None:
    with pytest.raises(ValueError, match="matrix"):
        rules.make("asgo", N)
    with pytest.raises(ValueError, match="shape"):
        rules.make("asgo", N, {}, (5, 4))


def test_a_step_without_the_value_that_polyak_needs_is_refused() -> None:
    rule = rules.make("polyak", N)
    assert "value" in rule.wants
    with pytest.raises(ValueError, match="value"):
        rule.step(START, np.ones(N))


def test_wrappers_and_rules_share_no_name_of_an_option() -> None:
    """Options are flat: a wrapper would take what was meant for its rule."""
    inner = {key for kind in RULES.values() for key in kind.Options.model_fields}
    for name, kind in WRAPPERS.items():
        assert not inner & set(kind.Options.model_fields), name


def test_names_and_schemas_describe_every_rule() -> None:
    assert set(rules.names()) == set(RULES) | {f"{name}(…)" for name in WRAPPERS}
    assert all(len(text) > 10 for text in rules.names().values())
    assert set(rules.schema()) == set(RULES) | set(WRAPPERS)
    assert rules.schema()["adam"]["properties"]["lr"]["default"] == 0.02
    assert not set(REFUSED) & set(RULES)


def test_importing_the_rules_does_not_load_torch() -> None:
    code = "import sys; from workers.models import rules; rules.make('adam', 3); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
