"""Promptbreeder: tournaments of two, every operator and what it is shown, and that selection and self-reference work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.llm import LlmReply, LlmRequest
from services.domain.suggester import Problem
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.breeding import (
    GOOD,
    OTHER,
    coverage,
    draws,
    mixed,
    mutated,
    noise,
    random_edits,
    shown,
    sign_test,
    start_texts,
)
from tests.support.builders import study
from tests.support.scripted_llm import ScriptedLlm, failed
from workers.models import encoders
from workers.models.encoders import EncoderError
from workers.suggesters.promptbreeder import OPERATORS
from workers.suggesters.promptbreeder.asking import read_mutation
from workers.suggesters.promptbreeder.lists import diverse, latter
from workers.suggesters.promptbreeder.tables import MUTATION_PROMPTS, THINKING_STYLES
from workers.suggesters.registry import get

SPEC = get("promptbreeder")
SIZE = 10
STARTS = [
    f"Judge the review in manner {word}."
    for word in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")
]


def problem(
    seed: int = 0,
    initial: list[str] | None = None,
    fields: dict[str, Any] | None = None,
    shares: bool = True,
    **options: Any,
) -> Problem:
    of = study(
        **{
            "parameters": [{"name": "prompt", "type": "text", "initial": STARTS if initial is None else initial}],
            "objectives": [{"metric": "score", "goal": "maximize"}],
            "seed": seed,
            "llm": {"profile": "scripted", "share_examples": shares},
            "suggester": {"name": "promptbreeder", "options": {"population": SIZE, **options}},
            **(fields or {}),
        }
    )
    SPEC.check(of)
    return Problem(study="st", spec=of, seed=seed)


def by_key(request: LlmRequest) -> str:
    if request.role == "mutation_prompt":
        return f"<text>Change it the way of {request.key.replace('/', ' ')}.</text>"
    return f"<text>A prompt of {request.role} {request.key.replace('/', ' ')}</text>"


def texts_of(one: law.Study) -> list[str]:
    return [str(t.parameters["prompt"]) for t in one.trials.values()]


def breed(of: Problem, count: int, value: Callable[[str], float], llm: ScriptedLlm, ask: int = SIZE // 2) -> law.Study:
    one = law.Study(of, llm)
    while len(one.trials) < count:
        numbers = [one.start(s) for s in one.ask(law.make(SPEC, of), ask)]
        assert numbers
        for number in numbers:
            one.tell(number, value(str(one.trials[number].parameters["prompt"])))
    return one


def founded(
    of: Problem, llm: ScriptedLlm, *, examples: Callable[[int], list[dict[str, Any]]] | None = None
) -> law.Study:
    """A study whose ten starting texts are told 1 to 10."""
    one = law.Study(of, llm)
    for number in [one.start(s) for s in one.ask(law.make(SPEC, of), SIZE)]:
        one.tell(number, float(number), examples=None if examples is None else examples(number))
    return one


# -- tournaments


def test_the_loser_of_each_pair_makes_room_for_a_child_of_the_winner() -> None:
    """The course of the population, against a plain one with the same random numbers."""
    of = problem(operators=["first_order"], crossover=0.0)
    one = breed(of, 60, noise, ScriptedLlm(by_key))
    living = list(range(1, SIZE + 1))
    for generation in range(10):
        order = of.generator(generation, "promptbreeder pairs 0").permutation(SIZE)
        children = [t for t in one.trials.values() if t.origin.get("step") == generation]
        assert len(children) == SIZE // 2
        for slot, child in enumerate(sorted(children, key=lambda t: t.origin["slot"])):
            pair = [living[i] for i in order[2 * slot : 2 * slot + 2]]
            winner, loser = sorted(pair, key=lambda n: -one.trials[n].metrics["score"])
            assert (child.origin["winner"], child.origin["loser"]) == (winner, loser)
        taken = {t.origin["loser"]: t.number for t in children}
        living = sorted(taken.get(n, n) for n in living)
    assert len(living) == SIZE


def test_a_child_that_failed_takes_nobodys_place() -> None:
    of = problem(operators=["first_order"], crossover=0.0)
    one = founded(of, ScriptedLlm(by_key))
    numbers = [one.start(s) for s in one.ask(law.make(SPEC, of), 5)]
    for number in numbers:
        one.tell(number, 0.0, TrialState.FAILED)
    later = one.ask(law.make(SPEC, of), 5)
    assert {n for s in later for n in (s.origin["winner"], s.origin["loser"])} == set(range(1, SIZE + 1))


def test_more_slots_than_pairs_draw_pairs_anew() -> None:
    of = problem(operators=["first_order"], crossover=0.0)
    one = founded(of, ScriptedLlm(by_key))
    given = one.ask(law.make(SPEC, of), 10)
    for part in (given[:5], given[5:]):
        assert {n for s in part for n in (s.origin["winner"], s.origin["loser"])} == set(range(1, SIZE + 1))


# -- founders


def test_founders_apply_a_drawn_mutation_prompt_and_style_to_the_problem() -> None:
    of = problem(initial=["Judge {q}."], fields={"parameters": [
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
    of = problem(operators=[operator], crossover=0.0, **options)
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
        if s.origin["winner"] > SIZE:  # inherited
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
    of = problem(operators=["lineage"], crossover=0.0)
    llm = ScriptedLlm(by_key)
    one = law.Study(of, llm)
    values = [3, 1, 5, 5, 2, 7, 6, 9, 0, 4]
    for number in [one.start(s) for s in one.ask(law.make(SPEC, of), SIZE)]:
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
    one = founded(problem(operators=["zero_order_hyper"], crossover=0.0), script)
    assert all(s.origin["mutation"] in MUTATION_PROMPTS for s in one.ask(law.make(SPEC, one.problem), 5))


EXAMPLES = {"examples": {"train": ["a", "b"]}}


def answers(number: int) -> list[dict[str, Any]]:
    return [
        {"id": "a", "score": 1.0, "output": f"right {number}"},
        {"id": "b", "score": 0.0, "output": f"wrong {number}"},
    ]


def test_a_prompt_is_induced_from_right_answers_only_if_they_may_leave() -> None:
    of = problem(operators=["lamarckian", "zero_order"], crossover=0.0, fields=EXAMPLES)
    llm = ScriptedLlm(by_key)
    one = founded(of, llm, examples=answers)
    kinds = Counter(s.origin["operator"] for s in one.ask(law.make(SPEC, of), 20))
    assert set(kinds) == {"lamarckian", "zero_order"}
    bodies = [c.messages[-1][1] for c in llm.calls if c.role == "lamarckian"]
    assert all(
        body.count('<data of="a right answer">') == 3 and "right " in body and "wrong " not in body for body in bodies
    )
    closed = problem(operators=["lamarckian", "zero_order"], crossover=0.0, fields=EXAMPLES, shares=False)
    other = founded(closed, ScriptedLlm(by_key), examples=answers)
    assert {s.origin["operator"] for s in other.ask(law.make(SPEC, closed), 20)} == {"zero_order"}
    assert not any("right 1" in c.messages[-1][1] for c in other.llm.calls)
    with pytest.raises(Invalid) as error:
        problem(operators=["lamarckian"])
    assert error.value.errors[0].pointer == "/suggester/options/operators"


def test_every_operator_is_reached_about_equally_often_and_crossing_at_one_in_ten() -> None:
    of = problem(fields=EXAMPLES)
    one = founded(of, ScriptedLlm(by_key), examples=answers)
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
    of = problem(operators=["first_order"], crossover=1.0, fields={"parameters": parameters})
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
    assert encoders.PACKAGE  # the default one is what `pool_vectors` uses


# -- bad days


def test_a_list_too_long_for_the_model_is_halved_twice_at_most() -> None:
    def script(request: LlmRequest) -> str | LlmReply:
        return failed(request, "context_length") if len(shown(request)) > 3 else by_key(request)

    of = problem(operators=["distribution"], crossover=0.0, similarity=1.0)
    one = founded(of, llm := ScriptedLlm(script))
    one.ask(law.make(SPEC, of), 1)
    assert sorted({len(shown(call)) for call in llm.calls}) == [3, 5, 10]
    assert latter(range(10), 1) == [5, 6, 7, 8, 9]


def test_half_of_the_replies_broken_leaves_the_texts_valid_and_distinct() -> None:
    def script(request: LlmRequest) -> str | LlmReply:
        rng = draws(request.key)
        return rng.choice(["", "I'm sorry, no.", STARTS[0]]) if rng.random() < 0.5 else by_key(request)

    one = breed(problem(), 110, noise, ScriptedLlm(script))
    texts = texts_of(one)
    assert len(set(texts)) == len(texts)
    assert sum(not t.origin.get("edit") for t in one.trials.values()) >= 0.8 * len(texts)


def test_without_its_language_model_the_study_goes_on_and_says_why() -> None:
    one = founded(problem(), ScriptedLlm(lambda request: failed(request, "budget")))
    assert all("budget is used up" in s.reason for s in one.ask(law.make(SPEC, one.problem), 3))


# -- that it pays


def wordy(request: LlmRequest) -> str:
    rng, parts = draws(request.key, request.digest), shown(request)
    if request.role == "mutation_prompt":
        return "<text>Change a word.</text>"
    if request.role == "crossover":
        texts = [parts["the first text"], parts["the second text"]]
        return f"<text>{' '.join(mixed(texts[0].split(), texts[1].split(), rng))}</text>"
    text = rng.choice([text for label, text in sorted(parts.items()) if "prompt" in label])
    return f"<text>{mutated(text.split(), rng)}</text>"


def reached(seed: int, value: Callable[[str], float] = coverage) -> float:
    one = breed(problem(seed, start_texts(seed), similarity=1.0), 70, value, ScriptedLlm(wordy))
    return max(coverage(text) for text in texts_of(one))


def test_it_beats_random_edits_and_itself_blind_to_scores() -> None:
    own = [reached(seed) for seed in range(20)]
    assert sign_test(own, [random_edits(seed, 70) for seed in range(20)]) < 0.01
    assert sign_test(own, [reached(seed, noise) for seed in range(20)]) < 0.01


def skilled(request: LlmRequest) -> str:
    """A mutation prompt says its skill, one word up or down with each improvement; the skill is the chance of a good word."""
    rng, parts = draws(request.key, request.digest), shown(request)
    if request.role == "mutation_prompt":
        skill = parts["the instruction"].split().count("well") + rng.choice((-1, 1))
        return f"<text>Change a word {'well ' * max(0, skill)}now.</text>"
    words = next(text for label, text in parts.items() if "prompt" in label).split()
    is_good = rng.random() < 0.15 * (1 + request.messages[-1][1].splitlines()[0].split().count("well"))
    words[rng.randrange(len(words))] = rng.choice(GOOD if is_good else OTHER)
    return f"<text>{' '.join(words)}</text>"


def learned(seed: int, *operators: str) -> float:
    of = problem(seed, start_texts(seed), operators=list(operators), crossover=0.0, similarity=1.0)
    return max(coverage(text) for text in texts_of(breed(of, 80, coverage, ScriptedLlm(skilled))))


def test_mutation_prompts_that_evolve_are_worth_it() -> None:
    """Without hyper-mutation the skill stays where the table left it."""
    own = [learned(seed, "first_order", "first_order_hyper") for seed in range(20)]
    assert sign_test(own, [learned(seed, "first_order") for seed in range(20)]) < 0.01
