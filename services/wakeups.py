"""Wake-ups between those who change and those who wait: hints only, every waiter also looks by itself now and then.

Topics: `work` (payload: a study that may want suggestions) and `study:{id}` (something changed there).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

import structlog

log = structlog.get_logger("wakeups")
CHANNEL = "asktell:"
MAX_QUEUED = 1000


class Subscription:
    """Wake-ups for some topics, from entering the context on."""

    def __init__(self, hub: LocalWakeups, topics: Iterable[str]) -> None:
        self._hub = hub
        self._topics = tuple(topics)
        self._queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue(MAX_QUEUED)

    async def __aenter__(self) -> Self:
        for topic in self._topics:
            self._hub.subscriptions[topic].add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for topic in self._topics:
            self._hub.subscriptions[topic].discard(self)
            if not self._hub.subscriptions[topic]:
                del self._hub.subscriptions[topic]

    def put(self, topic: str, payload: str) -> None:
        """Queue a wake-up; when there are too many the rest is dropped, for the waiter will look at everything then."""
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait((topic, payload))

    async def wait(self, timeout: float) -> list[tuple[str, str]]:
        """The wake-ups that came, at least one unless `timeout` seconds pass first."""
        try:
            async with asyncio.timeout(timeout):  # not wait_for: in Python 3.11 it can swallow a cancellation
                found = [await self._queue.get()]
        except TimeoutError:
            return []
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        return found


class Wakeups(Protocol):
    """What carries wake-ups: in this process, or between processes through Redis."""

    async def start(self) -> None:
        """Begin to listen."""
        ...

    async def publish(self, topic: str, payload: str = "") -> None:
        """Wake all who wait for a topic. Never raises: a lost hint costs a poll."""
        ...

    def subscribe(self, *topics: str) -> Subscription:
        """Wait for topics: `async with wakeups.subscribe("work") as wakes: await wakes.wait(1.0)`."""
        ...

    async def is_alive(self) -> bool:
        """Whether hints get through."""
        ...

    async def close(self) -> None:
        """Stop listening."""
        ...


class LocalWakeups:
    """Wake-ups inside one process."""

    def __init__(self) -> None:
        self.subscriptions: defaultdict[str, set[Subscription]] = defaultdict(set)

    async def start(self) -> None:
        """Nothing to begin."""

    async def publish(self, topic: str, payload: str = "") -> None:
        """Wake all who wait for a topic in this process."""
        self.deliver(topic, payload)

    def deliver(self, topic: str, payload: str) -> None:
        """Hand a wake-up to the subscriptions here."""
        for subscription in tuple(self.subscriptions.get(topic, ())):
            subscription.put(topic, payload)

    def subscribe(self, *topics: str) -> Subscription:
        """Wait for topics."""
        return Subscription(self, topics)

    async def is_alive(self) -> bool:
        """Always."""
        return True

    async def close(self) -> None:
        """Nothing to stop."""


class RedisWakeups(LocalWakeups):
    """Wake-ups between processes: Redis pub/sub, delivered here by one listener that reconnects.

    Args:
        url: `redis://…`; may hold a password, so it is never logged.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        from redis.asyncio import Redis

        self._redis = Redis.from_url(url, socket_connect_timeout=2, socket_timeout=None, health_check_interval=15)
        self._listener: asyncio.Task[None] | None = None
        self._outbox: asyncio.Queue[tuple[str, str]] = asyncio.Queue(10_000)
        self._sender: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen and to send."""
        self._listener = asyncio.create_task(self._listen())
        self._sender = asyncio.create_task(self._send())

    async def publish(self, topic: str, payload: str = "") -> None:
        """Wake all who wait for a topic: those here at once, others through Redis."""
        self.deliver(topic, payload)
        with contextlib.suppress(asyncio.QueueFull):
            self._outbox.put_nowait((topic, payload))

    async def _send(self) -> None:
        while True:
            batch = {await self._outbox.get(): None}
            while not self._outbox.empty() and len(batch) < 100:
                batch[self._outbox.get_nowait()] = None
            try:
                pipe = self._redis.pipeline(transaction=False)
                for topic, payload in batch:
                    pipe.publish(CHANNEL + topic, payload)
                await pipe.execute()
            except Exception as error:  # whatever is wrong with Redis, hints may be lost and the server goes on
                log.warning("redis.away", error=type(error).__name__)
                await asyncio.sleep(0.5)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.psubscribe(CHANNEL + "*")
                    async for message in pubsub.listen():
                        topic = message["channel"].decode().removeprefix(CHANNEL)
                        self.deliver(topic, message["data"].decode())
            except asyncio.CancelledError:
                raise
            except Exception as error:  # as above: reconnect until it is back
                log.warning("redis.away", error=type(error).__name__)
            await asyncio.sleep(0.5)

    async def is_alive(self) -> bool:
        """Whether Redis answers."""
        try:
            async with asyncio.timeout(2):
                return bool(await self._redis.ping())
        except Exception:  # any failure means the same here: it does not answer
            return False

    async def close(self) -> None:
        """Stop listening and disconnect."""
        for task in (self._listener, self._sender):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        with contextlib.suppress(Exception):
            await self._redis.aclose()
