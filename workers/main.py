"""The composition root of a worker process: settings → database → dispatcher → pool, and what watches over them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal

import structlog

from services.domain.errors import Invalid
from services.domain.suggester import Spec
from services.ledger import Ledger
from services.profiles import LlmProfile, read_profiles
from services.store.engine import Database
from services.suggesting import Suggesting
from services.transactions import Transactions
from services.wakeups import LocalWakeups, RedisWakeups, Wakeups

from .dispatcher import Dispatcher
from .llm.gateway import Gateway
from .pools.pool import Pool
from .pools.runner import REGISTRY
from .watch import Watch

log = structlog.get_logger("worker")

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a worker process can be told.

    Attributes:
        database: `sqlite:///path` or `postgresql://user@host/name`; its schema must be current.
        redis: wake-ups from the servers; without it the worker looks once a second.
        pool: where suggestions are computed.
        ray_address: a cluster to join; with pool `ray` one is started here without it.
        processes: at one time; by default one a core, or as many as the cluster has.
        memory_limit_mib: at which a process is ended.
        metrics_host, metrics_port: where /metrics and /healthz are served; port 0 takes a free one, -1 serves none.
    """

    database: str
    redis: str | None = None
    pool: Literal["local", "ray"] = "ray"
    ray_address: str | None = None
    processes: int | None = None
    memory_limit_mib: int = 4096
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9464


def build_pool(
    kind: str,
    *,
    processes: int | None = None,
    memory_limit_mib: int = 4096,
    ray_address: str | None = None,
    source: str = REGISTRY,
) -> Pool:
    """A pool that has not started anything yet.

    Args:
        kind: local or ray.
        source: where runners find the suggesters, `module:function`.
    """
    if kind == "ray":
        from .pools.ray_pool import RayPool

        return RayPool(ray_address, places=processes, memory_bytes=memory_limit_mib * MIB, source=source)
    from .pools.local_pool import LocalPool

    return LocalPool(processes, memory_bytes=memory_limit_mib * MIB, source=source)


def build_dispatcher(
    suggesting: Suggesting,
    wakeups: Wakeups,
    ledger: Ledger,
    profiles: Mapping[str, LlmProfile],
    *,
    pool: str,
    processes: int | None = None,
    memory_limit_mib: int = 4096,
    ray_address: str | None = None,
    specs: Mapping[str, Spec] | None = None,
    source: str = REGISTRY,
) -> Dispatcher:
    """A dispatcher with its pool; `await start()` and `await close()` it. Nothing heavy is imported before a job needs it.

    Args:
        ledger, profiles: for language model calls.
        pool: local or ray.
        specs: the catalogue; every suggester of the registry if absent.
    """
    if specs is None:
        from .suggesters.registry import specs as registered

        specs = registered()
    made = build_pool(
        pool, processes=processes, memory_limit_mib=memory_limit_mib, ray_address=ray_address, source=source
    )
    return Dispatcher(suggesting, wakeups, made, specs, gateway=Gateway(ledger, profiles))


async def run(settings: Settings, ready: Callable[[str], None] | None = None) -> None:
    """Work until SIGINT or SIGTERM.

    Args:
        ready: called once with the address of /metrics, empty without it.

    Raises:
        Invalid: the database's schema is not current, or its address does not parse.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await asyncio.to_thread(_check_schema, settings.database)
    wakeups: Wakeups = RedisWakeups(settings.redis) if settings.redis else LocalWakeups()
    async with AsyncExitStack() as stack:
        transactions = Transactions(Database(settings.database), wakeups)
        stack.push_async_callback(transactions.close)
        await wakeups.start()
        stack.push_async_callback(wakeups.close)
        dispatcher = build_dispatcher(
            Suggesting(transactions),
            wakeups,
            Ledger(transactions),
            read_profiles(os.environ),
            pool=settings.pool,
            processes=settings.processes,
            memory_limit_mib=settings.memory_limit_mib,
            ray_address=settings.ray_address,
        )
        await dispatcher.start()
        stack.push_async_callback(dispatcher.close)
        watch = Watch(dispatcher.is_alive, settings.metrics_host, settings.metrics_port)
        url = await watch.start()
        stack.push_async_callback(watch.close)
        log.info("worker.started", owner=dispatcher.owner, pool=settings.pool, metrics=url)
        if ready is not None:
            ready(url)
        await stop.wait()
        log.info("worker.stopping", owner=dispatcher.owner)


def _check_schema(database: str) -> None:
    from migrations.upgrade import is_current

    if not is_current(database):
        raise Invalid("the database's schema is not current; run `asktell migrate` first")
