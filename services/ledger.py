"""Paying for language model calls: reserve before, record after, and never twice for the same one (card prompt 0.4)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import structlog

from . import metrics
from .domain.llm import LlmReply, LlmRequest, LlmUsage
from .domain.study import StudyState
from .profiles import LlmProfile
from .store import llm as store
from .store import suggestions as suggestion_store
from .store.unit_of_work import StudyWork
from .transactions import Transactions

log = structlog.get_logger("ledger")

MESSAGE_TOKENS = 16


@dataclass(frozen=True)
class Reserved:
    """A call that may be made now."""


@dataclass(frozen=True)
class Busy:
    """Whether the budget allows a call shows only when another one has ended."""


@dataclass(frozen=True)
class Refused:
    """A call that a budget does not allow; an event of the study says which."""


@dataclass(frozen=True)
class Superseded:
    """Another has taken the study over, or it is paused or completed: this claim calls nothing any more."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """How a call ended.

    Attributes:
        reply: texts and cut, or vectors and dimensions; None after a failure.
        failure: one of `FAILURES`, with its detail for people, without secrets.
        prompt_tokens, completion_tokens: that it has cost, also where it failed.
        estimated: they were not counted by the server.
        seconds: that it took, with its tries.
    """

    reply: dict[str, Any] | None = None
    failure: str | None = None
    detail: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class _Budget:
    """A limit, what counts against it already, and what the calls that run now may come to."""

    name: str
    limit: float
    used: float
    flying: float
    calls: int


class Ledger:
    """The use case of calling a language model for a study.

    A call is a row: open before it is made, done with its reply afterwards. A row that is still open when its claim is over counts as
    paid, at the most that it may have come to: whether the server had answered, nobody knows.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def reserve(
        self, study_id: str, token: int, request: LlmRequest, profile: LlmProfile
    ) -> Reserved | LlmReply | Refused | Busy | Superseded:
        """Ask leave for a call under a claim's token.

        A call may start while what is spent and what is in flight (at the most it may come to) are below every budget, or when
        nothing is in flight: so a budget is exceeded by one call at most.

        Returns:
            the reply where it is recorded already, else whether the call may be made.

        Raises:
            StudyGone: the study was deleted.
        """

        def run(work: StudyWork) -> Reserved | LlmReply | Refused | Busy | Superseded:
            state = suggestion_store.state(work.connection, work.id)
            if state is None or state.token != token or work.study.state is not StudyState.ACTIVE:
                return Superseded()
            known = store.find(work.connection, work.id, request)
            if known is not None and known.state == "done":
                return known.answer()
            flying = self._in_flight(work, token)
            for budget in self._budgets(work, flying, profile):
                if budget.used >= budget.limit:
                    _note(work, "llm.budget_reached", f"{budget.name} of {budget.limit:g} is reached")
                    return Refused()
                if budget.calls and budget.used + budget.flying >= budget.limit:
                    return Busy()
            store.put(work.connection, _opened(work, token, request, profile))
            return Reserved()

        return await self._transactions.on_study(study_id, run)

    def _budgets(self, work: StudyWork, ours: store.Spending, profile: LlmProfile) -> list[_Budget]:
        """Those that are set; `ours` is what the study's calls in flight may come to."""
        choice, usage = work.spec.llm, _usage(work)
        found: list[tuple[str, float | None, float, float, int]] = []
        if choice is not None:
            found = [
                ("llm.max_calls", choice.max_calls, usage.calls, ours.calls, ours.calls),
                ("llm.max_total_tokens", choice.max_total_tokens, usage.tokens, ours.tokens, ours.calls),
                ("llm.max_cost", choice.max_cost, usage.cost, ours.cost, ours.calls),
            ]
        if profile.project_max_tokens is not None or profile.project_max_cost is not None:
            project = work.study.project
            paid = store.account(work.connection, project, profile.name)
            running, dead = store.project_in_flight(work.connection, project, profile.name, work.now)
            tokens, cost = paid.tokens + dead.tokens, paid.cost + dead.cost
            found += [
                ("project_max_tokens", profile.project_max_tokens, tokens, running.tokens, running.calls),
                ("project_max_cost", profile.project_max_cost, cost, running.cost, running.calls),
            ]
        return [_Budget(n, limit, used, flying, calls) for n, limit, used, flying, calls in found if limit is not None]

    def _in_flight(self, work: StudyWork, token: int) -> store.Spending:
        """What the claim's open calls may come to. Those open under an older claim died with it: they count as paid."""
        ours = []
        for record in store.in_flight(work.connection, work.id):
            if record.token == token:
                ours.append(record)
                continue
            record.state, record.failure, record.estimated = "lost", "timeout", True
            store.put(work.connection, record)
            _paid(work, record)
            work.event("llm.lost", key=record.key, role=record.role, profile=record.profile, cost=record.cost)
        return store.total(ours)

    async def settle(
        self, study_id: str, token: int, request: LlmRequest, profile: LlmProfile, answered: Answered
    ) -> LlmReply:
        """Record how a call ended that was reserved under this token; from here on its reply is replayed.

        A failure is recorded for people, and is not replayed: the call may be made again. What comes so late that the call was
        made again under a newer claim is dropped; it is paid already.

        Raises:
            StudyGone: the study was deleted; the call was counted as paid then.
        """
        metrics.LLM_CALLS.labels(profile.name, answered.failure or "ok").inc()
        metrics.LLM_TOKENS.labels(profile.name, "prompt").inc(answered.prompt_tokens)
        metrics.LLM_TOKENS.labels(profile.name, "completion").inc(answered.completion_tokens)

        def run(work: StudyWork) -> LlmReply:
            record = store.find(work.connection, work.id, request)
            if record is None or record.token != token or record.state not in ("open", "lost"):
                log.info("llm.late", study=study_id, key=request.key)
                return request.failed("timeout") if record is None or record.state != "done" else record.answer()
            if record.state == "lost":  # it was taken for dead: what was put down for it is replaced
                _paid(work, record, sign=-1)
            record.state = "failed" if answered.failure else "done"
            record.reply, record.failure, record.detail = answered.reply, answered.failure, answered.detail
            record.prompt_tokens, record.completion_tokens = answered.prompt_tokens, answered.completion_tokens
            record.cost = profile.cost(answered.prompt_tokens, answered.completion_tokens)
            record.estimated, record.seconds = answered.estimated, answered.seconds
            _paid(work, record)
            told = {"key": record.key, "role": record.role, "profile": record.profile, "cost": record.cost}
            if answered.failure:
                record.seq = work.event("llm.failed", **told, failure=answered.failure, detail=answered.detail)
            else:
                record.seq = work.event("llm.replied", **told, tokens=record.prompt_tokens + record.completion_tokens)
                _note(work, "", "")
            store.put(work.connection, record)
            return record.answer()

        return await self._transactions.on_study(study_id, run)

    async def note(self, study_id: str, kind: str, why: str) -> None:
        """Tell once, as an event, what keeps a study from its language model.

        Raises:
            StudyGone: the study was deleted.
        """
        await self._transactions.on_study(study_id, lambda work: _note(work, kind, why))


def most_tokens(request: LlmRequest, profile: LlmProfile) -> tuple[int, int]:
    """The most that a call may come to: prompt and completion tokens. A token has at least a byte; a server that answers one choice at
    a time is shown the prompt once for each."""
    prompt = sum(len(content.encode()) + MESSAGE_TOKENS for content in request.shown)
    if request.texts:
        return prompt, 0
    return request.n * prompt, request.n * profile.completion_tokens(request.max_tokens)


def _usage(work: StudyWork) -> LlmUsage:
    return work.progress.llm_usage or LlmUsage()


def _opened(work: StudyWork, token: int, request: LlmRequest, profile: LlmProfile) -> store.CallRecord:
    prompt, completion = most_tokens(request, profile)
    return store.CallRecord(
        study_id=work.id, key=request.key, digest=request.digest, project=work.study.project, profile=profile.name,
        role=request.role, snapshot=request.snapshot, token=token, state="open", request=request.body,
        created_at=work.now, prompt_tokens=prompt, completion_tokens=completion, cost=profile.cost(prompt, completion),
    )  # fmt: skip


def _paid(work: StudyWork, record: store.CallRecord, sign: int = 1) -> None:
    """Put a call down as paid by its study and its project; with sign -1 take that back."""
    spent = store.Spending(**{name: sign * value for name, value in asdict(store.total([record])).items()})
    store.spend(work.connection, record.project, record.profile, spent)
    usage = _usage(work)
    after = LlmUsage(
        calls=usage.calls + sign,
        failed_calls=usage.failed_calls + sign * (record.failure is not None),
        prompt_tokens=usage.prompt_tokens + sign * record.prompt_tokens,
        completion_tokens=usage.completion_tokens + sign * record.completion_tokens,
        cost=round(usage.cost + sign * record.cost, 12),  # sums of decimal prices, without the noise of binary ones
        estimated=usage.estimated or record.estimated,
    )
    work.progress.llm = (work.progress.llm or {}) | {"usage": after.wire()}


def _note(work: StudyWork, kind: str, why: str) -> None:
    """Remember what keeps the study from its language model (nothing: `kind` is empty), and tell it when it is new."""
    saved = work.progress.llm or {"usage": LlmUsage().wire()}
    trouble = f"{kind} {why}".strip()
    if saved.get("trouble", "") == trouble:
        return
    work.progress.llm = saved | {"trouble": trouble}
    if kind:
        work.event(kind, reason=why)
