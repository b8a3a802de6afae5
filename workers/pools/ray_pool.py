"""A pool of Ray actors: suggesters on every node of a cluster. Ray is imported when the first job comes."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import structlog

from .pool import ERRORS, Answer, Job, RunnerLost, SuggesterHung, SuggesterOutOfMemory
from .ray_start import connected
from .runner import REGISTRY
from .schedule import Patience, Schedule

log = structlog.get_logger("pool.ray")

GIB = 2**30
START_SECONDS = 120.0
KILL_SECONDS = 10.0
REFRESH_SECONDS = 10.0
IDLE_SECONDS = 300.0
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Needs:
    """What an actor holds of a node; jobs of equal needs share actors."""

    cpus: float
    gpus: float


@dataclass
class _Group:
    """The actors of equal needs, by place."""

    needs: _Needs
    schedule: Schedule
    actors: dict[int, Any] = field(default_factory=dict)
    forget: dict[int, set[str]] = field(default_factory=dict)


class RayPool:
    """Actors that compute, each one job at a time, on as many places as the cluster has cores (or GPUs).

    A study stays with its actor, where its model is warm. An actor or node that dies loses nothing but time: the job fails with
    `RunnerLost`, and the dispatcher runs it again from the saved state, on a node that lives. Actors that are idle for five minutes
    give their cores back.

    Args:
        address: of a cluster to join; without it one is started on this machine, on loopback, with a token of its own.
        places: jobs at one time; by default what the cluster can hold.
        memory_bytes: resident memory at which a computation is ended.
        source: where an actor finds the suggesters, `module:function`.
        start_seconds: how long an actor may take to start, which on a full cluster is the wait for a free core.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        places: int | None = None,
        memory_bytes: int = 4 * GIB,
        source: str = REGISTRY,
        start_seconds: float = START_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._address = address
        self._most = places
        self._memory_bytes = memory_bytes
        self._source = source
        self._start_seconds = start_seconds
        self._idle_seconds = idle_seconds
        self._groups: dict[_Needs, _Group] = {}
        self._ray: Any = None
        self._resources: dict[str, float] = {}
        self._refreshed = -math.inf
        self._retry_at = -math.inf
        self._connecting = asyncio.Lock()
        self._is_closed = False
        self._starting: asyncio.Task[None] | None = None
        # Every call that may block Ray's client runs in this one thread, which lives as long as the pool: the cluster that
        # it starts ends with it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="asktell-ray")

    @property
    def capacity(self) -> int:
        """Jobs that run at one time; one before the cluster is known."""
        return self._places(_Needs(1.0, 0.0))

    async def start(self) -> None:
        """Join or start the cluster in the background: it takes ten seconds that the first ask need not wait."""

        async def ahead() -> None:
            with contextlib.suppress(RunnerLost):  # it is said in the log, and the first job tries again
                await self._connect()
                await self._refresh()

        self._starting = asyncio.create_task(ahead())

    async def run(self, job: Job) -> Answer:
        """Compute a job in its study's actor."""
        await self._connect()
        await self._refresh()
        group = self._group(job)
        return await group.schedule.run(job)

    async def forget(self, study: str) -> None:
        """Let go of a study, wherever it is warm; the actors hear of it with their next job."""
        for group in self._groups.values():
            group.schedule.forget(study)
            for index in group.actors:
                group.forget.setdefault(index, set()).add(study)

    async def close(self) -> None:
        """Leave the cluster; the actors end with it, and so does a cluster that was started here."""
        self._is_closed = True
        for group in self._groups.values():
            group.schedule.shut()
            for index in list(group.actors):
                await self._end(group, index)
        for group in self._groups.values():
            await group.schedule.finished()
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        async with self._connecting:
            await self._disconnect()
        self._thread.shutdown(wait=False)

    async def _blocking(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    async def _connect(self) -> None:
        async with self._connecting:
            if self._is_closed:
                raise RunnerLost("the pool is closed")
            if self._ray is not None:
                return
            if time.monotonic() < self._retry_at:
                raise RunnerLost("the Ray cluster did not answer a moment ago")
            started = time.monotonic()
            try:
                self._ray = await self._blocking(connected, self._address, self._most)
            except Exception as error:  # Ray raises of every kind here; the dispatcher tries again
                self._retry_at = time.monotonic() + RETRY_SECONDS
                log.warning("ray.away", address=self._address, error=f"{type(error).__name__}: {error}"[:500])
                raise RunnerLost(f"the Ray cluster does not answer: {type(error).__name__}") from error
            log.info("ray.connected", address=self._address, seconds=round(time.monotonic() - started, 1))

    async def _disconnect(self) -> None:
        """Leave a cluster, or what is left of it; the next job joins again."""
        self._refreshed = -math.inf
        for group in self._groups.values():
            for index in list(group.actors):
                group.schedule.leave(index)
            group.actors.clear()
        if self._ray is not None:
            ray, self._ray = self._ray, None
            await self._blocking(ray.shutdown)

    async def _refresh(self, *, now: bool = False) -> None:
        """Look what the cluster has: nodes come and go."""
        if self._ray is None or (not now and time.monotonic() - self._refreshed < REFRESH_SECONDS):
            return
        self._refreshed = time.monotonic()
        try:
            self._resources = await self._blocking(self._ray.cluster_resources)
        except Exception as error:  # as above
            await self._disconnect()
            raise RunnerLost(f"the Ray cluster does not answer: {type(error).__name__}") from error
        for group in self._groups.values():
            group.schedule.resize(self._places(group.needs))

    def _places(self, needs: _Needs) -> int:
        cpus = self._resources.get("CPU", 0.0) / needs.cpus if needs.cpus else math.inf
        gpus = self._resources.get("GPU", 0.0) / needs.gpus if needs.gpus else math.inf
        places = min(cpus, gpus)
        fitting = 1 if math.isinf(places) else max(1, int(places))
        return fitting if self._most is None else min(self._most, fitting)

    def _group(self, job: Job) -> _Group:
        resources = job.resources
        # Every method also runs without a GPU: it is only waited for where there is one.
        gpus = resources.gpus if self._resources.get("GPU", 0.0) >= resources.gpus else 0.0
        needs = _Needs(resources.cpus, gpus)
        group = self._groups.get(needs)
        if group is None:

            async def compute(index: int, job: Job) -> Answer:
                return await self._compute(self._groups[needs], index, job)

            def retire(index: int) -> None:
                actor = self._groups[needs].actors.pop(index, None)
                if actor is not None:
                    self._thread.submit(self._ray.kill, actor)

            patience = Patience(idle=self._idle_seconds)
            schedule = Schedule(compute, retire, self._places(needs), patience=patience)
            group = self._groups[needs] = _Group(needs, schedule)
        return group

    async def _compute(self, group: _Group, index: int, job: Job) -> Answer:
        """Run a job in a place's actor.

        Raises:
            PoolError: by kind; the actor is ended, unless the suggester only raised.
        """
        try:
            actor = group.actors.get(index) or await self._new_actor(group, index)
            forget = frozenset(group.forget.pop(index, ()))
            seconds = job.resources.timeout_seconds
            found = await self._answer(actor.run.remote(forget, job), seconds, f"{job.suggester} did not answer")
        except BaseException:
            await self._end(group, index)
            raise
        if isinstance(found, tuple):
            kind, message = found
            if kind != "raised":
                await self._end(group, index)
            raise ERRORS[kind](message)
        result: Answer = found
        return result

    async def _new_actor(self, group: _Group, index: int) -> Any:
        from .ray_actor import Actor

        options: dict[str, Any] = {
            "num_cpus": group.needs.cpus,
            "num_gpus": group.needs.gpus,
            # Restarted by us, not by Ray: a fresh actor knows nothing, and the dispatcher brings the history with the next try.
            "max_restarts": 0,
            "max_task_retries": 0,
            "scheduling_strategy": "SPREAD",
        }
        actor = self._ray.remote(**options)(Actor).remote(self._source, self._memory_bytes)
        group.actors[index] = actor
        group.forget.pop(index, None)
        try:
            pid = await self._answer(actor.ready.remote(), self._start_seconds, "no place for an actor")
        except SuggesterHung as error:
            raise RunnerLost(str(error)) from None
        log.info("actor.started", pid=pid, cpus=group.needs.cpus, gpus=group.needs.gpus, place=index)
        return actor

    async def _answer(self, reference: Any, seconds: float, hung: str) -> Any:
        """What a remote call answers, without holding up the loop.

        Raises:
            SuggesterHung: nothing within the time.
            SuggesterOutOfMemory: Ray ended it because the node ran out of memory.
            RunnerLost: the actor, its node or the cluster is gone.
        """
        from ray import exceptions

        future: Future[Any] = reference.future()
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise SuggesterHung(f"{hung} within {seconds:g} s") from None
        except exceptions.OutOfMemoryError as error:
            raise SuggesterOutOfMemory("the node ran out of memory") from error
        except exceptions.RayError as error:
            if not self._is_closed:  # else it was ended by us
                log.warning("actor.lost", error=f"{type(error).__name__}: {error}"[:500])
                await self._refresh(now=True)
            raise RunnerLost(f"{type(error).__name__}: the actor is gone") from error

    async def _end(self, group: _Group, index: int) -> None:
        """Kill an actor and forget what was warm in it."""
        actor = group.actors.pop(index, None)
        group.schedule.leave(index)
        if actor is not None:
            try:
                async with asyncio.timeout(KILL_SECONDS):
                    await self._blocking(self._ray.kill, actor)
            except Exception as error:  # it may be gone already, with its node or its cluster
                log.debug("actor.not_killed", error=type(error).__name__)
