"""Consensus-based optimisation: CBXpy's steps for the same noise, the outcome that was promised, and what is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import minimise, sphere, wins
from workers.models.consensus import effective, stepped, weights
from workers.models.positions import reflected
from workers.suggesters.registry import get

Array = Any
DONE = TrialState.COMPLETED
SPAN = 6.0  # the unit cube as [-3, 3]


def ackley(z: Array) -> Array:
    """(N,) of (N, d); minimum 0 at 0."""
    far, ripples = np.sqrt((z**2).mean(axis=-1)), np.cos(2 * np.pi * z).mean(axis=-1)
    return 20 - 20 * np.exp(-0.2 * far) + math.e - np.exp(ripples)


def rastrigin(z: Array) -> Array:
    """(N,) of (N, d); minimum 0 at 0."""
    return (z**2 - 10 * np.cos(2 * np.pi * z) + 10).sum(axis=-1)


def problem(d: int = 3, seed: int = 5, **options: Any) -> law.Problem:
    """A study over one vector."""
    parameters = [{"name": "x", "type": "vector", "length": d, "min": 0, "max": 1}]
    made = study(parameters=parameters, suggester={"name": "cbo", "options": options}, seed=seed)
    return law.Problem(study="s", spec=made, seed=seed)


def rounds(of: law.Problem, objective: Callable[[Array], Array], count: int, size: int) -> list[np.ndarray]:
    """The places of each round, asked and told as a whole."""
    one, suggester, seen = law.Study(of), law.make(get("cbo"), of), []
    for _ in range(count):
        given = suggester.suggest(one.history(), size)
        seen.append(np.array([s.parameters["x"] for s in given]))
        for suggestion, value in zip(given, objective(seen[-1]), strict=True):
            one.tell(one.start(suggestion), float(value))
    return seen


def bowl(x: Array) -> Array:
    """(N,) of (N, d)."""
    return ((x - 0.45) ** 2 * np.arange(1, x.shape[-1] + 1)).sum(axis=-1)


@pytest.mark.parametrize(
    ("options", "made", "how"),
    [
        ({}, "CBO", {"noise": "anisotropic"}),
        ({"isotropic": True}, "CBO", {"noise": "isotropic"}),
        ({"memory": 0.4}, "CBOMemory", {"noise": "anisotropic", "lamda_memory": 0.4}),
        (
            {"polar": 0.3},
            "PolarCBO",
            {"noise": "anisotropic", "kernel": "Gaussian", "kappa": 0.3, "kernel_factor_mode": "const"},
        ),
    ],
    ids=["anisotropic", "isotropic", "memory", "polar"],
)
def test_a_synchronous_step_is_cbxpys_for_the_same_noise(
    options: dict[str, Any], made: str, how: dict[str, Any]
) -> None:
    from cbx import dynamics
    from cbx.scheduler import multiply

    size, d, sigma = 8, 3, 0.2
    of = problem(d, popsize=size, noise=sigma, **options)
    seen = rounds(of, bowl, 4, size)
    values = bowl(seen[0])
    scale = float(np.subtract(*np.quantile(values, [0.75, 0.25])))
    normals = [np.array([of.generator(t, f"cbo {i}").standard_normal((3, d)) for i in range(size)]) for t in (1, 2, 3)]
    draws = iter(n[:, k][None] for n in normals for k in range(2 if "memory" in options else 1))
    peer = getattr(dynamics, made)(
        lambda x: bowl(x) / scale, f_dim="3D", x=seen[0][None].copy(), dt=0.01, lamda=1.0, sigma=sigma, alpha=30.0,
        sampler=lambda size: next(draws), check_f_dims=False, verbosity=0, **how,
    )  # fmt: skip
    grow = multiply(factor=1.05, maximum=1e5)
    for expected in seen[1:]:
        peer.step()
        assert 0 < peer.x.min() < peer.x.max() < 1  # the walls are ours, and none is met here
        grow.update(peer)
        np.testing.assert_allclose(peer.x[0], expected, rtol=0, atol=1e-12)


def test_the_effective_weight_counts_the_wanted_share() -> None:
    values = np.random.default_rng(1).normal(size=50)
    for share in (0.1, 0.5, 0.9):
        found = weights(values, effective(values, share))
        assert found.sum() == pytest.approx(1)
        assert 1 / (found**2).sum() == pytest.approx(share * 50, rel=1e-6)
    some = np.where(np.arange(50) < 10, np.inf, values)
    assert 1 / (weights(some, effective(some, 0.5)) ** 2).sum() == pytest.approx(20, rel=1e-6)
    np.testing.assert_allclose(weights(np.array([0.0, np.inf, 1e300]), 1.0), [1, 0, 0])


def synchronous(
    objective: Callable[[Array], Array], seed: int, size: int, count: int, share: float | None = None
) -> float:
    """The inner optimiser alone, ten dimensions, uniform start: the largest coordinate of the best place, the minimum at 0."""
    rng = np.random.default_rng(seed)
    x = rng.random((size, 10))
    values = objective(SPAN * (x - 0.5))
    scale, best = float(np.subtract(*np.quantile(values, [0.75, 0.25]))), (math.inf, math.inf)
    for t in range(count):
        relative = (values - values.min()) / scale
        alpha = min(1e5, 30 * 1.05**t) if share is None else effective(relative, share)
        normals = rng.standard_normal(x.shape)
        x = reflected(stepped(x, weights(relative, alpha) @ x, 1.0, 5.1, normals, 0.01, False))
        values = objective(SPAN * (x - 0.5))
        k = int(np.argmin(values))
        best = min(best, (float(values[k]), float(np.abs(SPAN * (x[k] - 0.5)).max())))
    return best[1]


def test_the_promised_outcome_on_ackley() -> None:
    errors = [synchronous(ackley, seed, 100, 1000) for seed in range(10)]
    assert sum(e < 0.25 for e in errors) == 10
    assert np.median(errors) < 1e-4


def test_rastrigin_needs_the_effective_weight_or_many_particles() -> None:
    growing = [synchronous(rastrigin, seed, 100, 400) for seed in range(3)]
    even = [synchronous(rastrigin, seed, 100, 400, share=0.5) for seed in range(3)]
    assert sum(e < 0.25 for e in growing) == 0  # a minimum nearby
    assert sum(e < 0.25 for e in even) >= 2


def test_the_suggester_follows_it_with_a_trial_at_a_time() -> None:
    ours = [minimise("cbo", sphere, 600, seed, 4, noise=1.2, dt=0.1) for seed in range(3)]
    random = [minimise("random", sphere, 600, seed, 4) for seed in range(3)]
    assert wins(ours, random) == 3


def test_a_particle_whose_trials_fail_starts_among_the_others() -> None:
    of = problem(2, popsize=4)
    one = law.Study(of)
    for row, suggestion in enumerate(law.make(get("cbo"), of).suggest(one.history(), 4)):
        point = {"x": [0.7 + 0.01 * row, 0.7]}
        number = one.start(suggestion)
        one.trials[number] = law.replace(one.trials[number], parameters=point)
        one.tell(number, float(row), TrialState.FAILED if row == 2 else TrialState.COMPLETED)
    for suggestion in law.make(get("cbo"), of).suggest(one.history(), 1):
        one.tell(one.start(suggestion), 3.0)
    given = law.make(get("cbo"), of).suggest(one.history(), 3)
    assert given[1].origin["row"] == 2
    np.testing.assert_allclose(given[1].parameters["x"], [0.7, 0.7], atol=0.2)


def test_infeasible_particles_have_no_weight_and_extremes_are_taken() -> None:
    of = problem(2, popsize=4, noise=0.0, dt=1.0)
    one = law.Study(of)
    given = law.make(get("cbo"), of).suggest(one.history(), 4)
    states = [TrialState.COMPLETED, TrialState.INFEASIBLE, TrialState.COMPLETED, TrialState.INFEASIBLE]
    for suggestion, state, value in zip(given, states, (-1e300, 0.0, 1e300, 0.0), strict=True):
        one.tell(one.start(suggestion), value, state)
    expected = given[0].parameters["x"]  # everybody jumps to the consensus, which is the best by far
    for suggestion in law.make(get("cbo"), of).suggest(one.history(), 4):
        np.testing.assert_allclose(suggestion.parameters["x"], expected, atol=1e-9)


def test_a_batch_is_drawn_from_those_that_count() -> None:
    of = problem(2, popsize=10, batch=1, noise=0.0, dt=1.0)
    one = law.Study(of)
    given = law.make(get("cbo"), of).suggest(one.history(), 10)
    for n, suggestion in enumerate(given):
        one.tell(one.start(suggestion), float(n), TrialState.COMPLETED if n in (3, 6) else TrialState.INFEASIBLE)
    heard = {tuple(given[n].parameters["x"]) for n in (3, 6)}
    moved = {tuple(s.parameters["x"]) for s in law.make(get("cbo"), of).suggest(one.history(), 10)}
    for place in moved:
        assert min(np.abs(np.subtract(place, h)).max() for h in heard) < 1e-9
    assert len(moved) >= 2


def test_scattering_revives_a_swarm_that_stands_still() -> None:
    of = problem(2, popsize=4, noise=0.0, dt=1.0, renoise=True)
    one, suggester = law.Study(of), law.make(get("cbo"), of)
    spreads = []
    for _ in range(8):
        given = suggester.suggest(one.history(), 4)
        places = np.array([s.parameters["x"] for s in given])
        spreads.append(float(np.ptp(places, axis=0).max()))
        for suggestion in given:
            one.tell(one.start(suggestion), sphere(suggestion.parameters["x"]))
    assert spreads[1] < 1e-9  # all at the consensus
    assert max(spreads[2:]) > 1e-2


def test_a_pruned_particle_weighs_less_than_the_median_but_for_its_own_value() -> None:
    of = problem(popsize=6)
    one, suggester = law.Study(of), law.make(get("cbo"), of)
    told = [(1.0, DONE), (2.0, DONE), (-9.0, TrialState.PRUNED), (3.0, DONE), (2.5, TrialState.PRUNED), (4.0, DONE)]
    for found, (value, state) in zip(suggester.suggest(one.history(), 6), told, strict=True):
        one.tell(one.start(found), value, state)
    history = one.history()
    suggester.suggest(history, 1)
    heard = suggester._heard(history)[1]  # type: ignore[attr-defined]
    order = np.argsort(heard, kind="stable").tolist()
    values = {number: told[number - 1][0] for number in range(1, 7)}
    by_row = [values[n] for n in suggester.now]  # type: ignore[attr-defined]
    assert [by_row[i] for i in order] == [1.0, 2.0, 3.0, -9.0, 2.5, 4.0]


def test_the_largest_values_and_the_narrowest_listening() -> None:
    of = law.problem(get("cbo"), "plane")
    one, suggester = law.Study(of), law.make(get("cbo"), of)
    for n, found in enumerate(suggester.suggest(one.history(), 4)):
        one.tell(one.start(found), 1e308, TrialState.PRUNED if n == 2 else TrialState.COMPLETED)
    with np.errstate(over="raise"):
        law.check_points(of, list(suggester.suggest(one.history(), 40)), set())
    with pytest.raises(Invalid):
        get("cbo").parse_options({"polar": 1e-300})
