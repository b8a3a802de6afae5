"""The direct search with many workers: outcomes in any order or none, points of others, noise, restarts."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest

from services.domain.suggester import Suggestion
from services.domain.trial import TrialState
from tests.suggesters import law, local_study
from tests.suggesters.local_study import ask, fresh, optimise, values
from tests.support.objectives import sphere
from workers.models.barrier import Barrier, Tried
from workers.suggesters.registry import get

PLAIN = {"search": "none", "speculative": 0, "covering": False}
problem = partial(local_study.problem, "mads")


def around(one: law.Study) -> int:
    """The trial that the next point is proposed around."""
    suggestion = fresh(one.problem).suggest(one.history(), 1)[0]
    return int(suggestion.receipt["around"])  # type: ignore[index]


# -- their outcomes


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
                one.tell(number, sphere(values(one, number)))
    assert around(studies[0]) == around(studies[1])


def test_an_opportunistic_search_ends_at_the_same_incumbent_too() -> None:
    of = problem(3)
    first = optimise(of, sphere, 60)
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
    suggestion = fresh(of).suggest(one.history(), 1)[0]
    assert suggestion.receipt == {"frame": 0.05, "step": "poll", "around": 1}


def test_polls_double_the_frame_and_lost_polls_halve_it() -> None:
    of = problem(2, options=PLAIN)
    one = law.Study(of)
    one.tell(ask(one)[0], 1.0)
    one.tell(ask(one)[0], 0.9)
    assert fresh(of).suggest(one.history(), 1)[0].receipt["frame"] == 0.2  # type: ignore[index]
    for number in ask(one, 4):
        one.tell(number, 2.0)
    assert fresh(of).suggest(one.history(), 1)[0].receipt["frame"] == 0.1  # type: ignore[index]


def test_trials_that_never_come_back_block_nothing() -> None:
    of = problem(2)
    one = law.Study(of)
    one.tell(ask(one)[0], 1.0)
    lost = ask(one, 5)
    frames = set()
    for _ in range(30):
        number = ask(one)[0]
        assert number not in lost
        frames.add(fresh(of).suggest(one.history(), 1)[0].receipt["frame"])  # type: ignore[index]
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
    suggestion = fresh(of).suggest(one.history(), 1)[0]
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
    one, suggester, best, radius = law.Study(of), fresh(of), (math.inf, np.zeros(12)), 0.1
    is_new = False
    while len(one.trials) < trials:
        if attacks and is_new:
            out, jacobian = network(best[1])
            step = np.clip(best[1] - radius * np.sign(jacobian.T @ (2 * (out - 0.3))), 0, 1)
            number = one.add({f"x{i}": float(v) for i, v in enumerate(step)})
        else:
            number = one.start(suggester.suggest(one.history(), 1)[0])
        x = np.array(values(one, number))
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
    suggestion = fresh(of).suggest(one.history(), 1)[0]
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
        one, suggester, running, found = law.Study(of), fresh(of), [], []
        for n in range(90):
            if how == "saved":
                suggester = law.make(get("mads"), of, law.save(suggester))
            elif how == "lost" and n % 7 == 0:
                suggester = fresh(of)
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
