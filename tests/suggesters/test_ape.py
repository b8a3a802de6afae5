"""APE: what is asked for and how often, variations of the best, what keeps the study going, and that it pays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from services.domain.errors import Invalid
from services.domain.llm import LlmReply, LlmRequest
from tests.suggesters import law
from tests.suggesters.breeding import (
    EXAMPLES,
    EXEMPLARS,
    GOOD,
    OTHER,
    ask_and_tell,
    coverage,
    draws,
    induction,
    mutated,
    noise,
    numbered,
    random_edits,
    shown,
    sign_test,
    texts_of,
)
from tests.support.scripted_llm import ScriptedLlm, failed
from workers.suggesters.registry import get

SPEC = get("ape")
# -- what is asked


def test_five_calls_of_fifty_samples_each_with_five_pairs() -> None:
    one = law.Study(induction(), llm := ScriptedLlm(numbered))
    given = one.ask(law.make(SPEC, one.problem), 260)
    assert len(llm.calls) == 5
    assert len(given) == 250 == len({s.parameters["prompt"] for s in given})
    seen = []
    for call in llm.calls:
        assert (call.role, call.n, call.temperature, call.top_p, call.max_tokens) == ("induction", 50, 0.9, 0.9, 50)
        body = call.messages[-1][1]
        chosen = [i for i in range(12) if f"\nquestion {i}\n" in body]
        assert len(chosen) == 5
        assert all(body.index(f"\nquestion {i}\n") < body.index(f"\nanswer {i}\n") for i in chosen)
        seen.append(tuple(sorted(chosen)))
    assert len(set(seen)) > 1


def test_a_server_that_gives_fewer_choices_is_asked_for_the_rest() -> None:
    def script(request: LlmRequest) -> list[str]:
        return [f"<text>Do it, {request.key}, {i}.</text>" for i in range(min(20, request.n))]

    one = law.Study(induction(subsets=1), llm := ScriptedLlm(script))
    assert len(one.ask(law.make(SPEC, one.problem), 100)) == 50
    assert [call.n for call in llm.calls] == [50, 30, 10]


def test_replies_alike_but_for_case_and_space_count_once_and_broken_ones_not_at_all() -> None:
    replies = [
        "Say it.",
        "<text>say  IT.</text>",
        "I'm sorry, I cannot.",
        "",
        "<text>Say it twice.</text>",
        "<text>Cut of",
    ]
    one = law.Study(induction(subsets=1, samples=6), ScriptedLlm(lambda request: replies))
    given = one.ask(law.make(SPEC, one.problem), 10)
    assert [s.parameters["prompt"] for s in given] == ["Say it.", "Say it twice.", "Cut of"]
    assert given[0].receipt is not None
    assert given[0].receipt["rejected"] == {"empty": 1, "refused": 1}


def test_placeholders_are_asked_for_and_put_at_the_end_where_they_lack() -> None:
    parameter = {"placeholders": ["{q}"], "task": "sums", "max_length": 60}
    one = law.Study(
        induction(parameter=parameter, subsets=1, samples=2), llm := ScriptedLlm(lambda r: ["Add {q} up.", "Add."])
    )
    given = one.ask(law.make(SPEC, one.problem), 5)
    assert [s.parameters["prompt"] for s in given] == ["Add {q} up.", "Add.\n{q}"]
    assert "{q}" in llm.calls[0].messages[-1][1]
    assert shown(llm.calls[0])["the task"] == "sums"


def test_it_is_refused_without_exemplars_that_may_leave() -> None:
    for fields, options, pointer in (
        ({"llm": {"profile": "scripted"}}, {}, "/llm/share_examples"),
        ({}, {"exemplars": []}, "/suggester/options/exemplars"),
        ({}, {"scoring": "ucb"}, "/examples"),
    ):
        with pytest.raises(Invalid) as error:
            induction(fields=fields, **options)
        assert pointer in [e.pointer for e in error.value.errors]


# -- the iterative form


def test_the_best_tenth_is_said_in_other_words_and_nothing_else_is_asked() -> None:
    one = law.Study(induction(variations=3), llm := ScriptedLlm(numbered))
    assert ask_and_tell(one, 250, lambda text: draws(text).random()) == 250
    best = sorted(one.trials.values(), key=lambda t: -t.metrics["score"])[:25]
    assert ask_and_tell(one, 100, len) == 75
    later = llm.calls[5:]
    assert [shown(call)["the text"] for call in later] == [t.parameters["prompt"] for t in best]
    assert {(c.role, c.n, c.temperature, c.top_p, c.max_tokens) for c in later} == {("variation", 3, 0.9, 0.9, None)}
    assert "question" not in "".join(call.messages[-1][1] for call in later)
    assert ask_and_tell(one, 100, len) == 8 * 3  # a tenth of 75, rounded up


def test_a_round_waits_for_three_quarters_of_its_outcomes() -> None:
    one = law.Study(induction(subsets=1, samples=8), llm := ScriptedLlm(numbered))
    numbers = [one.start(s) for s in one.ask(law.make(SPEC, one.problem), 20)]
    assert len(numbers) == 8
    for number in numbers[:5]:
        one.tell(number, 1.0)
    assert one.ask(law.make(SPEC, one.problem), 3) == []
    assert len(llm.calls) == 1
    one.tell(numbers[5], 1.0)
    assert len(one.ask(law.make(SPEC, one.problem), 3)) == 3


# -- bad days


@pytest.mark.parametrize("fields", [{}, EXAMPLES], ids=["all", "ucb"])
def test_without_its_language_model_it_edits_and_asks_again_each_time(fields: dict[str, Any]) -> None:
    away = True

    def script(request: LlmRequest) -> LlmReply | list[str]:
        return failed(request, "rate_limited") if away else numbered(request)

    one = law.Study(induction(initial=["Judge the review with care."], fields=fields), ScriptedLlm(script))
    assert ask_and_tell(one, 1, len) == 1
    for _ in range(2):
        given = one.ask(law.make(SPEC, one.problem), 3)
        assert len(given) == 3
        assert all("refuses more calls" in s.reason for s in given)
        for number in [one.start(s) for s in given]:
            one.tell(number, 1.0)
    away = False
    later = one.ask(law.make(SPEC, one.problem), 300)
    assert sum(str(s.parameters["prompt"]).startswith("Instruction ape-0") for s in later) >= 49
    none = law.Study(induction(fallback="none"), ScriptedLlm(lambda r: failed(r, "server")))
    assert none.ask(law.make(SPEC, none.problem), 2) == []


def test_a_model_that_says_one_thing_only_does_not_stop_the_study() -> None:
    one = law.Study(
        induction(initial=["Judge the review."]),
        llm := ScriptedLlm(lambda r: ["<text>Say it.</text>"] * r.n),
    )
    for _ in range(15):
        assert ask_and_tell(one, 2, len) > 0
    assert len(set(texts_of(one))) == len(one.trials) > 20
    assert len(llm.calls) < 60


@pytest.mark.parametrize(
    ("space", "fields"),
    [("prompt", {}), ("prompt", EXAMPLES), ("prompt beside numbers", EXAMPLES)],
    ids=["all", "ucb", "mixed"],
)
def test_it_obeys_the_law_with_exemplars(space: str, fields: dict[str, Any]) -> None:
    """The catalogue's law asks without options, which this method refuses: the same here with exemplars, restarted at every step."""
    options = {
        "exemplars": EXEMPLARS,
        "subsets": 2,
        "samples": 4,
        "pull": 3,
        "per_round": 3,
        "rounds": 2,
        "finalists": 2,
    }
    of = law.problem(SPEC, space, suggester={"name": "ape", "options": options}, **fields)
    assert SPEC.parse_options(options)
    courses = []
    for restart in (False, True):
        one, course, suggester, waiting = law.Study(of), [], law.make(SPEC, of), []
        for n in range(8 if "beside" in space else 14):
            suggester = law.make(SPEC, of) if restart else suggester
            given = one.ask(suggester, 1 + n % 3)
            law.check_points(of, given, set())
            course += [(s.parameters, s.evaluate_on) for s in given]
            waiting += [one.start(s) for s in given]
            while len(waiting) > (2 if given else 0):
                number = waiting.pop(n % len(waiting))
                one.tell(number, law.OUTCOMES["varied"](number))
        courses.append(course)
    assert courses[0] == courses[1]
    assert len(courses[0]) > 10


# -- that it pays


def guesses(seed: object, count: int) -> list[str]:
    """What induction writes: texts that at best have one good word or two."""
    rng = draws("guesses", seed)
    return [" ".join(rng.choice(OTHER + GOOD[:2]) for _ in range(8)) for _ in range(count)]


def wordy(request: LlmRequest) -> list[str]:
    if request.role == "induction":
        return guesses(request.digest, request.n)
    rng = draws(request.key, request.digest)
    return [mutated(shown(request)["the text"].split(), rng) for _ in range(request.n)]


def reached(seed: int, value: Callable[[str], float] = coverage) -> float:
    one = law.Study(induction(seed, subsets=2, samples=10, keep=0.2), ScriptedLlm(wordy))
    while len(one.trials) < 80:
        assert ask_and_tell(one, 10, value)
    return max(coverage(text) for text in texts_of(one))


def test_it_beats_random_edits_and_itself_blind_to_scores() -> None:
    own = [reached(seed) for seed in range(20)]
    assert sign_test(own, [random_edits(seed, 80, guesses(seed, 20)) for seed in range(20)]) < 0.01
    assert sign_test(own, [reached(seed, noise) for seed in range(20)]) < 0.01
