"""MIPRO against its card: presets, schedule, demonstrations, proposals, and the search on tables with a known best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from services.domain.errors import Invalid
from services.domain.llm import LlmReply, LlmRequest
from services.domain.parameters import TextParameter, TokensParameter
from services.domain.suggester import Problem, Suggestion
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.scripted_llm import Script, ScriptedLlm, failed
from workers.suggesters.mipro.demonstrations import AsIds, AsText, Demonstration, demonstration_sets
from workers.suggesters.mipro.proposals import TIPS
from workers.suggesters.mipro.schedule import Schedule, preset_trials
from workers.suggesters.mipro.tpe import Mixture, propose
from workers.suggesters.registry import get

SPEC = get("mipro")
TRAIN = [f"t{n}" for n in range(40)]
TEXT = {"name": "prompt", "type": "text", "initial": ["Instruction number 0."], "max_length": 500}
DEMOS = {"name": "demos", "type": "tokens", "vocabulary": TRAIN, "max_length": 8}
Score = Callable[[dict[str, Any], str], float]


def writer(request: LlmRequest) -> str:
    if "/summary/" in request.key:
        return "They are sums." if request.key.endswith(("/0", "/end")) else "COMPLETE"
    return f"<text>Instruction number {request.key.split('/')[2]}.</text>"


def away(request: LlmRequest) -> LlmReply:
    return failed(request, "unreachable")


def problem(
    seed: int = 1, *, validation: int = 60, train: bool = True, budget: int | None = None, **fields: Any
) -> Problem:
    sets = {"train": TRAIN if train else [], "validation": [f"v{n}" for n in range(validation)]}
    usual: dict[str, Any] = {
        "parameters": [TEXT, DEMOS],
        "objectives": [{"metric": "accuracy", "goal": "maximize"}],
        "suggester": {"name": "mipro", "options": fields.pop("options", {})},
        "examples": {split: ids for split, ids in sets.items() if ids},
        "llm": {"profile": "scripted", "share_examples": True},
        "limits": {} if budget is None else {"max_example_evaluations": budget},
    }
    spec = study(**(usual | fields))
    spec.check()
    SPEC.check(spec)
    return Problem(study="st", spec=spec, seed=seed)


def right_half(point: dict[str, Any], example: str) -> float:
    return float(int(example[1:]) % 2)


def tell(one: law.Study, suggestion: Suggestion, score: Score = right_half) -> None:
    trial = one.start(suggestion)
    ids = (one.trials[trial].evaluate_on or {"ids": []})["ids"]
    rows = [
        {"id": i, "score": score(suggestion.parameters, i), "output": f"out {i}", "expected": f"want {i}"} for i in ids
    ]
    one.tell(trial, float(np.mean([row["score"] for row in rows])), examples=rows)


def played(
    of: Problem, script: Script = writer, score: Score = right_half, *, asks: int = 200, batch: int = 1
) -> law.Study:
    one = law.Study(of, ScriptedLlm(script))
    suggester = law.make(SPEC, of)
    for _ in range(asks):
        found = one.ask(suggester, batch)
        for suggestion in found:
            tell(one, suggestion, score)
        if not found:
            break
    return one


def kinds(one: law.Study) -> list[str]:
    return [t.origin["role"] for t in one.trials.values()]


def sizes(one: law.Study) -> list[int]:
    return [len((t.evaluate_on or {})["ids"]) for t in one.trials.values()]


def chosen(one: law.Study) -> dict[str, list[Any]]:
    (found,) = [t.origin["candidates"] for t in one.trials.values() if "candidates" in t.origin]
    return dict(found)


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
    one = played(problem(options={"preset": "light"}))
    assert kinds(one) == ["default", "bootstrap", *["search"] * 5, "confirm", *["search"] * 5, "confirm"]
    assert sizes(one) == [60, 40, *[35] * 5, 60, *[35] * 5, 60]
    full = [str(t.parameters) for t in one.trials.values() if t.origin["role"] in ("default", "confirm")]
    assert len(set(full)) == 3
    candidates = chosen(one)
    assert (len(candidates["prompt"]), len(candidates["demos"])) == (3, 6)
    assert law.make(SPEC, one.problem).suggest(one.history(), 1) == []


def test_the_best_mean_without_a_full_evaluation_is_confirmed() -> None:
    def score(point: dict[str, Any], example: str) -> float:
        return float(int(example[1:]) % 10 < 1 + len(point["demos"]))

    one = played(problem(options={"preset": "light"}), score=score)
    for number in [n for n, t in one.trials.items() if t.origin["role"] == "confirm"]:
        before = [t for n, t in one.trials.items() if n < number and t.origin["role"] != "bootstrap"]
        full = {str(t.parameters) for t in before if t.origin["role"] != "search"}
        rows: dict[str, list[float]] = {}
        for trial in before:
            rows.setdefault(str(trial.parameters), []).extend(row["score"] for row in trial.examples or ())
        means = {key: np.mean(scores) for key, scores in rows.items() if key not in full}
        assert means[str(one.trials[number].parameters)] == max(means.values())


def test_up_to_fifty_examples_every_trial_is_a_full_one_and_none_comes_twice() -> None:
    one = played(problem(validation=50))
    assert set(kinds(one)) == {"default", "bootstrap", "search"}
    assert {len((t.evaluate_on or {})["ids"]) for t in one.trials.values() if t.origin["role"] == "search"} == {50}
    points = [str(t.parameters) for t in one.trials.values() if t.origin["role"] != "bootstrap"]
    assert len(set(points)) == len(points) == 11


@pytest.mark.parametrize("budget", [60, 150, 300, 431])
@pytest.mark.parametrize("batch", [1, 4])
def test_the_limit_on_examples_is_never_exceeded(budget: int, batch: int) -> None:
    one = played(problem(budget=budget), batch=batch)
    assert sum(sizes(one)) <= budget
    if "search" in kinds(one):
        assert kinds(one)[-1] == "confirm"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"options": {"minibatch": 61}}, "/suggester/options/minibatch"),
        ({"budget": 59}, "/limits/max_example_evaluations"),
        ({"options": {"render_into": "nothing"}}, "/suggester/options/render_into"),
        ({"options": {"render_into": "prompt"}}, "/suggester/options/render_into"),
        ({"parameters": [DEMOS]}, "/parameters"),
    ],
)
def test_what_cannot_work_is_refused_by_pointer(fields: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        problem(**fields)
    assert pointer in {e.pointer for e in error.value.errors}
    assert problem(options={"minibatch": 60})


# -- demonstrations


def test_the_sets_are_none_then_labelled_then_what_went_right() -> None:
    carrier = AsIds(TokensParameter(**DEMOS))
    good = ["t3", "t5", "t7", "t9", "t11"]
    sets = demonstration_sets(carrier, good, 18, np.random.default_rng(0), bootstrapped=4, labelled=4)
    assert sets[0] == []
    assert len(sets[1]) == 4
    assert len(sets) == len({tuple(s) for s in sets}) == 18
    for ids in sets[2:]:
        assert 1 <= len(set(ids) & set(good)) <= 4
        assert len(ids) == len(set(ids)) == 4
    without = demonstration_sets(carrier, [], 6, np.random.default_rng(0), bootstrapped=4, labelled=4)
    assert [len(ids) for ids in without] == [0, 4, 4, 4, 4, 4]
    least = AsIds(TokensParameter(**{**DEMOS, "min_length": 2, "max_length": 3}))
    found = demonstration_sets(least, good, 6, np.random.default_rng(0), bootstrapped=4, labelled=4)
    assert all(2 <= len(ids) <= 3 for ids in found)


def test_demonstrations_are_written_out_where_their_texts_are_known() -> None:
    declared = [Demonstration(id=i, input=f"in {i}", output=f"right {i}") for i in TRAIN[:5]] + [Demonstration(id="t9")]
    parameter = TextParameter(name="shots", type="text", initial=("Examples:",), max_length=70)
    carrier = AsText(parameter, declared, {"t1": "what came out"})
    assert carrier.ids() == TRAIN[:5]
    assert carrier.value(["t1"]) == "Examples:\n\nInput: in t1\nOutput: what came out"
    assert (
        carrier.value(["t0", "t2", "t3"])
        == "Examples:\n\nInput: in t0\nOutput: right t0\n\nInput: in t2\nOutput: right t2"
    )
    assert carrier.value([]) == carrier.start() == "Examples:"


def test_only_examples_that_the_start_got_right_are_bootstrapped() -> None:
    one = played(problem(options={"bootstrap_examples": 30, "labelled": 0}), asks=3)
    assert sizes(one)[1] == 30
    tried = {row["id"] for row in one.trials[2].examples or () if row["score"] == 1.0}
    assert {i for ids in chosen(one)["demos"][2:] for i in ids} <= tried
    validation_only = played(
        problem(train=False, parameters=[TEXT, {**DEMOS, "vocabulary": [f"v{n}" for n in range(60)]}]), asks=2
    )
    assert kinds(validation_only) == ["default", "search"]
    assert any(int(i[1:]) % 2 for ids in chosen(validation_only)["demos"][2:] for i in ids)


def test_a_text_parameter_may_carry_them() -> None:
    shots = {"name": "shots", "type": "text", "initial": ["Look at these."]}
    demonstrations = [{"id": i, "input": f"in {i}"} for i in TRAIN]
    options = {"render_into": "shots", "demonstrations": demonstrations}
    one = played(problem(parameters=[TEXT, shots], options=options), asks=6)
    texts = [t.parameters["shots"] for t in one.trials.values() if t.origin["role"] == "search"]
    assert chosen(one)["shots"][0] == "Look at these."
    assert any("Input: in t" in text and "Output: out t" in text for text in texts)
    assert all(t.parameters["prompt"].startswith("Instruction") for t in one.trials.values())


# -- proposals


def test_the_summary_is_written_from_tens_and_each_instruction_by_one_call() -> None:
    one = played(problem(options={"preset": "heavy", "program": "A chat about numbers."}), asks=3)
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
    assert chosen(one)["prompt"] == [f"Instruction number {n}." for n in range(9)]


def test_without_leave_no_example_is_shown() -> None:
    options = {"demonstrations": [{"id": "t0", "input": "secret in", "output": "secret out"}]}
    one = played(problem(llm={"profile": "scripted"}, options=options), asks=3)
    shown = "".join(content for call in one.llm.calls for _, content in call.messages)
    assert len(one.llm.calls) == 2
    assert not any(word in shown for word in ("secret", "out t", "want t", "out v"))
    assert len(chosen(one)["prompt"]) == 3


def test_what_the_model_failed_to_write_stays_as_it_was_replaced() -> None:
    of = problem()
    one = law.Study(of, ScriptedLlm(away))
    for _ in range(3):
        tell(one, one.ask(law.make(SPEC, of), 1)[0])
    candidates = chosen(one)
    assert len(candidates["prompt"]) == 3
    one.llm.script = writer
    for _ in range(4):
        tell(one, one.ask(law.make(SPEC, of), 1)[0])
    assert {t.parameters["prompt"] for t in one.trials.values()} <= set(candidates["prompt"])
    assert (
        played(problem(options={"fallback": "none"}), away, asks=4).trials[3].parameters["prompt"] == TEXT["initial"][0]
    )
    assert len(chosen(played(problem(llm=None), asks=4))["prompt"]) == 3


def test_a_crash_repeats_no_call() -> None:
    of, one = problem(), law.Study(problem(), ScriptedLlm(writer))
    for _ in range(12):
        lost = one.ask(law.make(SPEC, of), 1)
        calls = len(one.llm.calls)
        assert one.ask(law.make(SPEC, of), 1) == lost
        assert len(one.llm.calls) == calls
        tell(one, lost[0])
    assert [t.parameters for t in one.trials.values()] == [t.parameters for t in played(of, asks=12).trials.values()]


def test_trials_that_fail_stop_nothing() -> None:
    of = problem()
    one, suggester = law.Study(of, ScriptedLlm(writer)), law.make(SPEC, of)
    while found := one.ask(suggester, 1):
        if len(one.trials) % 3 == 0:
            one.tell(one.start(found[0]), 0.0, TrialState.FAILED)
        else:
            tell(one, found[0])
    assert kinds(one).count("search") == 10


# -- the search


def test_the_mixture_is_a_probability_and_draws_as_it_says() -> None:
    rng = np.random.default_rng(2)
    mixture = Mixture.of(np.array([[0, 1], [2, 1], [2, 0]]), [3, 2])
    cells = np.array(list(np.ndindex(3, 2)))
    density = mixture.density(cells)
    assert density.sum() == pytest.approx(1.0)
    assert density[np.argmax(density)] == pytest.approx(mixture.density(np.array([[2, 0]]))[0])
    drawn = mixture.draw(6000, rng)
    shares = [np.mean((drawn == cell).all(axis=1)) for cell in cells]
    assert np.abs(np.array(shares) - density).max() < 0.02


def table(seed: int, step: float = 0.07) -> np.ndarray:
    """Chances of success: six instructions, six sets, added up."""
    rng = np.random.default_rng(seed)
    levels = np.arange(6) * step
    return 0.1 + rng.permutation(levels)[:, None] + rng.permutation(levels)[None, :]


def finds_the_best(seed: int) -> bool:
    chances, rng = table(seed), np.random.default_rng(1000 + seed)
    outcomes = rng.random((6, 6, 300)) < chances[..., None]
    of = problem(seed, validation=300, train=False, options={"preset": "heavy", "instructions": 6, "sets": 6})
    sets: list[Any] = []

    def cell(point: dict[str, Any]) -> tuple[int, int]:
        return int(point["prompt"].rstrip(".").split()[-1]), sets.index(point["demos"])

    one, suggester = law.Study(of, ScriptedLlm(writer)), law.make(SPEC, of)
    full: dict[tuple[int, int], float] = {}
    while found := one.ask(suggester, 1):
        sets = sets or list(found[0].origin.get("candidates", {}).get("demos", [])) or [[]]
        place = cell(found[0].parameters)
        sets = [] if sets == [[]] else sets
        tell(one, found[0], lambda point, example, place=place: float(outcomes[place][int(example[1:])]))
        if found[0].origin["role"] != "search":
            full[place] = float(outcomes[place].mean())
    return bool(chances[max(full, key=lambda c: full[c])] == chances.max())


def test_the_best_of_a_noisy_additive_table_is_found_nine_times_in_ten() -> None:
    assert sum(finds_the_best(seed) for seed in range(50)) >= 45


def test_the_search_beats_uniform_choice() -> None:
    def last_means(seed: int, startup: int) -> float:
        chances, rng = table(seed), np.random.default_rng(seed)
        told: list[tuple[tuple[int, ...], float]] = []
        for _ in range(27):
            cell = propose(told, (), (6, 6), rng, startup=startup, is_closed=lambda c: False)
            assert cell is not None
            told.append((cell, rng.binomial(35, chances[cell]) / 35))
        return float(np.mean([chances[cell] for cell, _ in told[17:]]))

    wins = sum(last_means(seed, 6) > last_means(seed, 1000) for seed in range(30))
    assert binomtest(wins, 30, alternative="greater").pvalue < 1e-3


def test_closed_combinations_do_not_come_again() -> None:
    rng, told, seen = np.random.default_rng(0), [], set()
    while (cell := propose(told, (), (3, 4), rng, startup=2, is_closed=seen.__contains__)) is not None:
        assert cell not in seen
        seen.add(cell)
        told.append((cell, float(rng.random())))
    assert len(seen) == 12
