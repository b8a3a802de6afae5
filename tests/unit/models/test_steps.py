"""The ledger of steps: when one closes, what it knows, slots in any order, and what happens where the model does not write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.domain.llm import LlmReply, LlmRequest, NeedsReplies, Talk
from services.domain.suggester import Problem, Suggestion
from services.domain.trial import TrialState
from tests.suggesters.law import Study
from tests.support.builders import study
from tests.support.scripted_llm import ScriptedLlm, failed
from workers.models.drafts import Attempts, Draft, Rejected, Texts
from workers.models.merit import display, merged, scored, span
from workers.models.meta_prompt import Read, read
from workers.models.steps import Step, Steps

START = "Decide with care, and quickly, whether the writer of the review was happy."


@dataclass
class Plain:
    """A writer whose slots ask one call each; what it was told of each step is remembered.

    Attributes:
        knew: by step, the metrics that it was shown.
    """

    size: int = 4
    is_dropping: bool = False
    component: str = "prompt"
    knew: dict[int, list[float]] = field(default_factory=dict)

    def write(self, step: Step, slot: int, is_taken: Callable[[Texts], bool]) -> Talk[Draft | Rejected]:
        self.knew[step.index] = [s.merit for s in step.found]
        base = step.texts(step.top.trial) if step.top else {"prompt": START, "system": START}
        base = {name: base[name] for name in base if name in ("prompt", "system")}

        def ask(key: str, halvings: int) -> LlmRequest:
            shown = 8 >> halvings
            messages = ("user", f"{shown} shown"), ("user", f"known: {self.knew[step.index]}")
            return LlmRequest(key=key, role="writer", snapshot=step.snapshot, messages=messages)

        def take(reply: LlmReply) -> str | Read:
            found = read(reply.text)
            if found.fault is None and is_taken({**base, step.component: found.text}):
                return Read(fault="duplicate")
            return found if found.fault is not None else found.text

        text, why = yield from Attempts(ask, take).talk(f"{step.name}/{slot}")
        if text is None:
            return Rejected(why.rejected, why.failure, is_dropped=self.is_dropping and why.failure is None)
        return Draft({**base, step.component: text}, "written", rejected=why.rejected)


def by_key(request: LlmRequest) -> str:
    return f"<text>A text for {request.key.replace('/', ' ')}</text>"


def problem(**fields: Any) -> Problem:
    parameter = {"name": "prompt", "type": "text", "initial": [START]}
    spec = study(parameters=[parameter], **fields)
    return Problem(study="s", spec=spec, seed=5)


def make(writer: Plain, of: Problem, **options: Any) -> Steps:
    return Steps("m", of, writer, **options)


class Suggesting:
    """`Steps` as a suggester, made anew at each call: nothing may be remembered."""

    def __init__(self, writer: Plain, of: Problem, **options: Any) -> None:
        self._make = lambda: make(writer, of, **options)

    def suggest(self, history: Any, count: int) -> list[Suggestion]:
        return self._make().suggest(history, count)

    def state(self) -> None:
        return None


def begin(script: Callable[[LlmRequest], Any] = by_key, of: Problem | None = None, **options: Any):  # type: ignore[no-untyped-def]
    """A study whose starting text is told with 0, its suggester and the writer."""
    writer = Plain(**{k: options.pop(k) for k in ("size", "is_dropping") if k in options})
    of = of or problem()
    one, suggester = Study(of, ScriptedLlm(script)), Suggesting(writer, of, **options)
    one.tell(one.start(one.ask(suggester, 1)[0]), 0.0)
    return one, suggester, writer


def slots(found: list[Suggestion]) -> list[tuple[int, int]]:
    return [(s.origin["step"], s.origin["slot"]) for s in found]


def test_the_starting_texts_come_first_and_once() -> None:
    of = problem()
    one, suggester = Study(of, ScriptedLlm(by_key)), Suggesting(Plain(), of)
    first = one.ask(suggester, 1)
    assert first[0].parameters == {"prompt": START} and first[0].origin == {"start": True}
    assert one.llm.calls == []
    one.start(first[0])
    assert slots(one.ask(suggester, 1)) == [(0, 0)]


def test_a_whole_step_is_written_at_the_first_ask_its_calls_beside_each_other() -> None:
    of = problem()
    writer = Plain()
    one = Study(of)
    one.tell(one.start(make(writer, of).suggest(one.history(), 1)[0]), 0.0)
    with pytest.raises(NeedsReplies) as needs:
        make(writer, of).suggest(one.history(), 1)
    assert [r.key for r in needs.value.requests] == [f"m-0/{slot}/0" for slot in range(4)]
    assert {r.snapshot for r in needs.value.requests} == {one.seq}


def test_calls_of_one_slot_are_made_beside_each_other_and_their_replies_come_in_order() -> None:
    class Twofold(Plain):
        def write(self, step: Step, slot: int, is_taken: Callable[[Texts], bool]) -> Talk[Draft | Rejected]:
            asked = [
                LlmRequest(
                    key=f"{step.name}/{slot}/{part}", role="writer", snapshot=step.snapshot, messages=(("user", part),)
                )
                for part in ("left", "right")
            ]
            left, right = yield asked
            return Draft({"prompt": f"{left.text} and {right.text}"}, "written")

    of, writer = problem(), Twofold(size=2)
    one = Study(of, ScriptedLlm(lambda request: request.key))
    one.tell(one.start(make(writer, of).suggest(one.history(), 1)[0]), 0.0)
    with pytest.raises(NeedsReplies) as needs:
        make(writer, of).suggest(one.history(), 1)
    assert [r.key for r in needs.value.requests] == ["m-0/0/left", "m-0/0/right", "m-0/1/left", "m-0/1/right"]
    found = one.ask(Suggesting(writer, of), 2)
    assert [s.parameters["prompt"] for s in found] == [f"m-0/{n}/left and m-0/{n}/right" for n in (0, 1)]


def test_a_step_that_knew_nothing_ends_with_the_first_outcome_where_that_is_wanted() -> None:
    for ends_blind, wanted in ((True, (1, 0)), (False, (0, 2))):
        of, writer = problem(), Plain()
        one, suggester = Study(of, ScriptedLlm(by_key)), Suggesting(writer, of, ends_blind=ends_blind)
        numbers = [one.start(s) for s in one.ask(suggester, 3)]
        assert writer.knew == {0: []}
        one.tell(numbers[0], 5.0)
        assert slots(one.ask(suggester, 1)) == [wanted]


def test_a_step_closes_when_three_quarters_are_told() -> None:
    one, suggester, writer = begin()
    numbers = [one.start(s) for s in one.ask(suggester, 4)]
    for told, wanted in enumerate([(0, 4), (0, 4), (0, 4), (1, 0)]):
        assert slots(one.ask(suggester, 1)) == [wanted], told
        if told < 3:
            one.tell(numbers[told], float(told + 1))
    assert writer.knew[1] == [0.0, -1.0, -2.0, -3.0]


def test_closing_may_wait_for_all() -> None:
    one, suggester, _ = begin(closing=1.0)
    numbers = [one.start(s) for s in one.ask(suggester, 4)]
    for number in numbers[:3]:
        one.tell(number, 1.0)
    assert slots(one.ask(suggester, 1)) == [(0, 4)]
    one.tell(numbers[3], 1.0, TrialState.CANCELLED)
    assert slots(one.ask(suggester, 1)) == [(1, 0)]


def test_further_slots_of_the_open_step_know_what_it_knew() -> None:
    one, suggester, writer = begin()
    numbers = [one.start(s) for s in one.ask(suggester, 4)]
    one.tell(numbers[0], -9.0)
    more = one.ask(suggester, 3)
    assert slots(more) == [(0, 4), (0, 5), (0, 6)]
    assert writer.knew == {0: [-0.0]}
    assert {r.snapshot for r in one.llm.calls} == {2}
    assert {s.origin["snapshot"] for s in more} == {2}


def test_a_late_outcome_joins_the_step_after_the_next() -> None:
    one, suggester, writer = begin()
    late, *rest = [one.start(s) for s in one.ask(suggester, 4)]
    for number in rest:
        one.tell(number, 1.0)
    numbers = [one.start(s) for s in one.ask(suggester, 4)]
    one.tell(late, 7.0)
    one.ask(suggester, 1)
    assert -7.0 not in writer.knew[1]
    for number in numbers:
        one.tell(number, 2.0)
    assert slots(one.ask(suggester, 1)) == [(2, 0)]
    assert -7.0 in writer.knew[2]


def test_an_outcome_told_between_two_runs_changes_no_request() -> None:
    """The calls were made, an outcome came, the process died before the candidates were kept: nothing is asked twice."""
    one, suggester, writer = begin()
    number = one.add({"prompt": "The user's own text."})
    one.ask(suggester, 2)
    calls = len(one.llm.calls)
    one.tell(number, 3.0)
    found = one.ask(suggester, 2)
    assert len(one.llm.calls) == calls == 4
    assert [s.parameters["prompt"] for s in found] == ["A text for m-0 0 0", "A text for m-0 1 0"]
    assert writer.knew[0] == [0.0]


def test_failed_calls_keep_the_snapshot_too() -> None:
    """Else outcomes that come while calls fail would change the requests, and the failures would never be found."""
    of = problem()
    one = Study(of)
    one.tell(one.start(make(Plain(), of).suggest(one.history(), 1)[0]), 0.0)
    history = one.history()
    with pytest.raises(NeedsReplies) as needs:
        make(Plain(), of).suggest(history, 1)
    own = one.add({"prompt": "The user's own text."})
    one.tell(own, 1.0)
    failures = [failed(r, "timeout") for r in needs.value.requests]
    history.update(one.trials.values(), seq=one.seq, next_number=3, replies=failures)
    found = make(Plain(), of).suggest(history, 1)
    assert found[0].reason == "an edit of the best text: the language model did not answer in time"


def test_slots_are_handed_out_in_any_order_and_to_any_number_of_askers() -> None:
    one, suggester, _ = begin()
    whole = [s.parameters["prompt"] for s in one.ask(suggester, 6)]
    other, suggester, _ = begin()
    single = []
    for _ in range(3):
        found = other.ask(suggester, 2)
        other.start(found[1])
        single.append(found[1].parameters["prompt"])
        other.start(found[0])
        single.append(found[0].parameters["prompt"])
    assert sorted(whole) == sorted(single)


def test_the_same_reply_for_every_slot_is_asked_again_then_edited_and_never_without_end() -> None:
    one, suggester, _ = begin(lambda request: "<text>always the same</text>")
    found = one.ask(suggester, 4)
    assert len({s.parameters["prompt"] for s in found}) == 4
    assert len(one.llm.calls) == 1 + 3 * 3
    edits = [s for s in found if s.origin.get("edit")]
    assert len(edits) == 3
    assert edits[0].receipt == {"step": 0, "component": "prompt", "seen": 1, "rejected": {"duplicate": 3}}
    assert edits[0].reason == "an edit of the best text: the language model's replies could not be used"


def test_candidates_of_the_model_go_out_before_edits() -> None:
    def every_other(request: LlmRequest) -> Any:
        return failed(request, "server") if int(request.key.split("/")[1]) % 2 == 0 else by_key(request)

    one, suggester, _ = begin(every_other)
    assert slots(one.ask(suggester, 2)) == [(0, 1), (0, 3)]
    found = one.ask(suggester, 4)
    assert sorted(slots(found)) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert [bool(s.origin.get("edit")) for s in found] == [False, False, True, True]
    one.llm.script = by_key
    assert not any(s.origin.get("edit") for s in one.ask(suggester, 4))


def test_an_edit_takes_no_text_that_another_slot_wrote() -> None:
    one, suggester, _ = begin(lambda r: failed(r, "budget"))
    edited = one.ask(suggester, 1)[0].parameters["prompt"]
    one.llm.script = lambda r: failed(r, "budget") if "/0/" in r.key else f"<text>{edited}</text>"
    found = one.ask(suggester, 4)
    assert len({s.parameters["prompt"] for s in found}) == 4


@pytest.mark.parametrize("count", [1, 4])
def test_two_slots_whose_calls_fail_in_turn_end(count: int) -> None:
    """One fails at its first call, the other at its second: each run forgets no failure of the same claim."""

    def script(request: LlmRequest) -> Any:
        slot, attempt = request.key.split("/")[1:]
        if slot == "0" or attempt == "1":
            return failed(request, "unreachable")
        return "no tags here"

    one, suggester, _ = begin(script)
    assert len(one.ask(suggester, count)) == count
    assert len(one.llm.calls) == 1 + 3 + 3


def test_without_edits_fewer_come_and_a_later_ask_tries_failed_calls_again() -> None:
    one, suggester, _ = begin(lambda r: failed(r, "unreachable"), edits=False)
    assert one.ask(suggester, 2) == []
    assert len(one.llm.calls) == 4
    one.llm.script = by_key
    assert slots(one.ask(suggester, 2)) == [(0, 0), (0, 1)]


def test_slots_that_stay_empty_neither_stop_a_study_nor_ask_for_ever() -> None:
    def broken(request: LlmRequest) -> str:
        return (
            "nothing of use, told at great length and in two lines\nor three"
            if "/1/" in request.key
            else by_key(request)
        )

    one, suggester, writer = begin(broken, edits=False)
    first = one.ask(suggester, 4)
    assert slots(first) == [(0, 0), (0, 2), (0, 3), (0, 4)]
    numbers = [one.start(s) for s in first[:3]]
    for number in numbers[:2]:
        one.tell(number, 1.0)
    assert slots(one.ask(suggester, 1)) == [(0, 4)]
    one.tell(numbers[2], 1.0)
    assert slots(one.ask(suggester, 1)) == [(1, 0)]
    assert len(writer.knew[1]) == 4


def test_a_model_that_never_writes_is_not_asked_for_ever_without_edits() -> None:
    one, suggester, _ = begin(lambda r: "no", edits=False)
    assert one.ask(suggester, 2) == []
    calls = len(one.llm.calls)
    assert one.ask(suggester, 2) == []
    assert len(one.llm.calls) == calls == 3 * (4 + 2 * 2)
    one.tell(one.add({"prompt": "The user's own text."}), 1.0)
    one.llm.script = by_key
    assert slots(one.ask(suggester, 1)) == [(1, 0)]


def test_dropped_slots_get_no_edit_and_the_step_yields_fewer() -> None:
    one, suggester, _ = begin(lambda r: "<text>Always the same</text>", is_dropping=True)
    first = one.ask(suggester, 4)
    assert slots(first) == [(0, 0)]
    one.tell(one.start(first[0]), 1.0)
    one.llm.script = by_key
    assert slots(one.ask(suggester, 1)) == [(1, 0)]


def test_what_is_shown_is_halved_twice_where_it_is_too_long() -> None:
    def small(request: LlmRequest) -> Any:
        return by_key(request) if request.messages[0][1] == "2 shown" else failed(request, "context_length")

    one, suggester, _ = begin(small, size=1)
    found = one.ask(suggester, 1)
    assert [r.messages[0][1] for r in one.llm.calls] == ["8 shown", "4 shown", "2 shown"]
    assert [r.key for r in one.llm.calls] == ["m-0/0/0", "m-0/0/0.1", "m-0/0/0.2"]
    assert found[0].reason == "written"
    one, suggester, _ = begin(lambda r: failed(r, "context_length"), size=1)
    assert "too long" in one.ask(suggester, 1)[0].reason
    assert len(one.llm.calls) == 3


def test_components_take_turns_and_the_others_stay() -> None:
    parameters = [{"name": n, "type": "text", "initial": [START]} for n in ("prompt", "system")]
    of = Problem(study="s", spec=study(parameters=parameters), seed=5)
    one, suggester, _ = begin(of=of, size=1)
    changed = []
    for _ in range(4):
        found = one.ask(suggester, 1)[0]
        before = one.trials[max(one.trials)].parameters
        changed.append([name for name in ("prompt", "system") if found.parameters[name] != before[name]])
        one.tell(one.start(found), -float(len(one.trials)))
    assert changed == [["prompt"], ["system"], ["prompt"], ["system"]]


def test_copies_of_a_text_count_as_measurements_of_one() -> None:
    of = problem()
    one = Study(of)
    for text, value in [("a", 1.0), ("b", 4.0), ("a", 3.0)]:
        one.tell(one.add({"prompt": text}), value)
    one.tell(one.add({"prompt": "a"}), 0.0, TrialState.INFEASIBLE)
    found = merged(scored(one.history()), lambda t: t.parameters["prompt"])
    assert [(s.trial.number, s.merit, s.is_valid) for s in found] == [(3, -2.0, True), (2, -4.0, True)]
    shrunk = merged(scored(one.history()), lambda t: t.parameters["prompt"], shrink=True)
    assert [s.merit for s in shrunk] == pytest.approx([-3 + 2 / 3, -3 - 1 / 2])


def test_display_scores_hold_for_every_sign_and_size() -> None:
    assert [display(m, -5, 5) for m in (-6, -5, 0, 5, 9)] == [0, 0, 50, 100, 100]
    assert [display(m, -1e308, 1e308) for m in (-1e308, 0, 1e308)] == [0, 50, 100]
    assert display(3.0, 3.0, 3.0) == 50 and display(5e-324, 0.0, 5e-324) == 50
    assert display(0.5, 0.0, 1.0, 20) == 10
    low = study(objectives=[{"metric": "loss"}])
    high = study(objectives=[{"metric": "loss", "goal": "maximize"}])
    assert span([], low, (0.0, 2.0)) == (-2.0, 0.0)
    assert span([], high, (0.0, 2.0)) == (0.0, 2.0)
    assert span([], high) == (0.0, 0.0)


def test_outcomes_on_parts_of_the_examples_do_not_count_where_only_full_ones_do() -> None:
    of = problem(examples={"validation": ["a", "b", "c", "d"]})
    one = Study(of, ScriptedLlm(by_key))
    for value, ids in ((9.0, ["a", "b"]), (1.0, ["a", "b", "c", "d"])):
        on = {"split": "validation", "ids": ids}
        one.tell(one.start(Suggestion(parameters={"prompt": f"{START} {value}"}, reason="r", evaluate_on=on)), value)
    for in_full, known in ((True, [-1.0]), (False, [-9.0, -1.0])):
        writer = Plain()
        one.ask(Suggesting(writer, of, in_full=in_full, starts=()), 1)
        assert writer.knew == {0: known}
