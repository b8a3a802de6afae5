"""ε-shotgun: radius, slope, scatter and front as published; batches that are the same however they are asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from services.domain.pareto import non_dominated
from services.domain.suggester import Suggestion
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import branin
from workers.models.gaussian_process import GaussianProcess, Hyperparameters
from workers.models.kernels import Kernel
from workers.models.shotgun import front, radius, scatter, shape_of, steepest
from workers.suggesters.registry import get

SQUARE = [{"name": n, "type": "float", "min": 0, "max": 1} for n in "xy"]


def process(d: int = 2, isotropic: bool = True) -> GaussianProcess:
    rng = np.random.default_rng(0)
    x = rng.random((25, d))
    kernel = Kernel.isotropic(np.zeros(d, dtype=bool)) if isotropic else Kernel.ard(np.zeros(d, dtype=bool))
    lengths = np.array([0.5]) if isotropic else np.array([0.2, 0.8])
    return GaussianProcess(x, np.sin(4 * x[:, 0]) + x[:, -1] ** 2, Hyperparameters(lengths, 1e-6, 0.0), kernel)


def test_the_slope_is_the_steepest_of_the_mean_nearby() -> None:
    model, centre = process(), np.array([0.4, 0.6])
    found = steepest(model, centre, np.random.default_rng(1))
    grid = np.stack(np.meshgrid(np.linspace(0, 0.9, 80), np.linspace(0.1, 1, 80)), -1).reshape(-1, 2)
    norms = np.linalg.norm(model.predict_many_with_gradient(grid)[2], axis=1)
    assert found == pytest.approx(norms.max(), rel=1e-2)
    assert found >= norms.max() - 1e-6
    flat = GaussianProcess(model.x, np.zeros(25), model.theta, model.kernel)
    assert steepest(flat, centre, np.random.default_rng(1)) == 10.0


def test_the_radius_is_small_where_the_model_is_sure_and_steep() -> None:
    assert radius(mean=-1.0, std=0.2, best=-0.5, slope=2.0, dimensions=2) == pytest.approx(0.35)
    assert radius(mean=-1.0, std=0.2, best=-0.5, slope=2.0, dimensions=2, gamma=0.0) == pytest.approx(0.25)
    assert radius(mean=-9.0, std=1.0, best=0.0, slope=0.1, dimensions=8) == pytest.approx(0.5 * math.sqrt(8))


def test_only_coordinates_outside_the_cube_are_drawn_again() -> None:
    centre, widths = np.array([0.02, 0.5]), np.array([0.1, 0.01])
    plain = centre + widths * np.random.default_rng(3).normal(size=(2000, 2))
    found = scatter(centre, widths, 2000, np.random.default_rng(3))
    assert np.all((found >= 0) & (found <= 1))
    inside = (plain >= 0) & (plain <= 1)
    np.testing.assert_array_equal(found[inside], plain[inside])
    assert 0.3 < inside[:, 0].mean() < 0.7
    wide = scatter(np.full(3, 0.5), np.full(3, 0.05), 4000, np.random.default_rng(4))
    assert wide.std(0) == pytest.approx(np.full(3, 0.05), rel=0.05)


def test_anisotropic_scatter_keeps_the_volume() -> None:
    shape = shape_of(process(isotropic=False))
    assert np.prod(shape) == pytest.approx(1.0)
    assert shape[1] / shape[0] == pytest.approx(4.0)
    np.testing.assert_allclose(shape_of(process()), 1.0)


def test_the_front_trades_mean_for_spread_better_than_its_screen() -> None:
    model, rng = process(), np.random.default_rng(5)
    rows = rng.random((300, 2))
    found = front(model, rows, lambda r: r, rng)

    def pairs(points: np.ndarray) -> np.ndarray:
        mean, std = model.predict(points)
        return np.column_stack([mean, -std])

    assert len(non_dominated(pairs(found))) > 0.95 * len(found)  # the last digits depend on who else is predicted
    assert len(found) <= 256
    screened = pairs(rows)
    screened = screened[non_dominated(screened)]
    beaten = [np.any(np.all(pairs(found) <= value + 0.01, axis=1)) for value in screened]
    assert all(beaten)


def run(trials: int, count: int, seed: int = 1, **options: Any) -> tuple[list[Suggestion], float]:
    """Branin in batches told whole; the suggestions and the best value."""
    spec = study(parameters=SQUARE, suggester={"name": "eshotgun", "options": options}, seed=seed)
    one = law.Study(law.Problem(study="s", spec=spec, seed=seed))
    suggester, found, best = law.make(get("eshotgun"), one.problem), [], math.inf
    while len(found) < trials:
        batch = suggester.suggest(one.history(), count)
        numbers = [one.start(s) for s in batch]
        for number, suggestion in zip(numbers, batch, strict=True):
            value = branin(list(suggestion.parameters.values()))
            one.tell(number, value)
            best = min(best, value)
        found += batch
    return found, best


@pytest.mark.parametrize("options", [{}, {"variant": "rs"}, {"isotropic": True}, {"explore": "points", "epsilon": 0.5}])
def test_every_variant_reaches_branins_minimum(options: dict[str, Any]) -> None:
    _, best = run(60, 10, batch=10, **options)
    assert best < 0.41


@pytest.mark.parametrize("q", [2, 50])
def test_batches_of_every_size_hold_a_centre_and_scattered_points(q: int) -> None:
    found, _ = run(5 + 2 * q, q, batch=q, initial_trials=5)
    modelled = [s for s in found if s.receipt is not None]
    places = [s.receipt["place"] for s in modelled if s.receipt is not None]
    assert places.count(0) == len(modelled) // q
    assert len({tuple(s.parameters.values()) for s in found}) == len(found)


def test_a_batch_is_the_same_asked_for_whole_or_one_by_one() -> None:
    spec = study(parameters=SQUARE, suggester={"name": "eshotgun", "options": {"batch": 6}}, seed=2)
    one = law.Study(law.Problem(study="s", spec=spec, seed=2))
    suggester = law.make(get("eshotgun"), one.problem)
    for _ in range(8):
        suggestion = suggester.suggest(one.history(), 1)[0]
        one.tell(one.start(suggestion), branin(list(suggestion.parameters.values())))
    whole = [s.parameters for s in law.make(get("eshotgun"), one.problem).suggest(one.history(), 6)]
    single = []
    for _ in range(6):
        suggestion = law.make(get("eshotgun"), one.problem).suggest(one.history(), 1)[0]
        one.start(suggestion)
        single.append(suggestion.parameters)
    assert single == whole
    assert law.make(get("eshotgun"), one.problem).suggest(one.history(), 1)[0].receipt["place"] == 0  # type: ignore[index]


def test_never_exploring_asks_at_the_least_mean() -> None:
    found, _ = run(40, 10, batch=10, epsilon=0.0, variant="rs")
    assert not any("explored" in s.reason for s in found)
    always, _ = run(40, 10, batch=10, epsilon=1.0, variant="rs")
    assert any("explored (rs)" in s.reason for s in always)


def test_constraints_move_the_centre_inside() -> None:
    spec = study(
        parameters=SQUARE, constraints=[{"metric": "c", "max": 0}], suggester={"name": "eshotgun"}, seed=4
    )  # fmt: skip
    one = law.Study(law.Problem(study="s", spec=spec, seed=4))
    suggester, kept = law.make(get("eshotgun"), one.problem), []
    for _ in range(5):
        for suggestion in suggester.suggest(one.history(), 8):
            x, y = suggestion.parameters["x"], suggestion.parameters["y"]
            number = one.start(suggestion)
            one.tell(number, 0.0)
            metrics = {"loss": x + y, "c": 1.0 - x - 0.5 * y}
            one.trials[number] = law.with_metrics(one.trials[number], metrics, metrics["c"] <= 0)
            kept.append((metrics["loss"], metrics["c"]))
    assert min(loss for loss, c in kept if c <= 0) < 1.1
