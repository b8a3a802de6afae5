"""Promptbreeder: founders, and what each operator shows, asks and leaves on its child."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.llm import LlmRequest
from tests.suggesters import law
from tests.suggesters.breeding import STARTS, by_key, founded, noise, shown, units
from tests.support.scripted_llm import ScriptedLlm
from workers.models.encoders import EncoderError
from workers.suggesters.promptbreeder import OPERATORS
from workers.suggesters.promptbreeder.asking import read_mutation
from workers.suggesters.promptbreeder.lists import diverse
from workers.suggesters.promptbreeder.tables import MUTATION_PROMPTS, THINKING_STYLES
from workers.suggesters.registry import get

SPEC = get("promptbreeder")


# -- founders


def test_founders_apply_a_drawn_mutation_prompt_and_style_to_the_units() -> None:
    of = units(initial=["Judge {q}."], fields={"parameters": [
        {"name": "prompt", "type": "text", "initial": ["Judge {q}."], "placeholders": ["{q}"], "task": "film reviews"}
    ]}, population=8)  # fmt: skip
    llm = ScriptedLlm(lambda request: f"<text>Look at {{q}} {request.key.replace('/', ' ')}</text>")
    given = law.Study(of, llm).ask(law.make(SPEC, of), 8)
    assert given[0].parameters["prompt"] == "Judge {q}."
    assert len(llm.calls) == 7
    for call, suggestion in zip(llm.calls, given[1:], strict=True):
        first = call.messages[-1][1].splitlines()[0]
        assert first == f"{suggestion.origin['mutation']} {suggestion.origin['style']}"
        assert suggestion.origin["mutation"] in MUTATION_PROMPTS
        assert suggestion.origin["style"] in THINKING_STYLES
        assert shown(call) == {"the task": "film reviews"}
    assert len({s.origin["mutation"] for s in given[1:]}) > 3


def test_the_tables_are_large_and_without_repeats() -> None:
    for table in (MUTATION_PROMPTS, THINKING_STYLES):
        assert len(table) > 25
        assert len({entry.casefold() for entry in table}) == len(table)
        assert all(len(entry) < 120 and not set("<>{}") & set(entry) for entry in table)


# -- operators


def asked_by(operator: str, **options: Any) -> tuple[law.Study, list[LlmRequest], list[Any]]:
    of = units(operators=[operator], crossover=0.0, **options)
    llm = ScriptedLlm(by_key)
    one = founded(of, llm)
    return one, llm.calls, one.ask(law.make(SPEC, of), 5)


def listed(call: LlmRequest) -> list[str]:
    parts = shown(call)
    return [parts[f"prompt {i}"] for i in range(1, len(parts) + 1)]


def test_first_order_applies_the_winners_mutation_prompt() -> None:
    one, calls, given = asked_by("first_order")
    for call, s in zip(calls, given, strict=True):
        assert call.messages[-1][1].startswith(s.origin["mutation"])
        assert s.origin["mutation"] in MUTATION_PROMPTS
        assert shown(call)["the prompt"] == one.trials[s.origin["winner"]].parameters["prompt"]
    for number in [one.start(s) for s in given]:
        one.tell(number, 100.0)
    for s in one.ask(law.make(SPEC, one.problem), 5):
        if s.origin["winner"] > 10:  # inherited
            assert s.origin["mutation"] == one.trials[s.origin["winner"]].origin["mutation"]


def test_zero_order_sees_the_problem_and_not_the_mutation_prompt() -> None:
    _, calls, given = asked_by("zero_order")
    assert all(s.origin["mutation"] not in c.messages[-1][1] for c, s in zip(calls, given, strict=True))
    assert all("a prompt for the problem" in c.messages[-1][1] for c in calls)


def test_the_list_is_of_distinct_members_in_random_order() -> None:
    _, calls, _ = asked_by("distribution", similarity=1.0)
    lists = [listed(call) for call in calls]
    assert all(sorted(entries) == sorted(STARTS) for entries in lists)
    assert len({tuple(entries) for entries in lists}) == 5


def test_the_ranked_list_rises_in_merit_and_is_told_to_fall() -> None:
    _, calls, _ = asked_by("ranked", similarity=1.0)
    for call in calls:
        assert listed(call) == STARTS  # told 1 to 10: the best stands last
        assert "descending order" in call.messages[-1][1]
        assert "Write number 11" in call.messages[-1][1]
    _, calls, _ = asked_by("ranked", similarity=1.0, max_shown=4)
    assert listed(calls[0]) == STARTS[-4:]


def test_the_lineage_is_of_those_that_were_best_in_the_order_in_which_they_came() -> None:
    of = units(operators=["lineage"], crossover=0.0)
    llm = ScriptedLlm(by_key)
    one = law.Study(of, llm)
    values = [3, 1, 5, 5, 2, 7, 6, 9, 0, 4]
    for number in [one.start(s) for s in one.ask(law.make(SPEC, of), 10)]:
        one.tell(number, float(values[number - 1]))
    one.ask(law.make(SPEC, of), 1)
    assert listed(llm.calls[0]) == [STARTS[i] for i in (0, 2, 5, 7)]


@pytest.mark.parametrize("operator", ["zero_order_hyper", "first_order_hyper"])
def test_hyper_mutation_writes_a_mutation_prompt_first_and_applies_it(operator: str) -> None:
    _, calls, given = asked_by(operator)
    firsts, seconds = [c for c in calls if c.role == "mutation_prompt"], [c for c in calls if c.role == operator]
    assert len(firsts) == len(seconds) == 5
    for first, second, s in zip(firsts, seconds, given, strict=True):
        assert s.origin["mutation"] == f"Change it the way of {first.key.replace('/', ' ')}."
        assert second.messages[-1][1].startswith(s.origin["mutation"])
        style = first.messages[-1][1].split(" With that in mind")[0]
        is_of_style = style in THINKING_STYLES
        assert is_of_style == (operator == "zero_order_hyper")
        assert ("the instruction" in shown(first)) != is_of_style


def test_a_mutation_prompt_that_could_break_the_structure_is_not_used() -> None:
    assert read_mutation("<text>Make it\n shorter.</text>") == "Make it shorter."
    for bad in (
        "<text>Ignore <data> now</text>",
        "<text></text>",
        "I'm sorry, no.",
        f"<text>{'x' * 400}</text>",
        "a\nb\nc",
    ):
        assert read_mutation(bad) is None
    script = ScriptedLlm(lambda r: "<text><data>own</text>" if r.role == "mutation_prompt" else by_key(r))
    one = founded(units(operators=["zero_order_hyper"], crossover=0.0), script)
    assert all(s.origin["mutation"] in MUTATION_PROMPTS for s in one.ask(law.make(SPEC, one.problem), 5))


EXAMPLES = {"examples": {"train": ["a", "b"]}}


def answers(number: int) -> list[dict[str, Any]]:
    return [
        {"id": "a", "score": 1.0, "output": f"right {number}"},
        {"id": "b", "score": 0.0, "output": f"wrong {number}"},
    ]


def test_a_prompt_is_induced_from_right_answers_only_if_they_may_leave() -> None:
    of = units(operators=["lamarckian", "zero_order"], crossover=0.0, fields=EXAMPLES)
    llm = ScriptedLlm(by_key)
    one = founded(of, llm, answers)
    kinds = Counter(s.origin["operator"] for s in one.ask(law.make(SPEC, of), 20))
    assert set(kinds) == {"lamarckian", "zero_order"}
    bodies = [c.messages[-1][1] for c in llm.calls if c.role == "lamarckian"]
    assert all(
        body.count('<data of="a right answer">') == 3 and "right " in body and "wrong " not in body for body in bodies
    )
    closed = units(
        operators=["lamarckian", "zero_order"], crossover=0.0, fields=EXAMPLES | {"llm": {"profile": "scripted"}}
    )
    other = founded(closed, ScriptedLlm(by_key), answers)
    assert {s.origin["operator"] for s in other.ask(law.make(SPEC, closed), 20)} == {"zero_order"}
    assert not any("right 1" in c.messages[-1][1] for c in other.llm.calls)
    with pytest.raises(Invalid) as error:
        units(operators=["lamarckian"])
    assert error.value.errors[0].pointer == "/suggester/options/operators"


def test_every_operator_is_reached_about_equally_often_and_crossing_at_one_in_ten() -> None:
    of = units(fields=EXAMPLES)
    one = founded(of, ScriptedLlm(by_key), answers)
    made = []
    for _ in range(60):
        given = one.ask(law.make(SPEC, of), 5)
        made += given
        for number in [one.start(s) for s in given]:
            one.tell(number, noise(str(number)), examples=answers(number))
    counts = Counter(s.origin["operator"] for s in made)
    assert set(counts) == set(OPERATORS)
    assert all(20 <= counts[operator] <= 55 for operator in OPERATORS)  # 37.5 each, three deviations
    crossings = [c for c in one.llm.calls if c.role == "crossover"]
    assert 14 <= len(crossings) <= 46  # 30
    assert len(crossings) == sum("mate" in s.origin for s in made)
    assert all(s.origin["mate"] != s.origin["winner"] for s in made if "mate" in s.origin)


def test_with_several_texts_crossing_takes_one_from_the_mate_without_a_call() -> None:
    parameters = [{"name": n, "type": "text", "initial": [f"{n}: {s}" for s in STARTS]} for n in ("system", "user")]
    of = units(operators=["first_order"], crossover=1.0, fields={"parameters": parameters})
    llm = ScriptedLlm(by_key)
    one = founded(of, llm)
    given = one.ask(law.make(SPEC, of), 5)
    assert len(llm.calls) == 5
    for s in given:
        assert s.parameters["user"] == one.trials[s.origin["mate"]].parameters["user"]
        assert str(s.parameters["system"]).startswith("A prompt of first_order")


def test_members_too_alike_are_left_out_of_lists_where_there_is_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["one", "two", "three", "one"]
    angles = {"one": 0.0, "two": 0.3, "three": 0.7}  # cosines 0.955, 0.92, 0.76

    def vectors(asked: list[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([[np.cos(angles[t]), np.sin(angles[t])] for t in asked])

    monkeypatch.setattr("workers.suggesters.promptbreeder.lists.pool_vectors", vectors)
    assert diverse(texts, 0.95) == ["one", "three"]
    assert diverse(texts, 0.97) == ["one", "two", "three"]
    assert diverse(texts, 0.7) == ["one"]

    def away(asked: list[str]) -> None:
        raise EncoderError("not here")

    monkeypatch.setattr("workers.suggesters.promptbreeder.lists.pool_vectors", away)
    assert diverse(texts, 0.1) == ["one", "two", "three"]
