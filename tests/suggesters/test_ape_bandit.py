"""APE's bandit: its bound, its rounds, and what it spends to find one right instruction among 250."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.suggesters import law
from tests.suggesters.breeding import EXAMPLES, IDS, draws, induction, numbered, texts_of
from tests.support.scripted_llm import ScriptedLlm
from workers.models.merit import is_full
from workers.suggesters.ape.bandit import Arm, by_bound, by_mean
from workers.suggesters.registry import get

SPEC = get("ape")


def test_the_bound_is_the_mean_plus_the_root_of_log_total_over_examples() -> None:
    known = {"a": Arm(10, 0.5), "b": Arm(40, 0.7), "c": Arm(10, 0.55), "e": Arm(100, 0.1)}
    keys = ["a", "b", "c", "d", "e"]
    bounds = {k: arm.mean + 0.5 * np.sqrt(np.log(160) / arm.examples) for k, arm in known.items()}
    order = by_bound(keys, known, 0.5, np.random.default_rng(0))
    assert [keys[i] for i in order] == ["d", *sorted(bounds, key=lambda k: -bounds[k])]
    firsts = {keys[by_bound(keys, {}, 1.0, np.random.default_rng(s))[0]] for s in range(40)}
    assert firsts == set(keys)
    assert [keys[i] for i in by_mean(keys, known)] == ["b", "c", "a", "e", "d"]


class Table:
    """Examples that each text gets right with a chance of its own, decided once."""

    def __init__(self, seed: int, right: str) -> None:
        self.seed, self.right, self.spent = seed, right, 0

    @functools.cache  # noqa: B019 (a table lives as long as its test)
    def rows(self, text: str) -> dict[str, float]:
        rng = draws(self.seed, text)
        chance = 0.9 if text == self.right else rng.random() * 0.5
        return {example: float(rng.random() < chance) for example in IDS}

    def tell(self, one: law.Study, number: int) -> None:
        trial = one.trials[number]
        assert trial.evaluate_on is not None
        table = self.rows(str(trial.parameters["prompt"]))
        rows = [{"id": i, "score": table[i]} for i in trial.evaluate_on["ids"]]
        self.spent += len(rows)
        one.tell(number, sum(r["score"] for r in rows) / len(rows), examples=rows)


def test_a_round_of_the_bandit_is_fifty_texts_on_ten_examples_each_then_the_best_on_all() -> None:
    one = law.Study(induction(fields=EXAMPLES), ScriptedLlm(numbered))
    table = Table(0, "")
    for index in range(5):
        given = one.ask(law.make(SPEC, one.problem), 60)
        assert len(given) == 50 == len({s.parameters["prompt"] for s in given})
        assert {s.origin["round"] for s in given} == {index}
        for s in given:
            assert s.evaluate_on is not None
            assert (s.evaluate_on["split"], len(set(s.evaluate_on["ids"]))) == ("train", 10)
        assert len({tuple(s.evaluate_on["ids"]) for s in given if s.evaluate_on}) > 40
        for number in [one.start(s) for s in given]:
            table.tell(one, number)
    assert len(set(texts_of(one))) == 250  # untried ones first
    best = sorted(one.trials.values(), key=lambda t: -t.metrics["score"])
    finals = one.ask(law.make(SPEC, one.problem), 60)
    assert len(finals) == 10
    assert all(s.evaluate_on is None for s in finals)
    assert min(one_score(best, s.parameters["prompt"]) for s in finals) >= best[9].metrics["score"]


def one_score(trials: Sequence[Any], text: Any) -> float:
    return next(float(t.metrics["score"]) for t in trials if t.parameters["prompt"] == text)


def found(seed: int) -> tuple[bool, int]:
    """Whether the bandit's first iteration ends with the right one of 250 as the best on the full set, and its example evaluations."""
    subset, place = divmod(draws("right", seed).randrange(250), 50)
    table = Table(seed, f"Instruction ape-0 {subset} 0 number {place}.")
    one = law.Study(induction(seed, fields=EXAMPLES), ScriptedLlm(numbered))
    while True:
        given = [s for s in one.ask(law.make(SPEC, one.problem), 50) if s.origin["iteration"] == 0]
        if not given:
            break
        for number in [one.start(s) for s in given]:
            table.tell(one, number)
    full = [t for t in one.trials.values() if is_full(t, one.spec)]
    best = max(full, key=lambda t: t.metrics["score"])
    return best.parameters["prompt"] == table.right, table.spent


def test_the_bandit_finds_the_right_one_of_250_for_less_than_three_tenths_of_the_full_cost() -> None:
    runs = [found(seed) for seed in range(20)]
    assert max(spent for _, spent in runs) < 0.3 * 250 * 50
    assert sum(is_found for is_found, _ in runs) >= 19
