"""Bad days of the methods that evaluate on parts of the examples: failures, late outcomes, small budgets, models that come and go."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from services.domain.history import History
from services.domain.suggester import Problem, Suggester, Suggestion
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.scripted_llm import ScriptedLlm, babble, failed
from workers.models.example_board import Standing
from workers.models.merit import scored
from workers.suggesters.beside import Beside
from workers.suggesters.registry import get

TRAIN, VALIDATION = [f"t{i}" for i in range(24)], [f"v{i}" for i in range(6)]
START = "Decide with care whether the review is good, and answer in one word."
OPTIONS: dict[str, dict[str, Any]] = {
    "capo": {"population": 3, "children": 2, "max_blocks": 4},
    "protegi": {
        "beam": 2, "minibatch": 8, "groups": 2, "expansion": 3, "pulls": 3, "pull_prompts": 3, "pull_examples": 6,
    },
}  # fmt: skip
METHODS = pytest.mark.parametrize("name", sorted(OPTIONS))


def begin(name: str, llm: ScriptedLlm, more: dict[str, Any] | None = None, **fields: Any) -> law.Study:
    document: dict[str, Any] = {
        "parameters": [{"name": "prompt", "type": "text", "initial": [START]}],
        "objectives": [{"metric": "score", "goal": "maximize"}],
        "examples": {"train": TRAIN, "validation": VALIDATION},
        "suggester": {"name": name, "options": OPTIONS[name] | (more or {})},
        "llm": {"profile": "scripted", "share_examples": True},
        "seed": 5,
    }
    spec = study(**(document | fields))
    get(name).check(spec)
    return law.Study(Problem(study="s", spec=spec, seed=5), llm)


def fresh(one: law.Study) -> Suggester:
    return law.make(get(one.spec.suggester.name), one.problem)


def tell(one: law.Study, number: int) -> None:
    trial = one.trials[number]
    assert trial.evaluate_on is not None
    rows = []
    for example in trial.evaluate_on["ids"]:
        drawn = hashlib.blake2b(f"{trial.parameters['prompt']}{example}".encode(), digest_size=2).digest()
        is_right = trial.parameters["prompt"] != START and drawn[0] < 128
        rows.append({"id": example, "score": float(is_right), "output": "no", "expected": "yes"})
    one.tell(number, sum(r["score"] for r in rows) / len(rows), examples=rows)


def told(suggestions: list[Suggestion]) -> list[Any]:
    return [(s.parameters, s.evaluate_on, s.origin) for s in suggestions]


def same_from_nothing(one: law.Study, suggester: Suggester, count: int = 1) -> list[Suggestion]:
    """What comes, asked twice of the warm suggester and once of a new one."""
    first, again, new = one.ask(suggester, count), one.ask(suggester, count), one.ask(fresh(one), count)
    assert told(first) == told(again) == told(new)
    return first


@METHODS
def test_suggestions_that_nobody_took_come_again(name: str) -> None:
    """The full evaluation of a leader, too, which is proposed where a race or round ends."""
    one = begin(name, ScriptedLlm())
    suggester = fresh(one)
    for _ in range(60):
        (found,) = same_from_nothing(one, suggester)
        tell(one, one.start(found))
    assert sum(bool(t.origin.get("full")) for t in one.trials.values()) > 1


@METHODS
def test_a_study_whose_trials_all_fail_goes_on(name: str) -> None:
    one = begin(name, ScriptedLlm())
    suggester = fresh(one)
    for _ in range(12):
        many = one.ask(suggester, 32)
        assert many, "nothing more would end the study"
        for number in [one.start(s) for s in many]:
            one.tell(number, 0.0, TrialState.FAILED)
    for _ in range(40):  # the client is repaired
        (found,) = same_from_nothing(one, suggester)
        tell(one, one.start(found))


@METHODS
def test_a_start_that_cannot_be_evaluated_is_left(name: str) -> None:
    one = begin(name, ScriptedLlm())
    suggester = fresh(one)
    for _ in range(60):
        (found,) = one.ask(suggester, 1)
        number = one.start(found)
        if found.parameters["prompt"] == START:
            one.tell(number, 0.0, TrialState.CANCELLED)
        else:
            tell(one, number)
    assert sum(t.parameters["prompt"] == START for t in one.trials.values()) == 2


@METHODS
def test_a_model_that_comes_back_is_heard_by_the_warm_as_by_the_new(name: str) -> None:
    llm = ScriptedLlm(lambda request: failed(request, "unreachable"))
    one = begin(name, llm)
    suggester = fresh(one)
    for step in range(40):
        (found,) = same_from_nothing(one, suggester)
        tell(one, one.start(found))
        llm.script = babble if step >= 2 else llm.script


@METHODS
def test_late_outcomes_do_not_change_what_was_decided(name: str) -> None:
    """One block of a candidate breaks a constraint while another is out, and the other is told when the course has gone on."""
    one = begin(name, ScriptedLlm(), {"reject_on_errors": True} if name == "protegi" else None)
    suggester, late = fresh(one), list[int]()
    for step in range(30):
        found = same_from_nothing(one, suggester, 8)
        numbers = [one.start(s) for s in found]
        for number in numbers:
            twin = [n for n in numbers if n != number and one.trials[n].parameters == one.trials[number].parameters]
            if twin and not late:
                late = [twin[0]]
                one.tell(number, 0.0, TrialState.INFEASIBLE)
            elif number not in late and one.trials[number].is_pending:
                tell(one, number)
        if step == 15:
            for number in late:
                tell(one, number)


@METHODS
def test_a_lost_lease_that_is_told_after_all_is_taken_in(name: str) -> None:
    one = begin(name, ScriptedLlm(), {"reject_on_errors": True} if name == "protegi" else None)
    suggester, gone = fresh(one), list[int]()
    for step in range(60):
        (found,) = same_from_nothing(one, suggester)
        number = one.start(found)
        is_target = step >= 4 and (not gone or one.trials[gone[0]].parameters == found.parameters) and len(gone) < 2
        if is_target and found.parameters["prompt"] != START:
            gone.append(number)
            one.tell(number, 0.0, TrialState.FAILED)
        else:
            tell(one, number)
        if step == 45:
            for number in gone:
                tell(one, number)
    assert len(gone) == 2


@METHODS
def test_the_last_trial_of_a_budget_scores_the_leader_in_full(name: str) -> None:
    one = begin(name, ScriptedLlm(), limits={"max_trials": 8})
    suggester = fresh(one)
    for _ in range(8):
        (found,) = one.ask(suggester, 1)
        tell(one, one.start(found))
    assert one.trials[8].origin.get("full")
    assert one.trials[8].parameters["prompt"] != START


@METHODS
def test_a_model_that_says_one_thing_only_has_it_tried_once(name: str) -> None:
    llm = ScriptedLlm(lambda request: ["<text>Say good or bad.</text>"] * request.n)
    one = begin(name, llm, examples={"train": TRAIN[:8], "validation": VALIDATION})
    suggester, texts = fresh(one), set[str]()
    for _ in range(60):
        (found,) = one.ask(suggester, 1)
        texts.add(found.parameters["prompt"])
        tell(one, one.start(found))
    assert len(texts) > 6, "edits take the place of what is known"
    assert len(one.llm.calls) < 200


@METHODS
def test_beside_numbers_a_broken_constraint_stays_broken(name: str) -> None:
    """Other values that keep the constraint, found later for the same text, do not change what a race was decided by."""
    parameters = [
        {"name": "prompt", "type": "text", "initial": [START]},
        {"name": "t", "type": "float", "min": 0, "max": 1},
    ]
    one = begin(name, ScriptedLlm(), parameters=parameters, constraints=[{"metric": "cost", "max": 1}])
    suggester = fresh(one)
    (found,) = one.ask(suggester, 1)
    one.tell(one.start(found), 0.0, cost=2.0)
    one.tell(one.start(replace(found, parameters={**found.parameters, "t": 0.5}, origin={"rest": True})), 1.0, cost=0.0)
    assert isinstance(suggester, Beside)
    (seen,) = suggester._seen_by_method(one.history(), scored(one.history())).trials
    assert seen.feasible is False


def test_conclusions_stand_until_an_outcome_is_told_anew() -> None:
    one = begin("capo", ScriptedLlm())
    standing = Standing()
    assert standing.holds(one.history())
    numbers = [one.start(s) for s in one.ask(fresh(one), 3)]
    one.tell(numbers[0], 0.0, TrialState.FAILED)
    before: History = one.history()
    standing.note(before)
    tell(one, numbers[1])
    assert standing.holds(one.history()), "more outcomes change nothing"
    tell(one, numbers[0])
    assert not standing.holds(one.history())
