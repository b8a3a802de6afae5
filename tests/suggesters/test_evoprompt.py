"""EvoPrompt: traces equal to a plain reference, what the operator is shown, and that evolving pays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest

from services.domain.llm import LlmRequest
from services.domain.suggester import Problem
from tests.suggesters import law
from tests.suggesters.breeding import (
    GOOD,
    OTHER,
    ask,
    coverage,
    draws,
    evolve,
    mixed,
    mutated,
    noise,
    problem,
    random_edits,
    shown,
    sign_test,
    start_texts,
    texts_of,
)
from tests.support.builders import study
from tests.support.scripted_llm import ScriptedLlm
from workers.models.populations import wheel
from workers.models.variations import read_child

BITS, SIZE, GENERATIONS = 20, 10, 6
# -- OneMax: prompts of 20 bits


def ga_child(first: str, second: str, key: str) -> str:
    rng = draws(key)
    bits = [rng.choice(pair) for pair in zip(first, second, strict=True)]
    return "".join(b if rng.random() > 0.05 else str(1 - int(b)) for b in bits)


def de_child(target: str, one: str, other: str, third: str, key: str) -> str:
    rng = draws(key)
    bits = [rng.choice("01") if a != b else c for a, b, c in zip(one, other, third, strict=True)]
    return "".join(rng.choice(pair) for pair in zip(bits, target, strict=True))


def bit_operator(request: LlmRequest) -> str:
    texts = shown(request)
    if request.role == "founder":
        child = ga_child(texts["the text"], texts["the text"][::-1], request.key)
    elif "the first text" in texts:
        child = ga_child(texts["the first text"], texts["the second text"], request.key)
    else:
        child = de_child(texts["D"], texts["A"], texts["B"], texts["C"], request.key)
    return f"Both steps give <text>{child}</text>"


def bit_strings(seed: int, count: int = SIZE) -> list[str]:
    rng = draws("start", seed)
    return ["".join(rng.choice("01") for _ in range(BITS)) for _ in range(count)]


def valid(make: Callable[..., str], texts: Sequence[str], key: str, seen: set[str]) -> str:
    """The first of three attempts that is new."""
    child = next(c for attempt in range(3) if (c := make(*texts, f"{key}/{attempt}")) not in seen)
    seen.add(child)
    return child


def better(texts: Iterable[str], tried: Sequence[str]) -> list[str]:
    """By ones, the older first among equals."""
    return sorted(texts, key=lambda s: (-s.count("1"), tried.index(s)))


def reference_ga(of: Problem, start: list[str], generations: int, selection: str, survivors: str) -> list[str]:
    """A plain genetic algorithm on bit strings: everything tried, in order."""
    tried = list(start)
    population = better(start, tried)
    for g in range(generations):
        seen, children = set(tried), []
        fitness = np.array([s.count("1") for s in population], dtype=float)
        rng = of.generator(g, "evoprompt wheel")
        mating = [population[i] for i in rng.choice(SIZE, size=SIZE, p=fitness / fitness.sum())]
        for j in range(SIZE):
            rng = of.generator(g, f"evoprompt parents {j}")
            if selection == "tournament":
                a = better((population[i] for i in rng.choice(SIZE, 2, replace=False)), tried)[0]
                rest = [s for s in population if s != a]
                b = better((rest[i] for i in rng.choice(SIZE - 1, 2, replace=False)), tried)[0]
            else:
                pool = mating if selection == "wheel" else population
                a = pool[rng.integers(SIZE)]
                rest = [s for s in pool if s != a] or [s for s in population if s != a]
                b = rest[rng.integers(len(rest))]
            children.append(valid(ga_child, (a, b), f"evoprompt-{g}/{j}", seen))
        tried += children
        population = better((population if survivors == "topk" else []) + children, tried)[:SIZE]
    return tried


def reference_de(of: Problem, start: list[str], generations: int, donor: str) -> tuple[list[str], list[list[str]]]:
    """Plain differential evolution on bit strings: everything tried, and the population after each generation."""
    tried, population, course = list(start), list(start), []
    for g in range(generations):
        seen, children = set(tried), []
        top = better(population, tried)[0]
        for j, x in enumerate(population):
            others = [s for s in population if s != x]
            rng = of.generator(g, f"evoprompt donors {j}")
            a, b, c = (others[i] for i in rng.choice(SIZE - 1, 3, replace=False))
            c = top if donor == "best" else c
            children.append(valid(de_child, (x, a, b, c), f"evoprompt-{g}/{j}", seen))
        tried += children
        population = [y if y.count("1") > x.count("1") else x for x, y in zip(population, children, strict=True)]
        course.append(population)
    return tried, course


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("survivors", ["topk", "replace"])
@pytest.mark.parametrize("selection", ["wheel", "random", "tournament"])
def test_the_genetic_algorithm_is_the_plain_one(selection: str, survivors: str, seed: int) -> None:
    start = bit_strings(seed)
    of = problem("evoprompt", start, seed, operator="ga", selection=selection, survivors=survivors)
    one = evolve(of, 70, lambda s: s.count("1"), ScriptedLlm(bit_operator), SIZE)
    assert texts_of(one) == reference_ga(of, start, 6, selection, survivors)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("donor", ["best", "random"])
def test_differential_evolution_is_the_plain_one_and_no_slot_gets_worse(donor: str, seed: int) -> None:
    start = bit_strings(seed)
    of = problem("evoprompt", start, seed, operator="de", donor=donor)
    one = evolve(of, 70, lambda s: s.count("1"), ScriptedLlm(bit_operator), SIZE)
    tried, course = reference_de(of, start, 6, donor)
    assert texts_of(one) == tried
    scores = [[s.count("1") for s in population] for population in course]
    assert all(b >= a for before, after in itertools.pairwise(scores) for a, b in zip(before, after, strict=True))
    for trial in list(one.trials.values())[SIZE:]:  # a child competes with what its lineage has reached
        g, slot = trial.origin["step"], trial.origin["slot"]
        rival = start[slot] if g == 0 else course[g - 1][slot]
        assert one.trials[trial.origin["target"]].parameters["prompt"] == rival
    assert max(scores[-1]) >= 16


@pytest.mark.parametrize("operator", ["ga", "de"])
def test_asked_one_by_one_or_all_at_once_the_trace_is_the_same(operator: str) -> None:
    """As long as each generation is told before the next one opens."""
    start = bit_strings(3)
    traces = []
    for count in (1, 3, SIZE):
        one = law.Study(problem("evoprompt", start, 3, operator=operator), ScriptedLlm(bit_operator))
        for _ in range(4):
            numbers: list[int] = []
            while len(numbers) < SIZE:
                numbers += ask(one, min(count, SIZE - len(numbers)))
            for number in reversed(numbers):
                one.tell(number, str(one.trials[number].parameters["prompt"]).count("1"))
        traces.append(texts_of(one))
    assert traces[0] == traces[1] == traces[2]


# -- parts


def test_the_wheel_turns_by_merit_and_by_rank_where_merits_are_no_shares() -> None:
    np.testing.assert_allclose(wheel([1, 3, 0]), [0.25, 0.75, 0])
    np.testing.assert_allclose(wheel([-5, -1, 100]), np.array([1, 2, 3]) / 6)
    np.testing.assert_allclose(wheel([0, 0, 0]), [1 / 3] * 3)
    np.testing.assert_allclose(wheel([-1, 2, 2]), np.array([1, 2.5, 2.5]) / 6)
    np.testing.assert_allclose(wheel([1e300, 1e300]), [0.5, 0.5])


def test_a_minimised_metric_turns_the_wheel_by_rank() -> None:
    start = bit_strings(1)
    of = problem("evoprompt", start, 1)
    down = Problem(
        study="st",
        seed=1,
        spec=of.spec.model_copy(update={"objectives": study(objectives=[{"metric": "score"}]).objectives}),
    )
    llm = ScriptedLlm(bit_operator)
    one = evolve(down, 20, lambda s: 20 - s.count("1"), llm, SIZE)
    order = sorted(start, key=lambda s: (-s.count("1"), start.index(s)))
    merits = [s.count("1") - 20 for s in order]
    chosen = {order[i] for i in down.generator(0, "evoprompt wheel").choice(SIZE, size=SIZE, p=wheel(merits))}
    parents = {
        one.trials[n].parameters["prompt"] for t in list(one.trials.values())[SIZE:] for n in t.origin["parents"]
    }
    assert parents <= chosen


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("1. Cross: x\n2. <text>Be brief.</text>", "Be brief."),
        ('First "one thing", in the end "Be kind."', "Be kind."),
        ("Crossed, it says: “Be fair.”", "Be fair."),
        ("Step 1 done\n\nBe quick.\n", "Be quick."),
        ("thinking <text>Cut off he", "Cut off he"),
    ],
)
def test_a_child_is_found_in_any_usual_reply(reply: str, text: str) -> None:
    assert read_child(reply).text == text


def test_a_refusal_is_no_child() -> None:
    assert read_child("I'm sorry, I cannot help with that.").fault == "refused"
    assert read_child("  ").fault == "empty"


# -- that it pays: words that count


def wordy(request: LlmRequest) -> str:
    rng, texts = draws(request.key, request.digest), shown(request)
    if request.role == "founder":
        return f"<text>{mutated(texts['the text'].split(), rng)}</text>"
    if "C" in texts:
        one, other, third, target = (texts[label].split() for label in "ABCD")
        differ = {i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b}
        joined = [rng.choice(GOOD + OTHER) if i in differ and rng.random() < 0.3 else w for i, w in enumerate(third)]
    else:
        joined, target = texts["the first text"].split(), texts["the second text"].split()
    return f"<text>{mutated(mixed(joined, target, rng), rng)}</text>"


def reached(seed: int, operator: str, value: Callable[[str], float] = coverage) -> float:
    of = problem("evoprompt", start_texts(seed), seed, operator=operator)
    one = evolve(of, SIZE * (GENERATIONS + 1), value, ScriptedLlm(wordy), SIZE)
    return max(coverage(text) for text in texts_of(one))


@pytest.mark.parametrize("operator", ["ga", "de"])
def test_it_beats_random_edits_and_itself_without_selection(operator: str) -> None:
    own = [reached(seed, operator) for seed in range(20)]
    assert sign_test(own, [random_edits(seed, SIZE * (GENERATIONS + 1)) for seed in range(20)]) < 0.001
    assert sign_test(own, [reached(seed, operator, noise) for seed in range(20)]) < 0.001
