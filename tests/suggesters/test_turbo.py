"""The trust region is read from the outcomes alone, keeps its bounds, and finds what quasi-random search does not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from services.domain.history import Observation
from services.domain.space import point_key
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import minimise
from workers.models.trust_region import Outcome, Rules, TrustRegion, box, perturbed
from workers.suggesters.registry import get
from workers.suggesters.turbo.suggester import Turbo


def numbers(d: int) -> list[dict[str, Any]]:
    """`d` floats."""
    return [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(d)]


def problem(seed: int = 5, options: dict[str, Any] | None = None, **fields: Any) -> law.Problem:
    """A study for `turbo`."""
    fields.setdefault("parameters", numbers(4))
    made = study(suggester={"name": "turbo", "options": options or {}}, seed=seed, **fields)
    made.check()
    return law.Problem(study="s", spec=made, seed=seed)


def make(of: law.Problem, saved: bytes | None = None) -> Turbo:
    """The suggester itself."""
    found = law.make(get("turbo"), of, saved)
    assert isinstance(found, Turbo)
    return found


def ackley(row: list[float]) -> float:
    """0 at 1/3, from the unit cube to [-5, 10]."""
    x = 15 * np.array(row) - 5
    smooth, waves = math.sqrt(float((x**2).mean())), float(np.cos(2 * math.pi * x).mean())
    return -20 * math.exp(-0.2 * smooth) - math.exp(waves) + 20 + math.e


# -- the rule


def told(
    region: TrustRegion, value: float | None, violation: float = 0.0, *, counts: bool = True, late: int = 0
) -> None:
    """An outcome of the region's own box, or of a region before."""
    measured = None if value is None else violation
    region.tell(Outcome(len(region.numbers) + 1, region.restart - late, counts, measured, value or 0.0))


def test_successes_double_the_box_failures_halve_it_and_a_collapse_starts_anew() -> None:
    region = TrustRegion(Rules(failures=4))
    told(region, 10.0, counts=False)
    for value in (9.0, 8.0, 7.0):
        assert region.length == 0.8
        told(region, value)
    assert region.length == 1.6
    for value in (6.0, 5.0, 4.0):
        told(region, value)
    assert region.length == 1.6  # never longer
    for _ in range(4):
        told(region, 4.0)
    assert (region.length, region.failures) == (0.8, 0)
    told(region, 3.9999)  # better, by less than a thousandth
    assert region.failures == 1
    told(region, 3.0)
    assert (region.failures, region.successes) == (0, 1)
    lengths = []
    while region.restart == 0:
        told(region, None)
        lengths.append(region.length)
    assert min(lengths) >= 2.0**-7
    assert (region.restart, region.length, region.numbers, region.best) == (1, 0.8, [], None)
    told(region, -5.0, late=1)  # too late: its region is gone
    assert region.numbers == []


def test_feasible_comes_before_the_value_and_less_violation_before_more() -> None:
    region = TrustRegion(Rules(failures=4))
    told(region, -50.0, 2.0, counts=False)
    told(region, 0.0, 1.0)
    assert region.successes == 1
    told(region, -99.0, 1.5)
    assert region.successes == 0
    told(region, 7.0, 0.0)
    assert region.successes == 1
    assert region.best is not None
    assert region.best[:2] == (0.0, 7.0)
    told(region, -99.0, 0.1)
    assert region.best[:2] == (0.0, 7.0)


def test_somebody_elses_points_are_data_and_count_neither_way() -> None:
    region = TrustRegion(Rules(failures=1))
    region.tell(Outcome(1, None, False, 0.0, 3.0))
    region.tell(Outcome(2, None, False, 0.0, 4.0))
    assert (region.numbers, region.length) == ([1, 2], 0.8)


def test_the_box_keeps_its_volume_follows_the_lengthscales_and_reaches_the_next_level() -> None:
    centre = np.array([0.5, 0.5, 0.5])
    lower, upper = box(centre, 0.1, np.array([0.1, 0.2, 0.4]), [None, None, None])
    assert np.prod(upper - lower) == pytest.approx(0.1**3)
    np.testing.assert_allclose((upper - lower) / (upper - lower)[0], [1, 2, 4])
    lower, upper = box(np.array([0.375, 0.9]), 2**-6, np.array([1.0, 1.0]), [4, None])
    assert lower[0] <= 0.125
    assert upper[0] >= 0.625
    assert upper[1] - lower[1] == pytest.approx(2**-6)


def test_candidates_differ_in_some_twenty_coordinates_and_in_one_at_least() -> None:
    rng, d = np.random.default_rng(0), 100
    centre = np.full(d, 0.5)
    flags = np.zeros(d, dtype=bool)
    rows = perturbed(
        centre, centre - 0.1, centre + 0.1, rng.random((2000, d)), rng, movable=~flags, categorical=flags, free=flags
    )
    changed = (rows != centre).sum(1)
    assert 19 < changed.mean() < 21
    assert np.all(np.abs(rows - centre) <= 0.1)
    few = flags.copy()
    few[:2] = True
    rows = perturbed(
        centre, centre - 0.1, centre + 0.1, rng.random((500, d)), rng, movable=few, categorical=flags, free=flags
    )
    assert (rows != centre).sum(1).min() >= 1
    assert np.all(rows[:, 2:] == 0.5)


# -- the suggester


def test_the_region_is_the_same_after_a_restart_at_any_point_and_stays_within_its_bounds() -> None:
    of = problem(options={"initial_trials": 4, "failure_tolerance": 1})
    one, keeping = law.Study(of), make(of)
    rng, restarts = np.random.default_rng(0), set()
    open_trials: list[int] = []
    for n in range(36):
        history = one.history()
        region, again = keeping.region(history), make(of, law.save(keeping)).region(history)
        assert region == again == make(of).region(history)
        assert 2.0**-7 <= region.length <= 1.6
        restarts.add(region.restart)
        open_trials += [one.start(s) for s in keeping.suggest(history, 1 + n % 2)]
        while len(open_trials) > 2:
            number = open_trials.pop(int(rng.integers(len(open_trials))))
            one.tell(number, 1.0 + abs(float(rng.normal())))
    assert len(restarts) > 2


def test_a_new_region_begins_with_points_of_its_own_and_knows_nothing_of_the_old() -> None:
    of = problem(options={"initial_trials": 4, "failure_tolerance": 1})
    one, suggester = law.Study(of), make(of)
    phases: list[tuple[int, str]] = []
    while not phases or phases[-1] != (1, "box"):
        suggestion = suggester.suggest(one.history(), 1)[0]
        phases.append((suggestion.origin["region"], suggestion.origin["phase"]))
        number = one.start(suggestion)
        one.tell(number, float(number))  # ever worse
    start = phases.index((1, "initial"))
    assert phases[:4] == [(0, "initial")] * 4
    assert phases[4:start] == [(0, "box")] * 7  # from 0.8 below 2⁻⁷
    assert phases[start:] == [(1, "initial")] * 4 + [(1, "box")]
    assert suggestion.receipt is not None
    assert suggestion.receipt["model"]["n"] == 4


def test_suggestions_of_one_call_are_those_of_many() -> None:
    of = problem(options={"initial_trials": 5})
    one = law.Study(of)
    for _ in range(12):
        suggestion = make(of).suggest(one.history(), 1)[0]
        one.tell(one.start(suggestion), ackley(list(suggestion.parameters.values())))
    together = make(of).suggest(one.history(), 4)
    for suggestion in together:
        single = make(of).suggest(one.history(), 1)[0]
        assert single.parameters == suggestion.parameters
        one.start(single)


def test_it_goes_far_below_quasi_random_search_in_twenty_dimensions() -> None:
    ours = minimise("turbo", ackley, 70, 0, 20, initial_trials=20)
    even = minimise("sobol", ackley, 280, 0, 20)
    assert ours < even - 1


def test_it_finds_the_feasible_corner_under_measured_constraints() -> None:
    """Minimise the sum while the square of the distance from a far corner stays bounded: a tenth of the cube is feasible."""
    d = 5
    of = problem(
        parameters=numbers(d), constraints=[{"metric": "c", "max": 0.0}], options={"initial_trials": 10}, seed=2
    )
    one, suggester, best = law.Study(of), make(of), math.inf
    for n in range(60):
        suggestion = suggester.suggest(one.history(), 1)[0]
        row = np.array(list(suggestion.parameters.values()))
        number, loss, c = one.start(suggestion), float(row.sum()), float(((1 - row) ** 2).sum() - 0.8)
        one.tell(number, loss)
        one.trials[number] = law.with_metrics(one.trials[number], {"loss": loss, "c": c}, c <= 0)
        best = min(best, loss) if c <= 0 else best
        if n == 30:
            assert "constraints sampled" in suggestion.reason
    least = d * (1 - math.sqrt(0.8 / d))
    assert best < least + 0.1


def test_it_keeps_away_from_where_the_black_box_fails() -> None:
    of = problem(parameters=numbers(3), options={"initial_trials": 10})
    one, suggester, bad, best = law.Study(of), make(of), [], math.inf
    for _ in range(50):
        suggestion = suggester.suggest(one.history(), 1)[0]
        row = list(suggestion.parameters.values())
        number = one.start(suggestion)
        bad.append(row[0] < 0.4)  # the objective is best just where there is none
        state = TrialState.INFEASIBLE if bad[-1] else TrialState.COMPLETED
        one.tell(number, float(sum(row)), state)
        best = best if bad[-1] else min(best, sum(row))
    # The least value lies on the border, so that about half of the trials fall beyond it; led by values alone, all would.
    assert sum(bad[25:]) <= 16
    assert best < 0.6


def test_noise_centres_on_the_lowest_posterior_mean() -> None:
    of = problem(parameters=numbers(2), objectives=[{"metric": "loss", "noisy": True}], options={"initial_trials": 20})
    one, suggester, rng = law.Study(of), make(of), np.random.default_rng(0)
    for _ in range(40):
        suggestion = suggester.suggest(one.history(), 1)[0]
        row = np.array(list(suggestion.parameters.values()))
        one.tell(one.start(suggestion), float(((row - 0.3) ** 2).sum()))
    lucky = one.add({"x0": 0.95, "x1": 0.95})
    one.tell(lucky, -0.05 + 0.0 * rng.normal())
    receipt = suggester.suggest(one.history(), 1)[0].receipt
    assert receipt is not None
    assert receipt["region"]["n"] == 41
    assert receipt["region"]["centre"] != lucky


def test_conditional_children_come_to_life_with_their_parents() -> None:
    parameters = [
        {"name": "kind", "type": "categorical", "choices": ["a", "b", "c"]},
        {"name": "deep", "type": "float", "min": 0, "max": 1, "when": {"kind": ["b"]}},
        {"name": "n", "type": "int", "min": 1, "max": 5},
        {"name": "step", "type": "float", "min": 0, "max": 1, "step": 0.25},
    ]
    of = problem(parameters=parameters, options={"initial_trials": 6, "length": 0.05})
    one, suggester, seen = law.Study(of), make(of), []
    for _ in range(40):
        for suggestion in suggester.suggest(one.history(), 1):
            point = suggestion.parameters
            assert ("deep" in point) == (point["kind"] == "b")
            seen.append(point)
            value = abs(point.get("deep", 1.0) - 0.7) + abs(point["n"] - 4) + abs(point["step"] - 0.5)
            one.tell(one.start(suggestion), value)
    best = min(seen, key=lambda p: abs(p.get("deep", 1.0) - 0.7) + abs(p["n"] - 4) + abs(p["step"] - 0.5))
    assert best["kind"] == "b"
    assert (best["n"], best["step"]) == (4, 0.5)
    assert len({point_key(p) for p in seen}) == len(seen)


def test_parameter_constraints_are_kept_where_they_leave_a_thousandth_of_the_cube() -> None:
    of = problem(
        parameters=numbers(5), parameter_constraints=["x0 + x1 + x2 + x3 + x4 <= 0.65"], options={"initial_trials": 4}
    )
    one, suggester = law.Study(of), make(of)
    for _ in range(10):
        suggestion = suggester.suggest(one.history(), 1)[0]
        row = list(suggestion.parameters.values())
        assert sum(row) <= 0.65 + 1e-12
        one.tell(one.start(suggestion), -sum(row) + row[0])
    assert suggestion.origin["phase"] == "box"


def test_pending_points_are_not_given_again_and_change_the_next() -> None:
    of = problem(parameters=numbers(2), options={"initial_trials": 5})
    one, suggester = law.Study(of), make(of)
    for _ in range(15):
        s = suggester.suggest(one.history(), 1)[0]
        one.tell(one.start(s), sum((v - 0.4) ** 2 for v in s.parameters.values()))
    batch = suggester.suggest(one.history(), 20)
    assert len({point_key(s.parameters) for s in batch}) == 20
    rows = np.array([list(s.parameters.values()) for s in batch])
    assert np.linalg.norm(rows[:, None] - rows[None], axis=2)[np.triu_indices(20, 1)].min() > 1e-6


@pytest.mark.parametrize("n", [5000, 20_000])
def test_thousands_of_imported_trials_are_answered_from_a_thousand_of_them(n: int) -> None:
    d, rng = 20, np.random.default_rng(0)
    of = problem(parameters=numbers(d))
    x = rng.random((n, d))
    history = law.Study(of).history()
    rows = [
        Observation(
            number=k + 1, told_seq=k + 1, state=TrialState.COMPLETED, feasible=True, suggester="user",
            parameters=dict(zip((f"x{i}" for i in range(d)), map(float, row), strict=True)),
            metrics={"loss": float(((row - 0.4) ** 2).sum())},
        )
        for k, row in enumerate(x)
    ]  # fmt: skip
    history.update(rows, seq=n, next_number=n + 1)
    found = make(of).suggest(history, 2)
    assert [s.origin["phase"] for s in found] == ["box", "box"]
    assert found[0].receipt is not None
    assert found[0].receipt["model"]["n"] <= 1000
    best = float(((x - 0.4) ** 2).sum(1).min())
    for s in found:
        assert sum((v - 0.4) ** 2 for v in s.parameters.values()) < 1.2 * best
