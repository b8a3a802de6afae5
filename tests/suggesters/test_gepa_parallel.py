"""GEPA with several workers: what is built on what, how many iterations are open, and that nobody waits for a worker that is gone."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from services.domain.suggester import Problem, Suggester
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support import keyword_task as task
from workers.models.drafts import NothingUsable
from workers.suggesters.gepa import GepaOptions
from workers.suggesters.gepa.known import Known, Memo
from workers.suggesters.registry import get

SPEC = get("gepa")


def begun(of: Problem, *roles: str) -> tuple[law.Study, Suggester]:
    """A study whose first trials are told: the start, then those with these roles."""
    one, suggester = task.one_study(of), law.make(SPEC, of)
    for role in (None, *roles):
        (found,) = one.ask(suggester, 1)
        assert found.origin.get("role") == role
        task.tell(one, one.start(found))
    return one, suggester


def worked(of: Problem, workers: int, *, is_fresh: bool = False) -> tuple[law.Study, float]:
    """A study of several workers, each example taking about one unit of time; and when it ended.

    Args:
        is_fresh: the suggester is made anew for each ask.
    """
    one, kept = task.one_study(of), law.make(SPEC, of)
    rng, running, now = np.random.default_rng(of.seed), list[tuple[float, int]](), 0.0
    while task.best(one) < 1.0:
        while len(running) < workers:
            found = one.ask(law.make(SPEC, of) if is_fresh else kept, 1)
            if not found:
                break
            number = one.start(found[0])
            length = len((found[0].evaluate_on or one.trials[number].evaluate_on or {})["ids"])
            heapq.heappush(running, (now + length * rng.uniform(0.7, 1.3), number))
        if not running:
            break
        now, number = heapq.heappop(running)
        task.tell(one, number)
    return one, now


# -- what is built on what


@pytest.mark.parametrize("validation", [20, 0])
def test_the_next_iteration_starts_from_an_accepted_child_whose_full_evaluation_still_runs(validation: int) -> None:
    probes = ("parent", "child") if validation else ("child",)
    one, suggester = begun(task.problem(validation=validation, budget=400), *probes)
    child = one.trials[len(one.trials)]
    full, after = (one.start(s) for s in one.ask(suggester, 2))
    assert one.trials[full].origin["role"] == "full"
    assert one.trials[after].parameters == child.parameters
    assert one.trials[after].origin["parent"] == child.number
    task.tell(one, after)
    (second,) = one.ask(suggester, 1)
    assert second.origin["role"] == "child"
    assert set(child.parameters["prompt"].split()) < set(second.parameters["prompt"].split())
    task.tell(one, one.start(second))
    last = one.start(one.ask(suggester, 1)[0])
    for number in (last, full):  # the descendant's outcome comes first
        task.tell(one, number)
    pool = Known(one.problem, GepaOptions(), one.history(), Memo()).pool.at(one.seq)
    assert {c.number: c.parents for c in pool} == {1: (), last: (full,), full: (1,)}


def test_a_child_whose_full_evaluation_is_lost_is_built_on_no_longer() -> None:
    one, suggester = begun(task.problem(budget=400), "parent", "child")
    for _ in range(2):
        one.tell(one.start(one.ask(suggester, 1)[0]), 0.0, TrialState.FAILED)
    (found,) = one.ask(suggester, 1)
    assert found.parameters == one.trials[1].parameters


# -- how many are open


def test_where_limits_are_tight_few_iterations_are_undecided_at_one_time() -> None:
    for limits, count in (
        ({"max_example_evaluations": 300}, 1), ({"max_trials": 100}, 1), ({"max_example_evaluations": 1700}, 3), ({}, 6),
    ):  # fmt: skip
        one, suggester = begun(task.problem(limits=limits))
        assert [s.origin["role"] for s in one.ask(suggester, 6)] == ["parent"] * count
    one, suggester = begun(task.problem(budget=300, options={"open_iterations": 4}))
    assert len(one.ask(suggester, 6)) == 4


def test_an_iteration_that_brings_no_child_makes_room_for_the_next() -> None:
    def script(request: object) -> str:
        return "no fence" if "gepa-0/" in str(request) else task.reflector(request)  # type: ignore[arg-type]

    of = task.problem(budget=300, validation=0, options={"fallback": "none"})
    one, suggester = task.one_study(of, script), law.make(SPEC, of)
    task.tell(one, one.start(one.ask(suggester, 1)[0]))
    assert [s.origin["iteration"] for s in one.ask(suggester, 3)] == [1]


def test_replies_of_no_use_keep_no_later_ask_from_better_ones() -> None:
    replies = {"are of use": False}
    of = task.problem(budget=300, validation=0, options={"fallback": "none"})
    one = task.one_study(of, lambda request: task.reflector(request) if replies["are of use"] else "no fence")
    task.tell(one, one.start(one.ask(law.make(SPEC, of), 1)[0]))
    with pytest.raises(NothingUsable, match="10 iterations"):
        one.ask(law.make(SPEC, of), 1)
    assert len(one.llm.calls) == 30
    replies["are of use"] = True
    one.seq += 1  # the service notes that the ask failed
    (found,) = one.ask(law.make(SPEC, of), 1)
    assert found.origin["iteration"] == 10
    assert len(one.llm.calls) == 31


def test_a_probe_that_three_outcomes_overtook_keeps_nobody_waiting() -> None:
    one, suggester = begun(task.problem(budget=300))
    one.start(one.ask(suggester, 1)[0])  # its worker is gone
    for overtaking in range(4):
        found = one.ask(suggester, 2)
        assert len(found) == (overtaking == 3)
        one.tell(one.add({"prompt": f"the user's own {overtaking}"}), 0.0)


# -- whether it helps


@pytest.mark.parametrize("workers", [4, 8])
def test_several_workers_reach_what_one_reaches_and_sooner(workers: int) -> None:
    for seed in range(10):
        _, alone = worked(task.problem(seed, budget=300), 1)
        one, together = worked(task.problem(seed, budget=300), workers)
        assert task.best(one) == 1.0
        assert task.evaluations(one) <= 300
        assert together < alone / 2


def test_restarts_change_nothing_however_many_workers_there_are() -> None:
    of = task.problem(budget=300)
    kept, fresh = worked(of, 4)[0], worked(of, 4, is_fresh=True)[0]
    assert [(t.origin, t.parameters) for t in kept.trials.values()] == [
        (t.origin, t.parameters) for t in fresh.trials.values()
    ]
    assert [c.digest for c in kept.llm.calls] == [c.digest for c in fresh.llm.calls]
