"""The dispatcher: takes on studies that want suggestions, has them computed, and commits the answers.

It holds nothing that matters. What it is told by wake-ups it also finds by looking once a second; what it has claimed
another may claim when it is gone; what it commits too late is refused by the store's fencing token. So there may be any
number of dispatchers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from services.domain import blob as blobs
from services.domain.errors import AsktellError, NotFound, Unavailable
from services.domain.llm import LlmReply, LlmRequest
from services.domain.suggester import Blob, Spec, Suggestion
from services.suggesting import Claim, Suggesting
from services.wakeups import Wakeups

from .fallback import quasi_random
from .llm.gateway import ClaimLost, Gateway, NoGateway
from .pools.pool import Job, NeedsAnswers, Pool, PoolError, Result, RunnerLost, SuggesterRaised

log = structlog.get_logger("dispatcher")

POLL_SECONDS = 1.0
RENEW_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0
MOST_TRIES = 3
MOST_TALKS = 100
COMMIT_SECONDS = 180.0
MOST_KNOWN = 10_000
CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Trouble:
    """A study whose suggester broke: until `until` (loop time) it is not tried again."""

    count: int
    until: float
    kind: str


class Dispatcher:
    """Feeds a pool with studies that want suggestions.

    Args:
        suggesting: claims and commits.
        wakeups: `work` topics name studies.
        pool: computes; closed with the dispatcher.
        specs: the catalogue, for what a computation needs and for the quasi-random net.
        gateway: to language models; closed with the dispatcher.
        owner: names this dispatcher in claims; drawn if absent.
        poll_seconds: how often it looks for studies that no wake-up named.
        renew_seconds: how often it keeps the claim of a computation that runs.
        pause_seconds: after a first failure; doubles with each, up to a minute.
    """

    def __init__(
        self,
        suggesting: Suggesting,
        wakeups: Wakeups,
        pool: Pool,
        specs: Mapping[str, Spec],
        *,
        gateway: Gateway | None = None,
        owner: str | None = None,
        poll_seconds: float = POLL_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
        pause_seconds: float = 1.0,
    ) -> None:
        self.owner: Final = owner or f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._suggesting = suggesting
        self._wakeups = wakeups
        self._pool = pool
        self._specs = specs
        self._gateway = gateway or NoGateway()
        self._poll = poll_seconds
        self._renew = renew_seconds
        self._pause = pause_seconds
        self._queue: OrderedDict[str, None] = OrderedDict()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._talking: set[str] = set()
        self._known: OrderedDict[str, int] = OrderedDict()
        self._troubles: OrderedDict[str, _Trouble] = OrderedDict()
        self._loop: asyncio.Task[None] | None = None
        self._is_away = False
        self._is_closed = False

    async def start(self) -> None:
        """Begin to look for work; returns at once."""
        await self._pool.start()
        self._loop = asyncio.create_task(self._watch())

    async def is_alive(self) -> bool:
        """Whether it looks for work and reaches the database."""
        return self._loop is not None and not self._loop.done() and not self._is_away

    async def close(self) -> None:
        """Stop: claims are given back, the pool is ended."""
        self._is_closed = True
        tasks = [task for task in (self._loop, *self._running.values()) if task is not None]
        while tasks:  # cancelled again if need be: a library may swallow a cancellation that comes at the wrong moment
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            tasks = [task for task in tasks if not task.done()]
        await self._pool.close()
        await self._gateway.close()

    @property
    def serving(self) -> frozenset[str]:
        """The studies that are worked on now."""
        return frozenset(self._running)

    @property
    def _most(self) -> int:
        """Studies at one time: one runs in each place and one waits behind it, so that none idles between two claims."""
        return 2 * self._pool.capacity

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        async with self._wakeups.subscribe("work") as wakes:
            next_look, pause = 0.0, self._poll
            while True:
                if loop.time() >= next_look:
                    pause = self._poll if await self._look() else min(2 * pause, 10 * self._poll)
                    next_look = loop.time() + pause
                for _, study in await wakes.wait(max(0.0, next_look - loop.time())):
                    self._enqueue(study)
                self._fill()

    async def _look(self) -> bool:
        """Queue the studies that are due, whether or not a wake-up named them; False while the database is away."""
        try:
            due = await self._suggesting.due(limit=10 * self._most)
        except Unavailable as error:
            self._note_away(error)
            return False
        except Exception:  # this loop must outlive whatever a driver may raise
            log.exception("dispatcher.look_failed")
            return False
        if self._is_away:
            self._is_away = False
            log.info("database.back", owner=self.owner)
        for study in due:
            if study not in self._running:
                self._enqueue(study)
        self._fill()
        return True

    def _note_away(self, error: Unavailable) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("database.away", owner=self.owner, error=error.detail)

    def _enqueue(self, study: str) -> None:
        """First come, first served; a study that is served joins again at the end, so none can crowd out another."""
        if study in self._running:
            self._again.add(study)
        else:
            self._queue.setdefault(study)

    def _fill(self) -> None:
        # Who waits for a language model computes nothing: it takes no turn away from others.
        while self._queue and len(self._running) - len(self._talking) < self._most and not self._is_closed:
            study, _ = self._queue.popitem(last=False)
            task = self._running[study] = asyncio.create_task(self._serve(study))
            task.add_done_callback(lambda _, study=study: self._served(study))  # type: ignore[misc]

    def _served(self, study: str) -> None:
        del self._running[study]
        if study in self._again:
            self._again.discard(study)
            self._enqueue(study)
        self._fill()

    async def _serve(self, study: str) -> None:
        """One study, from claim to commit."""
        try:
            claim = await self._suggesting.claim(study, self.owner, self._known.get(study, 0))
            if claim is None:
                return
            await self._serve_claim(claim)
        except Unavailable as error:
            self._note_away(error)
        except Exception:  # one study's trouble must not end the others
            log.exception("dispatcher.failed", study=study)

    async def _serve_claim(self, claim: Claim) -> None:
        held = _Held(claim)
        try:
            async with self._kept(held):
                if self._is_resting(claim.study):
                    await self._stand_in(held)
                else:
                    await self._compute(held)
        except asyncio.CancelledError:
            await self._release(held)
            raise
        # After an error the claim stays until it runs out: giving it back would have the same error again at once.
        await self._release(held)

    async def _release(self, held: _Held) -> None:
        """Give the claim up if it was neither committed nor failed."""
        if held.is_open:
            held.is_open = False
            with contextlib.suppress(AsktellError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._suggesting.release(held.claim)

    @contextlib.asynccontextmanager
    async def _kept(self, held: _Held) -> AsyncIterator[None]:
        """Keep the claim while the block runs."""

        async def renew() -> None:
            while held.is_open:
                await asyncio.sleep(self._renew)
                with contextlib.suppress(AsktellError):  # the database is away: the token decides when it is back
                    await self._suggesting.renew(held.claim)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()

    async def _compute(self, held: _Held) -> None:
        claim = held.claim
        try:
            result = await self._run(held)
        except PoolError as error:
            await self._failed(held, error)
            return
        if result is None:
            return
        blob = None if result.blob is None else blobs.loads(result.blob)
        if await self._commit(held, result.suggestions, blob, result.seconds, result.updates):
            self._remember(claim.study, held.claim.seq)
            self._troubles.pop(claim.study, None)
            log.info(
                "study.suggested", study=claim.study, suggester=claim.suggester, count=len(result.suggestions),
                seq=held.claim.seq, seconds=round(result.seconds, 4),
            )  # fmt: skip

    async def _run(self, held: _Held) -> Result | None:
        """The pool's answer; None if nothing is wanted any more by the time it needs more history or has its replies.

        Raises:
            PoolError: the suggester broke, its runner was lost again and again, or it never stopped asking.
        """
        lost = talks = 0
        while True:
            try:
                answer = await self._pool.run(self._job(held))
            except RunnerLost as error:
                lost += 1
                if lost >= MOST_TRIES:
                    raise
                log.warning("runner.lost", study=held.claim.study, tries=lost, error=str(error))
            else:
                if isinstance(answer, Result):
                    return answer
                if isinstance(answer, NeedsAnswers):
                    ready = await self._ready(held)
                    if ready is not None:
                        return ready
                    talks += 1
                    if talks > MOST_TALKS:
                        raise SuggesterRaised(f"asked the language model {MOST_TALKS} times in a row")
                    if not await self._talk(held, answer.requests):
                        return None
                    continue
                log.debug("runner.needs_history", study=held.claim.study)
            if not await self._reclaim(held):
                return None

    async def _ready(self, held: _Held) -> Result | None:
        """What asks wait for and can have without a call, if that is more than is ready: they need not wait for the others' calls."""
        claim = held.claim
        for count in sorted({1, min(claim.waiting, claim.count - 1)}, reverse=True) if claim.waiting else ():
            if claim.ready < count < claim.count:
                answer = await self._pool.run(replace(self._job(held), count=count))
                if isinstance(answer, Result) and len(answer.suggestions) > claim.ready:
                    held.claim = replace(claim, count=len(answer.suggestions))
                    return answer
        return None

    async def _talk(self, held: _Held, requests: Sequence[LlmRequest]) -> bool:
        """Have the calls made, and the claim with their replies; False if nothing is wanted any more."""
        study = held.claim.study
        self._talking.add(study)
        self._fill()
        try:
            replies = await self._gateway.answer(held.claim, requests)
        except (ClaimLost, NotFound):
            await self._dropped(held.claim)
            return False
        finally:
            self._talking.discard(study)
        # All of this claim's: were only the latest kept, two slots whose calls fail in turn would ask for ever.
        held.failures += tuple(reply for reply in replies if reply.failure is not None)
        claim = await self._suggesting.claim(study, self.owner, held.claim.seq)
        if claim is None:
            return False
        held.claim = claim
        return True

    async def _reclaim(self, held: _Held) -> bool:
        """The same claim with the whole history and the saved state."""
        if held.claim.known_seq == 0:
            return True
        self._known.pop(held.claim.study, None)
        claim = await self._suggesting.claim(held.claim.study, self.owner, 0)
        if claim is None:
            return False
        held.claim = claim
        return True

    def _job(self, held: _Held) -> Job:
        claim = held.claim
        spec = self._specs.get(claim.suggester)
        if spec is None:
            raise PoolError(f"this worker has no suggester {claim.suggester!r}")
        return Job(
            study=claim.study,
            suggester=claim.suggester,
            spec=claim.spec.model_dump_json(exclude={"labels", "metadata"}),
            seed=claim.seed,
            known_seq=claim.known_seq,
            observations=claim.observations,
            seq=claim.seq,
            next_number=claim.next_number,
            count=claim.count,
            blob=None if claim.blob is None else blobs.dumps(claim.blob),
            resources=spec.resources,
            replies=claim.replies + held.failures,
            published=claim.published,
        )

    async def _commit(
        self,
        held: _Held,
        suggestions: Sequence[Suggestion],
        blob: Blob | None,
        seconds: float,
        updates: Sequence[tuple[int, bytes]] = (),
    ) -> bool:
        """Commit, through an outage if need be: what took a minute to compute is worth a minute of trying."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + COMMIT_SECONDS, 0.2
        while True:
            try:
                is_written = await self._suggesting.commit(
                    held.claim, suggestions, blob, seconds, may_end=self._may_end(held.claim), updates=updates
                )
                break
            except Unavailable as error:
                self._note_away(error)
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, 5.0)
        held.is_open = False
        if not is_written:
            await self._dropped(held.claim)
        return is_written

    def _may_end(self, claim: Claim) -> bool:
        """Whether fewer suggestions than wanted mean that there are no more."""
        spec = self._specs.get(claim.suggester)
        return claim.spec.space.is_finite or (spec is not None and spec.runs_out(claim.spec))

    async def _dropped(self, claim: Claim) -> None:
        """Another has taken over, or the study is gone or changed: what is warm here may be of no more use."""
        log.info("study.dropped", study=claim.study, token=claim.token)
        self._known.pop(claim.study, None)
        await self._pool.forget(claim.study)

    def _remember(self, study: str, seq: int) -> None:
        self._known[study] = seq
        self._known.move_to_end(study)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    async def _failed(self, held: _Held, error: PoolError) -> None:
        """The suggester broke: say so, go on with quasi-random points, and give it a rest."""
        study, suggester = held.claim.study, held.claim.suggester
        fallback = await self._fallback(held, f"{suggester} {_WORDS[error.kind]}")
        trouble = self._note_trouble(study, error.kind, has_net=fallback is not None)
        log.warning(
            "study.suggester_failed", study=study, suggester=suggester, kind=error.kind, error=str(error),
            failures=trouble.count, has_net=fallback is not None,
        )  # fmt: skip
        self._known.pop(study, None)
        held.is_open = False
        if not await self._suggesting.fail(held.claim, error.kind, str(error), fallback or ()):
            await self._dropped(held.claim)

    def _note_trouble(self, study: str, kind: str, *, has_net: bool) -> _Trouble:
        """Let a broken suggester rest, longer each time. Without a net the store makes the study wait instead."""
        before = self._troubles.pop(study, None)
        count = 1 if before is None else before.count + 1
        pause = min(LONGEST_PAUSE_SECONDS, self._pause * 2 ** min(count - 1, 10)) if has_net else 0.0
        trouble = self._troubles[study] = _Trouble(count, asyncio.get_running_loop().time() + pause, kind)
        while len(self._troubles) > MOST_KNOWN:
            self._troubles.popitem(last=False)
        return trouble

    def _is_resting(self, study: str) -> bool:
        trouble = self._troubles.get(study)
        return trouble is not None and asyncio.get_running_loop().time() < trouble.until

    async def _stand_in(self, held: _Held) -> None:
        """Quasi-random points at once while a broken suggester rests."""
        trouble = self._troubles[held.claim.study]
        why = f"{held.claim.suggester} {_WORDS[trouble.kind]} (failure {trouble.count}) and rests"
        fallback = await self._fallback(held, why)
        if fallback is not None:
            await self._commit(held, fallback, None, 0.0)
        elif held.claim.known_seq == 0:
            held.is_open = False
            await self._suggesting.fail(held.claim, trouble.kind, why)

    async def _fallback(self, held: _Held, why: str) -> tuple[Suggestion, ...] | None:
        """Quasi-random points that know the whole history; None where they cannot be had or are not wanted any more."""
        if not await self._reclaim(held):
            return None
        return await asyncio.to_thread(quasi_random, self._specs, held.claim, why)


@dataclass(slots=True)
class _Held:
    """A claim while it is worked on; replaced by a later one with the whole history where that is needed."""

    claim: Claim
    is_open: bool = True
    failures: tuple[LlmReply, ...] = ()


_WORDS = {
    "raised": "raised",
    "hung": "did not answer in its time",
    "memory": "used too much memory",
    "lost": "lost its process",
}
