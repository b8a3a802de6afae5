"""Rates: how many requests a project may make, counted in this process or in Redis for all of them."""

from __future__ import annotations

import time
from typing import Protocol

import structlog

from .caller import Caller
from .domain.errors import Exhausted

log = structlog.get_logger("limits")


class Limits(Protocol):
    """Says no to too many requests."""

    async def check(self, caller: Caller) -> None:
        """Count one request.

        Raises:
            Exhausted: with the seconds after which the next one is welcome.
        """
        ...


class Unlimited:
    """No limit."""

    async def check(self, caller: Caller) -> None:
        """Always fine."""


class LocalLimits:
    """A bucket for each project that refills steadily (GCRA), in this process.

    Args:
        per_second: requests that may come on average.
        burst: requests that may come at once.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval = 1.0 / per_second
        self._slack = burst * self._interval
        self._full_at: dict[str, float] = {}

    async def check(self, caller: Caller) -> None:
        """Count one request."""
        now = time.monotonic()
        full_at = max(self._full_at.get(caller.project, now), now) + self._interval
        if full_at - now > self._slack:
            raise _too_many(full_at - now - self._slack)
        self._full_at[caller.project] = full_at


class RedisLimits:
    """The same for all processes together, by seconds: a counter in Redis for each project and second.

    Args:
        url: of Redis.
        per_second: requests that may come in one second.
    """

    def __init__(self, url: str, per_second: float, burst: int) -> None:
        from redis.asyncio import Redis

        self._redis = Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)
        self._window = max(1, round(burst / per_second))
        self._most = max(burst, int(per_second * self._window))
        self._local = LocalLimits(per_second, burst)

    async def check(self, caller: Caller) -> None:
        """Count one request; while Redis is away, this process counts alone."""
        now = time.time()
        window = int(now // self._window)
        name = f"asktell:rate:{caller.project}:{window}"
        try:
            pipe = self._redis.pipeline(transaction=False)
            pipe.incr(name)
            pipe.expire(name, 2 * self._window)
            count = int((await pipe.execute())[0])
        except Exception as error:  # whatever is wrong with Redis, requests go on
            log.warning("redis.away", error=type(error).__name__)
            await self._local.check(caller)
            return
        if count > self._most:
            raise _too_many((window + 1) * self._window - now)


def _too_many(seconds: float) -> Exhausted:
    return Exhausted("too many requests for this project; wait a moment", retry_after=max(0.001, seconds))
