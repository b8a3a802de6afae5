"""Makes the pool of a study from its options, recorded replies and trials, and lets it grow around the best text (card prompt 3).

What the pool is made of stands on each trial that is proposed from it (`origin["pool"]`): from the first one on, single calls that
brought nothing are not made again, and each later addition keeps the text that it was made around.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.domain.document import canonical
from services.domain.history import History, Observation
from services.domain.llm import LlmReply, LlmRequest, Talk, converse
from services.domain.suggester import Problem

from .encoders import Away, load_encoder, profile_vectors
from .merit import best, is_full, scored
from .pool_edits import edited, edits_of
from .pool_options import PoolOptions, given_candidates, given_starts, unlike
from .pool_writing import STEP, PoolWriter
from .text_pool import Array, Candidate, Evaluations, Key, Pool, side_by_side, strangers
from .texts import candidate_key, components, known_keys, tally, text_parameters

FEWEST_FREE = 20
MOST_REFILLS = 5
MOST_AWAY = 3
RETRY_EVERY = 10
EDITED = "candidates by edits: the language model wrote none"
DEFINING = {"pool", "pool_size", "exemplars", "subsets", "samples"}


class NoTexts(RuntimeError):
    """There is nothing to propose: the language model brought no text, and there is none to edit."""


@dataclass(frozen=True)
class Batch:
    """Candidates that join the pool together.

    Attributes:
        name: equal only for equal candidates after equal ones.
        starts: how many of them are starting ones.
        rejected: why replies were not taken.
        note: for people, where edits stand in for a language model.
    """

    name: str
    members: tuple[Candidate, ...]
    starts: int = 0
    rejected: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Refill:
    """An addition around a trial's text, with the outcomes up to a `seq`."""

    snapshot: int
    parent: int


@dataclass(frozen=True)
class Prepared:
    """The pool with what is known of it, and what to write on trials proposed from it.

    Attributes:
        mark: for `origin["pool"]`.
        receipt: for `receipt["pool"]`.
        notes: for people; empty if all is as asked for.
    """

    known: Evaluations
    mark: Mapping[str, Any]
    receipt: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def reason(self, why: str) -> str:
        """A trial's reason with the notes."""
        return "; ".join((why, *self.notes))


class PoolMaker:
    """Prepares the pool for a suggestion.

    Args:
        problem: over text parameters only.
        options: where candidates come from.
        least: members that the method needs; edits make up what a language model does not write.
    """

    def __init__(self, problem: Problem, options: PoolOptions, least: int) -> None:
        self.problem, self.options, self.least = problem, options, least
        llm = problem.spec.llm
        self._may_ask = llm is not None and llm.profile is not None
        self._profile = None if llm is None else llm.encoder
        self._writer = PoolWriter(problem, options)
        self._batches: dict[str, Batch] = {}
        self._pools: dict[tuple[str, str], Pool] = {}
        defining = options.model_dump(mode="json", include=DEFINING)
        self._of = hashlib.sha256(canonical(defining).encode()).hexdigest()[:8]

    def prepared(self, history: History, count: int) -> Prepared:
        """The pool for `count` suggestions.

        Where a profile for embeddings is away, all vectors of this suggestion are the local encoder's.

        Raises:
            NeedsReplies: calls for candidates or vectors.
            NoTexts: there is nothing to propose.
            EncoderError: the local encoder is not there.
        """
        ours = [t for t in history.trials if t.origin.get("pool", {}).get("of") == self._of]
        if self._profile is None:
            return self._led(history, ours, count, "")
        failure = "away in the last trials"
        if self._is_worth_trying(history, ours):
            (found,) = converse([self._talk(history, ours, count, self._profile)], history.replies)
            if isinstance(found, Prepared):
                return found
            failure = found.failure
        return self._led(
            history, ours, count, f"vectors by {self.options.encoder}: the encoder's profile fails ({failure})"
        )

    def _led(self, history: History, ours: Sequence[Observation], count: int, note: str) -> Prepared:
        (found,) = converse([self._talk(history, ours, count, None, note)], history.replies)
        assert isinstance(found, Prepared)  # a local encoder has no calls that could fail
        return found

    def _is_worth_trying(self, history: History, ours: Sequence[Observation]) -> bool:
        """Not at each trial while an encoder fails again and again."""
        latest = [t.origin["pool"]["encoder"] for t in ours[-MOST_AWAY:]]
        has_failed = len(latest) == MOST_AWAY and self._encoder(self._profile) not in latest
        return not has_failed or history.next_number % RETRY_EVERY == 0

    def _encoder(self, profile: str | None) -> str:
        return self.options.encoder if profile is None else f"profile {profile}"

    # -- the pool

    def _talk(
        self, history: History, ours: Sequence[Observation], count: int, profile: str | None, note: str = ""
    ) -> Talk[Prepared | Away]:
        batches = [(yield from self._first(history, is_closed=bool(ours) and not self._is_written_later(history)))]
        refills = [Refill(*found) for found in (ours[-1].origin["pool"]["refills"] if ours else ())]
        for index in range(len(refills)):
            batches.append((yield from self._added(history, refills[index], index, batches, is_closed=True)))
        pool = yield from self._encoded(batches, history, profile)
        taken = known_keys(history)
        for _ in range(MOST_REFILLS):
            if isinstance(pool, Away) or not self._is_low(pool, taken, count):
                break
            refill = self._opened(history, len(refills))
            if refill is None:
                break
            refills.append(refill)
            batches.append((yield from self._added(history, refill, len(refills) - 1, batches, is_closed=False)))
            pool = yield from self._encoded(batches, history, profile)
        if isinstance(pool, Away):
            return pool
        beside = strangers(pool, history)
        vectors = yield from self._vectors(list(beside.values()), "pool-vectors/beside", history, profile)
        if isinstance(vectors, Away):
            return vectors
        known = Evaluations(pool, history, dict(zip(beside, vectors, strict=True)))
        mark = {"of": self._of, "encoder": pool.encoder, "refills": [[r.snapshot, r.parent] for r in refills]}
        receipt: dict[str, Any] = {
            "members": len(pool), "untried": len(known.free), "encoder": pool.encoder, "refills": len(refills),
        }  # fmt: skip
        if rejected := tally(fault for batch in batches for fault in batch.rejected):
            receipt["rejected"] = rejected
        return Prepared(known, mark, receipt, tuple(words for words in (batches[-1].note, note) if words))

    def _encoded(self, batches: Sequence[Batch], history: History, profile: str | None) -> Talk[Pool | Away]:
        place = batches[-1].name, self._encoder(profile)
        if place not in self._pools:
            parts = []
            for index, batch in enumerate(batches):
                if not batch.members:
                    continue
                vectors = yield from self._vectors(batch.members, f"pool-vectors/{index}", history, profile)
                if isinstance(vectors, Away):
                    return vectors
                parts.append(vectors)
            if len({part.shape[1] for part in parts}) > 1:
                return Away("unusable")
            members = [c for batch in batches for c in batch.members]
            self._pools.clear()
            self._pools[place] = Pool.of(members, np.concatenate(parts), batches[0].starts, place[1])
        return self._pools[place]

    def _vectors(
        self, candidates: Sequence[Candidate], key: str, history: History, profile: str | None
    ) -> Talk[Array | Away]:
        names = [p.name for p in text_parameters(self.problem.space)]
        texts = [c[name] for name in names for c in candidates]
        if not texts or profile is None:
            return side_by_side(load_encoder(self.options.encoder).vectors(texts), len(names))
        vectors = yield from profile_vectors(texts, key, history.seq)
        return vectors if isinstance(vectors, Away) else side_by_side(vectors, len(names))

    # -- its members

    def _asked(self, history: History, requests: Sequence[LlmRequest], *, is_closed: bool) -> Talk[list[LlmReply]]:
        """The replies that came; after the pool was used, those that are recorded."""
        if is_closed or not self._may_ask:
            replies: Iterable[LlmReply | None] = map(history.replies.find, requests)
        else:
            replies = (yield requests) if requests else ()
        return [reply for reply in replies if reply is not None and reply.failure is None]

    @staticmethod
    def _is_written_later(history: History) -> bool:
        """Whether a language model that has brought nothing at first is asked again now."""
        return history.replies.snapshot(STEP) is None and history.next_number % RETRY_EVERY == 0

    def _first(self, history: History, *, is_closed: bool) -> Talk[Batch]:
        is_closed = is_closed or not self.problem.spec.shares_examples
        replies = yield from self._asked(history, self._writer.inductions(history), is_closed=is_closed)
        name = _name(self._of, [f"{r.key} {r.digest}" for r in replies])
        if name not in self._batches:
            self._batches[name] = self._begun(name, replies)
        return self._batches[name]

    def _begun(self, name: str, replies: Sequence[LlmReply]) -> Batch:
        space, options = self.problem.space, self.options
        starts = given_starts(space)
        written, rejected = self._writer.induced(replies)
        members = unlike(starts + given_candidates(space, options) + written)
        if options.pool is None and (not options.exemplars or len(members) < self.least):
            members = unlike(members + edits_of(self.problem, starts or members, options.pool_size))
        if not members:
            raise NoTexts("the language model has written no candidate yet, and there is no starting text to edit")
        return Batch(
            name, tuple(members), len(starts), tuple(rejected), EDITED if options.exemplars and not written else ""
        )

    # -- what joins it later

    def _is_low(self, pool: Pool, taken: set[Key], count: int) -> bool:
        return self.options.refills and sum(key not in taken for key in pool.places) < max(FEWEST_FREE, count)

    def _opened(self, history: History, index: int) -> Refill | None:
        """A refill around the best text; one whose calls are made already keeps the text that it was shown."""
        recorded = history.replies.snapshot(_step(index))
        snapshot = history.seq if recorded is None else recorded
        found = [s for s in scored(history, snapshot) if is_full(s.trial, history.spec)]
        top = best([s for s in found if s.is_valid]) or best(found)
        return None if top is None else Refill(snapshot, top.trial.number)

    def _added(
        self, history: History, refill: Refill, index: int, batches: Sequence[Batch], *, is_closed: bool
    ) -> Talk[Batch]:
        trial = history.get(refill.parent)
        if trial is None:
            return Batch(_name(batches[-1].name, ["gone"]), ())
        parent = components(self.problem.space, trial.parameters)
        requests = self._writer.variations(parent, _step(index), refill.snapshot) if self._may_ask else []
        replies = yield from self._asked(history, requests, is_closed=is_closed)
        name = _name(batches[-1].name, [canonical(parent), *(f"{r.key} {r.digest}" for r in replies)])
        if name not in self._batches:
            self._batches[name] = self._grown(name, parent, index, replies, batches)
        return self._batches[name]

    def _grown(
        self, name: str, parent: Candidate, index: int, replies: Sequence[LlmReply], batches: Sequence[Batch]
    ) -> Batch:
        known = {candidate_key(c) for batch in batches for c in batch.members} | {candidate_key(parent)}
        written, rejected = self._writer.varied(parent, replies, known)
        found, wanted = list(written), FEWEST_FREE if replies else self.options.refill_size
        if len(written) < wanted:
            known |= {candidate_key(c) for c in written}
            rng = self.problem.generator(index, "text pool refill")
            parameters = text_parameters(self.problem.space)
            found += edited(parameters, [parent], wanted - len(written), rng, known)
        return Batch(name, tuple(found), 0, tuple(rejected), EDITED if self._may_ask and not written else "")


def _step(index: int) -> str:
    return f"pool-refill-{index}"


def _name(before: str, parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join((before, *parts)).encode()).hexdigest()
