"""Promptbreeder: tournaments of two, days on which its language model does not answer well, and that breeding pays."""

from __future__ import annotations

from collections.abc import Callable

from services.domain.llm import LlmReply, LlmRequest
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.suggesters.breeding import (
    GOOD,
    OTHER,
    STARTS,
    ask,
    by_key,
    coverage,
    draws,
    evolve,
    founded,
    mixed,
    mutated,
    noise,
    random_edits,
    shown,
    sign_test,
    start_texts,
    texts_of,
    units,
)
from tests.support.scripted_llm import ScriptedLlm, failed
from workers.suggesters.promptbreeder.lists import latter
from workers.suggesters.registry import get

SPEC = get("promptbreeder")
SIZE = 10


# -- tournaments


def test_the_loser_of_each_pair_makes_room_for_a_child_of_the_winner() -> None:
    """The course of the population, against a plain one with the same random numbers."""
    of = units(operators=["first_order"], crossover=0.0)
    one = evolve(of, 60, noise, ScriptedLlm(by_key), SIZE // 2)
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
    of = units(operators=["first_order"], crossover=0.0)
    one = founded(of, ScriptedLlm(by_key))
    numbers = ask(one, 5)
    for number in numbers:
        one.tell(number, 0.0, TrialState.FAILED)
    later = one.ask(law.make(SPEC, of), 5)
    assert {n for s in later for n in (s.origin["winner"], s.origin["loser"])} == set(range(1, SIZE + 1))


def test_more_slots_than_pairs_draw_pairs_anew() -> None:
    of = units(operators=["first_order"], crossover=0.0)
    one = founded(of, ScriptedLlm(by_key))
    given = one.ask(law.make(SPEC, of), 10)
    for part in (given[:5], given[5:]):
        assert {n for s in part for n in (s.origin["winner"], s.origin["loser"])} == set(range(1, SIZE + 1))


# -- bad days


def test_a_list_too_long_for_the_model_is_halved_twice_at_most() -> None:
    def script(request: LlmRequest) -> str | LlmReply:
        return failed(request, "context_length") if len(shown(request)) > 3 else by_key(request)

    of = units(operators=["distribution"], crossover=0.0, similarity=1.0)
    one = founded(of, llm := ScriptedLlm(script))
    one.ask(law.make(SPEC, of), 1)
    assert sorted({len(shown(call)) for call in llm.calls}) == [3, 5, 10]
    assert latter(range(10), 1) == [5, 6, 7, 8, 9]


def test_half_of_the_replies_broken_leaves_the_texts_valid_and_distinct() -> None:
    def script(request: LlmRequest) -> str | LlmReply:
        rng = draws(request.key)
        return rng.choice(["", "I'm sorry, no.", STARTS[0]]) if rng.random() < 0.5 else by_key(request)

    one = evolve(units(), 110, noise, ScriptedLlm(script), SIZE // 2)
    texts = texts_of(one)
    assert len(set(texts)) == len(texts)
    assert sum(not t.origin.get("edit") for t in one.trials.values()) >= 0.8 * len(texts)


def test_without_its_language_model_the_study_goes_on_and_says_why() -> None:
    one = founded(units(), ScriptedLlm(lambda request: failed(request, "budget")))
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
    one = evolve(units(seed, start_texts(seed), similarity=1.0), 70, value, ScriptedLlm(wordy), SIZE // 2)
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
    of = units(seed, start_texts(seed), operators=list(operators), crossover=0.0, similarity=1.0)
    return max(coverage(text) for text in texts_of(evolve(of, 80, coverage, ScriptedLlm(skilled), SIZE // 2)))


def test_mutation_prompts_that_evolve_are_worth_it() -> None:
    """Without hyper-mutation the skill stays where the table left it."""
    own = [learned(seed, "first_order", "first_order_hyper") for seed in range(20)]
    assert sign_test(own, [learned(seed, "first_order") for seed in range(20)]) < 0.01
