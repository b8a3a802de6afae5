"""Chooses where the forest grows, and leads the conversations that a new text needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from services.domain.history import History
from services.domain.llm import NeedsReplies, Talk, converse
from services.domain.suggester import Blob, Problem, Suggestion
from workers.models.drafts import Draft, Rejected, Texts, in_words
from workers.models.phrases import neighbour
from workers.models.texts import TextRules, candidate_key, known_keys, starting_candidates, tally, text_parameters

from . import SfsOptions
from .forest import METHOD, Choice, Forest
from .talks import Talks, growth_key, scatter_key, seed_key

T = TypeVar("T")
Key = tuple[tuple[str, str], ...]
ROUNDS = 6
Plan = tuple[str, int, int]
"""`seed`, its number, 0; or `grow`, a node's number, a direction."""


class Sfs:
    """The suggester: all it knows is on the trials and in the ledger."""

    def __init__(self, problem: Problem, options: SfsOptions) -> None:
        self._problem, self._options = problem, options
        self._parameters = text_parameters(problem.space)
        self._rules = {p.name: TextRules(p) for p in self._parameters}
        has_start = any(p.initial or p.default is not None for p in self._parameters)
        self._starts = starting_candidates(problem.space) if has_start else []

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` texts: roots at first, then children along the most promising directions.

        Raises:
            NeedsReplies: the calls that they wait for.
        """
        known = set(known_keys(history))
        starts = [s for s in self._starts if candidate_key(s) not in known][:count]
        given = [self._suggestion(Draft(s, "a starting text", {"start": True})) for s in starts]
        if len(given) == count:
            return given
        known |= {candidate_key(s) for s in starts}
        run = _Run(self._problem, self._options, self._starts, history, known)
        given += [self._suggestion(draft) for draft in run.drafts(count - len(given))]
        return given + self._edits(run, count - len(given))

    def _suggestion(self, draft: Draft) -> Suggestion:
        receipt: dict[str, Any] | None = {"rejected": tally(draft.rejected)} if draft.rejected else None
        return Suggestion(
            parameters=self._problem.space.sorted(draft.texts),
            reason=draft.reason,
            origin={"method": METHOD, **draft.origin},
            receipt=receipt,
        )

    def _edits(self, run: _Run, count: int) -> list[Suggestion]:
        """Local edits of the best text, where the model wrote too few."""
        if self._options.fallback == "none" or count <= 0:
            return []
        forest, found = run.forest, list[Suggestion]()
        best = forest.best or next(iter(forest.roots), None)
        texts = dict(best.texts) if best is not None else (self._starts or starting_candidates(self._problem.space))[0]
        component = self._parameters[0].name
        for k in range(count):
            rng = self._problem.generator(run.history.next_number + k, "sfs edit")
            text = neighbour(
                texts[component], self._rules[component], rng, lambda t: run.is_taken({**texts, component: t})
            )
            if text is None:
                break
            edited = {**texts, component: text}
            run.known.add(candidate_key(edited))
            origin = {} if best is None else {"parent": best.number}
            found.append(self._suggestion(Draft(edited, f"an edit of the best text: {in_words(run.trouble)}", origin)))
        return found


class _Run:
    """One call of `suggest`: the forest as it is, and what is taken."""

    def __init__(
        self, problem: Problem, options: SfsOptions, starts: Sequence[Texts], history: History, known: set[Key]
    ) -> None:
        self._options, self._starts = options, len(starts)
        self.history, self.known = history, known
        self.forest = Forest(history, options.score_range)
        self._talks = Talks(problem, options, starts, history, self.forest)
        self.trouble = Rejected(())

    def is_taken(self, texts: Mapping[str, str]) -> bool:
        """Whether a candidate is known."""
        return candidate_key(texts) in self.known

    # -- which texts

    def drafts(self, count: int) -> list[Draft]:
        """Up to `count` candidates.

        Raises:
            NeedsReplies: the calls that they wait for.
        """
        options, found = self._options, list[Draft]()
        choice = Choice(self.forest, options.exploration, options.backup, options.directions)
        seeds = set(self.forest.seeds)
        for _ in range(ROUNDS):
            self._note_spent(choice, seeds)
            plans = [self._plan(choice, seeds) for _ in range(count - len(found))]
            written: set[Key] = set()
            talks = [self._noted(plan, written) for plan in [*plans, *self._ahead(plans, seeds)]]
            results = converse(talks, self.history.replies)
            for (kind, number, direction), result in zip(plans, results, strict=False):
                if isinstance(result, Draft):
                    found.append(result)
                    self.known.add(candidate_key(result.texts))
                    continue
                self.trouble = result
                # A call that failed may be answered later: its place is only taken for now.
                if kind == "grow" and result.failure is None:
                    choice.taken.discard((number, direction))
                    if not result.is_dropped:
                        choice.spent.add((number, direction))
            # After a failure no more is asked in this run: the next one tries again.
            if len(found) == count or self.trouble.failure is not None:
                break
        return found

    def _plan(self, choice: Choice, seeds: set[int]) -> Plan:
        """Roots while some are missing, then where the bounds are highest; further roots while all wait for outcomes."""
        roots = self._starts + len(seeds)
        place = None if roots < self._options.seeds else choice.place()
        if place is None:
            number = next(n for n in range(len(seeds) + 1) if n not in seeds)
            seeds.add(number)
            return "seed", number, 0
        choice.taken.add(place)
        return "grow", *place

    def _ahead(self, plans: Sequence[Plan], seeds: set[int]) -> list[Plan]:
        """The other roots that are missing: they owe each other nothing, so that their calls run beside each other."""
        is_sowing = any(kind == "seed" for kind, *_ in plans)
        return [("seed", n, 0) for n in range(self._options.seeds - self._starts) if is_sowing and n not in seeds]

    def _noted(self, plan: Plan, written: set[Key]) -> Talk[Draft | Rejected]:
        def is_taken(texts: Mapping[str, str]) -> bool:
            key = candidate_key(texts)
            return key in self.known or key in written

        kind, number, direction = plan
        draft = yield from (
            self._talks.seed(number, is_taken)
            if kind == "seed"
            else self._talks.grown(self.forest.nodes[number], direction, is_taken)
        )
        if isinstance(draft, Draft):
            written.add(candidate_key(draft.texts))
        return draft

    def _note_spent(self, choice: Choice, seeds: set[int]) -> None:
        """Roots and directions that the ledger already shows to be spent, and how many directions it shows for a node."""
        answered = {reply.key.rpartition("/")[0] for reply in self.history.replies.recorded}
        for number in range(self._options.seeds):
            if (
                number not in seeds
                and seed_key(number) in answered
                and self._is_spent(self._talks.seed(number, self.is_taken))
            ):
                seeds.add(number)
        for node in self.forest.nodes.values():
            named = node.directions
            if named is None and node.is_open and scatter_key(node) in answered:
                found = self._recorded(self._talks.directions(node))
                named = None if isinstance(found, Rejected) else found
            if named is None or not node.is_open:
                continue
            choice.limits[node.number] = len(named)
            for direction in list(choice.free(node)):
                if growth_key(node, direction) in answered and self._is_spent(
                    self._talks.grown(node, direction, self.is_taken)
                ):
                    choice.spent.add((node.number, direction))

    def _is_spent(self, talk: Talk[Draft | Rejected]) -> bool:
        result = self._recorded(talk)
        return isinstance(result, Rejected) and result.failure is None

    def _recorded(self, talk: Talk[T]) -> T | None:
        """What a conversation comes to with the replies that are there; None if it needs more."""
        try:
            return converse([talk], self.history.replies)[0]
        except NeedsReplies:
            return None
