"""`gp` as a user meets it: better than random search, aware of what cannot be evaluated, calm on bad data."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.domain.suggester import Suggestion
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import branin, hartmann6, minimise, wins
from workers.suggesters.gp.series import Fits, Manner, before, checkpoint, is_cold
from workers.suggesters.registry import get

CUBE = [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(10)]


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "trials"), [(branin, 30), (hartmann6, 45)], ids=["branin", "hartmann6"])
def test_it_beats_random_search(objective: object, trials: int) -> None:
    gp = [minimise("gp", objective, trials, seed) for seed in range(5)]
    random = [minimise("random", objective, trials, seed) for seed in range(5)]
    assert wins(gp, random) == 5


def test_it_keeps_away_from_places_that_cannot_be_evaluated() -> None:
    spec = get("gp")
    of = law.problem(spec, "plane", seed=1)
    one, bad, best = law.Study(of), [], math.inf
    suggester = law.make(spec, of)
    for _ in range(40):
        suggestion = suggester.suggest(one.history(), 1)[0]
        x, y = suggestion.parameters["x"], suggestion.parameters["y"]
        bad.append(x > 1.3 or y < -1)  # about half of the square
        value = (x - 1) ** 2 + y**2
        best = best if bad[-1] else min(best, value)
        one.tell(one.start(suggestion), value, TrialState.INFEASIBLE if bad[-1] else TrialState.COMPLETED)
    assert any(bad)
    assert sum(bad[20:]) <= 5
    assert best < 0.01


def test_it_finds_the_feasible_side_of_a_constraint() -> None:
    spec = get("gp")
    made = study(
        parameters=[{"name": n, "type": "float", "min": 0, "max": 1} for n in "xy"],
        constraints=[{"metric": "c", "max": 0.0}],
        suggester={"name": "gp"},
        seed=2,
    )
    of = law.Problem(study="s", spec=made, seed=2)
    one, best = law.Study(of), math.inf
    suggester = law.make(spec, of)
    for _ in range(30):
        suggestion = suggester.suggest(one.history(), 1)[0]
        x, y = suggestion.parameters["x"], suggestion.parameters["y"]
        number = one.start(suggestion)
        loss, c = x + y, 0.5 - x * y * 4  # feasible where xy >= 1/8: best at x = y = sqrt(1/8), sum 0.7071
        one.tell(number, 0.0)
        one.trials[number] = law.with_metrics(one.trials[number], {"loss": loss, "c": c}, c <= 0)
        best = min(best, loss) if c <= 0 else best
    assert best < 0.78


def start(seed: int = 3, **fields: Any) -> tuple[law.Study, Any]:
    """A study of `gp` and its suggester."""
    made = study(suggester={"name": "gp"}, seed=seed, **fields)
    one = law.Study(law.Problem(study="s", spec=made, seed=seed))
    return one, law.make(get("gp"), one.problem)


def run(
    one: law.Study, suggester: Any, values: Callable[[dict[str, Any], int], float], trials: int
) -> list[Suggestion]:
    """So many trials one after another; every ask is answered."""
    found = []
    for i in range(trials):
        suggestion = suggester.suggest(one.history(), 1)[0]
        one.tell(one.start(suggestion), values(suggestion.parameters, i))
        found.append(suggestion)
    return found


@pytest.mark.parametrize(
    "values",
    [
        lambda x, i: 1.0,
        lambda x, i: (1e300, -1e300)[i % 2],
        lambda x, i: 1e300 if i == 3 else x["x0"],
        lambda x, i: 1e-300 * i,
        lambda x, i: x["x0"] ** 2,  # constant along nine of ten
    ],
    ids=["equal", "huge", "one huge", "tiny", "one of ten counts"],
)
def test_odd_values_are_answered_inside_the_space(values: Callable[[dict[str, Any], int], float]) -> None:
    one, suggester = start(parameters=CUBE)
    found = run(one, suggester, values, 30)
    assert all(np.isfinite(list(s.parameters.values())).all() for s in found)
    assert len({tuple(s.parameters.values()) for s in found}) == 30


def test_it_ignores_the_nine_dimensions_that_do_not_count() -> None:
    one, suggester = start(parameters=CUBE)
    run(one, suggester, lambda x, i: (x["x0"] - 0.37) ** 2, 35)
    suggestion = suggester.suggest(one.history(), 1)[0]
    shares = suggestion.receipt["model"]["importances"]
    assert shares["x0"] > 0.8
    assert min(abs(t.parameters["x0"] - 0.37) for t in one.trials.values()) < 0.01


def test_one_trial_and_a_single_point_are_answered() -> None:
    one, suggester = start(parameters=CUBE[:2])
    run(one, suggester, lambda x, i: 1.0, 1)
    assert suggester.suggest(one.history(), 1)
    one, suggester = start(parameters=[{"name": "x", "type": "int", "min": 1, "max": 1}])
    run(one, suggester, lambda x, i: 1.0, 1)
    assert suggester.suggest(one.history(), 1) == []


def test_a_thousand_duplicates_are_borne() -> None:
    one, suggester = start(parameters=CUBE[:2], objectives=[{"metric": "loss", "noisy": True}])
    rng = np.random.default_rng(0)
    for i in range(1000):
        one.tell(one.add({"x0": 0.5, "x1": 0.5 if i else 0.1}), float(rng.normal()))
    suggestion = suggester.suggest(one.history(), 1)[0]
    assert suggestion.receipt["model"]["n"] == 1000
    assert suggestion.receipt["std"]["loss"] > 0


def test_nothing_feasible_in_200_trials_is_searched_on() -> None:
    one, suggester = start(parameters=CUBE[:2], constraints=[{"metric": "c", "max": 0.0}])
    rng = np.random.default_rng(0)
    for _ in range(200):
        point = {n: float(v) for n, v in zip(("x0", "x1"), rng.random(2), strict=True)}
        number = one.add(point)
        one.tell(number, 0.0)
        c = 1.0 + math.hypot(point["x0"] - 0.3, point["x1"] - 0.6)
        one.trials[number] = law.with_metrics(one.trials[number], {"loss": 0.0, "c": c}, False)
    suggestion = suggester.suggest(one.history(), 1)[0]
    assert "nothing is feasible yet" in suggestion.reason
    assert suggestion.receipt["probability_feasible"] < 0.5


def test_pending_trials_that_never_come_back_spread_the_others() -> None:
    one, suggester = start(parameters=CUBE[:2])
    run(one, suggester, lambda x, i: (x["x0"] - 0.3) ** 2 + (x["x1"] - 0.3) ** 2, 10)
    for _ in range(12):
        one.start(suggester.suggest(one.history(), 1)[0])
    given = np.array([[t.parameters["x0"], t.parameters["x1"]] for t in one.history().pending])
    apart = np.abs(given[:, None] - given[None]).max(2) + np.eye(12)
    assert apart.min() > 1e-4


def test_told_noise_is_not_chased() -> None:
    """The best told value is luck: with its error told, the mean there stays near its neighbours'."""
    one, suggester = start(parameters=CUBE[:1])
    for i in range(15):
        number = one.add({"x0": i / 14})
        one.tell(number, -5.0 if i == 2 else (i / 14 - 0.8) ** 2)
        one.trials[number] = law.with_std(one.trials[number], {"loss": 5.0 if i == 2 else 0.01})
    suggestion = suggester.suggest(one.history(), 1)[0]
    assert abs(suggestion.parameters["x0"] - 0.8) < 0.2
    assert "noisy" in suggestion.reason


def test_two_goals_fill_the_front() -> None:
    from services.domain.pareto import hypervolume

    def volume(name: str, seed: int) -> float:
        made = study(
            parameters=CUBE[:3], objectives=[{"metric": "a"}, {"metric": "b"}], suggester={"name": name}, seed=seed
        )
        one = law.Study(law.Problem(study="s", spec=made, seed=seed))
        suggester = law.make(get(name), one.problem)
        told = []
        for _ in range(30):
            suggestion = suggester.suggest(one.history(), 1)[0]
            x, y, z = suggestion.parameters.values()
            number = one.start(suggestion)
            one.tell(number, 0.0)
            far = 1 + 4 * (abs(y - 0.4) + abs(z - 0.7))
            told.append((x * far, (1 - x**0.5) * far))
            one.trials[number] = law.with_metrics(one.trials[number], dict(zip("ab", told[-1], strict=True)), True)
        return hypervolume(told, [2.0, 2.0])

    assert all(volume("gp", seed) > volume("random", seed) for seed in range(3))


def test_receipts_speak_in_the_clients_units_and_direction() -> None:
    one, suggester = start(parameters=CUBE[:2], objectives=[{"metric": "speed", "goal": "maximize"}])
    run(one, suggester, lambda x, i: 1000 + 500 * x["x0"], 12)
    suggestion = suggester.suggest(one.history(), 1)[0]
    expected = 1000 + 500 * suggestion.parameters["x0"]
    assert suggestion.receipt["mean"]["speed"] == pytest.approx(
        expected, abs=4 * suggestion.receipt["std"]["speed"] + 1
    )
    assert 0 <= suggestion.receipt["std"]["speed"] < 500
    assert suggestion.receipt["model"]["n"] == 12


def test_fits_are_a_function_of_the_outcomes_alone() -> None:
    """Grown call by call, restored half-way, or computed from nothing: the same model to the last bit."""
    from workers.models.fitting import Priors
    from workers.models.kernels import Kernel

    rng = np.random.default_rng(0)
    x = rng.random((150, 3))
    raw = np.exp(3 * ((x - 0.4) ** 2).sum(1)) + 0.01 * rng.normal(size=150)
    kernel = Kernel.ard(np.zeros(3, dtype=bool))
    manner = Manner(kernel, Priors.dimension_scaled(3, exact=True), np.ones(3, dtype=bool))
    kept = Fits()
    for n in range(5, 151):
        grown = kept.model("y", x[:n], raw[:n], None, manner)
        if n == 90:
            kept.forget_unused()
            kept = Fits(kept.document())
    fresh = Fits().model("y", x, raw, None, manner)
    np.testing.assert_array_equal(grown.process.alpha, fresh.process.alpha)
    assert grown.fitted.transform == fresh.fitted.transform


def test_checkpoints_thin_out_and_lead_back_to_a_cold_one() -> None:
    assert [checkpoint(n) for n in (2, 63, 65, 131, 300, 1000, 5000)] == [2, 63, 64, 128, 288, 960, 4992]
    for n in range(2, 3000, 7):
        c, steps = checkpoint(n), 0
        while not is_cold(c):
            c, steps = before(c), steps + 1
        assert steps <= 33


def test_power_transforms_switch_on_by_evidence() -> None:
    from workers.models.fitting import Priors
    from workers.models.kernels import Kernel

    x = np.random.default_rng(0).random((48, 3))
    smooth = x.sum(1) + 0.1 * np.random.default_rng(1).normal(size=48)
    manner = Manner(Kernel.ard(np.zeros(3, dtype=bool)), Priors.dimension_scaled(3, exact=True), np.ones(3, dtype=bool))
    assert Fits().model("y", x, np.exp(4 * smooth), None, manner).fitted.transform.kind != "standard"
    assert Fits().model("y", x, smooth, None, manner).fitted.transform.kind == "standard"


def test_input_warping_switches_on_by_evidence() -> None:
    from workers.models.fitting import Priors
    from workers.models.kernels import Kernel

    x = np.random.default_rng(0).random((64, 2))
    manner = Manner(Kernel.ard(np.zeros(2, dtype=bool)), Priors.dimension_scaled(2, exact=True), np.ones(2, dtype=bool))
    bent = Fits().model("y", x, np.sin(6 * x[:, 0] ** 4) + x[:, 1], None, manner).fitted.theta
    assert bent.warp is not None
    assert bent.warp[0, 0] > 1.5
    plain = np.sin(3 * x[:, 0]) + x[:, 1] + 0.1 * np.random.default_rng(1).normal(size=64)
    assert Fits().model("y", x, plain, None, manner).fitted.theta.warp is None


def test_a_very_large_history_is_served_by_dual_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 300 trials here, to be quick: all of them are in the model, and its draws lead to points among the best."""
    monkeypatch.setattr("workers.suggesters.gp.suggester.LARGE", 300)
    made = study(parameters=CUBE[:6], suggester={"name": "gp", "options": {"solver": "sdd"}}, seed=1)
    one = law.Study(law.Problem(study="s", spec=made, seed=1))
    rng = np.random.default_rng(0)

    def value(x: np.ndarray) -> float:
        return float(((x - 0.3) ** 2).sum() + 0.2 * np.sin(20 * x).sum())

    for row in rng.random((310, 6)):
        one.tell(one.add({f"x{i}": float(v) for i, v in enumerate(row)}), value(row))
    suggestion = law.make(get("gp"), one.problem).suggest(one.history(), 1)[0]
    assert suggestion.receipt is not None
    assert suggestion.receipt["sdd"]["trials"] == 304
    assert suggestion.receipt["sdd"]["residual"] < 0.2
    told = sorted(t.metrics["loss"] for t in one.trials.values())
    assert value(np.array(list(suggestion.parameters.values()))) < told[60]


def test_a_descent_that_does_not_settle_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.suggesters.gp.suggester.LARGE", 100)
    monkeypatch.setattr("workers.suggesters.gp.large.ACCEPTED", 1e-9)
    monkeypatch.setattr("workers.suggesters.gp.large.MOST_WORK", 0.0)
    made = study(parameters=CUBE[:2], suggester={"name": "gp", "options": {"solver": "sdd"}}, seed=1)
    one = law.Study(law.Problem(study="s", spec=made, seed=1))
    for row in np.random.default_rng(0).random((110, 2)):
        one.tell(one.add({"x0": float(row[0]), "x1": float(row[1])}), float(row.sum()))
    suggestion = law.make(get("gp"), one.problem).suggest(one.history(), 1)[0]
    assert "expected improvement" in suggestion.reason
    assert "dual descent did not settle" in suggestion.reason


def test_all_of_a_large_history_is_factored_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 100 trials here, where the plain path models them all too: both find the same point."""
    found = {}
    for solver in ("auto", "exact"):
        monkeypatch.setattr("workers.suggesters.gp.suggester.LARGE", 100)
        made = study(parameters=CUBE[:2], suggester={"name": "gp", "options": {"solver": solver}}, seed=1)
        one = law.Study(law.Problem(study="s", spec=made, seed=1))
        for row in np.random.default_rng(0).random((110, 2)):
            one.tell(one.add({"x0": float(row[0]), "x1": float(row[1])}), float(np.sin(7 * row).sum()))
        found[solver] = law.make(get("gp"), one.problem).suggest(one.history(), 1)[0]
    assert found["exact"].receipt is not None
    assert found["exact"].receipt["exact"]["trials"] == 110
    for name in ("x0", "x1"):
        assert found["exact"].parameters[name] == pytest.approx(found["auto"].parameters[name], abs=1e-3)
