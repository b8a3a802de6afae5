"""The network's derivatives, its confidence ball, and optimism through a study."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import minimise, wins
from workers.models.sigmoid_network import Ball, Network
from workers.suggesters.registry import get

STEP = 1e-6


def drawn(inputs: int = 4, seed: int = 0) -> tuple[Network, np.ndarray, np.ndarray]:
    """A network, parameters, and six places."""
    rng = np.random.default_rng(seed)
    network = Network(inputs)
    return network, network.draw(rng), rng.random((6, inputs))


def test_the_family_has_the_stated_size() -> None:
    assert [Network(d).size for d in (1, 5, 20)] == [25 * (d + 2) + 1 for d in (1, 5, 20)]


def test_features_are_the_gradient_by_the_parameters() -> None:
    network, w, x = drawn()
    steps = STEP * np.eye(network.size)
    expected = np.array([(network.values(w + s, x) - network.values(w - s, x)) / (2 * STEP) for s in steps]).T
    np.testing.assert_allclose(network.features(w, x), expected, atol=1e-8)


def test_gradients_by_the_place_agree_with_differences() -> None:
    network, w, x = drawn()
    u = np.random.default_rng(1).standard_normal((6, network.size))
    ball = Ball(network, w, 0.5)
    rng = np.random.default_rng(2)
    for _ in range(20):
        ball.add(rng.random(4), float(rng.standard_normal()))
    for function, gradient in [
        (lambda p: network.values(w, p), network.slopes(w, x)),
        (lambda p: (network.features(w, p) * u).sum(axis=1), network.pulled_back(w, x, u)),
        (lambda p: ball.lower(p, 1.5)[1], ball.lower_with_slopes(x, 1.5)[1]),
    ]:
        steps = STEP * np.eye(4)
        expected = np.array([(function(x + s) - function(x - s)) / (2 * STEP) for s in steps]).T
        np.testing.assert_allclose(gradient, expected, atol=1e-7)
    np.testing.assert_allclose(ball.lower_with_slopes(x, 1.5)[0], ball.lower(x, 1.5)[1], atol=1e-12)


def test_the_ball_is_the_regularised_least_squares_of_the_paper() -> None:
    network, w, _ = drawn()
    rng, ridge = np.random.default_rng(3), 0.3
    ball, sigma, pull = Ball(network, w, ridge), ridge * np.eye(network.size), ridge * w
    for _ in range(60):
        x, y = rng.random(4), float(rng.standard_normal())
        a = network.features(w, x[None])[0]
        sigma += np.outer(a, a)
        pull += a * (a @ w + y - network.values(w, x[None])[0])
        ball.add(x, y)
    np.testing.assert_allclose(ball.inverse, np.linalg.inv(sigma), atol=1e-8)
    np.testing.assert_allclose(w + ball.shift, np.linalg.solve(sigma, pull), atol=1e-8)
    x = rng.random((3, 4))
    a = network.features(w, x)
    spread = np.sqrt(np.einsum("np,np->n", a @ np.linalg.inv(sigma), a))
    mean, bound = ball.lower(x, 2.0)
    np.testing.assert_allclose(bound, mean - 2.0 * spread, atol=1e-8)


def test_optimism_is_the_lowest_linearised_value_in_the_ball() -> None:
    network, w, x = drawn()
    ball, rng, beta = Ball(network, w, 1.0), np.random.default_rng(4), 0.7
    for _ in range(10):
        ball.add(rng.random(4), float(rng.standard_normal()))
    _, bound = ball.lower(x, np.sqrt(beta))
    lower = np.linalg.cholesky(ball.inverse)
    a, values = network.features(w, x), network.values(w, x)
    inside = []
    for _ in range(3000):
        direction = rng.standard_normal(network.size)
        move = ball.shift + np.sqrt(beta) * lower @ (direction / np.linalg.norm(direction))
        inside.append(values + a @ move)
    assert (np.min(inside, axis=0) >= bound - 1e-9).all()
    through = ball.inverse @ a[0]
    best = ball.shift - np.sqrt(beta) * through / np.sqrt(a[0] @ through)
    assert values[0] + a[0] @ best == pytest.approx(bound[0], abs=1e-9)


def test_a_pending_place_shrinks_the_spread_and_leaves_the_mean() -> None:
    network, w, x = drawn()
    ball = Ball(network, w, 1.0)
    ball.add(x[0], 0.5)
    one = ball.copy()
    one.add(x[1], None)
    before, after = ball.lower(x, 1.0), one.lower(x, 1.0)
    spread = [mean - bound for mean, bound in (before, after)]
    assert (spread[1] < spread[0] + 1e-12).all()
    assert spread[1][1] < 0.8 * spread[0][1]
    assert one._pull is not ball._pull
    np.testing.assert_allclose(one._pull, ball._pull)


def test_a_fit_generalises_where_the_family_holds_the_function() -> None:
    network, w, _ = drawn(20, seed=5)
    x = np.random.default_rng(6).random((1060, 20))
    y = network.values(w, x)
    y = (y - y.mean()) / y.std()
    found = network.fit(x[:60], y[:60], np.random.default_rng(7))
    assert np.mean((network.values(found, x[60:]) - y[60:]) ** 2) < 0.15  # 60 places for 551 parameters


# -- through a study


def plane(p: Any) -> float:
    """A ridge in eight dimensions that the family holds: lowest at a corner."""
    x = np.asarray(p)
    return float(np.tanh(2 * (x[:4].sum() - 1.5)) + np.tanh(x[4:].sum() - 2.0))


def test_it_beats_random_search_and_gets_near_the_minimum() -> None:
    lowest = plane([0.0] * 8)
    ours = [minimise("goucb", plane, 36, seed, 8) for seed in range(2)]
    random = [minimise("random", plane, 200, seed, 8) for seed in range(2)]
    assert wins(ours, random) == 2
    assert max(ours) < lowest + 0.02


def problem(options: dict[str, Any] | None = None, d: int = 4, **fields: Any) -> law.Problem:
    """A numeric study."""
    parameters = [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(d)]
    fields = {"parameters": parameters} | fields
    made = study(suggester={"name": "goucb", "options": options or {}}, seed=5, **fields)
    return law.Problem(study="s", spec=made, seed=5)


def run(of: law.Problem, outcome: Any, trials: int) -> law.Study:
    """Tell one after another: metrics or a state."""
    one, suggester = law.Study(of), law.make(get("goucb"), of)
    for _ in range(trials):
        number = one.start(suggester.suggest(one.history(), 1)[0])
        trial = one.trials[number]
        told = outcome(trial.parameters)
        if isinstance(told, TrialState):
            one.tell(number, 0.0, told)
        else:
            one.tell(number, 0.0, **told)
    return one


def test_constraints_are_kept_by_optimism() -> None:
    of = problem(constraints=[{"metric": "c", "max": 0.0}])
    one = run(of, lambda p: {"loss": sum(p.values()), "c": 1.2 - p["x0"] - p["x1"]}, 30)
    found = [t.metrics["loss"] for t in one.trials.values() if t.metrics["c"] <= 1e-9]
    assert min(found) < 1.45  # 1.2 is the best
    late = [t.metrics["c"] for t in one.trials.values() if t.number > 18]
    assert np.median(late) < 0.1


def test_it_keeps_away_from_where_nothing_can_be_evaluated() -> None:
    of = problem({"initial_trials": 12})
    one = run(of, lambda p: TrialState.INFEASIBLE if p["x0"] < 0.4 else {"loss": p["x0"] + p["x1"]}, 32)
    late = [t.state for t in one.trials.values() if t.number > 20]
    assert late.count(TrialState.INFEASIBLE) <= 5
    assert min(t.metrics["loss"] for t in one.trials.values() if t.metrics) < 0.75  # 0.4 is the best


def test_points_asked_together_differ_and_the_receipt_predicts() -> None:
    of = problem()
    one = run(of, lambda p: {"loss": (p["x0"] - 0.3) ** 2 + 0.1 * p["x1"]}, 20)
    found = law.make(get("goucb"), of).suggest(one.history(), 3)
    points = np.array([list(s.parameters.values()) for s in found])
    assert min(np.abs(points[i] - points[j]).max() for i in range(3) for j in range(i)) >= 1e-3 * (1 - 1e-9)
    receipt = found[0].receipt or {}
    x = found[0].parameters
    error = abs(receipt["mean"]["loss"] - ((x["x0"] - 0.3) ** 2 + 0.1 * x["x1"]))
    assert error < 0.1
    assert receipt["std"]["loss"] > 0
    assert receipt["fitted_to"] <= 20


def test_a_goal_to_maximise_is_turned_around() -> None:
    of = problem(objectives=[{"metric": "gain", "goal": "maximize"}])
    one = run(of, lambda p: {"gain": 2 * p["x0"] - p["x1"]}, 25)
    assert max(t.metrics["gain"] for t in one.trials.values()) > 1.9
    found = law.make(get("goucb"), of).suggest(one.history(), 1)[0]
    assert found.receipt is not None
    assert found.receipt["mean"]["gain"] > 1


def test_categories_are_inputs_of_their_own() -> None:
    parameters = [
        {"name": "kind", "type": "categorical", "choices": ["a", "b", "c", "d"]},
        {"name": "n", "type": "int", "min": 0, "max": 20},
        {"name": "x", "type": "float", "min": 0, "max": 1},
    ]
    of = problem(parameters=parameters)
    one = run(of, lambda p: {"loss": (p["kind"] != "c") + p["n"] / 20 + p["x"]}, 36)
    best = min(one.trials.values(), key=lambda t: t.metrics["loss"])
    assert best.parameters["kind"] == "c"
    assert best.metrics["loss"] < 0.1


def test_too_many_inputs_are_refused() -> None:
    with pytest.raises(Invalid) as error:
        get("goucb").check(problem(d=101).spec)
    assert "up to 100" in str(error.value)


@pytest.mark.parametrize("restart", ["saved", "lost"])
def test_restarts_change_nothing_across_fits(restart: str) -> None:
    def path(how: str) -> list[Any]:
        of = law.problem(get("goucb"), "mixed", seed=11)
        one, suggester, running, found = law.Study(of), law.make(get("goucb"), of), [], []
        for n in range(32):
            if how == "saved":
                suggester = law.make(get("goucb"), of, law.save(suggester))
            elif how == "lost" and n % 6 == 0:
                suggester = law.make(get("goucb"), of)
            suggestion = suggester.suggest(one.history(), 1)[0]
            found.append(suggestion.parameters)
            running.append(one.start(suggestion))
            while len(running) > 2:
                number = running.pop(n * 7919 % len(running))
                state = TrialState.COMPLETED if number % 9 else TrialState.INFEASIBLE
                numbers = [v for v in one.trials[number].parameters.values() if isinstance(v, float)]
                one.tell(number, sum(numbers), state)
        return found

    assert path(restart) == path("never")
