"""One study's turn: from the claim over the computation, and its language model calls, to the commit."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from services.domain import blob as blobs
from services.domain.errors import AsktellError, NotFound, Unavailable
from services.domain.llm import LlmRequest
from services.domain.suggester import Blob, Spec, Suggestion
from services.suggesting import Claim, Suggesting

from .fallback import quasi_random
from .held import Held
from .llm.gateway import ClaimLost, Gateway
from .pools.pool import NeedsAnswers, Pool, PoolError, Result, RunnerLost, SuggesterRaised
from .troubles import WORDS, Trouble, Troubles

log = structlog.get_logger("dispatcher")

MOST_TRIES = 3
MOST_TALKS = 100
COMMIT_SECONDS = 180.0
RELEASE_SECONDS = 5.0
MOST_KNOWN = 10_000


class Serving:
    """What a dispatcher does for a study whose turn it is.

    Args:
        suggesting: claims and commits.
        pool: computes.
        specs: the catalogue, for what a computation needs and for the quasi-random net.
        gateway: to language models.
        owner: names the dispatcher in claims.
        renew_seconds: how often the claim of a computation that runs is kept.
        pause_seconds: after a first failure; doubles with each, up to a minute.
        on_away: told when the database is away.
        on_talk: told when a study begins to wait for a language model.

    Attributes:
        talking: the studies that wait for a language model.
    """

    def __init__(
        self,
        suggesting: Suggesting,
        pool: Pool,
        specs: Mapping[str, Spec],
        gateway: Gateway,
        owner: str,
        *,
        renew_seconds: float,
        pause_seconds: float,
        on_away: Callable[[Unavailable], None],
        on_talk: Callable[[], None],
    ) -> None:
        self.talking: set[str] = set()
        self._suggesting = suggesting
        self._pool = pool
        self._specs = specs
        self._gateway = gateway
        self._owner = owner
        self._renew = renew_seconds
        self._troubles = Troubles(pause_seconds)
        self._on_away = on_away
        self._on_talk = on_talk
        self._known: OrderedDict[str, int] = OrderedDict()

    async def serve(self, study: str) -> None:
        """One study, from claim to commit; nothing where nothing is wanted or another computes for it.

        Raises:
            Unavailable: the database is away.
        """
        claim = await self._suggesting.claim(study, self._owner, self._known.get(study, 0))
        if claim is not None:
            await self._serve_claim(claim)

    async def _serve_claim(self, claim: Claim) -> None:
        held = Held(claim)
        try:
            async with self._kept(held):
                trouble = self._troubles.resting(claim.study)
                if trouble is None:
                    await self._compute(held)
                else:
                    await self._stand_in(held, trouble)
        except asyncio.CancelledError:
            await self._release(held)
            raise
        # After an error the claim stays until it runs out: giving it back would have the same error again at once.
        await self._release(held)

    async def _release(self, held: Held) -> None:
        """Give the claim up if it was neither committed nor failed."""
        if held.is_open:
            held.is_open = False
            with contextlib.suppress(AsktellError, TimeoutError):
                async with asyncio.timeout(RELEASE_SECONDS):
                    await self._suggesting.release(held.claim)

    @contextlib.asynccontextmanager
    async def _kept(self, held: Held) -> AsyncIterator[None]:
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

    async def _compute(self, held: Held) -> None:
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
            self._troubles.forget(claim.study)
            log.info(
                "study.suggested", study=claim.study, suggester=claim.suggester, count=len(result.suggestions),
                seq=held.claim.seq, seconds=round(result.seconds, 4),
            )  # fmt: skip

    async def _run(self, held: Held) -> Result | None:
        """The pool's answer; None if nothing is wanted any more by the time it needs more history or has its replies.

        Raises:
            PoolError: the suggester broke, its runner was lost again and again, or it never stopped asking.
        """
        lost = talks = 0
        while True:
            try:
                answer = await self._pool.run(held.job(self._specs.get(held.claim.suggester)))
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

    async def _ready(self, held: Held) -> Result | None:
        """What asks wait for and can have without a call, if that is more than is ready: they need not wait for the others' calls."""
        claim = held.claim
        for count in sorted({1, min(claim.waiting, claim.count - 1)}, reverse=True) if claim.waiting else ():
            if claim.ready < count < claim.count:
                answer = await self._pool.run(replace(held.job(self._specs.get(held.claim.suggester)), count=count))
                if isinstance(answer, Result) and len(answer.suggestions) > claim.ready:
                    held.claim = replace(claim, count=len(answer.suggestions))
                    return answer
        return None

    async def _talk(self, held: Held, requests: Sequence[LlmRequest]) -> bool:
        """Have the calls made, and the claim with their replies; False if nothing is wanted any more."""
        study = held.claim.study
        self.talking.add(study)
        self._on_talk()
        try:
            replies = await self._gateway.answer(held.claim, requests)
        except (ClaimLost, NotFound):
            await self._dropped(held.claim)
            return False
        finally:
            self.talking.discard(study)
        # All of this claim's: were only the latest kept, two slots whose calls fail in turn would ask for ever.
        held.failures += tuple(reply for reply in replies if reply.failure is not None)
        claim = await self._suggesting.claim(study, self._owner, held.claim.seq)
        if claim is None:
            return False
        held.claim = claim
        return True

    async def _reclaim(self, held: Held) -> bool:
        """The same claim with the whole history and the saved state."""
        if held.claim.known_seq == 0:
            return True
        self._known.pop(held.claim.study, None)
        claim = await self._suggesting.claim(held.claim.study, self._owner, 0)
        if claim is None:
            return False
        held.claim = claim
        return True

    async def _commit(
        self,
        held: Held,
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
                self._on_away(error)
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

    async def _failed(self, held: Held, error: PoolError) -> None:
        """The suggester broke: say so, go on with quasi-random points, and give it a rest."""
        study, suggester = held.claim.study, held.claim.suggester
        fallback = await self._fallback(held, f"{suggester} {WORDS[error.kind]}")
        trouble = self._troubles.note(study, error.kind, has_net=fallback is not None)
        log.warning(
            "study.suggester_failed", study=study, suggester=suggester, kind=error.kind, error=str(error),
            failures=trouble.count, has_net=fallback is not None,
        )  # fmt: skip
        self._known.pop(study, None)
        held.is_open = False
        if not await self._suggesting.fail(held.claim, error.kind, str(error), fallback or ()):
            await self._dropped(held.claim)

    async def _stand_in(self, held: Held, trouble: Trouble) -> None:
        """Quasi-random points at once while a broken suggester rests."""
        why = f"{held.claim.suggester} {WORDS[trouble.kind]} (failure {trouble.count}) and rests"
        fallback = await self._fallback(held, why)
        if fallback is not None:
            await self._commit(held, fallback, None, 0.0)
        elif held.claim.known_seq == 0:
            held.is_open = False
            await self._suggesting.fail(held.claim, trouble.kind, why)

    async def _fallback(self, held: Held, why: str) -> tuple[Suggestion, ...] | None:
        """Quasi-random points that know the whole history; None where they cannot be had or are not wanted any more."""
        if not await self._reclaim(held):
            return None
        return await asyncio.to_thread(quasi_random, self._specs, held.claim, why)
