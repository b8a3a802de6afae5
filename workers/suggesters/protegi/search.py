"""The course of ProTeGi, replayed from the trials: probe the beam, expand it, let a bandit pick the next one."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from services.domain.history import History
from services.domain.llm import LlmReply, LlmRequest, Replies, converse
from services.domain.suggester import Blob, Problem, Suggestion
from workers.models.drafts import NothingUsable, Texts
from workers.models.example_board import Board, Standing, handed_out
from workers.models.texts import TextRules, candidate_key, starting_candidates, text_parameters

from . import ProtegiOptions
from .bandit import Brute, Evaluator, Halving, Stats, Ucb, top
from .expansion import Expansion

METHOD = "protegi"
MOST_SCREENED = 16
Course = Generator[Suggestion, None, "list[Prompt] | None"]


@dataclass(frozen=True)
class Prompt:
    """A candidate.

    Attributes:
        texts: by text parameter.
        how: it came to be, for people.
        round: in which it was written.
    """

    texts: Texts
    how: str
    round: int = 0

    @cached_property
    def key(self) -> tuple[tuple[str, str], ...]:
        """Equal for candidates that count as the same."""
        return candidate_key(self.texts)

    def origin(self) -> Mapping[str, Any]:
        """What its trials carry."""
        return {"born": self.round}

    def receipt(self) -> Mapping[str, Any]:
        """What their receipts say."""
        return {"round": self.round}


class Protegi:
    """Hands out what the present phase waits for: probes, screenings, or the shares of a pull, all of them beside each other."""

    def __init__(self, problem: Problem, options: ProtegiOptions) -> None:
        examples = problem.spec.examples
        assert examples is not None
        self._problem, self._options, self._train = problem, options, examples.train
        self._rules = {p.name: TextRules(p) for p in text_parameters(problem.space)}
        # The beam before each round, and what it wrote, kept as long as the outcomes stand that decided them.
        self._beams = [[Prompt(texts, "a starting text") for texts in starting_candidates(problem.space)]]
        self._arms: dict[int, list[Prompt]] = {}
        self._standing = Standing()

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` evaluations; fewer while a phase waits for its outcomes, or at the end of the budget.

        Raises:
            NeedsReplies: calls that an expansion waits for.
            NothingUsable: with `fallback: none`, where the replies bring nothing.
        """
        return handed_out(self._tasks(history), count)

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None

    def _tasks(self, history: History) -> Iterator[Suggestion]:
        board = Board(history, METHOD, "train")
        if not self._standing.holds(history):
            del self._beams[1:]
            self._arms.clear()
        beams, arms = list(self._beams), dict(self._arms)
        for beam in beams:
            yield from board.full(beam[0])
        while self._options.rounds is None or len(beams) <= self._options.rounds:
            index = len(beams) - 1
            left = yield from self._round(history, board, index, beams[index], arms)
            if not left:
                return
            if len(self._beams) == len(beams) and _is_settled(history, index):
                self._beams.append(left)
                self._standing.note(history)
            beams.append(left)
            yield from board.full(left[0])

    def _round(
        self, history: History, board: Board, index: int, beam: Sequence[Prompt], arms: dict[int, list[Prompt]]
    ) -> Course:
        """The next beam, best first; None while the round waits for outcomes.

        Args:
            arms: of the rounds before; gets this one's.
        """
        leader = beam[0]
        minibatch = self._sample(f"minibatch {index}", self._options.minibatch)
        alive = _able(board, beam, minibatch)
        if (yield from self._evaluations(board, alive, minibatch, leader, {"round": index, "phase": "probe"})):
            return None
        if index not in arms:
            known = {p.key for p in (*beam, *(p for before in range(index) for p in arms.get(before, ())))}
            # Where nobody of the beam can be evaluated any more, others are written from it all the same.
            fresh = self._expanded(history, board, alive or beam, index, minibatch, known)
            if fresh and self._options.reject_on_errors:
                errors = self._errors(board, alive, minibatch)[:MOST_SCREENED]
                usable = [_able(board, one, errors) for one in fresh]
                everyone = [p for one in usable for p in one]
                if (yield from self._evaluations(board, everyone, errors, leader, {"round": index, "phase": "screen"})):
                    return None
                fresh = [[one[i] for i in top(_means(board, one, errors), self._options.expansion)] for one in usable]
            if not any(fresh):
                raise NothingUsable(f"round {index} has no new prompt")
            arms[index] = list({p.key: p for p in [*alive, *(p for one in fresh for p in one)]}.values())
            if _is_settled(history, index):
                self._arms[index] = arms[index]
                self._standing.note(history)
        return (yield from self._picked(board, index, arms[index], beam))

    def _evaluations(
        self, board: Board, prompts: Sequence[Prompt], ids: Sequence[str], leader: Prompt, origin: Mapping[str, Any]
    ) -> Generator[Suggestion, None, bool]:
        """Evaluate prompts on examples; true while something of it is not told."""
        waits = False
        for prompt in prompts:
            missing = board.missing(prompt, ids)
            if not missing:
                continue
            waits = True
            if not board.is_out(prompt, missing):
                yield from board.before(leader, len(missing))
                yield from board.on(prompt, missing, f"{origin['phase']} of round {origin['round']}", origin)
        return waits

    # -- expanding

    def _expanded(
        self,
        history: History,
        board: Board,
        beam: Sequence[Prompt],
        index: int,
        minibatch: Sequence[str],
        known: set[Any],
    ) -> list[list[Prompt]]:
        """The successors of each of the beam, cut to their number.

        Args:
            known: candidates of the rounds before, which are not written again.

        Raises:
            NeedsReplies: calls that they wait for.
        """
        name = list(self._rules)[index % len(self._rules)]
        talks = []
        for place, prompt in enumerate(beam):
            step = f"{METHOD}-{index}/{place}"
            expansion = Expansion(self._problem, self._options, self._rules[name], step, history.seq)
            errors = [board.row(prompt, i) for i in self._errors(board, [prompt], minibatch)]

            def is_taken(text: str, texts: Texts = prompt.texts) -> bool:
                return candidate_key({**texts, name: text}) in known

            talks.append(expansion.write(prompt.texts[name], [row for row in errors if row is not None], is_taken))
        found = converse(talks, Settled(history.replies) if _is_settled(history, index) else history.replies)
        made = []
        for place, (prompt, texts) in enumerate(zip(beam, found, strict=True)):
            fresh = [Prompt({**prompt.texts, name: text}, "a rewrite or paraphrase", index + 1) for text in texts]
            if not self._options.reject_on_errors:
                order = self._rng(f"cut {index} {place}").permutation(len(fresh))[: self._options.expansion]
                fresh = [fresh[int(i)] for i in order]
            made.append(fresh)
        return made

    def _errors(self, board: Board, prompts: Sequence[Prompt], ids: Sequence[str]) -> list[str]:
        """The ids on which one of the prompts was wrong."""
        goal = self._problem.spec.objectives[0].goal
        limit = self._options.error_below if goal == "maximize" else -self._options.error_below
        return [i for i in ids if any(board.score(p, i) < limit for p in prompts)]

    # -- picking

    def _picked(self, board: Board, index: int, arms: Sequence[Prompt], beam: Sequence[Prompt]) -> Course:
        """The best arms by the bandit, None while a pull waits for outcomes; the beam again where no arm was told."""
        order = [int(i) for i in self._rng(f"arms {index}").permutation(len(arms))]
        evaluator, seen, number = self._evaluator(), [set[str]() for _ in arms], 0

        def draw(pull: int, count: int) -> tuple[str, ...]:
            return self._sample(f"pull {index} {pull}", count)

        while True:
            pull = evaluator.next(number, _stats(board, arms, seen), order, draw)
            if pull is None:
                break
            pulled = _able(board, [arms[i] for i in pull.arms], pull.ids)
            origin = {"round": index, "phase": "pull", "pull": number}
            leader = next(iter(_best(arms, _stats(board, arms, seen), 1)), beam[0])
            if (yield from self._evaluations(board, pulled, pull.ids, leader, origin)):
                return None
            for i in pull.arms:
                seen[i] |= {e for e in pull.ids if not board.missing(arms[i], [e])}
            number += 1
        return _best(arms, _stats(board, arms, seen), self._options.beam) or list(beam)

    def _evaluator(self) -> Evaluator:
        options = self._options
        budget = options.pulls * options.pull_prompts * options.pull_examples
        if options.evaluator == "brute":
            return Brute(budget)
        if options.evaluator == "successive_halving":
            return Halving(budget)
        return Ucb(options.pulls, options.pull_prompts, options.pull_examples, options.exploration)

    def _rng(self, what: str) -> np.random.Generator:
        return self._problem.generator(0, f"{METHOD} {what}")

    def _sample(self, what: str, count: int) -> tuple[str, ...]:
        """Distinct random training ids, all of them where there are not more."""
        return tuple(self._train[int(i)] for i in self._rng(what).permutation(len(self._train))[:count])


class Settled(Replies):
    """Recorded replies for a matter that is decided: a call that has none counts as failed, and is not made any more."""

    def __init__(self, replies: Replies) -> None:
        super().__init__()
        self._replies = replies

    def find(self, request: LlmRequest) -> LlmReply:
        """The recorded reply, or a failure."""
        return self._replies.find(request) or request.failed("empty")


def _is_settled(history: History, index: int) -> bool:
    """Whether a trial stands for what a round wrote, so that it is not written otherwise any more."""
    ours = (t.origin for t in history.trials if t.origin.get("method") == METHOD and "round" in t.origin)
    return any(o["round"] > index or (o["round"] == index and o["phase"] != "probe") for o in ours)


def _able(board: Board, prompts: Sequence[Prompt], ids: Sequence[str]) -> list[Prompt]:
    """Those that are or can be evaluated on these examples."""
    return [p for p in prompts if not (board.is_lost(p) and board.missing(p, ids))]


def _best(arms: Sequence[Prompt], stats: Stats, count: int) -> list[Prompt]:
    """The best by mean of those that were evaluated."""
    tried = np.where(stats.counts > 0, stats.means, -np.inf)
    return [arms[i] for i in top(tried, count) if stats.counts[i] > 0]


def _means(board: Board, prompts: Sequence[Prompt], ids: Sequence[str]) -> Any:
    return board.scores(prompts, ids).mean(axis=1) if ids else np.zeros(len(prompts))


def _stats(board: Board, arms: Sequence[Prompt], seen: Sequence[set[str]]) -> Stats:
    counts = np.array([len(ids) for ids in seen], dtype=np.intp)
    means = [
        float(np.mean([board.score(arm, i) for i in sorted(ids)])) if ids else 0.0
        for arm, ids in zip(arms, seen, strict=True)
    ]
    return Stats(counts, np.array(means))
