"""Plum: its six searches against the card, and against random edits."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from services.domain.suggester import Suggestion
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.suggesters.plum_texts import (
    ALGORITHMS,
    OTHER,
    START,
    best,
    fill,
    ours,
    problem,
    run,
    score,
    text_parameter,
    texts,
    weight,
)  # fmt: skip
from workers.models.phrases import has_letters, neighbour
from workers.models.texts import TextRules, text_key
from workers.suggesters.plum import SPEC
from workers.suggesters.plum.ledger import members

# -- the search as a whole


@cache
def randomly(seed: int, budget: int) -> float:
    """The best of random edits of texts drawn from those before."""
    rules = TextRules(text_parameter())
    rng = np.random.default_rng(seed)
    found, keys = [START], {text_key(START)}
    while len(found) < budget:
        text = neighbour(found[int(rng.integers(len(found)))], rules, rng, lambda t: text_key(t) in keys)
        assert text is not None
        found.append(text)
        keys.add(text_key(text))
    return max(score(text, seed) for text in found)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_beats_random_edits_at_equal_budgets(algorithm: str) -> None:
    # A generation of the published size would take most of a budget this small.
    fewer: dict[str, Any] = {"candidates": 3, "offspring": 5} if algorithm == "ga_c" else {}
    wins = sum(best(run(problem(seed, algorithm=algorithm, **fewer), 80)) > randomly(seed, 80) for seed in range(20))
    assert binom.sf(wins - 1, 20, 0.5) < 0.05


def test_it_beats_itself_without_the_scores() -> None:
    def noise(text: str, seed: int) -> float:
        return weight(text, -seed - 1)

    wins = sum(best(run(problem(seed), 60)) > best(run(problem(seed), 60, told=noise)) for seed in range(20))
    assert binom.sf(wins - 1, 20, 0.5) < 0.05


GOLDEN = {
    "hc": ("e626eb5291dc", 5.905),
    "sa": ("f134b5441f3e", 5.366),
    "ga_m": ("29f881781655", 5.443),
    "ga_c": ("068ed797442b", 2.697),
    "tabu": ("2abcb3fcafba", 5.946),
    "hs": ("dc5c3873e8f2", 7.194),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_golden_traces(algorithm: str) -> None:
    one = run(problem(7, (START, OTHER), algorithm=algorithm, candidates=4, offspring=4, patience=2), 80, count=4)
    digest = sha256("\n".join(texts(one)).encode()).hexdigest()[:12]
    assert (digest, round(best(one), 3)) == GOLDEN[algorithm]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_goal_turned_round_gives_the_same_texts(algorithm: str) -> None:
    up = run(problem(3, algorithm=algorithm, candidates=4), 40)
    down = run(problem(3, goal="minimize", algorithm=algorithm, candidates=4), 40, told=lambda t, s: -score(t, s))
    assert texts(up) == texts(down)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_asking_one_by_one_gives_the_texts_of_asking_for_many(algorithm: str) -> None:
    of = problem(5, algorithm=algorithm, candidates=6, offspring=6)
    many, single, suggester = law.Study(of), law.Study(of), law.make(SPEC, of)
    for s in many.ask(suggester, 1):
        many.tell(many.start(s), 0.0)
        single.tell(single.start(s), 0.0)
    for s in many.ask(suggester, 6):
        many.start(s)
    for _ in range(6):
        (s,) = single.ask(law.make(SPEC, of), 1)
        single.start(s)
    assert texts(many) == texts(single)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("level", ["phrase", "word", "sentence", "span"])
def test_every_candidate_is_valid_and_new(algorithm: str, level: str) -> None:
    one = run(problem(2, (START, OTHER), algorithm=algorithm, level=level, compose=2, candidates=5), 50)
    rules = TextRules(text_parameter(START, OTHER))
    found = texts(one)
    assert len({text_key(t) for t in found}) == len(found) == 50
    for text in found:
        assert rules.fault(text) is None
        assert text.count("{q}") == 1
        assert has_letters(text)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_only_what_an_ancestor_lost_is_added(algorithm: str) -> None:
    of = problem(4, (START, OTHER), algorithm=algorithm, edits=["delete", "add"], candidates=3, segments=2)
    one = run(of, 100)
    lost: dict[int, set[str]] = {}
    added = 0
    for number, trial in one.trials.items():
        origin = trial.origin
        before = set[str]().union(*(lost.get(parent, set()) for parent in origin.get("parents", ())))
        for phrase in origin.get("added", ()):
            assert phrase in before
            assert phrase in trial.parameters["p"]
            added += 1
        lost[number] = (before | set(origin.get("deleted", ()))) - set(origin.get("added", ()))
    assert added >= 3


def test_members_do_not_share_what_they_lost() -> None:
    one = law.Study(problem())

    def child(parents: list[int], deleted: list[str], added: list[str] | None = None) -> int:
        origin = {
            "method": "plum", "step": 0, "slot": 0, "snapshot": 0, "component": "p", "parents": parents, "deleted": deleted,
            "added": added or [],
        }  # fmt: skip
        return one.start(Suggestion(parameters={"p": f"text {len(one.trials)}"}, reason="test", origin=origin))

    seed = one.add({"p": START})
    left, right = child([seed], ["left"]), child([seed], ["right"])
    crossed_, healed = child([left, right], []), child([left], ["more"], ["left"])
    lost = {number: m.deleted.get("p", ()) for number, m in members(one.history()).items()}
    assert lost == {seed: (), left: ("left",), right: ("right",), crossed_: ("left", "right"), healed: ("more",)}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_best_text_seen_is_never_lost(algorithm: str) -> None:
    one = law.Study(of := problem(9, algorithm=algorithm, candidates=3, patience=2, offspring=3))
    suggester, firsts = law.make(SPEC, of), dict[int, Suggestion]()
    while len(one.trials) < 60:
        found = one.ask(suggester, 3 if one.trials else 1)
        for s in found:
            if s.receipt is None:  # the starting text
                continue
            known = {n: t.metrics["s"] for n, t in one.trials.items() if 0 < t.told_seq <= s.origin["snapshot"]}
            assert known[s.receipt["best"]] == max(known.values())
            firsts.setdefault(s.receipt["run"], s)
        for number, s in [(one.start(s), s) for s in found]:
            one.tell(number, score(s.parameters["p"], 9))
    if algorithm in ("hc", "sa", "tabu"):  # a run begins from the best
        assert len(firsts) > 1
        assert all(s.receipt is not None and s.receipt["of"] == [s.receipt["best"]] for s in firsts.values())


# -- steps


def test_a_step_closes_at_three_quarters_and_gives_more_slots_before() -> None:
    one = law.Study(of := problem(1, candidates=8))
    suggester = law.make(SPEC, of)
    fill(one, suggester, 1)
    one.tell(1, 0.0)
    first = fill(one, suggester, 10)
    assert [(s.origin["step"], s.origin["slot"]) for s in first] == [(0, k) for k in range(10)]
    for number in range(2, 7):  # five are told; of a step of eight, six are enough
        one.tell(number, float(number))
        assert fill(one, suggester, 1)[0].origin["step"] == 0
    one.tell(7, 7.0)
    (later,) = fill(one, suggester, 1)
    assert (later.origin["step"], later.origin["slot"], later.origin["parents"]) == (1, 0, [7])


def test_without_stragglers_a_step_waits_for_all() -> None:
    one = law.Study(of := problem(1, candidates=4, straggler_fraction=0.0))
    suggester = law.make(SPEC, of)
    fill(one, suggester, 1)
    one.tell(1, 0.0)
    fill(one, suggester, 4)
    for number in (2, 3, 4):
        one.tell(number, 1.0)
    assert fill(one, suggester, 1)[0].origin["step"] == 0


def test_a_late_outcome_joins_the_next_step() -> None:
    one = law.Study(of := problem(1, candidates=4))
    suggester = law.make(SPEC, of)
    fill(one, suggester, 1)
    one.tell(1, 0.0)
    fill(one, suggester, 4)
    for number in (2, 3, 4):
        one.tell(number, -1.0)
    fill(one, suggester, 4)  # step 1, from the start
    one.tell(5, 7.0)  # late, the best of all
    for number in (6, 7, 8, 9):
        one.tell(number, -1.0)
    (third,) = fill(one, suggester, 1)
    assert third.origin["step"] == 2 and third.origin["parents"] == [5]


def test_failed_trials_end_a_step_and_are_no_parents() -> None:
    one = law.Study(of := problem(1, candidates=4, algorithm="ga_m", tournament=50))
    suggester = law.make(SPEC, of)
    fill(one, suggester, 1)
    one.tell(1, 0.0)
    fill(one, suggester, 4)
    for number, state in zip(
        (2, 3, 4, 5), [TrialState.FAILED, TrialState.CANCELLED, TrialState.INFEASIBLE] * 2, strict=False
    ):
        one.tell(number, 5.0, state)
    (later,) = fill(one, suggester, 1)
    assert later.origin["step"] == 1 and later.origin["parents"] == [1]


def test_a_users_text_may_become_the_incumbent() -> None:
    one = law.Study(of := problem(1, candidates=4))
    suggester = law.make(SPEC, of)
    fill(one, suggester, 1)
    one.tell(1, 0.0)
    one.tell(one.add({"p": OTHER}), 3.0)
    assert fill(one, suggester, 1)[0].origin["parents"] == [2]


def test_a_text_measured_again_counts_with_its_mean() -> None:
    one = law.Study(of := problem(1, candidates=2))
    suggester = law.make(SPEC, of)
    fill(one, suggester, 1)
    one.tell(1, 1.0)
    one.tell(one.add({"p": OTHER}), 5.0)
    one.tell(one.add({"p": OTHER}), -5.0)
    assert fill(one, suggester, 1)[0].origin["parents"] == [1]


def test_hill_climbing_moves_only_to_what_is_strictly_better() -> None:
    one = run(problem(1, candidates=3), 40, told=lambda text, seed: 1.0)
    assert {tuple(t.origin["parents"]) for t in ours(one)} == {(1,)}


def test_a_run_ends_after_its_patience_and_may_be_the_last() -> None:
    of = problem(1, candidates=3, patience=2, when_done="stop")
    one = run(of, 100, told=lambda text, seed: 1.0, count=3)
    assert len(one.trials) == 1 + 2 * 3
    assert one.ask(law.make(SPEC, of), 1) == []
    capped = run(problem(1, candidates=3, iterations=4, when_done="stop"), 100, count=3)
    assert len(capped.trials) <= 1 + 4 * 3
    assert len(run(problem(1, candidates=3, patience=2), 40, told=lambda t, s: 1.0).trials) == 40


def test_mutation_alone_takes_one_parent_a_step_and_the_winner_joins_in_any_case() -> None:
    one = run(problem(3, algorithm="ga_m", candidates=3, tournament=1), 80, count=3)
    steps: dict[int, set[int]] = {}
    for trial in ours(one):
        steps.setdefault(trial.origin["step"], set()).update(trial.origin["parents"])
    assert all(len(parents) == 1 for parents in steps.values())
    used = {next(iter(p)) for p in steps.values()}
    winners = {1}
    for step in steps:
        told = [t for t in ours(one) if t.origin["step"] == step]
        winners.add(max(told, key=lambda t: (t.metrics["s"], -t.number)).number)
    assert used <= winners and len(used) > 5


def test_crossing_alternates_with_mutation_and_keeps_the_best_ten() -> None:
    one = run(problem(3, algorithm="ga_c", candidates=2, offspring=4), 120)
    kinds: dict[int, set[bool]] = {}
    for trial in ours(one):
        kinds.setdefault(trial.origin["step"], set()).add(len(trial.origin["parents"]) == 2)
    crossing = [max(kinds[step]) for step in sorted(kinds)]
    assert crossing[0] is False  # one text cannot be crossed
    assert all(a != b for a, b in pairwise(crossing[1:]))
    for trial in ours(one):
        known = [t for t in one.trials.values() if not t.is_pending and t.told_seq <= trial.origin["snapshot"]]
        top = sorted((t.metrics["s"] for t in known), reverse=True)[:10]
        assert all(one.trials[n].metrics["s"] >= top[-1] for n in trial.origin["parents"])


def test_two_components_are_edited_one_at_a_time() -> None:
    names = ("system", "user")
    fields = {"parameters": [{"name": n, "type": "text", "initial": [OTHER], "placeholders": ["{q}"]} for n in names]}
    one = law.Study(of := problem(1, fields=fields, candidates=6))
    suggester = law.make(SPEC, of)
    (s,) = fill(one, suggester, 1)
    one.tell(1, 0.0)
    assert s.parameters == {"system": OTHER, "user": OTHER}
    found = fill(one, suggester, 12)
    changed = [[n for n in names if s.parameters[n] != OTHER] for s in found]
    assert all(len(c) == 1 for c in changed) and {c[0] for c in changed} == set(names)
    assert [c[0] for c in changed] == [s.origin["component"] for s in found]


@pytest.mark.parametrize("start", ["", "{q}", "请仔细阅读{q}，然后判断作者是否满意。", "ab"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_short_and_foreign_texts(algorithm: str, start: str) -> None:
    fields = {"parameters": [{"name": "p", "type": "text", "initial": [start], "max_length": 200}]}
    one = run(problem(1, fields=fields, algorithm=algorithm, candidates=3), 25)
    assert len(one.trials) == 25


def test_a_space_without_room_is_used_up() -> None:
    fields = {"parameters": [{"name": "p", "type": "text", "initial": ["good or"], "max_length": 7}]}
    one = run(problem(1, fields=fields, candidates=3), 60)
    assert 3 <= len(one.trials) < 60
    assert all(len(text) <= 7 for text in texts(one))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_study_goes_on_from_nothing_in_the_middle_of_a_step(algorithm: str) -> None:
    of = problem(8, algorithm=algorithm, candidates=2, offspring=4)
    one, two = law.Study(of), law.Study(of)
    kept = law.make(SPEC, of)
    for n in range(30):
        for each, suggester in ((one, kept), (two, law.make(SPEC, of))):
            fill(each, suggester, 1 + n % 2)
            waiting = [t for t in each.trials.values() if t.is_pending]
            if len(waiting) > 2:
                trial = waiting[n % 3]
                each.tell(trial.number, score(trial.parameters["p"], 8))
    assert texts(one) == texts(two)
    assert [t.origin for t in one.trials.values()] == [t.origin for t in two.trials.values()]
