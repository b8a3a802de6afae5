"""lq-CMA-ES one ask at a time, and the start where others have been."""

from __future__ import annotations

import json
import math
import statistics
from typing import Any

import numpy as np
import pytest

from services.domain.trial import TrialState
from tests.suggesters import law
from tests.suggesters.cmaes_study import Array, Driven, floats
from workers.models.lq_model import LqModel, coefficients, kendall_tau, kind_for
from workers.suggesters.cmaes.restarts import Progress

CENTRE = np.random.default_rng(3).uniform(-2, 2, 5)
ROTATION = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]


def elli(x: Array) -> float:
    """Condition 10⁶, minimum 0 at `CENTRE`."""
    return float((10 ** (6 * np.arange(5) / 4) * (x - CENTRE) ** 2).sum())


def turned(x: Array) -> float:
    """The same, rotated."""
    return elli(ROTATION @ (x - CENTRE) + CENTRE)


# -- the model


@pytest.mark.parametrize("size", [12, 40, 120])
def test_the_model_is_pycmas_on_equal_data(size: int) -> None:
    from cma.fitness_models import LQModel

    n, rng = 4, np.random.default_rng(size)
    x = rng.normal(size=(size, n))
    y = (x**2 @ np.array([1.0, 3, 10, 2])) + x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2])
    peer = LQModel()
    for point, value in zip(x, y, strict=True):
        peer.add_data_row(point, value)
    kept = len(peer.X)  # it drops the oldest
    model = LqModel.fit(np.array(peer.X), np.array(peer.F))
    assert coefficients(model.kind, n) == peer.current_complexity
    probe = rng.normal(size=(20, n))
    ours = model.level + model.unit * model.predict(probe)
    np.testing.assert_allclose(ours, [peer.eval(point) for point in probe], rtol=1e-7)
    if model.kind != "linear":
        np.testing.assert_allclose(model.minimiser(), peer.xopt, rtol=1e-6)
    assert kept >= 12


def test_the_model_grows_with_its_data() -> None:
    assert [coefficients(kind, 10) for kind in ("linear", "diagonal", "full")] == [11, 21, 66]
    assert [kind_for(size, 10) for size in (30, 31, 96, 97)] == ["linear", "diagonal", "diagonal", "full"]
    assert kind_for(1000, 10, "diagonal") == "diagonal"


@pytest.mark.parametrize("scale", [1e-9, 1e-5, 1.0])
def test_the_model_is_exact_however_close_its_points_are(scale: float) -> None:
    rng = np.random.default_rng(0)
    x = CENTRE + scale * rng.normal(size=(60, 5))
    model = LqModel.fit(x, np.array([turned(point) for point in x]))
    assert model.kind == "full"
    assert np.abs(model.minimiser() - CENTRE).max() < 0.01 * scale


def test_values_beyond_measure_break_no_model() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    model = LqModel.fit(x, np.array([1e300, -1e300, 0.0] * 10))
    assert np.isfinite(model.predict(x)).all()


def test_a_model_of_the_largest_values_can_be_saved() -> None:
    x = np.linspace(0, 1, 6)[:, None]
    with np.errstate(over="raise"):
        model = LqModel.fit(x, np.array([1e308, 5e307, 0.0, 0.0, -1e308, 1e308]))
    json.dumps(model.save()[0], allow_nan=False)
    assert np.isfinite(model.predict(x)).all()


def test_kendall_tau_is_scipys() -> None:
    from scipy.stats import kendalltau

    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 8, 15).astype(np.float64), rng.standard_normal(15)
        assert kendall_tau(a, b) == pytest.approx(kendalltau(a, b)[0])
    assert kendall_tau(np.ones(5), np.arange(5.0)) == 0.0
    with np.errstate(over="raise"):
        assert kendall_tau(np.array([1e308, -1e308, 5e-324]), np.array([2.0, 0.0, 1.0])) == 1.0


# -- the generations


@pytest.mark.parametrize(("objective", "most"), [(elli, 22), (turned, 40)])
def test_an_ellipsoid_takes_no_more_evaluations_than_pycmas_own_tests_allow(objective: Any, most: int) -> None:
    needed = []
    for seed in range(3):
        driven = Driven(floats(5, -5, 5), seed, {"sigma0": 0.22})
        trials, best = driven.run(objective, 100, 1e-12)
        assert best <= 1e-12
        needed.append(trials)
    assert statistics.median(needed) <= most


def test_it_evaluates_only_what_the_model_needs() -> None:
    driven = Driven(floats(5, -5, 5), 1)
    driven.run(elli, 60)
    generations = [t.origin["generation"] for t in driven.history.trials]
    first = {g: generations.count(g) for g in set(generations)}
    assert first[0] == 5  # three points over a fit share of 3/4, and one
    assert max(generations) > 20
    assert statistics.median(first.values()) <= 2
    receipts = [s.receipt for s in driven.ask(3)]
    assert all(r is not None and r["model"] == "full" and "value" not in r for r in receipts)


def test_workers_side_by_side_get_different_rows_and_late_tells_teach_the_model() -> None:
    driven = Driven(floats(5, -5, 5), 2)
    running: list[int] = []
    best, rng = math.inf, np.random.default_rng(0)
    for _ in range(150):
        for suggestion in driven.ask(max(0, 8 - len(running))) if len(running) < 8 else []:
            running.append(driven.start(suggestion))
        number = running.pop(int(rng.integers(len(running))))
        value = turned(np.array(list(driven.one.trials[number].parameters.values())))
        best = min(best, value)
        driven.tell(number, value)
    points = [tuple(t.parameters.values()) for t in driven.history.trials]
    places = [(t.origin["generation"], t.origin["row"]) for t in driven.history.trials]
    assert len(set(points)) == len(points) == len(set(places))
    assert best < 1e-6


def test_the_model_is_used_where_it_pays() -> None:
    def has_model(options: dict[str, Any] | None = None, **fields: Any) -> bool:
        parameters = fields.pop("parameters", floats(4))
        return Driven(parameters, 1, options, **fields).suggester._surrogate is not None

    assert has_model()
    assert has_model(parameters=[*floats(3), {"name": "i", "type": "int", "min": 0, "max": 9}])
    assert not has_model(objectives=[{"metric": "loss", "noisy": True}])
    assert not has_model(constraints=[{"metric": "c", "max": 0}])
    assert not has_model(parameters=[*floats(3), {"name": "k", "type": "categorical", "choices": ["a", "b"]}])
    assert not has_model(parameters=floats(21))
    assert not has_model({"diagonal": True})
    assert not has_model({"surrogate": "none"})
    assert has_model({"surrogate": "lq"}, parameters=floats(30))


@pytest.mark.parametrize("surrogate", ["auto", "lq"])
def test_after_its_share_the_distribution_goes_on_without_the_model(surrogate: str) -> None:
    driven = Driven(floats(2, -5, 5), 1, {"surrogate": surrogate, "restarts": "none"})
    rough = lambda x: float((x**2 - 10 * np.cos(2 * np.pi * x) + 10).sum())  # noqa: E731
    driven.run(rough, 199)
    assert driven.suggester._surrogate is not None
    before = driven.suggester._distribution
    driven.run(rough, 240)
    assert (driven.suggester._surrogate is None) == (surrogate == "auto")
    assert driven.suggester._distribution is before
    restored = driven.make(law.save(driven.suggester))
    assert restored.suggest(driven.history, 3) == driven.ask(3)
    assert (driven.ask()[0].receipt is None) == (surrogate == "auto")


def test_over_twenty_numbers_the_model_has_no_products() -> None:
    driven = Driven(floats(22), 1, {"surrogate": "lq"})
    driven.run(lambda x: float(((x - 0.3) ** 2 * np.arange(1, 23)).sum()), 90)
    model: Any = driven.suggester._surrogate and driven.suggester._surrogate.model
    assert model.kind == "diagonal"


def test_where_nothing_could_be_evaluated_the_model_expects_the_worst() -> None:
    driven, best = Driven(floats(3), 1), math.inf
    for _ in range(400):
        suggestion = driven.ask()[0]
        x = np.array(list(suggestion.parameters.values()))
        number = driven.start(suggestion)
        if ((x - 0.9) ** 2).sum() > 0.03:
            driven.tell(number, state=TrialState.INFEASIBLE)
        else:
            value = float(((x - 0.85) ** 2).sum())
            best = min(best, value)
            driven.tell(number, value)
    assert best < 1e-6


def until_pruned(seed: int, trials: int) -> Driven:
    """A sphere of which what is far away is given up early, at a value that flatters it."""
    driven = Driven(floats(3), seed)
    for _ in range(trials):
        suggestion = driven.ask()[0]
        far = float(((np.array(list(suggestion.parameters.values())) - 0.3) ** 2).sum())
        is_far = far > 0.2
        state = TrialState.PRUNED if is_far else TrialState.COMPLETED
        driven.tell(driven.start(suggestion), far - 0.2 * is_far, state)
    return driven


def test_what_is_pruned_far_away_turns_the_model_back() -> None:
    """It knew nothing of pruned trials once, went on to a corner, and stayed there."""
    for seed in range(4):
        driven = until_pruned(seed, 80)
        assert min(driven.history.values(t)[0] for t in driven.history.completed) < 1e-6


def test_a_pruned_trial_is_just_behind_the_median_to_the_model() -> None:
    driven = until_pruned(0, 12)
    driven.ask()
    surrogate = driven.suggester._surrogate
    assert surrogate is not None
    told = dict(zip((entry.number for entry in surrogate._archive), surrogate._counted().tolist(), strict=True))
    done = {t.number: t.metrics["loss"] for t in driven.history.completed}
    pruned = {number: value for number, value in told.items() if number not in done}
    behind = math.nextafter(sorted(done.values())[len(done) // 2], math.inf)
    assert pruned == {n: max(behind, driven.one.trials[n].metrics["loss"]) for n in pruned}
    assert behind in pruned.values()


# -- the start where others have been


def warmed(seed: int = 1, options: dict[str, Any] | None = None, n: int = 40) -> Driven:
    """A study with told trials of others."""
    driven = Driven(floats(5, -5, 5), seed, options)
    rng = np.random.default_rng(seed)
    for _ in range(n):
        x = rng.uniform(-5, 5, 5)
        driven.add(dict(zip((f"x0{i}" for i in range(5)), x.tolist(), strict=True)), turned(x))
    return driven


def test_it_starts_at_the_best_as_wide_as_the_good_ones_are_spread() -> None:
    driven = warmed(options={"surrogate": "none"})
    driven.ask()
    found = driven.suggester._distribution.adapter
    trials = sorted(driven.history.trials, key=lambda t: t.metrics["loss"])
    x = np.array([list(t.parameters.values()) for t in trials[:10]]) / 10
    np.testing.assert_allclose(found.box.inside(found.mean), x[0], atol=1e-12)
    wide = 0.5 * float(np.median(np.sqrt(((x[1:] - x[0]) ** 2).mean(1))))
    assert found.sigma == pytest.approx(wide)
    far = Driven(floats(5, -5, 5), 1, {"surrogate": "none", "warm_start": False})
    far.add(trials[0].parameters, 0.0)
    far.ask()
    np.testing.assert_allclose(far.suggester._distribution.adapter.mean, 0, atol=1e-12)


def test_the_model_knows_what_others_told() -> None:
    warm = [warmed(seed).run(turned, 100, 1e-8)[0] - 40 for seed in range(3)]
    cold = [Driven(floats(5, -5, 5), seed).run(turned, 100, 1e-8)[0] for seed in range(3)]
    assert statistics.median(warm) <= 0.5 * statistics.median(cold)


def test_the_start_is_computed_again_from_what_the_first_trial_saw() -> None:
    driven = warmed()
    first = driven.ask()[0]
    seen = driven.history.seq
    assert first.origin["start"] == seen
    driven.add(dict.fromkeys((f"x0{i}" for i in range(5)), 0.5), -1.0)  # the trial was not made: this is seen as well
    again = driven.ask()[0]
    assert again.origin["start"] > seen
    assert again.parameters != first.parameters
    driven.start(again)
    driven.add(dict.fromkeys((f"x0{i}" for i in range(5)), 1.5), -2.0)  # too late for the start
    expected = driven.ask()[0]
    assert expected.origin["start"] == again.origin["start"]
    fresh = driven.make()
    assert fresh.suggest(driven.history, 1)[0] == expected
    restored = driven.make(law.save(driven.suggester))
    assert restored.suggest(driven.history, 1)[0] == expected


def test_a_declared_default_is_where_it_starts() -> None:
    parameters = [p | {"default": 0.2} for p in floats(3)]
    driven = Driven(parameters, 1, {"surrogate": "none"})
    driven.ask()
    found = driven.suggester._distribution.adapter
    np.testing.assert_allclose(found.mean, -0.3)
    assert found.sigma == pytest.approx(0.2)


def test_progress_survives_json() -> None:
    progress = Progress(3, 7, False)
    progress.add([(0, 1.0), (0, 2.0), (1, 0.5)], 3)
    progress.add([(2, 0.0)] * 3, 3)
    other = Progress(3, 7, False)
    other.load(progress.save())
    assert other == progress
