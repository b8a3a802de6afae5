"""The course of CAPO, replayed from the trials: founders, then races between survivors and their children."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History
from services.domain.llm import Talk, converse
from services.domain.suggester import Blob, Problem, Suggestion
from workers.models.drafts import NothingUsable, Texts
from workers.models.example_board import Board, Standing, handed_out
from workers.models.texts import candidate_key, starting_candidates

from . import CapoOptions
from .children import Candidate, Nursery, Taken, read_candidate
from .race import kept, ranked

METHOD = "capo"
Born = dict[int, dict[int, Candidate]]


class Capo:
    """Hands out what the open race waits for, and one block ahead of it where more is asked for."""

    def __init__(self, problem: Problem, options: CapoOptions) -> None:
        self._problem, self._options = problem, options
        self._nursery = Nursery(problem, options)
        self._starts = starting_candidates(problem.space)
        self._longest = max(1, *(sum(len(text.split()) for text in texts.values()) for texts in self._starts))
        self._split, self._blocks = self._cut()
        # What each race left, kept as long as the outcomes stand that decided it.
        self._closed: list[list[Candidate]] = []
        self._standing = Standing()

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` evaluations; fewer while a race waits for its outcomes, or at the end of the budget.

        Raises:
            NeedsReplies: calls that a new candidate waits for.
            NothingUsable: with `fallback: none`, where the replies bring nothing.
        """
        return handed_out(self._tasks(history), count)

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None

    def _cut(self) -> tuple[str, list[list[str]]]:
        """The split that is raced on, and its blocks in their fixed order."""
        examples = self._problem.spec.examples
        assert examples is not None
        split, ids = ("train", examples.train) if examples.train else ("validation", examples.validation)
        order = [ids[int(i)] for i in self._problem.generator(0, "capo blocks").permutation(len(ids))]
        size = self._options.block or -(-len(ids) // self._options.max_blocks)
        blocks = [order[i : i + size] for i in range(0, len(order), size)]
        return split, blocks[: self._options.max_blocks]

    # -- the course

    def _tasks(self, history: History) -> Iterator[Suggestion]:
        board = Board(history, METHOD, self._split)
        born = self._born(history)
        # The text to beat is scored in full before anything is asked of the language model.
        yield from board.full(self._nursery.start(self._starts[0], 0))
        if not self._standing.holds(history):
            self._closed.clear()
        closed = list(self._closed)
        for left in closed:
            yield from board.full(left[0])
        while True:
            index, survivors = len(closed), closed[-1] if closed else []
            children = self._generation(history, born, index, survivors)
            if not children:
                raise NothingUsable(f"generation {index} has no new prompt")
            left = yield from self._race(board, survivors + children)
            if not left:
                return
            # Whom no trial stands for yet may still be written by a call that failed this time.
            if len(self._closed) == index and all(c.place[1] in born.get(index, ()) for c in children):
                self._closed.append(left)
                self._standing.note(history)
            closed.append(left)
            yield from board.full(left[0])

    def _race(self, board: Board, alive: list[Candidate]) -> Generator[Suggestion, None, list[Candidate]]:
        """Hands out what the race waits for; returns who is left, best first, nobody while it is open.

        Where nobody can be evaluated any more those before stay, as parents of others.
        """
        most = self._options.population
        seen: list[str] = []
        for place, block in enumerate(self._blocks):
            if len(alive) <= most:
                break
            able = [c for c in alive if not (board.is_lost(c) and board.missing(c, block))]
            if not able:
                break
            alive = able
            if any(board.missing(c, block) for c in alive):
                yield from self._evaluations(board, alive, seen, place)
                return []
            seen += block
            alive = [alive[i] for i in kept(self._scores(board, alive, seen), most, self._options.alpha)]
        order = ranked(self._scores(board, alive, seen)) if seen else range(len(alive))
        return [alive[i] for i in order][:most]

    def _scores(self, board: Board, alive: Sequence[Candidate], ids: Sequence[str]) -> NDArray[np.float64]:
        """(c, n) scores of candidates on examples, less what their length costs."""
        lengths = np.array([[c.words] for c in alive]) / self._longest
        return board.scores(alive, ids) - self._options.length_penalty * lengths

    def _evaluations(
        self, board: Board, alive: Sequence[Candidate], seen: Sequence[str], place: int
    ) -> Iterator[Suggestion]:
        """A block for everyone in the race, then the next one; the leader's full evaluation before the budget is too small for it."""
        leader = alive[ranked(self._scores(board, alive, seen))[0]] if seen else alive[0]
        for number, block in islice(enumerate(self._blocks), place, place + 2):
            for candidate in alive:
                ids = board.missing(candidate, block)
                if not ids or board.is_out(candidate, ids):
                    continue
                yield from board.before(leader, len(ids))
                yield from board.on(candidate, ids, f"on block {number}", {"block": number})

    # -- candidates

    def _born(self, history: History) -> Born:
        """The candidates that have trials, by generation and slot."""
        found: Born = {}
        for trial in history.trials:
            if trial.origin.get("method") == METHOD:
                generation = found.setdefault(trial.origin["generation"], {})
                if trial.origin["slot"] not in generation:
                    generation[trial.origin["slot"]] = read_candidate(self._nursery, trial.origin)
        return found

    def _generation(self, history: History, born: Born, index: int, parents: Sequence[Candidate]) -> list[Candidate]:
        """The candidates born in a generation. Once a later one is born, what was not written then stays unwritten.

        Raises:
            NeedsReplies: calls that they wait for.
        """
        ours = dict(born.get(index, {}))
        size = max(len(self._starts), self._options.population) if index == 0 else self._options.children
        if any(later > index for later in born):
            return [ours[slot] for slot in sorted(ours)]
        written = {candidate_key(c.instructions) for generation in born.values() for c in generation.values()}
        written |= {candidate_key(c.instructions) for c in parents}

        def is_taken(texts: Texts) -> bool:
            return candidate_key(texts) in written

        def noted(slot: int) -> Talk[Candidate | None]:
            candidate = yield from self._talk(history, index, slot, parents, is_taken)
            if candidate is None:
                return None
            written.add(candidate_key(candidate.instructions))
            return replace(candidate, place=(index, slot))

        missing = [slot for slot in range(size) if slot not in ours]
        made = converse([noted(slot) for slot in missing], history.replies)
        ours |= {slot: candidate for slot, candidate in zip(missing, made, strict=True) if candidate is not None}
        return [ours[slot] for slot in sorted(ours)]

    def _talk(
        self, history: History, index: int, slot: int, parents: Sequence[Candidate], is_taken: Taken
    ) -> Talk[Candidate | None]:
        step = f"{METHOD}-{index}"
        if index == 0 and slot < len(self._starts):
            return _said(self._nursery.start(self._starts[slot], slot))
        if index == 0:
            source = self._starts[slot % len(self._starts)]
            return self._nursery.founder(step, slot, source, history.seq, is_taken)
        drawn = self._problem.generator(index, f"capo parents {slot}").permutation(len(parents))
        pair = (parents[int(drawn[0])], parents[int(drawn[-1])])
        return self._nursery.child(step, slot, pair, index, history.seq, is_taken)


def _said(candidate: Candidate) -> Talk[Candidate | None]:
    """A conversation that is over before it begins."""
    yield from ()
    return candidate
