"""CAPO: the race by itself on simulated tables, then the whole course with a scripted language model."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from scipy import stats

from services.domain.errors import Invalid
from services.domain.llm import LlmRequest
from services.domain.suggester import Problem
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.scripted_llm import ScriptedLlm, failed
from workers.models.example_board import Board
from workers.models.exemplars import Exemplar
from workers.suggesters.capo import SPEC, CapoOptions
from workers.suggesters.capo.race import beaten_by, kept, ranked
from workers.suggesters.capo.search import Capo

TRAIN = [f"t{i}" for i in range(40)]
VALIDATION = [f"v{i}" for i in range(10)]
WORDS = [f"word{i}" for i in range(30)]
GOOD = set(WORDS[:10])


def problem(options: dict[str, Any] | None = None, **fields: Any) -> Problem:
    document = {
        "parameters": [{"name": "prompt", "type": "text", "initial": ["Solve the task."], "max_length": 2000}],
        "objectives": [{"metric": "score", "goal": "maximize"}],
        "examples": {"train": TRAIN, "validation": VALIDATION},
        "suggester": {"name": "capo", "options": options or {}},
        "llm": {"profile": "scripted"},
    }
    spec = study(**(document | fields))
    SPEC.check(spec)
    return Problem(study="s", spec=spec, seed=spec.seed or 0)


def writer(request: LlmRequest) -> str:
    """Adds a word that depends on the request to the texts that are shown."""
    shown = " ".join(content for _, content in request.messages)
    words = [w for w in WORDS if w in shown.split()]
    new = WORDS[int(request.digest[:6], 16) % len(WORDS)]
    kept_words = [w for w in words if int(request.digest[WORDS.index(w)], 16) > 2]
    return f"<text>Solve the task. {' '.join(dict.fromkeys([*kept_words, new]))}</text>"


def score(text: str, example: str) -> float:
    """Passes by chance, more often with good words."""
    words = set(text.split())
    chance = 0.3 + 0.08 * len(words & GOOD) - 0.08 * len(words & (set(WORDS) - GOOD))
    digest = hashlib.blake2b(f"{example}{sorted(words)}".encode(), digest_size=4).digest()
    return float(int.from_bytes(digest, "little") < chance * 2**32)


def tell(one: law.Study, number: int) -> None:
    trial = one.trials[number]
    assert trial.evaluate_on is not None
    rows = [{"id": i, "score": score(trial.parameters["prompt"], i)} for i in trial.evaluate_on["ids"]]
    one.tell(number, float(np.mean([r["score"] for r in rows])), examples=rows)


def run(of: Problem, trials: int, llm: ScriptedLlm | None = None) -> law.Study:
    one = law.Study(of, llm or ScriptedLlm(writer))
    suggester, history = law.make(SPEC, of), one.history()
    for _ in range(trials):
        found = one.ask(suggester, 1, history)
        if not found:
            break
        number = one.start(found[0])
        tell(one, number)
        history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    return one


# -- the race


def test_who_beats_whom_equals_the_paired_t_test() -> None:
    scores = np.random.default_rng(0).random((6, 25)) + np.linspace(0, 0.3, 6)[:, None]
    expected = [
        sum(stats.ttest_rel(scores[i], scores[j], alternative="greater").pvalue < 0.2 for i in range(6) if i != j)
        for j in range(6)
    ]
    assert beaten_by(scores, 0.2).tolist() == expected


def test_equal_differences_decide_for_certain_and_equal_scores_never() -> None:
    scores = np.array([[1.0, 2.0, 3.0], [0.5, 1.5, 2.5], [1.0, 2.0, 3.0]])
    assert beaten_by(scores, 0.2).tolist() == [0, 2, 0]
    assert beaten_by(np.ones((3, 1)), 0.2).tolist() == [0, 0, 0]
    assert beaten_by(np.array([[1.0], [0.0]]), 0.2).tolist() == [0, 0], "one example says nothing about chance"


def test_the_best_by_mean_always_stay() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        scores = rng.random((12, 8))
        assert set(ranked(scores)[:4]) <= set(kept(scores, 4, 0.2))


def test_a_race_keeps_the_true_best_and_saves_evaluations() -> None:
    """Card prompt 15: the true best is kept in 95 % of Bernoulli tables, and 40 % of the evaluations are saved."""
    rng, kept_best, share = np.random.default_rng(2), 0, []
    for _ in range(200):
        chances = np.sort(rng.uniform(0.3, 0.9, 14))
        table = (rng.random((14, 300)) < chances[:, None]).astype(float)
        alive, spent = np.arange(14), 0
        for block in range(10):
            if len(alive) <= 4:
                break
            spent += len(alive) * 30
            alive = alive[kept(table[alive, : 30 * (block + 1)], 4, 0.2)]
            seen = table[alive, : 30 * (block + 1)]
        left = alive[ranked(seen)][:4]
        kept_best += 13 in left
        share.append(spent / (14 * 300))
    assert kept_best >= 190
    assert np.mean(share) <= 0.6


# -- the course


def test_the_start_is_scored_in_full_before_the_model_is_asked() -> None:
    one = run(problem(), 1)
    assert one.trials[1].parameters == {"prompt": "Solve the task."}
    assert one.trials[1].evaluate_on == {"split": "validation", "ids": VALIDATION}
    assert one.llm.calls == []


def test_a_generation_is_four_crossings_each_mutated_with_plain_requests() -> None:
    one = run(problem(), 30)
    founders = {call.key.split("/")[1] for call in one.llm.calls if call.role == "founder"}
    assert len(founders) == 9, "ten in the population, one of them the start"
    first = [c for c in one.llm.calls if c.key.startswith("capo-1/") and c.key.endswith("/0")]
    assert sorted(c.role for c in first) == ["crossover"] * 4 + ["mutation"] * 4
    assert all("t1" not in content for c in one.llm.calls for _, content in c.messages), "no example leaves"


def test_everyone_in_a_race_sees_the_same_blocks_in_the_same_order() -> None:
    one = run(problem(), 60)
    blocks: dict[int, set[tuple[str, ...]]] = {}
    for trial in one.trials.values():
        if "block" in trial.origin:
            assert trial.evaluate_on is not None and trial.evaluate_on["split"] == "train"
            blocks.setdefault(trial.origin["block"], set()).add(tuple(trial.evaluate_on["ids"]))
    assert len(blocks) > 1
    assert all(len(found) == 1 and len(next(iter(found))) == 4 for found in blocks.values())


def test_no_example_is_evaluated_twice_for_one_text() -> None:
    one = run(problem(), 120)
    seen: set[tuple[str, str]] = set()
    for trial in one.trials.values():
        assert trial.evaluate_on is not None
        for example in trial.evaluate_on["ids"]:
            assert (trial.parameters["prompt"], example) not in seen
            seen.add((trial.parameters["prompt"], example))


def test_races_save_evaluations_and_the_leader_is_scored_in_full() -> None:
    one = run(problem(), 150)
    full = [t for t in one.trials.values() if t.origin.get("full")]
    assert len(full) >= 2
    best = max(full, key=lambda t: t.metrics["score"])
    assert best.metrics["score"] > one.trials[1].metrics["score"]
    born = {(t.origin["generation"], t.origin["slot"]) for t in one.trials.values()}
    on_blocks = sum(len(t.evaluate_on["ids"]) for t in one.trials.values() if t.evaluate_on and "block" in t.origin)
    assert on_blocks < 0.7 * len(TRAIN) * len(born)


def test_the_budget_is_never_exceeded_and_keeps_room_for_the_leader() -> None:
    one = run(problem(limits={"max_example_evaluations": 160}), 200)
    spent = sum(len(t.evaluate_on["ids"]) for t in one.trials.values() if t.evaluate_on)
    assert 150 <= spent <= 160
    assert sum(bool(t.origin.get("full")) for t in one.trials.values()) >= 2


def test_many_workers_get_different_evaluations() -> None:
    of = problem()
    one = law.Study(of, ScriptedLlm(writer))
    suggester = law.make(SPEC, of)
    tell(one, one.start(one.ask(suggester, 1)[0]))
    found = one.ask(suggester, 20)
    assert len(found) == 20
    assert len({(s.parameters["prompt"], s.evaluate_on["ids"][0]) for s in found if s.evaluate_on}) == 20
    for suggestion in found:
        one.start(suggestion)
    assert len(one.ask(suggester, 20)) < 20, "two blocks are out: more would be spent on candidates that may be dropped"


def test_who_cannot_be_evaluated_leaves_the_race() -> None:
    of = problem()
    one = law.Study(of, ScriptedLlm(writer))
    suggester = law.make(SPEC, of)
    bad = ""
    for _ in range(100):
        (found,) = one.ask(suggester, 1)
        number = one.start(found)
        text = found.parameters["prompt"]
        if not bad and text != "Solve the task.":
            bad = text
        if text == bad:
            one.tell(number, 0.0, TrialState.FAILED)
        else:
            tell(one, number)
    assert sum(t.parameters["prompt"] == bad for t in one.trials.values()) == 2


def test_demonstrations_travel_in_the_text_and_never_to_the_model() -> None:
    pairs = [{"input": f"question {i}?", "output": f"answer {i}"} for i in range(8)]
    one = run(problem({"demonstrations": pairs, "max_demonstrations": 3}), 80)
    counts = {t.parameters["prompt"].count("Output: answer") for t in one.trials.values()}
    assert counts == {0, 1, 2, 3}
    assert all("answer" not in content.replace("Answer", "") for c in one.llm.calls for _, content in c.messages)


def test_a_demonstration_that_would_break_the_text_is_left_out_alone() -> None:
    outputs = ("{name}", "x" * 2000, "yes", "no")
    shown = tuple(Exemplar(input="question", output=output) for output in outputs)
    nursery = Capo(problem(), CapoOptions(demonstrations=shown))._nursery
    assert nursery.candidate({"prompt": "Solve the task."}, [0, 2, 1, 3], "").shown == (2, 3)


def test_a_longer_prompt_must_be_better_by_the_penalty() -> None:
    of = problem({"length_penalty": 0.5, "population": 2})
    capo = Capo(of, CapoOptions(length_penalty=0.5, population=2))
    short = capo._nursery.candidate({"prompt": "one two three"}, (), "x")
    long = capo._nursery.candidate({"prompt": "one two three four five six"}, (), "x")
    one = law.Study(of)
    for candidate in (short, long):
        number = one.add(candidate.texts)
        one.tell(number, 1.0, examples=[{"id": i, "score": 1.0} for i in VALIDATION])
    board = Board(one.history(), "capo", "validation")
    assert capo._scores(board, [short, long], ["v1"]).tolist() == [[0.5], [0.0]]


def test_without_a_model_edits_race() -> None:
    one = run(problem(), 60, ScriptedLlm(lambda request: failed(request, "timeout")))
    assert len(one.trials) == 60
    assert any("edit" in t.origin["how"] for t in one.trials.values())


def test_with_half_of_the_replies_broken_the_texts_stay_valid() -> None:
    def broken(request: LlmRequest) -> str:
        return writer(request) if int(request.digest[0], 16) % 2 else "I'm sorry, I cannot help with that."

    one = run(problem(), 80, ScriptedLlm(broken))
    assert len(one.trials) == 80
    assert all(t.parameters["prompt"].strip() and len(t.parameters["prompt"]) <= 2000 for t in one.trials.values())


@pytest.mark.parametrize("fields", [{"examples": None}])
def test_what_it_cannot_do_without_is_named(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as error:
        problem(**fields)
    assert error.value.errors[0].pointer == "/examples"


def truth(text: str) -> float:
    words = set(text.split())
    return 0.3 + 0.08 * len(words & GOOD) - 0.08 * len(words & (set(WORDS) - GOOD))


def best_of(one: law.Study) -> float:
    """The true quality of what the service would call best."""
    full = [t for t in one.trials.values() if t.evaluate_on and t.evaluate_on["split"] == "validation"]
    return truth(max(full, key=lambda t: t.metrics["score"]).parameters["prompt"])


def grown(seed: int, budget: int) -> float:
    """The same number of example evaluations on texts that grow by random words, without selection."""
    rng, family = np.random.default_rng(seed), ["Solve the task."]
    for _ in range(budget // len(VALIDATION) - 1):
        parent = family[int(rng.integers(len(family)))]
        family.append(f"{parent} {WORDS[int(rng.integers(len(WORDS)))]}")
    return truth(max(family, key=lambda text: float(np.mean([score(text, v) for v in VALIDATION]))))


@pytest.mark.slow
def test_it_beats_growth_without_selection_and_itself_without_races() -> None:
    """Sign tests over 12 seeds at 1000 example evaluations, ties left out."""
    small = {"population": 3, "children": 4}
    against_growth, against_full = [], []
    for seed in range(12):
        fields = {"limits": {"max_example_evaluations": 1000}, "seed": seed}
        ours = best_of(run(problem(small, **fields), 2000))
        against_growth.append(ours - grown(seed, 1000))
        against_full.append(ours - best_of(run(problem({**small, "max_blocks": 1}, **fields), 2000)))
    for gaps in (against_growth, against_full):
        wins, losses = sum(g > 1e-9 for g in gaps), sum(g < -1e-9 for g in gaps)
        assert stats.binomtest(wins, wins + losses, alternative="greater").pvalue < 0.05, (wins, losses)
