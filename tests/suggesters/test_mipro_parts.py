"""The parts of MIPRO against its card: demonstration sets, and the search on tables with a known best."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from services.domain.parameters import TextParameter, TokensParameter
from tests.suggesters import law
from tests.support import combination_task as task
from tests.support.scripted_llm import ScriptedLlm
from workers.suggesters.mipro.demonstrations import AsIds, AsText, Demonstration, demonstration_sets
from workers.suggesters.mipro.tpe import Mixture, propose

# -- demonstrations


def tokens(**fields: Any) -> TokensParameter:
    return TokensParameter(**{**task.DEMOS, "vocabulary": tuple(task.TRAIN), **fields})


def test_the_sets_are_none_then_labelled_then_what_went_right() -> None:
    carrier = AsIds(tokens())
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
    least = AsIds(tokens(min_length=2, max_length=3))
    found = demonstration_sets(least, good, 6, np.random.default_rng(0), bootstrapped=4, labelled=4)
    assert all(2 <= len(ids) <= 3 for ids in found)


def test_demonstrations_are_written_out_where_their_texts_are_known() -> None:
    declared = [Demonstration(id=i, input=f"in {i}", output=f"right {i}") for i in task.TRAIN[:5]] + [
        Demonstration(id="t9")
    ]
    parameter = TextParameter(name="shots", type="text", initial=("Examples:",), max_length=75)
    carrier = AsText(parameter, declared, {"t1": "what came out"})
    assert carrier.ids() == task.TRAIN[:5]
    assert carrier.value(["t1"]) == "Examples:\n\nInput: in t1\nOutput: what came out"
    assert (
        carrier.value(["t0", "t2", "t3"])
        == "Examples:\n\nInput: in t0\nOutput: right t0\n\nInput: in t2\nOutput: right t2"
    )
    assert carrier.value([]) == carrier.start() == "Examples:"


# -- the search


def test_the_mixture_is_a_probability_and_draws_as_it_says() -> None:
    rng = np.random.default_rng(2)
    mixture = Mixture.of(np.array([[0, 1], [2, 1], [2, 0]]), [3, 2])
    cells = np.array(list(np.ndindex(3, 2)))
    density = mixture.density(cells)
    assert density.sum() == pytest.approx(1.0)
    near, far = 1.25, 0.25  # a kernel's mass on its own category and on another; it sums to 1.75 and to 1.5
    by_hand = np.mean([far * far / 2.625, near * far / 2.625, near * near / 2.625, 1 / 6])
    assert mixture.density(np.array([[2, 0]]))[0] == pytest.approx(by_hand)
    drawn = mixture.draw(6000, rng)
    shares = [np.mean((drawn == cell).all(axis=1)) for cell in cells]
    assert np.abs(np.array(shares) - density).max() < 0.02


def table(seed: int, step: float = 0.08) -> np.ndarray:
    """Chances of success: six instructions, six sets, added up."""
    rng = np.random.default_rng(seed)
    levels = np.arange(6) * step
    chances: np.ndarray = 0.05 + rng.permutation(levels)[:, None] + rng.permutation(levels)[None, :]
    return chances


def finds_the_best(seed: int) -> bool:
    chances, rng = table(seed), np.random.default_rng(1000 + seed)
    outcomes = rng.random((6, 6, 300)) < chances[..., None]
    of = task.problem(seed, validation=300, train=False, options={"preset": "heavy", "instructions": 6, "sets": 6})
    sets: list[Any] = []

    def cell(point: dict[str, Any]) -> tuple[int, int]:
        return int(point["prompt"].rstrip(".").split()[-1]), sets.index(point["demos"])

    one, suggester = law.Study(of, ScriptedLlm(task.writer)), law.make(task.SPEC, of)
    full: dict[tuple[int, int], float] = {}
    while found := one.ask(suggester, 1):
        sets = sets or list(found[0].origin.get("candidates", {}).get("demos", [])) or [[]]
        place = cell(found[0].parameters)
        sets = [] if sets == [[]] else sets
        right = outcomes[place]

        def score(_: dict[str, Any], example: str, right: np.ndarray = right) -> float:
            return float(right[int(example[1:])])

        task.tell(one, found[0], score)
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
    rng = np.random.default_rng(0)
    told: list[tuple[tuple[int, ...], float]] = []
    seen: set[tuple[int, ...]] = set()
    while (cell := propose(told, (), (3, 4), rng, startup=2, is_closed=seen.__contains__)) is not None:
        assert cell not in seen
        seen.add(cell)
        told.append((cell, float(rng.random())))
    assert len(seen) == 12
