"""The six metaheuristics: what each keeps from step to step. Pure functions of the outcomes; how texts are made stands in `edits`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Literal

import numpy as np

from workers.models.texts import text_key

from . import PlumOptions
from .ledger import Member, Scores, Texts

Stage = Literal["edit", "cross"]
FIRST_TEMPERATURE = 10.0
COOLING = 5.0
SHARED = 0.5


@dataclass(frozen=True)
class State:
    """Where the search stands.

    Attributes:
        incumbent: what the next edits start from (`hc`, `sa`, `tabu`); the best one else.
        best: of all told.
        pool: accepted texts (`ga_m`), the population (`ga_c`), the memory (`hs`).
        tabu: the latest winners of iterations, the starting texts first.
        iteration: in this run, from 0.
        idle: iterations in a row without success.
        run: from 0.
        stage: what the next step does: edit, or cross (`ga_c`).
        is_done: the run is over and no other begins.
    """

    incumbent: Member
    best: Member
    pool: tuple[Member, ...]
    tabu: tuple[Member, ...]
    iteration: int = 0
    idle: int = 0
    run: int = 0
    stage: Stage = "edit"
    is_done: bool = False

    @property
    def temperature(self) -> float:
        """Of annealing, on the scale from 0 to 100."""
        return FIRST_TEMPERATURE * math.exp(-self.iteration / COOLING)


def begin(starts: Sequence[Member], told: Sequence[Member], scores: Scores, options: PlumOptions) -> State:
    """Before the first step: the starting texts, and what users told before."""
    first = scores.best(told) or starts[0]
    pool = scores.top([*told, *starts], _capacity(options, len(told) + len(starts)))
    return State(first, first, pool, tuple(starts)[-options.tabu_list :], stage=_stage(options, pool, "edit"))


def updated(state: State, fresh: Sequence[Member], scores: Scores, options: PlumOptions, draw: float) -> State:
    """After a step.

    Args:
        fresh: candidates whose outcome came since the step before, late and users' ones too.
        draw: uniform in [0, 1): decides whether annealing accepts.
    """
    winner = scores.best(fresh)
    is_better = winner is not None and scores.rank(winner) > scores.rank(state.incumbent)
    is_half = options.algorithm == "ga_c" and state.stage == "cross"
    best = scores.leader or state.best
    after = replace(
        state, best=best, pool=_pool(state, fresh, winner, scores, options),
        idle=0 if is_better else state.idle if is_half else state.idle + 1,
        iteration=state.iteration if is_half else state.iteration + 1,
    )  # fmt: skip
    if winner is not None:
        after = replace(after, tabu=(*after.tabu, winner)[-options.tabu_list :])
        if is_better:
            after = replace(after, incumbent=winner)
        elif options.algorithm == "sa" and draw < acceptance(state, winner, scores):
            after = replace(after, incumbent=winner, idle=state.idle)
    if options.algorithm in ("ga_c", "hs"):
        after = replace(after, incumbent=best)
    after = replace(after, stage=_stage(options, after.pool, state.stage))
    return after if is_half else _ended(after, options)


def acceptance(state: State, winner: Member, scores: Scores) -> float:
    """The probability with which annealing moves to a text that is not better (Metropolis et al. 1953)."""
    if not scores.rank(winner)[0]:
        return 0.0
    difference = scores.difference(winner, state.incumbent)
    if difference >= 0 or state.temperature <= 0:
        return 1.0 if difference >= 0 else 0.0
    return math.exp(difference / state.temperature)


def _ended(state: State, options: PlumOptions) -> State:
    """The next run begins from the best text, where this one is over."""
    is_over = state.idle >= options.patience or (options.iterations or math.inf) <= state.iteration
    if not is_over:
        return state
    if options.when_done == "stop":
        return replace(state, is_done=True)
    return replace(state, incumbent=state.best, tabu=(state.best,), iteration=0, idle=0, run=state.run + 1)


def _capacity(options: PlumOptions, unlimited: int) -> int:
    return options.population if options.algorithm in ("ga_c", "hs") else unlimited


def _pool(
    state: State, fresh: Sequence[Member], winner: Member | None, scores: Scores, options: PlumOptions
) -> tuple[Member, ...]:
    if options.algorithm in ("ga_c", "hs"):
        return scores.top((*state.pool, *fresh), options.population)
    if options.algorithm != "ga_m" or winner is None or any(m.key == winner.key for m in state.pool):
        return state.pool
    return (*state.pool, winner)


def _stage(options: PlumOptions, pool: Sequence[Member], last: Stage) -> Stage:
    """Crossing needs two parents."""
    return "cross" if options.algorithm == "ga_c" and last == "edit" and len(pool) >= 2 else "edit"


# -- parents


def edited_members(state: State, scores: Scores, options: PlumOptions, rng: np.random.Generator) -> list[Member]:
    """The members that the candidates of an editing step are made from, each as often as the options want candidates."""
    if options.algorithm == "ga_m":
        return [tournament(state.pool, scores, options.tournament, rng)]
    if options.algorithm == "ga_c":
        drawn = rng.random(len(state.pool)) < options.mutation_rate
        is_short = len(state.pool) < 2
        return [m for m, takes in zip(state.pool, drawn, strict=True) if takes or is_short] or [state.best]
    return [state.incumbent]


def tournament(pool: Sequence[Member], scores: Scores, size: int, rng: np.random.Generator) -> Member:
    """The best of some draws with replacement."""
    drawn = [pool[int(i)] for i in rng.integers(len(pool), size=size)]
    return max(drawn, key=lambda m: (scores.rank(m), -m.number))


# -- tabu


def is_tabu(texts: Texts, state: State, options: PlumOptions) -> bool:
    """Whether a candidate is on the list, or like one on it."""
    words = _words(texts)
    for member in state.tabu:
        other = _words(member.texts)
        if words == other:
            return True
        if options.tabu_similarity != "equal":
            shared = common_subsequence if options.tabu_similarity == "subsequence" else common_substring
            if shared(words, other) >= SHARED * (len(words) + len(other)) / 2:
                return True
    return False


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest one (by bits: Hyyrö 2004, "Bit-parallel LCS-length computation revisited")."""
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        matched = row & places.get(word, 0)
        row = (row + matched | row - matched) & full
    return len(one) - row.bit_count()


def common_substring(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest one."""
    return SequenceMatcher(None, list(one), list(other), autojunk=False).find_longest_match().size


def _words(texts: Texts) -> list[str]:
    return " ".join(text_key(texts[name]) for name in sorted(texts)).split()
