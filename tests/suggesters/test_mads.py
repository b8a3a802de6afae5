"""The direct search: where it looks, what it takes as a success, and what it reaches; whoever asks in whatever order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from services.domain.codec import Codec
from services.domain.suggester import Suggestion
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import minimise, rosenbrock, sphere
from workers.models.barrier import Barrier, Tried, violation
from workers.models.mesh import Mesh
from workers.suggesters.registry import get

PLAIN = {"search": "none", "speculative": 0, "covering": False}


def problem(d: int = 3, seed: int = 5, options: dict[str, Any] | None = None, **fields: Any) -> law.Problem:
    """A numeric study, or one of the given parameters."""
    parameters = [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(d)]
    fields = {"parameters": parameters} | fields
    made = study(suggester={"name": "mads", "options": options or {}}, seed=seed, **fields)
    return law.Problem(study="s", spec=made, seed=seed)


def ask(one: law.Study, count: int = 1) -> list[int]:
    """Trials of a suggester that was just made."""
    return [one.start(s) for s in law.make(get("mads"), one.problem).suggest(one.history(), count)]


def optimise(of: law.Problem, outcome: Callable[[dict[str, Any]], Any], trials: int) -> law.Study:
    """Tell one after another: a value, a document of metrics, or a state."""
    one, suggester, history = law.Study(of), law.make(get("mads"), of), None
    for _ in range(trials):
        history = history or one.history()
        found = suggester.suggest(history, 1)
        if not found:
            break
        number = one.start(found[0])
        told = outcome(found[0].parameters)
        if isinstance(told, TrialState):
            one.tell(number, 0.0, told)
        else:
            metrics = told if isinstance(told, dict) else {"loss": told}
            one.tell(number, 0.0, **metrics)
        history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    return one


def lowest(one: law.Study) -> float:
    """The best feasible value."""
    return min(t.metrics["loss"] for t in one.trials.values() if t.metrics and t.feasible is not False)


def around(one: law.Study) -> int:
    """The trial that the next point is proposed around."""
    suggestion = law.make(get("mads"), one.problem).suggest(one.history(), 1)[0]
    return int(suggestion.receipt["around"])  # type: ignore[index]


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
    one = optimise(of, lambda p: sphere(list(p.values())), 80)
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

    def value(p: dict[str, Any]) -> float:
        return abs(p["n"] - 37) + abs(math.log(p["m"] / 90)) * 5 + 10 * (p["kind"] != "c") + (p["x"] - 0.2) ** 2

    for seed in range(3):
        one = optimise(problem(parameters=parameters, seed=seed), value, 200)
        best = min(one.trials.values(), key=lambda t: t.metrics["loss"])
        assert best.parameters["kind"] == "c"
        assert best.metrics["loss"] < 0.1


def test_a_converged_run_starts_anew_elsewhere() -> None:
    def two_valleys(p: dict[str, Any]) -> float:
        return min(sphere([p["x0"], p["x1"]]), (p["x0"] - 0.9) ** 2 + (p["x1"] - 0.9) ** 2 - 0.1)

    one = optimise(problem(2, options={"min_frame": 1e-3}), two_valleys, 300)
    assert max(t.origin["run"] for t in one.trials.values()) >= 2
    assert lowest(one) < -0.0999


# -- constraints


def test_measured_constraints_are_a_progressive_barrier() -> None:
    of = problem(2, constraints=[{"metric": "c", "max": 0.0}])
    # lowest where x0 + x1 = 1.4 touches the circle; the start (0.5, 0.5) breaks the constraint
    one = optimise(of, lambda p: {"loss": sphere(list(p.values())), "c": 1.4 - p["x0"] - p["x1"]}, 150)
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
    one = optimise(of, lambda p: TrialState.INFEASIBLE if p["x0"] + p["x1"] < 0.8 else sphere(list(p.values())), 200)
    assert lowest(one) == pytest.approx(0.02, abs=2e-3)
    start = optimise(of, lambda p: TrialState.INFEASIBLE if p["x0"] < 0.7 else p["x0"], 60)
    assert lowest(start) == pytest.approx(0.7, abs=0.05)


# -- many workers


def test_outcomes_in_any_order_end_at_the_same_incumbent() -> None:
    of = problem(3, options={"opportunistic": False} | PLAIN)
    studies = [law.Study(of), law.Study(of)]
    rng = np.random.default_rng(4)
    for _ in range(12):
        batches = [ask(one, 6) for one in studies]
        assert batches[0] == batches[1]
        points = [[one.trials[n].parameters for n in batches[0]] for one in studies]
        assert points[0] == points[1]
        for one in studies:
            for number in rng.permutation(batches[0]).tolist():
                one.tell(number, sphere(list(one.trials[number].parameters.values())))
    assert around(studies[0]) == around(studies[1])


def test_an_opportunistic_search_ends_at_the_same_incumbent_too() -> None:
    of = problem(3)
    first = optimise(of, lambda p: sphere(list(p.values())), 60)
    rng = np.random.default_rng(5)
    for _ in range(5):
        other = law.Study(of)
        for trial in first.trials.values():
            other.start(Suggestion(parameters=trial.parameters, reason="again", origin=trial.origin))
        for number in rng.permutation(sorted(first.trials)).tolist():
            other.tell(number, first.trials[number].metrics["loss"])
        assert around(other) == around(first)


def test_the_first_success_ends_the_iteration_and_late_ones_still_count() -> None:
    one = law.Study(problem(3, options=PLAIN))
    one.tell(ask(one)[0], 1.0)
    poll = ask(one, 6)
    assert {one.trials[n].origin["step"] for n in poll} == {"poll"}
    one.tell(poll[3], 0.5)
    assert around(one) == poll[3]
    after = ask(one)[0]
    assert one.trials[after].origin["iteration"] == one.trials[poll[0]].origin["iteration"] + 1
    one.tell(poll[0], 0.7)
    assert around(one) == poll[3]
    one.tell(poll[1], 0.4)
    assert around(one) == poll[1]


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.CANCELLED, TrialState.INFEASIBLE, TrialState.PRUNED])
def test_a_trial_without_a_value_is_no_success(state: TrialState) -> None:
    of = problem(2, options=PLAIN)
    one = law.Study(of)
    one.tell(ask(one)[0], 1.0)
    for number in ask(one, 4):
        one.tell(number, 0.0, state)
    suggestion = law.make(get("mads"), of).suggest(one.history(), 1)[0]
    assert suggestion.receipt == {"frame": 0.05, "step": "poll", "around": 1}


def test_polls_double_the_frame_and_lost_polls_halve_it() -> None:
    of = problem(2, options=PLAIN)
    one = law.Study(of)
    one.tell(ask(one)[0], 1.0)
    one.tell(ask(one)[0], 0.9)
    assert law.make(get("mads"), of).suggest(one.history(), 1)[0].receipt["frame"] == 0.2  # type: ignore[index]
    for number in ask(one, 4):
        one.tell(number, 2.0)
    assert law.make(get("mads"), of).suggest(one.history(), 1)[0].receipt["frame"] == 0.1  # type: ignore[index]


def test_trials_that_never_come_back_block_nothing() -> None:
    of = problem(2)
    one = law.Study(of)
    one.tell(ask(one)[0], 1.0)
    lost = ask(one, 5)
    frames = set()
    for _ in range(30):
        number = ask(one)[0]
        assert number not in lost
        frames.add(law.make(get("mads"), of).suggest(one.history(), 1)[0].receipt["frame"])  # type: ignore[index]
        one.tell(number, 2.0)
    assert min(frames) < 0.1  # went on to finer polls although the first is not back
    one.tell(lost[-1], 0.1)
    assert around(one) == lost[-1]
    assert len({law.point_key(t.parameters) for t in one.trials.values()}) == len(one.trials)


# -- points of others


def test_a_better_point_of_the_clients_own_is_a_success() -> None:
    of = problem(3, options={"search": "none", "covering": False})
    one = law.Study(of)
    one.tell(ask(one)[0], 1.0)
    poll = ask(one, 2)
    own = one.add({"x0": 0.45, "x1": 0.55, "x2": 0.5})
    one.tell(own, 0.5)
    suggestion = law.make(get("mads"), of).suggest(one.history(), 1)[0]
    assert suggestion.receipt["around"] == own  # type: ignore[index]
    assert suggestion.origin["step"] == "speculative"  # the client's step, once more and half
    assert list(suggestion.parameters.values()) == pytest.approx([0.375, 0.625, 0.5])
    assert suggestion.origin["iteration"] == one.trials[poll[0]].origin["iteration"] + 1
    worse = one.add({"x0": 0.1, "x1": 0.1, "x2": 0.5})
    one.tell(worse, 0.7)
    assert around(one) == own


def network(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A small fixed network Φ and its Jacobian."""
    rng = np.random.default_rng(6)
    first, second = rng.normal(size=(24, 12)), rng.normal(size=(8, 24)) / 5
    hidden = np.tanh(first @ (x - 0.4))
    return second @ hidden, second @ ((1 - hidden**2)[:, None] * first)


def black_box(x: np.ndarray) -> float:
    """f(Φ(x)): what the client does not open, after a network that it can differentiate."""
    out, _ = network(x)
    return float(((out - 0.3) ** 2).sum())


def hybrid(seed: int, trials: int, attacks: bool) -> float:
    """Direct search in which the client enqueues a step against the sign of the gradient after each new best."""
    of = problem(12, seed=seed, options={"search": "none"})
    one, suggester, best, radius = law.Study(of), law.make(get("mads"), of), (math.inf, np.zeros(12)), 0.1
    is_new = False
    while len(one.trials) < trials:
        if attacks and is_new:
            out, jacobian = network(best[1])
            step = np.clip(best[1] - radius * np.sign(jacobian.T @ (2 * (out - 0.3))), 0, 1)
            number = one.add({f"x{i}": float(v) for i, v in enumerate(step)})
        else:
            number = one.start(suggester.suggest(one.history(), 1)[0])
        x = np.array(list(one.trials[number].parameters.values()))
        one.tell(number, black_box(x))
        gained = black_box(x) < best[0]
        if one.trials[number].suggester == "user":
            radius *= 1.3 if gained else 1 / 1.3
        is_new = gained
        best = min(best, (black_box(x), x), key=lambda b: b[0])
    return best[0]


def test_attack_steps_that_a_client_enqueues_speed_it_up() -> None:
    plain = [hybrid(seed, 120, attacks=False) for seed in range(5)]
    attacked = [hybrid(seed, 120, attacks=True) for seed in range(5)]
    assert sum(a < b for a, b in zip(attacked, plain, strict=True)) >= 4


def test_what_was_imported_is_where_it_starts() -> None:
    of = problem(2)
    one = law.Study(of)
    for x0, value in ((0.7, 3.0), (0.72, 1.0), (0.2, 2.0)):
        one.tell(one.add({"x0": x0, "x1": 0.4}), value)
    suggestion = law.make(get("mads"), of).suggest(one.history(), 1)[0]
    assert suggestion.receipt["around"] == 2  # type: ignore[index]
    assert suggestion.receipt["frame"] == pytest.approx(0.04)  # type: ignore[index]


# -- noise


def test_a_told_standard_error_must_be_beaten_twice_over() -> None:
    barrier = Barrier()
    barrier.take(Tried(1, {}, np.zeros(1), 1.0, std=0.1))
    assert not barrier.take(Tried(2, {}, np.zeros(1), 0.8, std=0.1))
    assert barrier.take(Tried(3, {}, np.zeros(1), 0.7, std=0.1))


def test_under_noise_a_lower_value_is_repeated_before_it_counts() -> None:
    of = problem(2, options=PLAIN, objectives=[{"metric": "loss", "noisy": True}])
    one = law.Study(of)
    one.tell(ask(one)[0], 1.0)
    lucky = ask(one)[0]
    one.tell(lucky, 0.2)
    assert around(one) == 1
    again = ask(one)[0]
    assert one.trials[again].parameters == one.trials[lucky].parameters
    one.tell(again, 1.3)
    assert around(one) == 1
    other = ask(one)[0]
    one.tell(other, 0.5)
    again = ask(one)[0]
    one.tell(again, 0.6)
    assert around(one) == again


# -- restarts


@pytest.mark.parametrize("restart", ["saved", "lost"])
@pytest.mark.parametrize("space", ["mixed", "constrained", "vector"])
def test_restarts_change_nothing_over_many_iterations(space: str, restart: str) -> None:
    def path(how: str) -> list[Any]:
        of = law.problem(get("mads"), space, seed=11)
        one, suggester, running, found = law.Study(of), law.make(get("mads"), of), [], []
        for n in range(90):
            if how == "saved":
                suggester = law.make(get("mads"), of, law.save(suggester))
            elif how == "lost" and n % 7 == 0:
                suggester = law.make(get("mads"), of)
            for suggestion in suggester.suggest(one.history(), 1):
                found.append(suggestion.parameters)
                running.append(one.start(suggestion))
            while len(running) > 3:
                number = running.pop(n * 7919 % len(running))
                state = TrialState.COMPLETED if number % 9 else list(TrialState)[-1 - number // 9 % 4]
                numbers = [v for v in one.trials[number].parameters.values() if isinstance(v, float)]
                one.tell(number, sphere(numbers), state)
        return found

    assert path(restart) == path("never")
