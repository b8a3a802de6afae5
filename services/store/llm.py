"""The ledger of language model calls, and the accounts of projects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, case, func, insert, select, update

from ..domain.llm import LlmReply, LlmRequest
from .tables import LlmAccountRow, LlmCallRow, SuggesterStateRow, table

CALLS = table(LlmCallRow)
ACCOUNTS = table(LlmAccountRow)
STATES = table(SuggesterStateRow)


@dataclass(slots=True)
class CallRecord:
    """A call; the columns of `llm_calls` by name."""

    study_id: str
    key: str
    digest: str
    project: str
    profile: str
    role: str
    snapshot: int
    token: int
    state: str
    request: dict[str, Any]
    created_at: datetime
    prompt_tokens: int
    completion_tokens: int
    cost: float
    reply: dict[str, Any] | None = None
    failure: str | None = None
    detail: str | None = None
    estimated: bool = False
    seconds: float | None = None
    seq: int | None = None

    def answer(self) -> LlmReply:
        """The reply as methods see it."""
        reply = self.reply or {}
        return LlmReply(
            key=self.key,
            digest=self.digest,
            snapshot=self.snapshot,
            texts=tuple(reply.get("texts", ())),
            cut=tuple(reply.get("cut", ())),
            vectors=reply.get("vectors", ""),
            dimensions=reply.get("dimensions", 0),
            failure=self.failure,
        )


_NAMES = tuple(CallRecord.__dataclass_fields__)
_COLUMNS = [CALLS.c[name] for name in _NAMES]


@dataclass(frozen=True, slots=True)
class Spending:
    """Calls, tokens and cost."""

    calls: int = 0
    tokens: int = 0
    cost: float = 0.0


def find(connection: Connection, study_id: str, request: LlmRequest) -> CallRecord | None:
    """The call of a request, if it was ever made."""
    row = connection.execute(
        select(*_COLUMNS).where(
            CALLS.c.study_id == study_id, CALLS.c.key == request.key, CALLS.c.digest == request.digest
        )
    ).first()
    return None if row is None else CallRecord(**dict(zip(_NAMES, row, strict=True)))


def put(connection: Connection, record: CallRecord) -> None:
    """Write a call, new or not."""
    values = {name: getattr(record, name) for name in _NAMES}
    place = and_(CALLS.c.study_id == record.study_id, CALLS.c.key == record.key, CALLS.c.digest == record.digest)
    if connection.execute(update(CALLS).where(place).values(values)).rowcount == 0:
        connection.execute(insert(CALLS), [values])


def replies_since(connection: Connection, study_id: str, seq: int) -> tuple[LlmReply, ...]:
    """The replies recorded after a `seq` of the study, in their order."""
    query = (
        select(*_COLUMNS)
        .where(CALLS.c.study_id == study_id, CALLS.c.seq > seq, CALLS.c.state == "done")
        .order_by(CALLS.c.seq)
    )
    rows = connection.execute(query)
    return tuple(CallRecord(**dict(zip(_NAMES, row, strict=True))).answer() for row in rows)


def in_flight(connection: Connection, study_id: str) -> list[CallRecord]:
    """The study's open calls."""
    query = select(*_COLUMNS).where(CALLS.c.study_id == study_id, CALLS.c.state == "open")
    return [CallRecord(**dict(zip(_NAMES, row, strict=True))) for row in connection.execute(query)]


def project_in_flight(connection: Connection, project: str, profile: str, now: datetime) -> tuple[Spending, Spending]:
    """What a project's open calls may come to: of those that run, and of those whose dispatcher is gone or has lost its claim."""
    runs = case((and_(STATES.c.token == CALLS.c.token, STATES.c.claimed_until > now), 1), else_=0)
    query = (
        select(runs, func.count(), func.sum(CALLS.c.prompt_tokens + CALLS.c.completion_tokens), func.sum(CALLS.c.cost))
        .join(STATES, STATES.c.study_id == CALLS.c.study_id)
        .where(CALLS.c.project == project, CALLS.c.profile == profile, CALLS.c.state == "open")
        .group_by(runs)
    )
    found = {
        bool(run): Spending(int(calls), int(tokens), float(cost))
        for run, calls, tokens, cost in connection.execute(query)
    }
    return found.get(True, Spending()), found.get(False, Spending())


def forfeit(connection: Connection, study_id: str) -> None:
    """A study is about to be deleted: its open calls count as paid, at the most they may come to."""
    for record in in_flight(connection, study_id):
        spend(connection, record.project, record.profile, total([record]))


def account(connection: Connection, project: str, profile: str) -> Spending:
    """What a project has spent on a profile; its row is locked until the transaction ends."""
    query = select(ACCOUNTS.c.calls, ACCOUNTS.c.tokens, ACCOUNTS.c.cost).where(
        ACCOUNTS.c.project == project, ACCOUNTS.c.profile == profile
    )
    row = connection.execute(query.with_for_update()).first()
    if row is None:
        connection.execute(
            insert(ACCOUNTS), [{"project": project, "profile": profile, "calls": 0, "tokens": 0, "cost": 0.0}]
        )
        return Spending()
    return Spending(*row)


def spend(connection: Connection, project: str, profile: str, spent: Spending) -> None:
    """Add to a project's account."""
    account(connection, project, profile)
    connection.execute(
        update(ACCOUNTS)
        .where(ACCOUNTS.c.project == project, ACCOUNTS.c.profile == profile)
        .values(
            calls=ACCOUNTS.c.calls + spent.calls,
            tokens=ACCOUNTS.c.tokens + spent.tokens,
            cost=ACCOUNTS.c.cost + spent.cost,
        )
    )


def total(records: Sequence[CallRecord]) -> Spending:
    """What these calls have come to together, open ones at their most."""
    return Spending(
        len(records), sum(r.prompt_tokens + r.completion_tokens for r in records), sum(r.cost for r in records)
    )
