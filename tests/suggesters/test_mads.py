"""The direct search: where it looks, what it takes as a success, and what it reaches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from services.domain.codec import Codec
from services.domain.trial import TrialState
from tests.suggesters import local_study
from tests.suggesters.local_study import lowest, optimise
from tests.support.objectives import minimise, rosenbrock, sphere
from workers.models.barrier import Barrier, Tried, violation
from workers.models.mesh import Mesh

PLAIN = {"search": "none", "speculative": 0, "covering": False}
problem = partial(local_study.problem, "mads")


# -- where it looks


@pytest.mark.parametrize("frame", [0.4, 0.1, 0.003])
def test_a_poll_spans_the_space_on_the_mesh_and_reaches_the_frame(frame: float) -> None:
    codec = Codec(problem(6).space)
    point = dict.fromkeys((f"x{i}" for i in range(6)), 0.5)
    mesh = frame**2
    for seed in range(20):
        moves = Mesh(codec).poll(point, frame, np.random.default_rng(seed)) - 0.5
        assert moves.shape == (12, 6)
        np.testing.assert_allclose(moves[::2], -moves[1::2], atol=1e-12)
        np.testing.assert_allclose(np.abs(moves).max(axis=1), frame, atol=mesh / 2 * (1 + 1e-9))
        np.testing.assert_allclose(moves / mesh, np.round(moves / mesh), atol=1e-6)
        assert frame == 0.4 or np.linalg.matrix_rank(moves) == 6  # so coarse a mesh may round two directions together


def test_poll_directions_become_dense_on_the_sphere() -> None:
    codec = Codec(problem(2).space)
    moves = [Mesh(codec).poll({"x0": 0.5, "x1": 0.5}, 0.01, np.random.default_rng(s)) - 0.5 for s in range(300)]
    angles = np.sort([math.atan2(y, x) for x, y in np.concatenate(moves)])
    assert np.diff(angles).max() < 0.1


def test_discrete_coordinates_move_by_whole_levels_and_at_least_one() -> None:
    parameters = [
        {"name": "n", "type": "int", "min": 0, "max": 9},
        {"name": "m", "type": "int", "min": 1, "max": 1000, "scale": "log"},
        {"name": "on", "type": "bool"},
    ]
    codec = Codec(problem(parameters=parameters).space)
    rows = Mesh(codec).poll({"n": 5, "m": 30, "on": False}, 1e-4, np.random.default_rng(1))
    points = [codec.decode(r) for r in rows]
    assert {p["n"] - 5 for p in points} == {-1, 0, 1}
    assert {p["m"] - 30 for p in points} >= {-1, 1}
    assert {p["m"] - 30 for p in points} <= {-1, 0, 1}
    assert {p["on"] for p in points} == {False, True}
    np.testing.assert_allclose(codec.snap_many(rows), rows, atol=1e-12)
    far = [codec.decode(r) for r in Mesh(codec).poll({"n": 5, "m": 30, "on": False}, 0.3, np.random.default_rng(1))]
    assert max(abs(p["n"] - 5) for p in far) == 3
    assert max(p["m"] for p in far) > 100


def test_covering_points_fill_a_ball_evenly() -> None:
    mesh = Mesh(Codec(problem(3).space))
    rng = np.random.default_rng(2)
    point = dict.fromkeys(("x0", "x1", "x2"), 0.5)
    distances = np.array([np.linalg.norm(mesh.in_ball(point, 0.2, rng) - 0.5) for _ in range(4000)])
    assert np.abs(np.sort((distances / 0.2) ** 3) - np.arange(4000) / 4000).max() < 0.03


def test_every_failed_iteration_has_a_covering_point_within_the_fixed_radius() -> None:
    of = problem(2, options={"search": "none", "speculative": 0, "covering_radius": 0.05})
    one = optimise(of, sphere, 80)
    polls: dict[int, list[Any]] = {}
    for trial in one.trials.values():
        polls.setdefault(trial.origin["iteration"], []).append(trial)
    complete = [p for p in polls.values() if sum(t.origin["step"] == "poll" for t in p) == 4]
    made: dict[int, int] = {}  # the best trial when each was proposed
    for number in one.trials:
        made[number] = min(range(1, max(2, number)), key=lambda n: one.trials[n].metrics["loss"])
    assert len(complete) > 5
    for trials in complete[:-1]:
        covering = [t for t in trials if t.origin["step"] == "covering"]
        assert len(covering) == 1
        centre = one.trials[made[covering[0].number]].parameters
        assert math.dist(covering[0].parameters.values(), centre.values()) <= 0.05


# -- what it reaches


@pytest.mark.parametrize(
    ("objective", "d", "trials", "target"),
    [(sphere, 2, 60, 1e-6), (sphere, 10, 150, 1e-6), (rosenbrock, 2, 150, 1e-3), (rosenbrock, 10, 2200, 1e-3)],
)
def test_it_reaches_smooth_minima(objective: Any, d: int, trials: int, target: float) -> None:
    found = [minimise("mads", objective, trials, seed, d) for seed in range(1 if d == 10 else 3)]
    assert max(found) < target


def test_without_a_model_polls_alone_converge() -> None:
    assert max(minimise("mads", sphere, 150, seed, 2, **PLAIN) for seed in range(3)) < 1e-6


def steps(x: Sequence[float]) -> float:
    """⌊5z⌋² + |z|, on z in [-1, 1.5] around 0.3: no slope says where the lowest cell is."""
    z = [2.5 * (v - 0.3) for v in x]
    return sum(math.floor(5 * v) ** 2 + abs(v) for v in z)


def test_it_finds_the_lowest_cell_of_a_step_function_and_the_tip_of_a_kink() -> None:
    for seed in range(3):
        assert minimise("mads", steps, 200, seed, 3) < 0.2  # the next cell is 1 higher
        kink = minimise("mads", lambda x: 10 * abs(x[0] - 0.31) + abs(x[1] - 0.72), 250, seed, 2)
        assert kink < 5e-3


def test_whole_numbers_and_categories_reach_the_best_cell() -> None:
    parameters = [
        {"name": "n", "type": "int", "min": 0, "max": 50},
        {"name": "m", "type": "int", "min": 1, "max": 1000, "scale": "log"},
        {"name": "kind", "type": "categorical", "choices": ["a", "b", "c", "d"]},
        {"name": "x", "type": "float", "min": 0, "max": 1},
    ]

    def value(x: list[Any]) -> float:
        return float(abs(x[0] - 37) + abs(math.log(x[1] / 90)) * 5 + 10 * (x[2] != "c") + (x[3] - 0.2) ** 2)

    for seed in range(3):
        one = optimise(problem(parameters=parameters, seed=seed), value, 200)
        best = min(one.trials.values(), key=lambda t: t.metrics["loss"])
        assert best.parameters["kind"] == "c"
        assert best.metrics["loss"] < 0.1


def test_a_converged_run_starts_anew_elsewhere() -> None:
    def two_valleys(x: Sequence[float]) -> float:
        return min(sphere(x), (x[0] - 0.9) ** 2 + (x[1] - 0.9) ** 2 - 0.1)

    one = optimise(problem(2, options={"min_frame": 1e-3}), two_valleys, 300)
    assert max(t.origin["run"] for t in one.trials.values()) >= 2
    assert lowest(one) < -0.0999


# -- constraints


def test_measured_constraints_are_a_progressive_barrier() -> None:
    of = problem(2, constraints=[{"metric": "c", "max": 0.0}])
    # lowest where x0 + x1 = 1.4 touches the circle; the start (0.5, 0.5) breaks the constraint
    one = optimise(of, lambda x: {"loss": sphere(x), "c": 1.4 - sum(x)}, 150)
    assert one.trials[1].feasible is False
    assert lowest(one) == pytest.approx(0.32, abs=1e-3)


def tried(number: int, value: float, excess: float) -> Tried:
    """An evaluated point."""
    return Tried(number=number, point={}, row=np.zeros(1), value=value, violation=violation((excess,)))


def test_the_barrier_only_tightens_and_keeps_the_better_side() -> None:
    rng, barrier, limits = np.random.default_rng(3), Barrier(), []
    number = 0
    for _ in range(40):
        success = False
        for _ in range(4):
            number += 1
            success = barrier.take(tried(number, rng.normal(), max(0.0, rng.normal()))) or success
        barrier.close(success)
        limits.append(barrier.limit)
        assert barrier.infeasible is None or barrier.infeasible.violation <= barrier.limit
    assert all(b <= a for a, b in pairwise(limits))
    assert barrier.feasible is not None


def test_an_iteration_that_only_breaks_less_moves_the_infeasible_incumbent() -> None:
    barrier = Barrier()
    assert barrier.take(tried(1, 0.0, 2.0))
    barrier.close(True)
    assert not barrier.take(tried(2, 5.0, 1.0))  # breaks less, but is higher
    assert barrier.close(False)
    assert barrier.infeasible is not None
    assert barrier.infeasible.number == 2
    assert barrier.limit == 1.0
    assert not barrier.take(tried(3, -9.0, 1.5))  # beyond the limit now


def test_where_it_cannot_be_evaluated_is_an_extreme_barrier() -> None:
    of = problem(2)
    one = optimise(of, lambda x: TrialState.INFEASIBLE if sum(x) < 0.8 else sphere(x), 200)
    assert lowest(one) == pytest.approx(0.02, abs=2e-3)
    start = optimise(of, lambda x: TrialState.INFEASIBLE if x[0] < 0.7 else x[0], 60)
    assert lowest(start) == pytest.approx(0.7, abs=0.05)
