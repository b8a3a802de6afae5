"""Formulas as update rules: their grammar, how one is chosen, and what a population does that follows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import minimise, rosenbrock, sphere, wins
from workers.models.move_rules import MOST_NODES, parse
from workers.models.rule_choice import chosen, features
from workers.suggesters.registry import get
from workers.suggesters.symbol.table import RULES, START, WEIGHTS

DE = "0.7*(gb + -x) + 0.6*(randx + -randx)"
PSO = "0.7*dx + 0.6*((gb + pb) + -(x + x))"


def problem(d: int, seed: int = 5, limits: dict[str, int] | None = None, **options: Any) -> law.Problem:
    """A study over one vector."""
    parameters = [{"name": "x", "type": "vector", "length": d, "min": 0, "max": 1}]
    made = study(
        parameters=parameters, suggester={"name": "symbol", "options": options}, seed=seed, limits=limits or {}
    )
    return law.Problem(study="s", spec=made, seed=seed)


# the grammar


def value(text: str, **leaves: float) -> float:
    """Of a rule for numbers, with randx 10, 20, 30, … in turn."""
    others = iter(range(10, 1000, 10))
    arrays = {name: np.array([leaves.get(name, 0.0)]) for name in ("x", "gb", "gw", "dx", "pb")}
    return float(parse(text)(arrays, lambda: np.array([float(next(others))]))[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5", 0.5),
        ("-0.3*x", -0.6),
        ("x + gb*0.5 + -gw", 2 + 1.5 - 5),
        ("(x + gb)*0.5", 2.5),
        ("-(x + gb)*pb", -35.0),
        ("--x", 2.0),
        ("randx + -randx", -10.0),
        ("randx*0.1+randx * 0.1", 3.0),
        ("1*dx", 11.0),
    ],
)
def test_rules_are_read_as_written(text: str, expected: float) -> None:
    assert value(text, x=2, gb=3, gw=5, pb=7, dx=11) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not the end"),
        ("x +", "not the end"),
        ("y", "not y"),
        ("__import__", "cannot hold"),
        ("x - gb", "go on with '-'"),
        ("x / gb", "cannot hold '/'"),
        ("(x + gb", "not closed"),
        ("x gb", "go on with 'gb'"),
        ("1.5*x", "from 0 to 1"),
        ("0.25*x", "steps of 0.1"),
        ("x*(x*(x*(x*(x*(x*x)))))", "5 operations deep"),
        ("+".join(["((x+x)+(x+x))"] * 5), f"{MOST_NODES} nodes"),
    ],
)
def test_what_is_not_in_the_grammar_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        parse(text)
    with pytest.raises(Invalid):
        get("symbol").check(problem(2, rule=text).spec)


def test_the_table_is_in_the_grammar_and_has_a_row_of_weights_for_each_rule() -> None:
    assert {DE, PSO} <= {parse(text).text for text in RULES}
    assert np.array(WEIGHTS).shape == (len(RULES), len(START) + 1)


# the choice


def test_the_features_by_hand() -> None:
    places = np.array([[0.0, 0.0], [0.6, 0.0], [0.0, 0.8]])
    found = features(places, np.array([2.0, 6.0, 4.0]), (np.array([0.6, 0.8]), 0.0), 10.0, 0.25, 0.5, True)
    diameter = np.sqrt(2)
    expected = [0.4, (0.6 + 0.8 + 1.0) / 3 / diameter, 2 * np.std([0.2, 0.6, 0.4]), 0.25, 0.5]
    expected += [1.4 / 3 / diameter, 0.2, (1.0 + 0.8 + 0.6) / 3 / diameter, 1.0]
    np.testing.assert_allclose(found, expected)
    flat = features(places, np.ones(3), (places[0], 1.0), 1.0, 1.0, 7.0, False)
    assert np.isfinite(flat).all()
    assert flat[0] == 0
    assert flat[4] == 1


def test_the_highest_score_is_followed() -> None:
    weights = [[0.0] * 9 + [0.5], [1.0] + [0.0] * 9]
    assert chosen(np.array([0.4] + [0.0] * 8), weights) == 0
    assert chosen(np.array([0.6] + [0.0] * 8), weights) == 1


def test_the_rule_changes_with_the_search_and_only_every_five_rounds() -> None:
    of = problem(10, popsize=20, limits={"max_trials": 1200})
    one, suggester = law.Study(of), law.make(get("symbol"), of)
    used: list[str] = []
    for _ in range(60):
        given = suggester.suggest(one.history(), 20)
        used.append(str(given[0].origin.get("rule")))
        assert {s.origin.get("rule", used[-1]) for s in given} == {used[-1]}
        for suggestion in given:
            one.tell(one.start(suggestion), rosenbrock(suggestion.parameters["x"]))
    assert len(set(used[1:])) >= 2
    assert all(t % 5 == 0 for t in range(2, 60) if used[t] != used[t - 1])


# the population


def reference(
    of: law.Problem, objective: Callable[[Any], float], rule: str, rounds: int, size: int
) -> list[np.ndarray]:
    """The synchronous form of two of the rules in plain numbers, on the suggester's draws."""
    x = np.array([s.parameters["x"] for s in law.make(get("symbol"), of).suggest(law.Study(of).history(), size)])
    dx, f = np.zeros_like(x), np.array([objective(v) for v in x])
    own, own_f, seen = x.copy(), f.copy(), [x.copy()]
    for t in range(1, rounds):
        leader, moved = own[int(np.argmin(own_f))], x.copy()
        for i in range(size):
            rng, others = of.generator(t, f"symbol {i}"), [j for j in range(size) if j != i]
            if rule == DE:
                a, b = (x[others[rng.integers(size - 1)]] for _ in range(2))
                step = 0.7 * (leader - x[i]) + 0.6 * (a - b)
            else:
                step = 0.7 * dx[i] + 0.6 * (leader + own[i] - 2 * x[i])
            moved[i] = np.clip(x[i] + step, 0, 1)
            if np.array_equal(moved[i], x[i]):
                moved[i] = of.generator(t * size + i + 1, "symbol outside").random(x.shape[1])
                dx[i] = 0.0
            else:
                dx[i] = moved[i] - x[i]
        x, f = moved, np.array([objective(v) for v in moved])
        own[f <= own_f], own_f = x[f <= own_f], np.minimum(f, own_f)
        seen.append(x.copy())
    return seen


@pytest.mark.parametrize("rule", [DE, PSO], ids=["de", "pso"])
def test_asked_and_told_round_by_round_a_rule_is_what_it_says(rule: str) -> None:
    of = problem(3, popsize=6, rule=rule)
    expected = reference(of, rosenbrock, rule, 15, 6)
    one, suggester = law.Study(of), law.make(get("symbol"), of)
    for places in expected:
        given = suggester.suggest(one.history(), 6)
        np.testing.assert_allclose([s.parameters["x"] for s in given], places, rtol=1e-8, atol=1e-11)
        for suggestion in given:
            one.tell(one.start(suggestion), rosenbrock(suggestion.parameters["x"]))


def test_the_learned_choice_is_ahead_of_every_formula_alone_on_functions_that_it_was_not_trained_on() -> None:
    from benchmarks import train_symbol as training

    rules = [parse(text) for text in RULES]
    seeds = [99_000 + s for s in range(3)]
    found = []
    for row in (np.array(WEIGHTS), *(np.eye(len(RULES))[:, [k]] * np.eye(1, 10, 9) for k in range(len(RULES)))):
        drawn = [np.random.default_rng([s, 1]) for s in seeds]
        tasks = [(training.task(f, g, True), g) for f in training.HELD_OUT for g in drawn]
        found.append(np.mean([training.reached(task, rules, row, 100, g) for task, g in tasks]))
    assert found[0] < min(found[1:])


def test_bad_days() -> None:
    of = problem(3, popsize=8)
    one, suggester = law.Study(of), law.make(get("symbol"), of)
    states = [TrialState.COMPLETED, TrialState.INFEASIBLE, TrialState.FAILED, TrialState.PRUNED]
    for n in np.random.default_rng(1).integers(4, size=150):
        suggestion = suggester.suggest(one.history(), 1)[0]
        one.tell(one.start(suggestion), (1e300, -1e300)[len(one.trials) % 2], states[n])
    assert suggester.suggest(one.history(), 5)


def test_it_beats_random_search() -> None:
    ours = [minimise("symbol", sphere, 800, seed, 5, popsize=20) for seed in range(3)]
    random = [minimise("random", sphere, 800, seed, 5) for seed in range(3)]
    assert wins(ours, random) == 3
    assert np.median(ours) < 1e-2


@pytest.mark.parametrize(("rule", "name"), [(DE, "de"), (PSO, "pso")])
def test_the_hand_made_formulas_are_near_their_namesakes_on_a_rugged_function(rule: str, name: str) -> None:
    def rastrigin(x: Any) -> float:
        z = 10.24 * (np.asarray(x) - 0.3)
        return float((z**2 - 10 * np.cos(2 * np.pi * z) + 10).sum())

    formula = [minimise("symbol", rastrigin, 600, seed, 5, popsize=20, rule=rule) for seed in range(3)]
    namesake = [minimise(name, rastrigin, 600, seed, 5, popsize=20) for seed in range(3)]
    assert 1 / 3 < np.median(formula) / np.median(namesake) < 3
