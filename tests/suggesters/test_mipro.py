"""MIPRO against its card: presets, schedule, proposals and the course of a study."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.llm import LlmRequest
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support import combination_task as task
from tests.support.scripted_llm import ScriptedLlm, failed
from workers.models.drafts import NothingUsable
from workers.suggesters.mipro.proposals import TIPS
from workers.suggesters.mipro.schedule import Schedule, preset_trials

# -- presets and schedule


@pytest.mark.parametrize(
    ("size", "texts", "demonstrations", "trials"),
    [(6, 1, False, 9), (6, 1, True, 10), (12, 1, True, 18), (18, 1, True, 27), (12, 3, True, 43), (18, 4, True, 66)],
)
def test_the_number_of_trials_follows_from_the_preset(size: int, texts: int, demonstrations: bool, trials: int) -> None:
    assert preset_trials(size, texts, demonstrations) == trials


@pytest.mark.parametrize(("trials", "confirmed_after"), [(27, [5, 10, 15, 20, 25, 27]), (10, [5, 10]), (3, [3])])
def test_full_evaluations_come_after_every_five_and_at_the_end(trials: int, confirmed_after: list[int]) -> None:
    slots = Schedule(6, 6, trials, 35, 5).slots()
    places = [i for i, kind in enumerate(slots) if kind == "confirm"]
    assert [slots[:place].count("search") for place in places] == confirmed_after
    assert Schedule(6, 6, trials, None, 5).slots() == ["search"] * trials


def test_a_study_keeps_the_schedule_exactly() -> None:
    one = task.played(task.problem(options={"preset": "light"}))
    assert task.kinds(one) == ["default", "bootstrap", *["search"] * 5, "confirm", *["search"] * 5, "confirm"]
    assert task.sizes(one) == [60, 40, *[35] * 5, 60, *[35] * 5, 60]
    full = [str(t.parameters) for t in one.trials.values() if t.origin["role"] in ("default", "confirm")]
    assert len(set(full)) == 3
    candidates = task.chosen(one)
    assert (len(candidates["prompt"]), len(candidates["demos"])) == (3, 6)
    assert law.make(task.SPEC, one.problem).suggest(one.history(), 1) == []


def test_the_best_mean_without_a_full_evaluation_is_confirmed() -> None:
    def score(point: dict[str, Any], example: str) -> float:
        return float(int(example[1:]) % 10 < 1 + len(point["demos"]))

    one = task.played(task.problem(options={"preset": "light"}), score=score)
    for number in [n for n, t in one.trials.items() if t.origin["role"] == "confirm"]:
        before = [t for n, t in one.trials.items() if n < number and t.origin["role"] != "bootstrap"]
        full = {str(t.parameters) for t in before if t.origin["role"] != "search"}
        rows: dict[str, list[float]] = {}
        for trial in before:
            rows.setdefault(str(trial.parameters), []).extend(row["score"] for row in trial.examples or ())
        means = {key: np.mean(scores) for key, scores in rows.items() if key not in full}
        assert means[str(one.trials[number].parameters)] == max(means.values())


def test_up_to_fifty_examples_every_trial_is_a_full_one_and_none_comes_twice() -> None:
    one = task.played(task.problem(validation=50))
    assert set(task.kinds(one)) == {"default", "bootstrap", "search"}
    assert {len((t.evaluate_on or {})["ids"]) for t in one.trials.values() if t.origin["role"] == "search"} == {50}
    points = [str(t.parameters) for t in one.trials.values() if t.origin["role"] != "bootstrap"]
    assert len(set(points)) == len(points) == 11


@pytest.mark.parametrize("budget", [60, 150, 300, 431])
@pytest.mark.parametrize("batch", [1, 4])
def test_the_limit_on_examples_is_never_exceeded(budget: int, batch: int) -> None:
    one = task.played(task.problem(budget=budget), batch=batch)
    assert sum(task.sizes(one)) <= budget
    if "search" in task.kinds(one):
        assert task.kinds(one)[-1] == "confirm"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"options": {"minibatch": 61}}, "/suggester/options/minibatch"),
        ({"budget": 59}, "/limits/max_example_evaluations"),
        ({"options": {"render_into": "nothing"}}, "/suggester/options/render_into"),
        ({"options": {"render_into": "prompt"}}, "/suggester/options/render_into"),
        ({"parameters": [task.DEMOS]}, "/parameters"),
    ],
)
def test_what_cannot_work_is_refused_by_pointer(fields: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        task.problem(**fields)
    assert pointer in {e.pointer for e in error.value.errors}
    assert task.problem(options={"minibatch": 60})


# -- demonstrations


def test_only_examples_that_the_start_got_right_are_bootstrapped() -> None:
    one = task.played(task.problem(options={"bootstrap_examples": 30, "labelled": 0}), asks=3)
    assert task.sizes(one)[1] == 30
    tried = {row["id"] for row in one.trials[2].examples or () if row["score"] == 1.0}
    assert {i for ids in task.chosen(one)["demos"][2:] for i in ids} <= tried
    validation_only = task.played(
        task.problem(train=False, parameters=[task.TEXT, {**task.DEMOS, "vocabulary": [f"v{n}" for n in range(60)]}]),
        asks=2,
    )
    assert task.kinds(validation_only) == ["default", "search"]
    assert any(int(i[1:]) % 2 for ids in task.chosen(validation_only)["demos"][2:] for i in ids)


def test_a_text_parameter_may_carry_them() -> None:
    shots = {"name": "shots", "type": "text", "initial": ["Look at these."]}
    demonstrations = [{"id": i, "input": f"in {i}"} for i in task.TRAIN]
    options = {"render_into": "shots", "demonstrations": demonstrations}
    one = task.played(task.problem(parameters=[task.TEXT, shots], options=options), asks=6)
    texts = [t.parameters["shots"] for t in one.trials.values() if t.origin["role"] == "search"]
    assert task.chosen(one)["shots"][0] == "Look at these."
    assert any("Input: in t" in text and "Output: out t" in text for text in texts)
    assert all(t.parameters["prompt"].startswith("Instruction") for t in one.trials.values())


# -- proposals


def test_the_summary_is_written_from_tens_and_each_instruction_by_one_call() -> None:
    one = task.played(task.problem(options={"preset": "heavy", "program": "A chat about numbers."}), asks=3)
    keys = [call.key for call in one.llm.calls]
    assert keys[:3] == [f"mipro-propose/summary/{part}" for part in ("0", "1", "end")]
    assert keys[3:] == [f"mipro-propose/prompt/{n}/0" for n in range(1, 9)]
    first, second = one.llm.calls[0].messages[1][1], one.llm.calls[1].messages[1][1]
    assert first.count("\nExample ") == 10
    assert "They are sums." in second
    assert "They are sums." not in first
    written = [call.messages[1][1] for call in one.llm.calls[3:]]
    assert all("They are sums." in w and "A chat about numbers." in w and "Instruction number 0." in w for w in written)
    assert all(w.count('<data of="output">') == 3 for w in written)
    used = {tip for tip in TIPS.values() if tip and any(tip in w for w in written)}
    assert len(used) >= 2
    assert {call.temperature for call in one.llm.calls} == {1.0}
    assert task.chosen(one)["prompt"] == [f"Instruction number {n}." for n in range(9)]


def test_without_leave_no_example_is_shown() -> None:
    options = {"demonstrations": [{"id": "t0", "input": "secret in", "output": "secret out"}]}
    one = task.played(task.problem(llm={"profile": "scripted"}, options=options), asks=3)
    shown = "".join(content for call in one.llm.calls for _, content in call.messages)
    assert len(one.llm.calls) == 2
    assert not any(word in shown for word in ("secret", "out t", "want t", "out v"))
    assert len(task.chosen(one)["prompt"]) == 3


def test_what_the_model_failed_to_write_stays_as_it_was_replaced() -> None:
    of = task.problem()
    one = law.Study(of, ScriptedLlm(task.away))
    for _ in range(3):
        task.tell(one, one.ask(law.make(task.SPEC, of), 1)[0])
    candidates = task.chosen(one)
    assert len(candidates["prompt"]) == 3
    one.llm.script = task.writer
    for _ in range(4):
        task.tell(one, one.ask(law.make(task.SPEC, of), 1)[0])
    assert {t.parameters["prompt"] for t in one.trials.values()} <= set(candidates["prompt"])
    assert (
        task.played(task.problem(options={"fallback": "none"}), task.away, asks=4).trials[3].parameters["prompt"]
        == task.TEXT["initial"][0]
    )
    assert len(task.chosen(task.played(task.problem(llm=None), asks=4))["prompt"]) == 3


def test_without_edits_a_model_that_is_away_is_waited_for_and_freezes_nothing() -> None:
    of = task.problem(options={"preset": "light", "fallback": "none"}, parameters=[task.TEXT])
    replies: list[Any] = []

    def script(request: LlmRequest) -> Any:
        return f"<text>Instruction for {request.key}</text>" if replies else failed(request, "unreachable")

    one, suggester = law.Study(of, ScriptedLlm(script)), law.make(task.SPEC, of)
    for suggestion in one.ask(suggester, 2):
        one.tell(one.start(suggestion), 0.5)
    with pytest.raises(NothingUsable, match="unreachable"):
        one.ask(suggester, 1)
    replies.append("it is back")
    (found,) = one.ask(suggester, 1)
    assert len(found.origin["candidates"]["prompt"]) == 6


def test_a_crash_repeats_no_call() -> None:
    of, one = task.problem(), law.Study(task.problem(), ScriptedLlm(task.writer))
    for _ in range(12):
        lost = one.ask(law.make(task.SPEC, of), 1)
        calls = len(one.llm.calls)
        assert one.ask(law.make(task.SPEC, of), 1) == lost
        assert len(one.llm.calls) == calls
        task.tell(one, lost[0])
    assert [t.parameters for t in one.trials.values()] == [
        t.parameters for t in task.played(of, asks=12).trials.values()
    ]


def test_trials_that_fail_stop_nothing() -> None:
    of = task.problem()
    one, suggester = law.Study(of, ScriptedLlm(task.writer)), law.make(task.SPEC, of)
    while found := one.ask(suggester, 1):
        if len(one.trials) % 3 == 0:
            one.tell(one.start(found[0]), 0.0, TrialState.FAILED)
        else:
            task.tell(one, found[0])
    assert task.kinds(one).count("search") == 10
