"""Evolution strategies by seeds where limits change: what has closed stays closed, at the same outcomes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from services.domain.suggester import Suggester
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.suggesters.es_study import ask, fresh, log, problem, run, value


@pytest.mark.parametrize("options", [{}, {"persistence": 3}])
def test_what_has_closed_stays_closed_when_limits_change(options: dict[str, Any]) -> None:
    def told(suggester: Suggester, count: int) -> list[int]:
        numbers = ask(one, suggester, count)
        for number in numbers:
            one.tell(number, math.sin(number))
        ask(one, suggester, 0)
        return [value(one, n)["theta_version"] for n in numbers]

    def anew(max_trials: int, published: int) -> Suggester:
        one.problem = problem(limits={"max_trials": max_trials}, **options)
        suggester, history = fresh(one.problem), one.history()
        history.update([], seq=history.seq, next_number=history.next_number, published=published)
        one.ask(suggester, 0, history)
        return suggester

    one = law.Study(problem(limits={"max_trials": 124}, **options))  # three pairs
    suggester = fresh(one.problem)
    for _ in range(20):
        told(suggester, 6)
    assert told(suggester, 3) == [20, 20, 20]
    (lost,) = ask(one, suggester)
    one.tell(lost, 0.0, TrialState.FAILED)
    ask(one, suggester, 0)  # two pairs are what the budget leaves of the last generation, and one half is lost
    before = log(suggester)
    assert [len(u.pairs) for u in before] == 20 * [3] + [1]
    suggester = anew(1_000_000, len(before))  # 32 pairs would fit by now
    assert log(suggester) == []
    assert told(suggester, 6) + told(suggester, 2) == 6 * [21] + 2 * [22]
    one.tell(lost, 1.0)  # its lease had run out; too late
    suggester = anew(40, len(before) + 1)
    assert log(suggester)[-1].pairs == (0,)
    assert [u.theta_version for u in log(suggester)] == [22]
    every = log(anew(1_000_000, 0))
    assert every[:21] == before
    assert [u.theta_version for u in every] == list(range(22))


def test_sigma_decays_to_a_floor() -> None:
    _, updates = run(problem(pairs=1, sigma_decay=0.51), lambda point: float(point["sign"]), 70)
    assert [u.sigma for u in updates[:2]] == [0.02, pytest.approx(0.0102)]
    assert updates[-1].sigma == updates[-2].sigma == 1e-9
