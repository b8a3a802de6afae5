"""A study on the event loop: `Study` with `await`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import flows
from .async_trial import AsyncTrial
from .documents import numbers, outcome
from .errors import Invalid, NotFound, Unavailable
from .events import Event, EventReader
from .fields import StudyFields
from .flows import ConnectionBroke, Json, Wish, get, patch, post, study_path, trial_path
from .study import LEASE_SECONDS

if TYPE_CHECKING:
    from .async_client import AsyncClient


class AsyncStudy(StudyFields):
    """One optimisation problem of the service; the same as `Study`, with `await` and `async for`."""

    def __init__(self, client: AsyncClient, data: Json) -> None:
        self._client = client
        self.data = data

    # ---- ask and tell

    async def ask(
        self,
        count: int = 1,
        *,
        wait_seconds: float = 30.0,
        fresh: bool = True,
        lease_seconds: float = 3600.0,
        worker: str | None = None,
        resume: bool = False,
        timeout: float | None = None,
    ) -> list[AsyncTrial]:
        """Take trials to evaluate; their leases are kept while they are referred to and not ended.

        Args:
            wait_seconds: 0 to 600; where a suggestion takes longer, a quasi-random trial comes instead, and in spaces
                that have none (text) the ask goes on as an operation, which is followed.
            fresh: wait for suggestions that have seen every outcome told before.
            worker: who evaluates; the client's own name if absent.
            resume: take up the running trials of this worker, if there are any.
            timeout: seconds to follow an operation; None: to its end.

        Raises:
            NotActive: the study is paused or completed, or a limit is reached.
            Unavailable: the service was away, or the operation was not done in time.
        """
        name = self._client.worker if worker is None else worker
        wish = Wish(name, count, wait_seconds, lease_seconds, fresh, resume, timeout)
        found = await self._client._run(flows.ask(self._client._retrying, self._ref, wish))
        return [self._hold(data, lease_seconds) for data in found]

    async def tell(self, number: int, metrics: Mapping[str, float] | None = None, **rest: Any) -> AsyncTrial:
        """Tell the outcome of a trial by its number; as `Trial.tell`.

        Raises:
            Invalid: a metric is missing or no number.
            NotFinite: one is NaN or infinite; nothing was sent.
            NotFound: no such trial.
            Conflict: another outcome was told before.
        """
        names = ("std", "feedback", "examples", "cost", "elapsed_seconds", "residual", "fingerprint")
        wanted = {name: rest.pop(name, None) for name in names}
        document = outcome(metrics, rest, state=rest.pop("state", "completed"), **wanted)
        return self._trial(await self._client._json(post(trial_path(self._ref, number, ":tell"), document)))

    async def tell_many(self, outcomes: Sequence[Mapping[str, Any]], *, brief: bool = False) -> list[Json]:
        """Tell many outcomes in one call; each is judged on its own.

        Args:
            outcomes: `{"number": 3, "metrics": {…}, …}` each.
            brief: leave the trials out of the answer, which cost most where thousands are told.

        Returns:
            `{"number", "status", "trial" or "error"}` each, in the same order.
        """
        document = {"outcomes": [dict(item) for item in outcomes], "brief": brief}
        return list((await self._client._json(post(study_path(self._ref, "/trials:tell"), document)))["results"])

    async def enqueue(
        self,
        parameters: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> AsyncTrial:
        """Have a point of your own tried next.

        Raises:
            Invalid: it is not in the space.
            NotActive: there is no room for it.
        """
        return await self._create({"parameters": dict(parameters), "labels": labels, "metadata": metadata})

    async def import_trial(
        self,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        *,
        state: str = "completed",
        std: Mapping[str, float] | None = None,
        feedback: str | None = None,
        elapsed_seconds: float | None = None,
        cost: float | None = None,
        residual: Sequence[float] | None = None,
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> AsyncTrial:
        """Bring a trial that was evaluated elsewhere."""
        told = {"metrics": numbers(metrics or {}), "state": state, "std": std, "feedback": feedback}
        rest: Json = {"elapsed_seconds": elapsed_seconds, "cost": cost, "residual": residual}
        rest |= {"labels": labels, "metadata": metadata}
        return await self._create({"parameters": dict(parameters)} | told | rest)

    async def import_trials(self, trials: Sequence[Mapping[str, Any]]) -> list[AsyncTrial]:
        """Bring many trials in one call, all or none.

        Args:
            trials: `{"parameters": {…}}` each, for a point to try next; with `metrics`, `state` or what else
                `import_trial` takes, for one that was evaluated elsewhere.

        Raises:
            Invalid: one of them is not in the space, or lacks a metric; none is stored.
            NotActive: there is no room for all of them.
        """
        document = {"trials": [self._sent(trial, f"/trials/{place}") for place, trial in enumerate(trials)]}
        answer = await self._client._json(post(study_path(self._ref, "/trials"), document))
        return [self._trial(data) for data in answer["trials"]]

    async def trials(
        self,
        count: int | None = None,
        *,
        wait_seconds: float = 30.0,
        fresh: bool = True,
        lease_seconds: float = LEASE_SECONDS,
        worker: str | None = None,
    ) -> AsyncIterator[AsyncTrial]:
        """Take trials one after another, at most `count`, until the study hands out no more.

        Example:
            async for trial in study.trials(50):
                async with trial:
                    await trial.tell(loss=await evaluate(trial.parameters))
        """
        taken = 0
        while count is None or taken < count:
            trial = await self._next(
                Wish(worker or self._client.worker, 1, wait_seconds, lease_seconds, fresh), own_running=lambda: 0
            )
            if trial is None:
                return
            taken += 1
            yield trial
            del trial

    async def optimize(
        self,
        function: Callable[..., Any],
        trials: int | None = None,
        *,
        parallel: int = 1,
        progress: bool = True,
        catch: tuple[type[Exception], ...] = (Exception,),
        wait_seconds: float = 30.0,
        fresh: bool = True,
        lease_seconds: float = LEASE_SECONDS,
        worker: str | None = None,
    ) -> AsyncStudy:
        """Evaluate trials until `trials` are done or the study hands out no more.

        Args:
            function: as for `Study.optimize`, a coroutine function; a plain one runs in a thread.
            parallel: tasks that evaluate at one time.
            progress: show a bar and the best value on standard error.
            catch: exceptions that fail their trial only; others end the loop.

        Returns:
            The study, as it stands afterwards.

        Raises:
            CancelledError: running trials were handed back.
        """
        from .async_optimizing import AsyncLoop

        wish = Wish(worker or self._client.worker, 1, wait_seconds, lease_seconds, fresh)
        await AsyncLoop(self, function, trials, parallel, catch, wish).run(progress)
        return await self.refresh()

    # ---- look

    async def diagnose(self) -> Json:
        """How well the model predicts, what it believes matters, and what limits progress (`:diagnose`)."""
        found: Json = await self._client._json(get(study_path(self._ref, ":diagnose")))
        return found

    async def updates(self, since: int = 0, limit: int = 1000) -> Json:
        """How a vector that travels as seeds moves on from a version of theta. As `Study.updates`."""
        query = {"from": since, "limit": limit}
        found: Json = await self._client._json(get(study_path(self._ref, "/updates"), query, patience=flows.PATIENCE))
        return found

    @property
    def best(self) -> Awaitable[AsyncTrial]:
        """The best feasible trial; where none is feasible yet, the one that breaks the constraints least.

        To be awaited: `(await study.best).parameters`.

        Raises:
            NotFound: no trial is completed yet.
            Invalid: the study has several objectives; see `pareto`.
        """
        return self._best()

    @property
    def pareto(self) -> Awaitable[list[AsyncTrial]]:
        """The trials that no other beats in every objective; to be awaited."""
        return self._pareto()

    async def trial(self, number: int) -> AsyncTrial:
        """Read one trial."""
        return self._trial(await self._client._json(get(trial_path(self._ref, number))))

    async def list_trials(
        self, *, state: str | None = None, worker: str | None = None, order_by: str = "number", page_size: int = 1000
    ) -> AsyncIterator[AsyncTrial]:
        """Every trial, read page by page.

        Args:
            order_by: `number`, `-number`, `created_at` or `-created_at`.
        """
        query = {"state": state, "worker": worker, "order_by": order_by, "page_size": page_size}
        async for data in self._client._list(study_path(self._ref, "/trials"), query, "trials"):
            yield self._trial(data)

    async def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """What happens, as it happens, until the study is deleted; broken connections are taken up where they broke.

        Args:
            after: the last `seq` already seen; None: from the first on.

        Raises:
            Unavailable: the service stays away.
        """
        retrying, failures = self._client._retrying, 0
        while True:
            with contextlib.suppress(ConnectionBroke, Unavailable):
                headers = {} if after is None else {"Last-Event-ID": str(after)}
                request = flows.Request("GET", study_path(self.id, "/events"), headers=headers)
                try:
                    async with self._client._wire.stream(request) as chunks:
                        reader = EventReader()
                        async for chunk in chunks:
                            for event in reader.feed(chunk):
                                after, failures = event.seq, 0
                                yield event
                except NotFound:
                    if after is None:
                        raise
                    return
            failures += 1
            if failures > retrying.retries:
                raise Unavailable(f"the events of study {self.name!r} broke off {failures} times in a row")
            await asyncio.sleep(retrying._pause(failures - 1, None))

    async def export(self, format: str = "json") -> bytes:
        """Every trial as `json`, `csv` or `parquet`."""
        async with self._client._stream(get(study_path(self._ref, "/export"), {"format": format})) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def export_to(self, path: str | Path, format: str | None = None) -> Path:
        """Write every trial to a file; the format is the name's suffix, if absent."""
        target = Path(path)
        request = get(study_path(self._ref, "/export"), {"format": format or target.suffix.lstrip(".") or "json"})
        async with self._client._stream(request) as chunks:
            with await asyncio.to_thread(target.open, "wb") as file:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
        return target

    # ---- change

    async def refresh(self) -> AsyncStudy:
        """Read it anew."""
        self.data = await self._client._json(get(study_path(self._ref)))
        return self

    async def patch(self, *, if_unchanged: bool = False, **changes: Any) -> AsyncStudy:
        """Change `suggester`, `limits`, `early_stopping`, `llm`, `labels` or `metadata` by a JSON merge patch: None removes.

        Args:
            if_unchanged: only if nobody changed the study since it was read.

        Raises:
            Invalid: a field that does not exist or may not change.
            Stale: `if_unchanged`, and it has changed.
        """
        etag = self.data["etag"] if if_unchanged else None
        self.data = await self._client._json(patch(study_path(self._ref), changes, flows.MERGE_PATCH, etag))
        return self

    async def pause(self) -> AsyncStudy:
        """Hand out no more trials until resumed."""
        return await self._turn(":pause")

    async def resume(self) -> AsyncStudy:
        """Hand out trials again."""
        return await self._turn(":resume")

    async def complete(self) -> AsyncStudy:
        """End it; running trials may still be told."""
        return await self._turn(":complete")

    async def delete(self) -> None:
        """Delete it with its trials."""
        await self._client._run(flows.delete(self._client._retrying, study_path(self._ref)))

    # ---- inside

    async def _best(self) -> AsyncTrial:
        if len(self.objectives) > 1:
            raise Invalid(f"study {self.name!r} has several objectives: `pareto` has its best trials")
        found = await self._pareto()
        if not found:
            raise NotFound(f"no trial of study {self.name!r} is completed yet")
        return found[0]

    async def _pareto(self) -> list[AsyncTrial]:
        answer = await self._client._json(get(study_path(self._ref, "/best")))
        return [self._trial(data) for data in answer["trials"]]

    @property
    def _ref(self) -> str:
        # The id, not the name: a study deleted and made anew under the same name is another one.
        return self.id

    async def _turn(self, verb: str) -> AsyncStudy:
        self.data = await self._client._json(post(study_path(self._ref, verb)))
        return self

    async def _create(self, document: Json) -> AsyncTrial:
        return self._trial(await self._client._json(post(study_path(self._ref, "/trials"), self._sent(document))))

    def _trial(self, data: Json) -> AsyncTrial:
        return AsyncTrial(self._client, data)

    def _hold(self, data: Json, lease_seconds: float) -> AsyncTrial:
        trial = self._trial(data)
        self._client._leases.add(trial, lease_seconds)
        return trial

    async def _next(self, wish: Wish, own_running: Callable[[], int]) -> AsyncTrial | None:
        flow = flows.next_trial(self._client._retrying, self._ref, wish, own_running)
        data = await self._client._run(flow)
        return None if data is None else self._hold(data, wish.lease_seconds)
