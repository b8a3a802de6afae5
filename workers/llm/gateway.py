"""The gateway to language models: everything between a method's request and a recorded reply.

It runs beside the dispatcher, never in a pool: processes that run methods see neither addresses nor keys.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import structlog

from services.domain.llm import LlmReply, LlmRequest
from services.ledger import Answered, Busy, Ledger, Refused
from services.profiles import LlmProfile
from services.suggesting import Claim

from .endpoint import CallFailed, Endpoint

log = structlog.get_logger("llm")

LONGEST_PAUSE_SECONDS = 60.0
BUSY_SECONDS = 0.05
FIRST_REST_SECONDS = 5.0
LONGEST_REST_SECONDS = 300.0
RETRIED = frozenset({"timeout", "rate_limited", "server", "unreachable", "empty"})
RESTED = frozenset({"timeout", "rate_limited", "server", "unreachable", "not_permitted"})


@dataclass
class _Breaker:
    """A profile that failed again and again rests: until then its calls fail at once."""

    failures: int = 0
    until: float = 0.0
    kind: str = ""

    def failed(self, kind: str, now: float) -> None:
        self.failures += 1
        self.kind = kind
        self.until = now + min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2 ** min(self.failures - 1, 10))

    def succeeded(self) -> None:
        self.failures, self.until = 0, 0.0


@dataclass
class _Profile:
    """A profile while it is used."""

    profile: LlmProfile
    endpoint: Endpoint
    gate: asyncio.Semaphore
    projects: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    breaker: _Breaker = field(default_factory=_Breaker)


class Gateway:
    """Answers requests: from the ledger, else from the endpoint, within limits and budgets.

    Args:
        ledger: reserves and records.
        profiles: the operator's.
        pause_seconds: scale of the back-off between retries: `uniform(0, min(60, 2^k))` times this.
    """

    def __init__(self, ledger: Ledger, profiles: Mapping[str, LlmProfile], *, pause_seconds: float = 1.0) -> None:
        self._ledger = ledger
        self._pause = pause_seconds
        self._profiles = {
            name: _Profile(profile, Endpoint(profile), asyncio.Semaphore(profile.concurrency))
            for name, profile in profiles.items()
        }

    async def answer(self, claim: Claim, requests: Sequence[LlmRequest]) -> list[LlmReply]:
        """Have requests answered and recorded, beside each other.

        Returns:
            the replies, failures among them.

        Raises:
            NotFound: the study was deleted meanwhile.
            Unavailable: the database is away.
        """
        choice = claim.spec.llm
        gate = asyncio.Semaphore(choice.concurrency if choice else 1)
        tasks = [asyncio.create_task(self._one(claim, request, gate)) for request in requests]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Close the connections."""
        for profile in self._profiles.values():
            await profile.endpoint.close()

    async def _one(self, claim: Claim, request: LlmRequest, gate: asyncio.Semaphore) -> LlmReply:
        choice = claim.spec.llm
        name = None if choice is None else (choice.encoder if request.kind == "embedding" else choice.profile)
        known = self._profiles.get(name or "")
        if known is None:
            await self._ledger.note(claim.study, "llm.unavailable", f"there is no profile {name!r} (any more)")
            return _failed(request, "no_profile")
        if known.breaker.until > time.monotonic():
            return _failed(request, known.breaker.kind)
        project = known.projects.setdefault(claim.project, asyncio.Semaphore(known.profile.project_concurrency))
        async with AsyncExitStack() as stack:
            for limit in (gate, project, known.gate):
                await stack.enter_async_context(limit)
            leave = await self._leave(claim, request, known.profile)
            if isinstance(leave, LlmReply):
                return leave
            answered = await self._call(request, known)
            return await self._ledger.settle(claim.study, request, known.profile, answered)

    async def _leave(self, claim: Claim, request: LlmRequest, profile: LlmProfile) -> LlmReply | None:
        """Leave to call; or the reply that is recorded already, or that the budget is used up."""
        pause = BUSY_SECONDS
        while True:
            found = await self._ledger.reserve(claim.study, claim.token, request, profile)
            if isinstance(found, LlmReply):
                return found
            if isinstance(found, Refused):
                return _failed(request, "budget")
            if not isinstance(found, Busy):
                return None
            await asyncio.sleep(pause)
            pause = min(1.0, 2 * pause)

    async def _call(self, request: LlmRequest, known: _Profile) -> Answered:
        """One call with its retries."""
        started = time.monotonic()
        for attempt in range(known.profile.max_retries + 1):
            try:
                answered = await known.endpoint.call(request)
            except CallFailed as error:
                failure = error
            else:
                known.breaker.succeeded()
                return answered
            if failure.kind not in RETRIED or attempt == known.profile.max_retries:
                break
            pause = random.uniform(0, min(LONGEST_PAUSE_SECONDS, 2.0**attempt)) * self._pause
            if failure.retry_after is not None:
                if failure.retry_after > LONGEST_PAUSE_SECONDS:
                    break
                pause = max(pause, failure.retry_after)
            log.info("llm.retry", profile=known.profile.name, role=request.role, kind=failure.kind, attempt=attempt + 1)
            await asyncio.sleep(pause)
            if known.breaker.until > time.monotonic():
                break
        if failure.kind in RESTED:
            known.breaker.failed(failure.kind, time.monotonic())
        log.warning("llm.failed", profile=known.profile.name, role=request.role, kind=failure.kind)
        return Answered(
            failure=failure.kind, detail=failure.detail, seconds=time.monotonic() - started,
            prompt_tokens=failure.prompt_tokens, completion_tokens=failure.completion_tokens,
        )  # fmt: skip


def _failed(request: LlmRequest, failure: str) -> LlmReply:
    return LlmReply(key=request.key, digest=request.digest, snapshot=request.snapshot, failure=failure)


class NoGateway(Gateway):
    """The gateway of a dispatcher without profiles and ledger: every call fails with `no_profile`."""

    def __init__(self) -> None:
        self._profiles = {}

    async def answer(self, claim: Claim, requests: Sequence[LlmRequest]) -> list[LlmReply]:
        """Nothing is called."""
        return [_failed(request, "no_profile") for request in requests]
