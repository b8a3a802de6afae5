"""Rankings that are kept up while members come and go give what ranking everybody anew gives."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest

from services.domain.history import History, Observation
from services.domain.trial import TrialState
from tests.support.builders import study
from workers.models.domination import Compromises, entered, fronts
from workers.models.generations import ranks
from workers.models.rounds import Rounds
from workers.models.scores import ByValue, Scores, just_behind

STATES = [TrialState.COMPLETED] * 5 + [TrialState.PRUNED, TrialState.INFEASIBLE]
CONSTRAINTS = [{"metric": "c", "max": 0.5}, {"metric": "d", "min": -1e308, "max": 1}]


def history_of(goals: int, constraints: list[dict[str, Any]]) -> History:
    """An empty one of a study with metrics f0, f1, …; f0 is to be maximised."""
    objectives = [{"metric": f"f{i}", "goal": "minimize" if i else "maximize"} for i in range(goals)]
    return History(study(objectives=objectives, constraints=constraints).model_copy())


def trials(count: int, goals: int, seed: int, states: list[TrialState] = STATES) -> list[Observation]:
    """With coarse values, so that many are equal, and with values at the ends of the floats."""
    rng, found = np.random.default_rng(seed), []
    for number in range(1, count + 1):
        state = states[int(rng.integers(len(states)))]
        values = [float(rng.choice([-1e308, 0, 1, 2, 3, 4, 1e308], p=[0.05, *[0.18] * 5, 0.05])) for _ in range(goals)]
        told = {f"f{i}": value for i, value in enumerate(values)}
        told |= {"c": float(rng.choice([0, 0.5, 0.7, 3])), "d": float(rng.choice([0, 2, 1e308], p=[0.8, 0.1, 0.1]))}
        if state is TrialState.PRUNED and rng.random() < 0.3:
            told = {}
        found.append(Observation(number=number, told_seq=number, state=state, parameters={}, metrics=told))
    return found


def test_what_is_pruned_stands_just_behind_the_upper_median() -> None:
    assert just_behind(np.array([3.0, 1.0, 2.0])) == math.nextafter(2.0, 3.0)
    columns = np.array([[1.0, -5.0], [4.0, sys.float_info.max], [3.0, sys.float_info.max], [2.0, -6.0]])
    assert just_behind(columns).tolist() == [math.nextafter(3.0, 4.0), sys.float_info.max]
    assert just_behind(np.empty((0, 2))).tolist() == [-sys.float_info.max] * 2  # nobody to be held back by


@pytest.mark.parametrize("constraints", [[], CONSTRAINTS], ids=["free", "constrained"])
@pytest.mark.parametrize("seed", range(4))
def test_places_are_ordered_as_ranks_are(seed: int, constraints: list[dict[str, Any]]) -> None:
    history, everybody = history_of(1, constraints), trials(60, 1, seed)
    scores = Scores(history.spec, len(everybody))
    for place, trial in enumerate(everybody):
        scores.put(place, history, trial)
    rng = np.random.default_rng(seed)
    for size in (1, 2, 7, 60):
        places = sorted(int(place) for place in rng.permutation(60)[:size])
        merit = ranks(history, [everybody[place] for place in places])
        expected = [places[i] for i in sorted(range(size), key=lambda i: (merit[i], i))]
        assert scores.order(places) == expected


@pytest.mark.parametrize("constraints", [[], CONSTRAINTS], ids=["free", "constrained"])
@pytest.mark.parametrize("seed", range(4))
def test_a_population_by_value_is_that_of_ranking_everybody_at_every_outcome(
    seed: int, constraints: list[dict[str, Any]]
) -> None:
    history, members = history_of(1, constraints), list[Observation]()
    ranking = ByValue(history.spec, 12)
    for trial in trials(150, 1, seed):
        members.append(trial)
        ranking.add(history, trial)
        expected, found = np.array(ranks(history, members)), ranking.merits()
        assert np.array_equal(expected[:, None] < expected, found[:, None] < found)
        if len(members) > 12:
            last = int(np.argmax(found))
            assert last == int(np.argmax(expected))
            del members[last]
            ranking.remove(last)


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_fronts_after_one_more_are_those_of_everybody(m: int) -> None:
    rng = np.random.default_rng(m)
    for levels in (3, 1000):
        points = rng.integers(levels, size=(80, m)).astype(float)
        front = fronts(points[:1])
        for n in range(1, len(points)):
            front = entered(points[:n], front, points[n])
            np.testing.assert_array_equal(front, fronts(points[: n + 1]))


@pytest.mark.parametrize("states", [[TrialState.COMPLETED], STATES], ids=["completed", "every state"])
@pytest.mark.parametrize("constraints", [[], CONSTRAINTS], ids=["free", "constrained"])
@pytest.mark.parametrize("goals", [2, 4])
def test_compromises_kept_up_are_those_of_the_same_members_anew(
    goals: int, constraints: list[dict[str, Any]], states: list[TrialState]
) -> None:
    history, size = history_of(goals, constraints), 20
    ranking, members = Compromises(history.spec, size), list[Observation]()
    for trial in trials(120, goals, 7, states):
        members.append(trial)
        ranking.add(history, trial)
        if len(members) > size:
            last = int(np.argmax(ranking.merits()))
            del members[last]
            ranking.remove(last)
        if trial.number % 7:
            continue
        anew = Compromises(history.spec, size)
        for member in members:
            anew.add(history, member)
        assert ranking.merits().tolist() == anew.merits().tolist()


def test_turns_are_those_of_looking_at_every_trial_of_a_round() -> None:
    """Trials come in batches, some of other methods, some are seen later than their followers; now and then we begin anew."""
    rng, live, history = np.random.default_rng(3), list(range(5)), history_of(1, [])
    rounds, hidden, expected, number = Rounds("pso"), list[Observation](), 0, 1
    for step in range(150):
        if step % 17 == 16:
            rounds = Rounds("pso")
            rounds.open = expected
        known = [t.origin for t in history.trials if t.origin]
        while any(origin["generation"] == expected + 1 for origin in known):
            expected += 1
        used = {origin["row"] for origin in known if origin["generation"] == expected}
        left = [row for row in reversed(live) if row not in used]
        turn, free = rounds.turn(history, live)
        assert (turn, free) == ((expected, left) if left else (expected + 1, live[::-1]))
        made = []
        for _ in range(int(rng.integers(1, 9))):
            if not free:
                turn, free = turn + 1, live[::-1]
            own = {"method": "pso", "generation": turn, "row": free.pop()}
            origin = own if rng.random() < 0.9 else {}
            made.append(
                Observation(number=number, told_seq=number, state=TrialState.RUNNING, parameters={}, origin=origin)
            )
            number += 1
        late, hidden = hidden, [t for t in made if rng.random() < 0.2]
        history.update([*late, *(t for t in made if t not in hidden)], seq=number, next_number=number)
    assert expected > 20
