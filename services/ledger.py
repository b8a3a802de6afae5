"""Paying for language model calls: reserve before, record after, and never twice for the same one (card prompt 0.4)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import structlog
from sqlalchemy import Connection

from . import metrics
from .domain.llm import LlmReply, LlmRequest, LlmUsage
from .profiles import LlmProfile
from .store import llm as store
from .store.unit_of_work import StudyGone, StudyWork
from .transactions import Transactions

log = structlog.get_logger("ledger")

MOST_COMPLETION = 4096


@dataclass(frozen=True)
class Refused:
    """A call that a budget does not allow."""

    limit: str


@dataclass(frozen=True)
class Busy:
    """Whether the budget allows a call shows only when another one has ended."""


@dataclass(frozen=True)
class Reserved:
    """A call that may be made now."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """How a call ended.

    Attributes:
        reply: texts and cut, or vectors and dimensions; None after a failure.
        failure: one of `FAILURES`, with its detail for people, without secrets.
    """

    reply: dict[str, Any] | None = None
    failure: str | None = None
    detail: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    seconds: float = 0.0


class Ledger:
    """The use case of calling a language model for a study."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def reserve(
        self, study_id: str, token: int, request: LlmRequest, profile: LlmProfile
    ) -> Reserved | LlmReply | Refused | Busy:
        """Ask leave for a call under a claim's token.

        A call may start while what is spent and what is in flight (at the most it may come to) are below every budget, or when nothing is
        in flight: so a budget is exceeded by one call at most.

        Raises:
            StudyGone: the study was deleted.
        """

        def run(work: StudyWork) -> Reserved | LlmReply | Refused | Busy:
            known = store.find(work.connection, work.id, request)
            if known is not None and known.state == "done":
                return known.answer()
            usage = self._give_up_lost(work, token)
            project = work.study.project
            ours = store.total(store.in_flight(work.connection, work.id))
            spent = store.Spending(usage.calls, usage.tokens, usage.cost)
            choice = work.spec.llm
            limits = [
                ("llm.max_calls", choice and choice.max_calls, spent.calls, ours.calls, ours.calls),
                ("llm.max_total_tokens", choice and choice.max_total_tokens, spent.tokens, ours.tokens, ours.calls),
                ("llm.max_cost", choice and choice.max_cost, spent.cost, ours.cost, ours.calls),
            ]
            if profile.project_max_tokens is not None or profile.project_max_cost is not None:
                paid = store.account(work.connection, project, profile.name)
                theirs = store.project_in_flight(work.connection, project, profile.name)
                limits += [
                    ("project_max_tokens", profile.project_max_tokens, paid.tokens, theirs.tokens, theirs.calls),
                    ("project_max_cost", profile.project_max_cost, paid.cost, theirs.cost, theirs.calls),
                ]
            for name, limit, used, reserved, flying in limits:
                if limit is None:
                    continue
                if used >= limit:
                    self._note(work, "llm.budget_reached", f"{name} of {limit:g} is reached")
                    return Refused(f"{name} of {limit:g} is reached")
                if flying and used + reserved >= limit:
                    return Busy()
            store.put(work.connection, self._opened(work, token, request, profile))
            return Reserved()

        return await self._transactions.on_study(study_id, run)

    def _opened(self, work: StudyWork, token: int, request: LlmRequest, profile: LlmProfile) -> store.CallRecord:
        prompt, completion = most_tokens(request)
        return store.CallRecord(
            study_id=work.id, key=request.key, digest=request.digest, project=work.study.project, profile=profile.name,
            role=request.role, snapshot=request.snapshot, token=token, state="open", request=request.body,
            created_at=work.now, prompt_tokens=prompt, completion_tokens=completion,
            cost=profile.cost(prompt, completion),
        )  # fmt: skip

    def _give_up_lost(self, work: StudyWork, token: int) -> LlmUsage:
        """Calls that were open under an older claim died with their dispatcher: they count as paid."""
        usage = usage_of(work)
        for record in store.in_flight(work.connection, work.id):
            if record.token < token:
                record.state, record.failure, record.estimated = "lost", "timeout", True
                store.put(work.connection, record)
                spent = store.total([record])
                store.spend(work.connection, record.project, record.profile, spent)
                usage = _added(usage, record, failed=True)
                _save(work, usage)
                work.event("llm.lost", key=record.key, role=record.role, profile=record.profile)
        return usage

    async def settle(self, study_id: str, request: LlmRequest, profile: LlmProfile, answered: Answered) -> LlmReply:
        """Record how a call ended; from here on it is replayed.

        A failure is recorded for people, and is not replayed: the call may be tried again.
        """
        metrics.LLM_CALLS.labels(profile.name, answered.failure or "ok").inc()
        metrics.LLM_TOKENS.labels(profile.name, "prompt").inc(answered.prompt_tokens)
        metrics.LLM_TOKENS.labels(profile.name, "completion").inc(answered.completion_tokens)

        def run(work: StudyWork) -> LlmReply:
            record = store.find(work.connection, work.id, request) or self._opened(work, 0, request, profile)
            if record.state == "done":
                return record.answer()
            if record.state == "lost":  # it was taken for dead: what was put down for it is replaced
                store.spend(work.connection, record.project, record.profile, _negative(store.total([record])))
                _save(work, _added(usage_of(work), record, sign=-1, failed=True))
            record.state = "failed" if answered.failure else "done"
            record.reply, record.failure, record.detail = answered.reply, answered.failure, answered.detail
            record.prompt_tokens, record.completion_tokens = answered.prompt_tokens, answered.completion_tokens
            record.cost = profile.cost(answered.prompt_tokens, answered.completion_tokens)
            record.estimated, record.seconds = answered.estimated, answered.seconds
            store.spend(work.connection, record.project, record.profile, store.total([record]))
            _save(work, _added(usage_of(work), record, failed=answered.failure is not None))
            told = {"key": record.key, "role": record.role, "profile": record.profile, "cost": record.cost}
            if answered.failure:
                record.seq = work.event("llm.failed", **told, failure=answered.failure, detail=answered.detail)
            else:
                record.seq = work.event("llm.replied", **told, tokens=record.prompt_tokens + record.completion_tokens)
                self._note(work, "", "")
            store.put(work.connection, record)
            return record.answer()

        try:
            return await self._transactions.on_study(study_id, run)
        except StudyGone:
            log.info("llm.study_gone", study=study_id)
            raise

    async def note(self, study_id: str, kind: str, why: str) -> None:
        """Tell once, as an event, what keeps a study from its language model."""
        try:
            await self._transactions.on_study(study_id, lambda work: self._note(work, kind, why))
        except StudyGone:
            log.info("llm.study_gone", study=study_id)

    @staticmethod
    def _note(work: StudyWork, kind: str, why: str) -> None:
        saved = work.progress.llm or {"usage": LlmUsage().wire()}
        if saved.get("trouble", "") == f"{kind} {why}".strip():
            return
        work.progress.llm = saved | {"trouble": f"{kind} {why}".strip()}
        if kind:
            work.event(kind, reason=why)

    async def spent(self, project: str, profile: str) -> store.Spending:
        """What a project has spent on a profile."""

        def run(connection: Connection) -> store.Spending:
            return store.account(connection, project, profile)

        return await self._transactions.write(run)


def most_tokens(request: LlmRequest) -> tuple[int, int]:
    """The most that a call may come to: a token has at least a byte. Prompt and completion tokens."""
    prompt = sum(len(content.encode()) + 16 for _, content in request.messages)
    prompt += sum(len(text.encode()) + 16 for text in request.texts)
    return prompt, 0 if request.texts else request.n * (request.max_tokens or MOST_COMPLETION)


def usage_of(work: StudyWork) -> LlmUsage:
    """What the study's calls have come to."""
    return LlmUsage() if work.progress.llm is None else LlmUsage.model_validate(work.progress.llm["usage"])


def _save(work: StudyWork, usage: LlmUsage) -> None:
    work.progress.llm = (work.progress.llm or {}) | {"usage": usage.wire()}


def _added(usage: LlmUsage, record: store.CallRecord, sign: int = 1, *, failed: bool) -> LlmUsage:
    return LlmUsage(
        calls=usage.calls + sign,
        failed_calls=usage.failed_calls + sign * failed,
        prompt_tokens=usage.prompt_tokens + sign * record.prompt_tokens,
        completion_tokens=usage.completion_tokens + sign * record.completion_tokens,
        cost=usage.cost + sign * record.cost,
        estimated=usage.estimated or record.estimated,
    )


def _negative(spent: store.Spending) -> store.Spending:
    return store.Spending(**{name: -value for name, value in asdict(spent).items()})
