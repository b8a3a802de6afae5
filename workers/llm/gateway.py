"""The gateway to language models: everything between a method's request and a recorded reply.

It runs beside the dispatcher, never in a pool: processes that run methods see neither addresses nor keys.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import structlog

from services.domain.errors import Unavailable
from services.domain.llm import LlmReply, LlmRequest
from services.ledger import Answered, Busy, Ledger, Refused, Superseded
from services.profiles import LlmProfile
from services.suggesting import Claim

from .endpoint import CallFailed, Endpoint

log = structlog.get_logger("llm")

LONGEST_PAUSE_SECONDS = 60.0
BUSY_SECONDS = 0.05
RECORD_SECONDS = 180.0
FIRST_REST_SECONDS = 5.0
LONGEST_REST_SECONDS = 300.0
RETRIED = frozenset({"timeout", "rate_limited", "server", "unreachable", "empty"})
RESTED = frozenset({"timeout", "rate_limited", "server", "unreachable", "not_permitted"})


class ClaimLost(Exception):
    """Another dispatcher has taken the study over, or it is not active any more."""


@dataclass
class _Breaker:
    """A profile that fails rests, longer each time: until then its calls fail at once. Calls that fail together count once."""

    failures: int = 0
    until: float = 0.0
    kind: str = ""

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self.until

    def failed(self, kind: str, asked_seconds: float) -> None:
        if not self.is_open:
            self.failures += 1
        self.kind = kind
        rest = min(LONGEST_REST_SECONDS, max(asked_seconds, FIRST_REST_SECONDS * 2 ** min(self.failures - 1, 10)))
        self.until = max(self.until, time.monotonic() + rest)

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


@dataclass
class _Tries:
    """The tries of one request.

    Attributes:
        most: tries that may be made.
        scale: of the pauses between them: `uniform(0, min(60, 2^k))` times this.
        pause: seconds to wait before the next one.
    """

    most: int
    scale: float
    made: int = 0
    pause: float = 0.0
    is_over: bool = False
    started: float = field(default_factory=time.monotonic)

    def failed(self, failure: CallFailed) -> None:
        """Note a failure: whether another try may come, and when."""
        asked = failure.retry_after or 0.0
        self.pause = max(asked, random.uniform(0, min(LONGEST_PAUSE_SECONDS, 2.0**self.made)) * self.scale)
        self.made += 1
        self.is_over = failure.kind not in RETRIED or self.made >= self.most or asked > LONGEST_PAUSE_SECONDS


class Gateway:
    """Answers requests: from the ledger, else from the endpoint, within limits and budgets.

    Args:
        ledger: reserves and records.
        profiles: the operator's.
        pause_seconds: scale of the back-off between tries: `uniform(0, min(60, 2^k))` times this.
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
            ClaimLost: another has taken the study over, or it is not active any more.
            NotFound: the study was deleted meanwhile.
            Unavailable: the database is away.
        """
        gate = asyncio.Semaphore(claim.spec.llm.concurrency if claim.spec.llm else 1)
        # To the end, whatever one of them meets: what the others were answered is paid, and must be recorded.
        found = await asyncio.gather(*(self._one(claim, request, gate) for request in requests), return_exceptions=True)
        for reply in found:
            if isinstance(reply, BaseException):
                raise reply
        return [reply for reply in found if isinstance(reply, LlmReply)]

    async def close(self) -> None:
        """Close the connections."""
        for profile in self._profiles.values():
            await profile.endpoint.close()

    async def _one(self, claim: Claim, request: LlmRequest, gate: asyncio.Semaphore) -> LlmReply:
        """One request, from leave to record; again where it failed in a way that may pass."""
        choice = claim.spec.llm
        name = None if choice is None else (choice.encoder if request.texts else choice.profile)
        known = self._profiles.get(name or "")
        if known is None:
            await self._ledger.note(claim.study, "llm.unavailable", f"there is no profile {name!r} (any more)")
            return request.failed("no_profile")
        tries, busy = _Tries(known.profile.max_retries + 1, self._pause), BUSY_SECONDS
        while True:
            async with self._turn(claim, known, gate):
                if known.breaker.is_open:
                    why = f"profile {name!r} rests ({known.breaker.kind})"
                    await self._ledger.note(claim.study, "llm.unavailable", why)
                    return request.failed(known.breaker.kind)
                leave = await self._ledger.reserve(claim.study, claim.token, request, known.profile)
                match leave:
                    case LlmReply():
                        return leave
                    case Refused():
                        return request.failed("budget")
                    case Superseded():
                        raise ClaimLost
                    case Busy():
                        pause, busy = busy, min(1.0, 2 * busy)
                    case _:
                        answered = await self._call(request, known, tries)
                        reply = await self._recorded(claim, request, known.profile, answered)
                        if reply.failure is None or tries.is_over:
                            return reply
                        pause = tries.pause
            await asyncio.sleep(pause)  # outside its turn: others may call meanwhile

    @asynccontextmanager
    async def _turn(self, claim: Claim, known: _Profile, gate: asyncio.Semaphore) -> AsyncIterator[None]:
        """Within the limits of the study, the project and the profile, taken in this order."""
        project = known.projects.setdefault(claim.project, asyncio.Semaphore(known.profile.project_concurrency))
        async with gate, project, known.gate:
            yield

    async def _call(self, request: LlmRequest, known: _Profile, tries: _Tries) -> Answered:
        """Try until it is answered or given up, or until a try may have to be paid: that one is recorded before the next."""
        while True:
            try:
                answered = await known.endpoint.call(request)
            except CallFailed as error:
                failure = error
            else:
                known.breaker.succeeded()
                return replace(answered, seconds=time.monotonic() - tries.started)
            tries.failed(failure)
            if not tries.is_over:
                log.info(
                    "llm.retry", profile=known.profile.name, role=request.role, kind=failure.kind, tries=tries.made
                )
            if tries.is_over or failure.prompt_tokens:
                break
            await asyncio.sleep(tries.pause)
            if known.breaker.is_open:
                tries.is_over = True
                break
        if tries.is_over and failure.kind in RESTED:
            known.breaker.failed(failure.kind, failure.retry_after or 0.0)
            log.warning("llm.rests", profile=known.profile.name, kind=failure.kind, failures=known.breaker.failures)
        return Answered(
            failure=failure.kind, detail=failure.detail, prompt_tokens=failure.prompt_tokens,
            completion_tokens=failure.completion_tokens, estimated=failure.estimated,
            seconds=time.monotonic() - tries.started,
        )  # fmt: skip

    async def _recorded(self, claim: Claim, request: LlmRequest, profile: LlmProfile, answered: Answered) -> LlmReply:
        """Record, through an outage if need be: what is paid is worth some minutes of trying."""
        deadline, pause = time.monotonic() + RECORD_SECONDS, 0.2
        while True:
            try:
                return await self._ledger.settle(claim.study, claim.token, request, profile, answered)
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, 5.0)


class NoGateway(Gateway):
    """The gateway of a dispatcher without profiles and ledger: every call fails with `no_profile`."""

    def __init__(self) -> None:
        self._profiles = {}

    async def answer(self, claim: Claim, requests: Sequence[LlmRequest]) -> list[LlmReply]:
        """Nothing is called."""
        return [request.failed("no_profile") for request in requests]
