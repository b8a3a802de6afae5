"""What trials are ranked by, whatever became of them."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from workers.models.generations import ranks

DONE, PRUNED, INFEASIBLE = TrialState.COMPLETED, TrialState.PRUNED, TrialState.INFEASIBLE
Told = list[tuple[float, TrialState]]


def ranked(told: Told, **fields: Any) -> list[float]:
    """Ranks of trials with these outcomes."""
    spec = study(
        parameters=[{"name": "x", "type": "float", "min": 0, "max": 1}], suggester={"name": "random"}, **fields
    )
    one = law.Study(law.Problem(study="s", spec=spec, seed=1))
    for value, state in told:
        one.tell(one.add({"x": 0.5}), value, state)
    return ranks(one.history(), list(one.trials.values()))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([(3.0, DONE), (1.0, DONE), (3.0, DONE)], [1.5, 0, 1.5]),
        ([(1.0, DONE), (2.0, DONE), (3.0, DONE), (0.0, PRUNED)], [0, 1, 3, 2]),  # as the median, and just behind it
        ([(1.0, DONE), (2.0, DONE), (3.0, DONE), (2.5, PRUNED)], [0, 1, 3, 2]),
        ([(1.0, DONE), (0.0, PRUNED)], [0, 1]),
        ([(-3.0, PRUNED), (-1.0, PRUNED), (-2.0, PRUNED)], [0, 2, 1]),  # none completed: by their last measurement
        ([(-3.0, PRUNED), (0.0, INFEASIBLE), (9.0, DONE), (0.0, INFEASIBLE)], [1, 2.5, 0, 2.5]),
        ([(sys.float_info.max, DONE), (sys.float_info.max, PRUNED), (0.0, INFEASIBLE)], [0.5, 0.5, 2]),
    ],
)
def test_pruned_trials_are_behind_the_median_and_infeasible_ones_last(told: Told, expected: list[float]) -> None:
    assert ranked(told) == expected
    goal = [{"metric": "loss", "goal": "maximize"}]
    assert ranked([(-value, state) for value, state in told], objectives=goal) == expected


def test_a_pruned_trial_is_behind_the_median_of_those_that_keep_the_constraints() -> None:
    spec = study(
        parameters=[{"name": "x", "type": "float", "min": 0, "max": 1}], suggester={"name": "random"},
        constraints=[{"metric": "c", "max": 0.0}],
    )  # fmt: skip
    one = law.Study(law.Problem(study="s", spec=spec, seed=1))
    for value, c in ((1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (-9.0, 1.0), (-8.0, 2.0)):
        one.tell(one.add({"x": 0.5}), value, c=c)
    one.tell(one.add({"x": 0.5}), -7.0, PRUNED)
    assert ranks(one.history(), list(one.trials.values())) == [0, 1, 3, 4, 5, 2]


def test_broken_constraints_rank_by_their_own_spread() -> None:
    spec = study(
        parameters=[{"name": "x", "type": "float", "min": 0, "max": 1}], suggester={"name": "random"},
        constraints=[{"metric": "a", "max": 0.0}, {"metric": "b", "min": 0.0}],
    )  # fmt: skip
    one = law.Study(law.Problem(study="s", spec=spec, seed=1))
    for a, b in ((500.0, 1.0), (0.0, -2.0), (-1000.0, 1.0), (100.0, -1.0)):  # shares of the widest: 0.5, 1, 0, 0.6
        one.tell(one.add({"x": 0.5}), 1.0, a=a, b=b)
    assert ranks(one.history(), list(one.trials.values())) == [1, 3, 0, 2]
