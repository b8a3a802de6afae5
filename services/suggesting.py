"""The dispatcher's side of a study: claim it, compute elsewhere, commit what was found. Fencing tokens keep late writers out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import Connection

from . import metrics
from .domain import blob as blobs
from .domain.history import Observation
from .domain.llm import LlmReply
from .domain.space import point_key
from .domain.study import StudySpec, StudyState
from .domain.suggester import Blob, Suggestion
from .lifecycle import fitting, fresh, owes_updates, settle, wanted, withdraw_infeasible
from .store import llm as llm_store
from .store import suggestions as store
from .store import trials as trial_store
from .store import updates as update_store
from .store.unit_of_work import StudyGone, StudyWork
from .transactions import Transactions

log = structlog.get_logger("suggesting")

CLAIM = timedelta(seconds=30)
FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 60.0
INFEASIBLE = "infeasible_suspected"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to compute suggestions for a study, and what is needed for it.

    Attributes:
        token: what is committed under an older token than the study's is dropped.
        known_seq: the claimant knows the history up to here.
        observations: trials that changed after `known_seq`, by number.
        seq: the history is complete up to here.
        next_number: of the trial that the first suggestion is for.
        count: suggestions wanted; they replace the whole buffer. 0: only what has been learned is to be concluded.
        waiting: how many of them asks wait for.
        ready: how many are in the buffer and have seen everything.
        blob: saved state, only when `known_seq` is 0.
        replies: of the language model, recorded after `known_seq`.
        published: how many updates of a seed-encoded vector are in its log.
    """

    study: str
    project: str
    token: int
    suggester: str
    spec: StudySpec
    seed: int
    known_seq: int
    observations: Sequence[Observation]
    seq: int
    next_number: int
    count: int
    waiting: int = 0
    ready: int = 0
    blob: Blob | None = None
    replies: tuple[LlmReply, ...] = ()
    published: int = 0


class Suggesting:
    """What a dispatcher may do to the database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def due(self, limit: int = 100) -> list[str]:
        """Studies that want suggestions and that nobody computes for."""
        now = self._transactions.now()
        return await self._transactions.read(lambda connection: store.due(connection, now, limit))

    async def claim(self, study_id: str, owner: str, known_seq: int = 0) -> Claim | None:
        """Take on a study.

        Args:
            owner: names this dispatcher.
            known_seq: only what changed after it is sent.

        Returns:
            None: nothing is wanted, the study is gone, or another computes for it.
        """

        def run(work: StudyWork) -> Claim | None:
            count = wanted(work)
            state = store.state(work.connection, work.id)
            if state is None or (count == 0 and not owes_updates(work)):
                return None
            if state.owner not in (None, owner) and state.claimed_until is not None and state.claimed_until > work.now:
                return None
            if state.retry_at is not None and state.retry_at > work.now:
                has_news = work.progress.knowledge_seq > work.progress.buffer_seq
                if state.last_error is not None or not has_news:
                    return None
            state.token += 1
            state.owner, state.claimed_until = owner, work.now + CLAIM
            store.update_state(work.connection, state)
            work.write()
            known = min(known_seq, work.progress.seq)
            changed = trial_store.observations_since(work.connection, work.id, known)
            return Claim(
                study=work.id,
                project=work.study.project,
                token=state.token,
                suggester=work.spec.suggester.name,
                spec=work.spec,
                seed=work.study.seed,
                known_seq=known,
                observations=changed,
                seq=work.progress.seq,
                next_number=work.progress.next_number,
                count=count,
                waiting=min(count, work.progress.demand),
                ready=fresh(work.progress),
                blob=None if known or state.blob is None else blobs.loads(state.blob),
                published=0 if work.spec.seed_vector is None else update_store.published(work.connection, work.id),
                replies=() if work.progress.llm is None else llm_store.replies_since(work.connection, work.id, known),
            )

        try:
            return await self._transactions.on_study(study_id, run)
        except StudyGone:
            return None

    async def commit(
        self,
        claim: Claim,
        suggestions: Sequence[Suggestion],
        blob: Blob | None = None,
        seconds: float = 0.0,
        *,
        may_end: bool = True,
        updates: Sequence[tuple[int, bytes]] = (),
    ) -> bool:
        """Make the suggestions the study's buffer and save the state.

        Args:
            may_end: fewer suggestions than wanted mean that there are no more (in an infinite space: where there are none at all,
                and no trial is open whose outcome could bring some); else the suggester is asked again after a pause, or as soon as
                something is told.
            updates: of a seed-encoded vector, by version, in binary form; they are there before any trial that builds on them.

        Returns:
            False: the claim is not ours any more, or the study is gone; nothing was written.
        """
        metrics.SUGGEST_SECONDS.labels(claim.suggester).observe(seconds)

        def run(work: StudyWork, state: store.StateRecord) -> None:
            fits = fitting(work, suggestions)
            is_short = len(fits) < claim.count and work.progress.knowledge_seq <= claim.seq
            ends = may_end or len(fits) < len(suggestions)
            is_idle = work.progress.open == 0 and not fits  # else an outcome is on its way that could bring more
            is_over = is_short and ends and (claim.spec.space.is_finite or is_idle)
            dry = state.failures + 1 if is_short and not is_over else 0
            state.failures, state.last_error = dry, None
            work.progress.short = dry > 0
            state.retry_at = work.now + _pause(dry) if dry else None
            if blob is not None:
                state.blob, state.seq = blobs.dumps(blob), claim.seq
            for version in update_store.append(work.connection, work.id, updates, claim.seq, work.now):
                work.event("update.published", theta_version=version)
            self._buffer(work, claim, fits)
            _conclude(work, claim, suggestions)
            if is_over:
                work.progress.exhausted = True
            elif dry == 1 and not ends:
                work.event("study.suggester_short", suggester=claim.suggester, wanted=claim.count, made=len(fits))

        return await self._as_owner(claim, run)

    async def fail(self, claim: Claim, kind: str, message: str, fallback: Sequence[Suggestion] = ()) -> bool:
        """Record that a computation broke; the study waits longer after each failure before it is due again.

        Args:
            kind: raised | hung | memory | lost.
            fallback: quasi-random suggestions to go on with, marked as such.
        """
        metrics.SUGGEST_FAILURES.labels(claim.suggester, kind).inc()

        def run(work: StudyWork, state: store.StateRecord) -> None:
            state.failures += 1
            state.last_error = f"{kind}: {message}"[:2000]
            if not fallback:
                state.retry_at = work.now + _pause(state.failures)
            work.event("study.suggester_failed", suggester=claim.suggester, kind=kind, message=message[:500])
            if fallback:
                self._buffer(work, claim, fallback)

        return await self._as_owner(claim, run)

    async def _as_owner(self, claim: Claim, change: Callable[[StudyWork, store.StateRecord], None]) -> bool:
        def run(work: StudyWork) -> bool:
            state = store.state(work.connection, work.id)
            if state is None or state.token != claim.token:
                return False
            state.owner = state.claimed_until = None
            change(work, state)
            store.update_state(work.connection, state)
            settle(work)
            work.wake_study = True
            return True

        try:
            return await self._transactions.on_study(claim.study, run, brings=True)
        except StudyGone:
            return False

    @staticmethod
    def _buffer(work: StudyWork, claim: Claim, suggestions: Sequence[Suggestion]) -> None:
        if work.study.state is not StudyState.ACTIVE:
            suggestions = ()
        if work.progress.next_number > claim.next_number:
            # Trials were made while this was computed: a point that one of them took must not come again.
            work.write()
            newer = trial_store.get_many(
                work.connection,
                work.id,
                range(claim.next_number, min(work.progress.next_number, claim.next_number + 10_000)),
            )
            taken = {point_key(record.parameters) for record in newer.values()}
            suggestions = [s for s in suggestions if point_key(s.parameters) not in taken]
        work.fill_buffer(suggestions, claim.seq)

    async def renew(self, claim: Claim) -> bool:
        """Keep a claim while computing; False if another has taken over."""
        until = self._transactions.now() + CLAIM
        return await self._transactions.write(lambda c: store.renew_claim(c, claim.study, claim.token, until))

    async def release(self, claim: Claim) -> None:
        """Give a claim up without an answer."""

        def run(connection: Connection) -> None:
            store.release_claim(connection, claim.study, claim.token)

        await self._transactions.write(run)
        await self._transactions.wakeups.publish("work", claim.study)


def _pause(failures: int) -> timedelta:
    """Before the next try, longer after each failure."""
    return timedelta(seconds=min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10)))


def _conclude(work: StudyWork, claim: Claim, suggestions: Sequence[Suggestion]) -> None:
    """Take over what the method now concludes about the study: a new verdict is an event, and so is one that fell away.

    A verdict that was computed before a feasible trial was told is refuted already.
    """
    if not suggestions or suggestions[0].fallback:
        return
    found = suggestions[0].finding or {}
    if found.get("kind") != INFEASIBLE:
        withdraw_infeasible(work, suggester=claim.suggester)
    elif work.progress.infeasible_suspected is None and not trial_store.has_feasible(work.connection, work.id):
        trial = found.get("trial")
        verdict = {
            "trial": trial if isinstance(trial, int) else claim.next_number,
            "evidence": dict(found.get("evidence") or {}),
        }
        work.progress.infeasible_suspected = verdict | {"at": work.now.isoformat()}
        work.event("study.infeasible_suspected", suggester=claim.suggester, **verdict)
