"""One Evaluate stream: keeps a client supplied with trials and takes their outcomes.

Three tasks share one state. The *reader* takes what the client says, the *teller* tells all outcomes that have come since
it last did in one transaction, the *asker* asks for as many trials as are missing. Each works on what has gathered
meanwhile, so the faster the client, the larger the batches. A fourth extends the leases.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Annotated, Any, TypeVar

import structlog
from pydantic import Field

from asktell.v1 import trial_pb2
from services.caller import Caller, Role
from services.container import Services
from services.domain.document import Document
from services.domain.errors import AsktellError, Conflict, Exhausted, Invalid, NotActive, NotFound, Unavailable
from services.domain.study import StudyState
from services.domain.trial import MAX_BATCH, AskRequest, HeartbeatRequest, LeaseSeconds, TellMany, Trial, Worker
from services.leases import Leases

from .calls import check
from .filling import write
from .messages import read, take
from .pieces import pieces

log = structlog.get_logger("rpc")
T = TypeVar("T")
Send = Callable[[trial_pb2.EvaluateResponse], Awaitable[None]]

ASK_SECONDS = 30.0
RETRY_SECONDS = 1.0
LONGEST_SILENCE = 1200.0
MOST_AT_ONCE = 100
MOST_IN_MESSAGE = 1000
NOT_OPENING = frozenset({"study", "outcomes"})


class Releases:
    """Hands back trials whose stream is gone, after the call has ended; a server that stops waits for that."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.Task[Any]] = set()

    def expect(self) -> None:
        """The current task is a stream: what it holds is handed back when it ends."""
        stream = asyncio.current_task()
        if stream is not None:
            self._streams.add(stream)
            stream.add_done_callback(self._streams.discard)

    def release(self, caller: Caller, study: str, numbers: Iterable[int]) -> None:
        """Hand these trials back soon. What cannot be handed back now comes back when its lease runs out."""
        task = asyncio.create_task(self._release(caller, study, sorted(numbers)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _release(self, caller: Caller, study: str, numbers: list[int]) -> None:
        for start in range(0, len(numbers), MOST_AT_ONCE):
            calls = (self._leases.release(caller, study, n) for n in numbers[start : start + MOST_AT_ONCE])
            for error in await asyncio.gather(*calls, return_exceptions=True):
                if isinstance(error, Exception) and not isinstance(error, AsktellError):
                    log.error("release.broke", study=study, exc_info=error)

    async def finish(self) -> None:
        """Wait for the streams that are ending and for what they leave to be handed back."""
        while self._streams or self._tasks:
            await asyncio.wait([*self._streams, *self._tasks])


class Opening(Document):
    """What the first message says about the stream; checked as an ask would be."""

    worker: Worker = ""
    lease_seconds: LeaseSeconds = 3600.0
    fresh: bool = True
    resume: bool = False
    keep_on_disconnect: bool = False
    running: Annotated[int, Field(ge=0, le=MAX_BATCH)] = 1
    brief: bool = False


class Evaluation:
    """The state of one stream.

    Args:
        services: the use cases.
        caller: whose stream it is.
        releases: hands back what is left in the end.
        send: writes to the client; waits while the client is slow.
    """

    def __init__(self, services: Services, caller: Caller, releases: Releases, send: Send) -> None:
        self._services = services
        self._caller = caller
        self._releases = releases
        self._send = send
        self._study = ""
        self._opening = Opening()
        self._wanted = 0
        self._out: set[int] = set()
        self._outcomes: list[dict[str, Any]] = []
        self._is_done = self._has_closed = False
        self._changed, self._has_outcomes = asyncio.Event(), asyncio.Event()
        self._told, self._over = asyncio.Event(), asyncio.Event()
        self._sending = asyncio.Lock()

    async def run(self, requests: AsyncIterator[trial_pb2.EvaluateRequest]) -> None:
        """Serve the stream until the study is done and all is told, or the client closes it.

        Raises:
            Invalid: a message that makes no sense.
            NotFound: there is no such study.
        """
        self._caller.must_be(Role.WORKER)
        self._releases.expect()
        first = await anext(aiter(requests), None)
        if first is None:
            return
        await self._open(first)
        try:
            async with asyncio.TaskGroup() as group:
                work = (self._read_on(requests), self._tell_on(), self._ask_on(), self._beat())
                tasks = [group.create_task(item) for item in work]
                await self._over.wait()
                for task in tasks:
                    task.cancel()
        except ExceptionGroup as broken:
            raise broken.exceptions[0] from None
        finally:
            if self._out and not self._opening.keep_on_disconnect:
                self._releases.release(self._caller, self._study, self._out)

    async def _open(self, first: trial_pb2.EvaluateRequest) -> None:
        check(first)
        if not first.study:
            raise Invalid.at("/study", "is missing: the first message names the study")
        self._opening = read(first, Opening, NOT_OPENING)
        study = await self._services.studies.get(self._caller, first.study)
        self._study, self._wanted = study.id, self._opening.running
        self._gather(first)

    # ---- the reader

    async def _read_on(self, requests: AsyncIterator[trial_pb2.EvaluateRequest]) -> None:
        async for message in requests:
            check(message)
            await self._pace()
            named = [field.name for field, _ in message.ListFields() if field.name not in ("running", "outcomes")]
            if named:
                raise Invalid.at(f"/{named[0]}", "belongs into the first message of the stream")
            if message.HasField("running"):
                self._wanted = read(message, Opening, NOT_OPENING).running
                self._changed.set()
            self._gather(message)
            while len(self._outcomes) >= MAX_BATCH:
                self._told.clear()
                await self._told.wait()
        self._has_closed = True
        self._has_outcomes.set()

    async def _pace(self) -> None:
        """A message counts as a request; one too many waits here, and the client with it."""
        while True:
            try:
                return await self._services.limits.check(self._caller)
            except Exhausted as error:
                await asyncio.sleep(error.retry_after or RETRY_SECONDS)

    def _gather(self, message: trial_pb2.EvaluateRequest) -> None:
        self._outcomes.extend(take(outcome) for outcome in message.outcomes)
        if self._outcomes:
            self._has_outcomes.set()

    # ---- the teller

    async def _tell_on(self) -> None:
        while True:
            await self._has_outcomes.wait()
            self._has_outcomes.clear()
            while self._outcomes:
                batch, self._outcomes = self._outcomes[:MAX_BATCH], self._outcomes[MAX_BATCH:]
                await self._tell(TellMany.model_construct(outcomes=tuple(batch), brief=self._opening.brief))
            if self._has_closed or (self._is_done and not self._out):
                self._over.set()

    async def _tell(self, outcomes: TellMany) -> None:
        tells = self._services.tells
        reply = await _patiently(lambda: tells.tell_many(self._caller, self._study, outcomes))
        results = reply.value.results
        self._out.difference_update(r.number for r in results if r.status == 200)
        # Another outcome stands, or it was cancelled; or it is still ours, and its parameters are to be made anew (drift).
        await self._extend_all({r.number for r in results if r.status == 409} & self._out)
        self._changed.set()
        self._told.set()
        await self._write({"results": results})

    # ---- the asker

    async def _ask_on(self) -> None:
        is_first = True
        async with self._services.wakeups.subscribe(f"study:{self._study}") as wakes:
            while True:
                missing = self._wanted - len(self._out)
                if missing <= 0:
                    await self._changed.wait()
                    self._changed.clear()
                    continue
                try:
                    trials = await self._ask(missing, resume=is_first and self._opening.resume)
                except NotActive as error:
                    if await self._is_over():
                        return await self._finish(error.detail)
                    # A limit holds for now: a trial that is told or given up, here or elsewhere, may lift it.
                    await wakes.wait(RETRY_SECONDS)
                    continue
                is_first = False
                await self._hand_out(trials)

    async def _ask(self, count: int, *, resume: bool) -> tuple[Trial, ...]:
        wish = AskRequest(
            count=count,
            worker=self._opening.worker,
            wait_seconds=ASK_SECONDS,
            lease_seconds=self._opening.lease_seconds,
            fresh=self._opening.fresh,
            resume=resume,
        )
        reply = await _patiently(lambda: self._services.asks.ask(self._caller, self._study, wish))
        operation = reply.value.operation
        if operation is None:
            return reply.value.trials
        while not operation.done:
            operation = await self._services.operations.get(self._caller, operation.id, ASK_SECONDS)
        return operation.trials

    async def _hand_out(self, trials: tuple[Trial, ...]) -> None:
        self._out.update(trial.number for trial in trials)
        # The client begins with the first ones while the next are written.
        for start in range(0, len(trials), MOST_IN_MESSAGE):
            await self._write({"trials": trials[start : start + MOST_IN_MESSAGE]})

    async def _is_over(self) -> bool:
        study = await _patiently(lambda: self._services.studies.get(self._caller, self._study))
        return study.state is not StudyState.ACTIVE

    async def _finish(self, reason: str) -> None:
        self._is_done = True
        await self._write({"done": {"reason": reason}})
        self._has_outcomes.set()

    # ---- leases, and the way out

    async def _beat(self) -> None:
        """Extend the leases of what is out, well before they end."""
        lease = self._opening.lease_seconds
        while True:
            await asyncio.sleep(min(lease / 3, LONGEST_SILENCE))
            await self._extend_all(self._out)

    async def _extend_all(self, wanted: set[int]) -> None:
        numbers = sorted(wanted)
        for start in range(0, len(numbers), MOST_AT_ONCE):
            await asyncio.gather(*map(self._extend, numbers[start : start + MOST_AT_ONCE]))

    async def _extend(self, number: int) -> None:
        sign = HeartbeatRequest(lease_seconds=self._opening.lease_seconds)
        try:
            await self._services.leases.heartbeat(self._caller, self._study, number, sign)
        except (Conflict, NotFound):  # ended or taken away by somebody else: another may come in its place
            self._out.discard(number)
            self._changed.set()
            self._has_outcomes.set()  # it may have been the last one that a finished study waited for
        except Unavailable:
            log.warning("lease.not_extended", study=self._study, trial=number)

    async def _write(self, answer: dict[str, Any]) -> None:
        message = write(trial_pb2.EvaluateResponse, answer)
        async with self._sending:  # a stream takes one message at a time
            for part in pieces(message):
                await self._send(part)


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Try again while a part that is needed is away: a stream outlives a restart of the database."""
    while True:
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(RETRY_SECONDS)
