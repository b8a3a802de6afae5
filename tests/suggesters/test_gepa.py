"""GEPA against its card: the course of an evolution, its bad days, and whether it helps."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from services.domain.errors import Invalid
from services.domain.llm import LlmReply, LlmRequest
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support import keyword_task as task
from tests.support.scripted_llm import failed
from workers.models.drafts import NothingUsable
from workers.suggesters.registry import get

SPEC = get("gepa")


def away(request: LlmRequest) -> LlmReply:
    return failed(request, "unreachable")


def roles(one: law.Study) -> list[str]:
    return [t.origin.get("role", "start") for t in one.trials.values()]


# -- the course


def test_an_iteration_is_probe_parent_probe_child_full() -> None:
    one = task.played(task.problem(), asks=7)
    assert roles(one) == ["start", "parent", "child", "full", "parent", "child", "full"]
    start, parent, child, full, again = (one.trials[n] for n in (1, 2, 3, 4, 5))
    assert start.evaluate_on == full.evaluate_on == {"split": "validation", "ids": [f"v{n}" for n in range(20)]}
    assert parent.parameters == start.parameters
    assert parent.evaluate_on == child.evaluate_on
    assert (parent.evaluate_on or {})["split"] == "train"
    assert full.parameters == child.parameters == again.parameters
    assert child.origin["parent"] == start.number
    assert full.origin["probe"] == child.number
    assert again.origin["parent"] == full.number
    assert again.origin["minibatch"] != child.origin["minibatch"]
    reasons = [s.reason for s in one.ask(law.make(SPEC, one.problem), 1)]
    assert reasons == ["iteration 2: probe parent on 3 examples"]


def test_what_is_known_of_the_parent_is_not_evaluated_again() -> None:
    one = task.played(task.problem(validation=0), asks=12)
    assert set(roles(one)) == {"start", "child", "full"}
    seen = [(t.parameters["prompt"], tuple((t.evaluate_on or {})["ids"])) for t in one.trials.values()]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    ("options", "gain", "is_accepted"),
    [({}, 0.0, False), ({}, 0.1, True), ({"accept": "not_worse"}, 0.0, True), ({"accept_margin": 0.5}, 0.1, False)],
)
def test_a_child_is_scored_in_full_if_it_beats_its_parent(
    options: dict[str, Any], gain: float, is_accepted: bool
) -> None:
    def client(text: str, ids: Any) -> list[dict[str, Any]]:
        return [{"id": i, "score": 0.4 + gain * ("other" in text)} for i in ids]

    of = task.problem(options=options)
    one = task.played(of, task.answered("other"), client, asks=4)
    assert roles(one) == ["start", "parent", "child", "full" if is_accepted else "parent"]


def test_lower_is_better_where_the_objective_says_so() -> None:
    def client(text: str, ids: Any) -> list[dict[str, Any]]:
        return [{"id": i, "score": 0.5 - 0.1 * ("other" in text)} for i in ids]

    of = task.problem(objectives=[{"metric": "accuracy", "goal": "minimize"}])
    one = task.one_study(of, task.answered("other"))
    suggester = law.make(SPEC, of)
    for _ in range(4):
        task.tell(one, one.start(one.ask(suggester, 1)[0]), client)
    assert roles(one) == ["start", "parent", "child", "full"]
    assert "Score: 50" in one.llm.calls[0].messages[1][1]


def test_perfect_minibatches_bring_no_reflection_until_all_are_perfect() -> None:
    def client(text: str, ids: Any) -> list[dict[str, Any]]:
        return [{"id": i, "score": 0.5 if i.startswith("v") else 1.0} for i in ids]

    one = task.played(task.problem(train=6), client=client, asks=8)
    assert roles(one)[:6] == ["start", "parent", "parent", "child", "full", "parent"]
    assert one.trials[4].origin["solved"]
    eager = task.played(task.problem(train=6, options={"skip_perfect_score": False}), client=client, asks=3)
    assert roles(eager) == ["start", "parent", "child"]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("budget", [20, 45, 46, 100, 131])
def test_the_limit_on_examples_is_never_exceeded(budget: int, batch: int) -> None:
    one = task.played(task.problem(budget=budget), batch=batch)
    assert task.evaluations(one) <= budget
    assert budget - task.evaluations(one) < 26  # what an iteration may take: 3 + 3 + 20
    accepted = [n for n in task.of_role(one, "child") if one.trials[n].metrics["accuracy"] == 1.0]
    assert len(task.of_role(one, "full")) == len(accepted)


def test_iterations_run_beside_each_other_on_minibatches_of_their_own() -> None:
    of = task.problem(train=12)
    one, suggester = task.one_study(of), law.make(SPEC, of)
    task.tell(one, one.start(one.ask(suggester, 1)[0]))
    opened = [one.start(s) for s in one.ask(suggester, 2)] + [one.start(s) for s in one.ask(suggester, 2)]
    assert roles(one)[1:] == ["parent"] * 4
    assert len({i for n in opened for i in one.trials[n].origin["minibatch"]}) == 12
    for n in reversed(opened):
        task.tell(one, n)
    children = one.ask(suggester, 4)
    assert [s.origin["role"] for s in children] == ["child"] * 4
    assert len(one.llm.calls) == 4
    assert len({s.parameters["prompt"] for s in children}) == 4


def test_a_start_that_runs_lets_others_probe_it_unless_that_would_repeat_evaluations() -> None:
    of = task.problem()
    one, suggester = task.one_study(of), law.make(SPEC, of)
    assert [s.origin.get("role") for s in one.ask(suggester, 3)] == [None, "parent", "parent"]
    of = task.problem(validation=0)
    assert len(task.one_study(of).ask(law.make(SPEC, of), 3)) == 1


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.CANCELLED, TrialState.INFEASIBLE])
def test_trials_without_results_stop_nothing(state: TrialState) -> None:
    of = task.problem()
    one, suggester = task.one_study(of), law.make(SPEC, of)
    for lost in np.random.default_rng(3).random(60) < 0.3:
        trial = one.start(one.ask(suggester, 1)[0])
        if lost:
            one.tell(trial, 0.0, state)
        else:
            task.tell(one, trial)
    assert task.best(one) > 0.3


def test_a_failed_full_evaluation_is_tried_once_more() -> None:
    of = task.problem()
    one, suggester = task.one_study(of), law.make(SPEC, of)
    for _ in range(8):
        (found,) = one.ask(suggester, 1)
        trial = one.start(found)
        if found.origin.get("role") == "full":
            one.tell(trial, 0.0, TrialState.FAILED)
        else:
            task.tell(one, trial)
    assert roles(one) == ["start", "parent", "child", "full", "full", "parent", "child", "full"]


# -- crashes and bad days


def test_a_crash_at_any_moment_repeats_no_call_and_no_evaluation() -> None:
    whole = task.played(task.problem(), asks=18)
    one = task.one_study(task.problem())
    for _ in range(18):
        first = one.ask(
            law.make(SPEC, one.problem), 1
        )  # computed, and lost with its process before anything was written
        calls = len(one.llm.calls)
        (again,) = one.ask(law.make(SPEC, one.problem), 1)
        assert [again] == first
        assert len(one.llm.calls) == calls
        task.tell(one, one.start(again))
    assert [t.origin for t in one.trials.values()] == [t.origin for t in whole.trials.values()]
    assert [c.digest for c in one.llm.calls] == [c.digest for c in whole.llm.calls]


def test_what_is_told_while_a_reply_is_on_its_way_changes_no_request() -> None:
    of = task.problem()
    one, suggester = task.one_study(of), law.make(SPEC, of)
    trials = [one.start(s) for s in one.ask(suggester, 3)]
    task.tell(one, trials[0])
    task.tell(one, trials[1])
    (child,) = one.ask(suggester, 1)
    task.tell(one, trials[2])
    assert child in one.ask(law.make(SPEC, of), 2)
    assert len({c.key for c in one.llm.calls}) == len(one.llm.calls) == 2


def test_with_half_of_the_replies_broken_nearly_all_texts_are_valid() -> None:
    broken = ["", "I'm sorry, I can't.", "```\n```", "```\nNo placeholder\n```", "{]", "x" * 400]
    parameter = {
        "name": "prompt",
        "type": "text",
        "initial": ["Solve {q}."],
        "placeholders": ["{q}"],
        "max_length": 300,
    }

    def script(request: LlmRequest) -> str:
        if int(request.digest[:2], 16) % 2 or (request.key.endswith("/0") and int(request.digest[2:4], 16) % 2):
            return broken[int(request.digest[4:6], 16) % len(broken)]
        return task.reflector(request)

    one = task.played(task.problem(parameters=[parameter]), script, asks=60)
    texts = [t.parameters["prompt"] for t in one.trials.values()]
    assert all(text.count("{q}") == 1 and len(text) <= 300 for text in texts)
    assert task.best(one) > 0.5


def test_the_same_reply_again_and_again_ends_in_edits() -> None:
    one = task.played(task.problem(), lambda request: "```\nAlways this.\n```", asks=30)
    children = [one.trials[n] for n in task.of_role(one, "child")]
    assert sum(t.parameters["prompt"] == "Always this." for t in children) == 1
    assert all(t.origin.get("edit") for t in children[1:])
    assert max(Counter(c.key.rsplit("/", 1)[0] for c in one.llm.calls).values()) == 3


def test_without_a_model_edits_stand_in_or_the_ask_fails_in_words() -> None:
    one = task.played(task.problem(), away, asks=10)
    assert all(one.trials[n].origin["edit"] for n in task.of_role(one, "child"))
    of = task.problem(options={"fallback": "none"})
    with pytest.raises(NothingUsable, match="unreachable"):
        task.played(of, away, asks=3)
    with pytest.raises(NothingUsable, match="unparsable"):
        task.played(of, lambda request: "no fence here, and no tag", asks=40)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"examples": None}, "/examples"),
        ({"llm": {"profile": "scripted"}}, "/llm/share_examples"),
        ({"budget": 19}, "/limits/max_example_evaluations"),
        ({"options": {"minibatch": 0}}, "/suggester/options/minibatch"),
        ({"parameters": [{"name": "x", "type": "float", "min": 0, "max": 1}]}, "/parameters"),
    ],
)
def test_what_cannot_work_is_refused_by_pointer(fields: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        task.problem(**fields)
    assert pointer in {e.pointer for e in error.value.errors}


# -- whether it helps


def test_it_finds_every_rule_that_feedback_names_and_guesses_or_edits_do_not() -> None:
    found = [task.played(task.problem(seed, budget=202)) for seed in range(20)]
    assert [task.best(one) for one in found] == [1.0] * 20
    assert max(len(task.of_role(one, "full")) for one in found) <= 20
    for script in (task.guesser, away):
        others = [task.best(task.played(task.problem(seed, budget=202), script)) for seed in range(20)]
        assert max(others) < 1.0
        assert binomtest(sum(other < 1.0 for other in others), 20).pvalue < 1e-4


def test_keeping_who_is_best_on_some_example_leaves_a_trap_that_the_best_mean_stays_in() -> None:
    start = [{"name": "prompt", "type": "text", "initial": ["Be quick."], "max_length": 2000}]

    def reached(seed: int, selection: str) -> float:
        of = task.problem(seed, budget=400, parameters=start, options={"selection": selection})
        return task.best(task.played(of, client=task.two_ways))

    pairs = [(reached(seed, "pareto"), reached(seed, "current_best")) for seed in range(20)]
    wins, losses = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    assert binomtest(wins, wins + losses, alternative="greater").pvalue < 0.01


def test_equal_seeds_give_equal_traces() -> None:
    def trace(seed: int) -> list[Any]:
        return [(t.origin, t.parameters) for t in task.played(task.problem(seed), asks=12).trials.values()]

    assert trace(4) == trace(4)
    assert trace(4) != trace(5)


def test_numbers_are_tuned_beside_and_a_restart_changes_nothing() -> None:
    parameters = [
        {"name": "prompt", "type": "text", "initial": [task.START], "max_length": 2000},
        {"name": "temperature", "type": "float", "min": 0, "max": 1},
    ]
    of = task.problem(parameters=parameters, budget=800)
    one, kept = task.played(of, asks=30), task.one_study(of)
    for _ in range(30):
        found = kept.ask(law.make(SPEC, of), 1)
        for suggestion in found:
            task.tell(kept, kept.start(suggestion))
        if not found or task.best(kept) >= 1.0:
            break
    assert [t.parameters for t in one.trials.values()] == [t.parameters for t in kept.trials.values()]
    assert len({t.parameters["temperature"] for t in one.trials.values()}) > 3
    assert len(task.of_role(one, "full")) > 3
