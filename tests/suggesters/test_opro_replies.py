"""OPRO: what is taken from replies, and that reading the scores pays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from services.domain.llm import LlmRequest
from services.domain.sampling import generator
from tests.suggesters.opro_study import begin, by_key, shown, steps, user
from tests.support.scripted_llm import WORDS, failed

# -- what is taken from replies


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("Here: <text>say **yes** or no</text>", "Say yes or no"),
        ("<text>first</text> better: <text>second one</text>", "Second one"),
        ("two lines\nwithout a tag", "Two lines\nwithout a tag"),
        ("<text>cut off in the mid", "Cut off in the mid"),
        ("<text>éàü 判断する</text>", "Éàü 判断する"),
        ('Sure, here it is, in three lines:\n{"text": "as JSON"}\nDone.', "As JSON"),
        ("too\nmany\nlines", None),
        ("I'm sorry, I cannot do that.", None),
        ("<text>has a <text> tag</text> inside</text>", None),
        ("<text>the <candidate> word</text>", None),
        ("<text> </text>", None),
        ("<text>decide whether the  WRITER of the review was happy.</text>", None),
        (f"<text>{'long ' * 120}</text>", None),
    ],
)
def test_replies_are_read_and_judged(reply: str, text: str | None) -> None:
    one, suggester = begin(lambda request: reply)
    one.tell(one.start(one.ask(suggester, 1)[0]), 1.0)
    found = one.ask(suggester, 1)[0]
    assert bool(found.origin.get("edit")) == (text is None)
    if text is not None:
        assert found.parameters["prompt"] == text


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("go on</text>\n7 <text>more", "Go on"),
        ("<text>go on</text>", "Go on"),
        ("go on\n7 more", "Go on"),
        ("  </text>", ""),
    ],
)
def test_a_base_models_continuation_ends_at_the_tag_or_the_line(reply: str, text: str) -> None:
    one, suggester = begin(lambda r: reply, {"optimizer": "base"})
    one.tell(one.start(one.ask(suggester, 1)[0]), 1.0)
    found = one.ask(suggester, 1)[0]
    assert found.parameters["prompt"] == text or (found.origin.get("edit") and not text)


def test_digits_can_be_forbidden() -> None:
    one, suggester = begin(lambda r: "<text>The answer is 42</text>", {"forbid_digits": True, "per_step": 1})
    one.tell(one.start(one.ask(suggester, 1)[0]), 1.0)
    found = one.ask(suggester, 1)[0]
    assert found.receipt is not None and found.receipt["rejected"] == {"not_allowed": 3}
    assert "must not contain digits" in user(one.llm.calls[-1])
    parameter = {"initial": ["Judge {q1} now, please."], "placeholders": ["{q1}"]}
    one, suggester = begin(
        lambda r: "<text>What of {q1}?</text>", {"forbid_digits": True, "per_step": 1}, parameter=parameter
    )
    one.tell(one.start(one.ask(suggester, 1)[0]), 1.0)
    assert one.ask(suggester, 1)[0].parameters["prompt"] == "What of {q1}?"


def test_placeholders_make_a_template_and_are_kept() -> None:
    parameter = {"initial": ["Judge {q} now, please."], "placeholders": ["{q}"]}

    def script(request: LlmRequest) -> str:
        kept = "{q}" if request.key.split("/")[2] == "1" else ""
        return f"<text>judge {kept} {request.key.replace('/', ' ')}</text>"

    one, suggester = begin(script, {"exemplars": [{"input": "i", "output": "o"}]}, parameter=parameter)
    one.tell(one.start(one.ask(suggester, 1)[0]), 1.0)
    found = one.ask(suggester, 8)
    assert all(s.parameters["prompt"].count("{q}") == 1 for s in found)
    assert all(s.receipt is not None and s.receipt["rejected"] == {"placeholder": 1} for s in found)
    told = user(one.llm.calls[0])
    assert "[TEXT]" not in told and "as a template in which {q} will be replaced" in told


def test_duplicates_are_sampled_again_or_dropped_as_published() -> None:
    def twins(request: LlmRequest) -> str:
        slot, attempt = request.key.split("/")[1:]
        return f"<text>Text {int(slot) // 2} {attempt if attempt != '0' else ''}</text>"

    for resample, texts, calls in ((True, 8, 12), (False, 4, 8)):
        one, suggester = begin(twins, {"resample_duplicates": resample})
        one.tell(one.start(one.ask(suggester, 1)[0]), 1.0)
        found = one.ask(suggester, 8) if resample else one.ask(suggester, 4)
        assert len(found) == texts
        assert len(one.llm.calls) == calls
        assert not any(s.origin.get("edit") for s in found)
        if not resample:
            for suggestion in found:
                one.tell(one.start(suggestion), 1.0)
            one.llm.script = by_key
            assert one.ask(suggester, 1)[0].origin["step"] == 1


def test_at_least_nine_in_ten_are_valid_when_half_of_the_replies_are_broken() -> None:
    broken = ["", "no\ntags\nat all", "I'm sorry, I can't.", "<text></text>", "x" * 900]

    def script(request: LlmRequest) -> Any:
        rng = generator(1, 0, request.key)
        if rng.random() < 0.5:
            choice = int(rng.integers(len(broken) + 1))
            return broken[choice] if choice < len(broken) else failed(request, "server")
        return by_key(request)

    one, suggester = begin(script)
    found = []
    for _ in range(10):
        batch = one.ask(suggester, 8)
        found += batch
        for suggestion in batch:
            one.tell(one.start(suggestion), 1.0)
    assert len(found) == 80
    assert len({s.parameters["prompt"].casefold() for s in found}) == 80
    written = [s for s in found if not s.origin.get("edit")]
    assert len(written) >= 0.75 * 80
    assert len(one.llm.calls) <= 3 * 80


def test_the_temperature_may_rise_and_components_take_turns() -> None:
    parameters = [{"name": n, "type": "text", "initial": [f"The {n} text."]} for n in ("system", "prompt")]
    one, suggester = begin(
        options={"per_step": 1, "temperature": 0.5, "final_temperature": 1.5, "steps": 2}, parameters=parameters
    )
    steps(one, suggester, 5, lambda text: 1.0, 1)
    assert [c.temperature for c in one.llm.calls] == [0.5, 1.0, 1.5, 1.5]
    assert ["'system'" in user(c) for c in one.llm.calls] == [True, False, True, False]
    assert '<data of="system">' in user(one.llm.calls[1]) and '<data of="prompt">' in user(one.llm.calls[1])


# -- on a landscape of words


def landscape(seed: int) -> Callable[[str], float]:
    """Hidden weights of words, and a price for each word."""
    weights = dict(zip(WORDS, np.random.default_rng(seed).normal(size=len(WORDS)), strict=True))

    def value(text: str) -> float:
        words = text.casefold().split()
        return sum(weights.get(w, 0.0) for w in set(words)) - 0.05 * len(words)

    return value


def mutated(text: str, rng: np.random.Generator) -> str:
    """One or two words dropped, replaced or added."""
    words = text.split()
    for _ in range(int(rng.integers(1, 3))):
        word, move = WORDS[int(rng.integers(len(WORDS)))], int(rng.integers(3))
        place = int(rng.integers(len(words))) if words else 0
        words = words[:place] + ([word] if move else []) + words[place + (move != 2) :]
    return f"<text>{' '.join(words) or 'empty'}</text>"


def climber(seed: int) -> Callable[[LlmRequest], str]:
    """Believes that the last text shown is the best one."""
    return lambda r: mutated(shown(r)[-1][0], generator(seed, 0, r.key))


def shuffled(seed: int) -> Callable[[LlmRequest], str]:
    """The same reader, of the same texts out of order."""

    def script(request: LlmRequest) -> str:
        rng = generator(seed, 0, request.key)
        entries = shown(request)
        return mutated(entries[int(rng.integers(len(entries)))][0], rng)

    return script


def blind(seed: int) -> Callable[[LlmRequest], str]:
    """Edits the starting text whatever was told."""
    return lambda r: mutated("Amber basil cedar delta", generator(seed, 0, r.key))


def reached(script: Callable[[int], Callable[[LlmRequest], str]], seed: int) -> tuple[float, list[str]]:
    one, suggester = begin(
        script(seed), objectives=[{"metric": "m", "goal": "maximize"}], seed=seed,
        parameter={"initial": ["Amber basil cedar delta"]},
    )  # fmt: skip
    best = steps(one, suggester, 1, landscape(seed), 1)
    best = max(best, steps(one, suggester, 7, landscape(seed)))
    return best, [t.parameters["prompt"] for t in one.trials.values()]


def test_better_than_random_edits_and_than_the_same_reader_without_the_order() -> None:
    seeds = range(20)
    opro = [reached(climber, seed)[0] for seed in seeds]
    for other in (blind, shuffled):
        wins = sum(a > b for a, b in zip(opro, (reached(other, seed)[0] for seed in seeds), strict=True))
        assert binomtest(wins, len(seeds), alternative="greater").pvalue < 0.01, (other, wins)


def test_equal_seeds_give_equal_traces() -> None:
    assert reached(climber, 5) == reached(climber, 5)
    assert reached(climber, 5)[1] != reached(climber, 6)[1]
