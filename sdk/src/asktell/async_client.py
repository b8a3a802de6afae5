"""The door to a service, on the event loop."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, Unpack

from . import flows
from .async_study import AsyncStudy
from .async_trial import AsyncTrial
from .client import Transport, api_key_or_default, base_url_or_default, worker_or_default
from .documents import Limits, Names, study_document
from .errors import Unavailable
from .flows import ConnectionBroke, Flow, Json, Request, Retrying, get, study_path, trial_path
from .leases import LeaseTask
from .space import Space
from .wire import AsyncHttpWire, AsyncWire, run_async

T = TypeVar("T")


class AsyncClient:
    """Speaks to a service; the same as `Client`, with `await`. One belongs to one event loop.

    Args: as `Client`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        worker: str | None = None,
        timeout: float = 30.0,
        retries: int = 6,
        transport: Transport = "http",
    ) -> None:
        self.base_url = base_url_or_default(base_url, transport)
        self.worker = worker_or_default(worker)
        self._retrying = Retrying(retries)
        self._wire: AsyncWire = self._wires(transport)(self.base_url, api_key_or_default(api_key), timeout)
        self._leases = LeaseTask[AsyncTrial](self._beat)

    async def create_study(
        self,
        name: str,
        space: Space,
        *,
        minimize: Names = (),
        maximize: Names = (),
        objectives: Sequence[Mapping[str, Any]] = (),
        constraints: Sequence[Mapping[str, Any]] | None = None,
        parameter_constraints: Sequence[str] | None = None,
        suggester: str | Mapping[str, Any] | None = None,
        early_stopping: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        seed: int | None = None,
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        examples: Mapping[str, Sequence[str]] | None = None,
        llm: Mapping[str, Any] | str | None = None,
        exist_ok: bool = False,
        **more_limits: Unpack[Limits],
    ) -> AsyncStudy:
        """Create a study.

        Args:
            space: `{"lr": Float(1e-5, 0.1, scale="log"), …}`, or a list of named parameters or documents.
            minimize, maximize: metrics, one or several; `objectives` are documents in their place.
            suggester: a name of the catalogue, or `{"name": …, "options": {…}}`; the service chooses if absent.
            examples: the ids that trials are scored on: `{"train": [...], "validation": [...]}`.
            llm: the language model that may propose texts: a profile of the operator's by name, or `{"profile", "share_examples", …}`.
            limits: as a mapping, or one by one: `max_trials=200, max_running=16`.
            exist_ok: take the study of this name if it has the same space, objectives and constraints.

        Raises:
            Invalid: naming each place that is wrong.
            Conflict: the name is taken.
        """
        rest = {
            "constraints": constraints,
            "parameter_constraints": parameter_constraints,
            "early_stopping": early_stopping,
            "seed": seed,
            "labels": labels,
            "metadata": metadata,
            "examples": examples,
            "llm": {"profile": llm} if isinstance(llm, str) else llm,
        }
        bounds = {**(limits or {}), **more_limits}
        document = study_document(name, space, minimize, maximize, objectives, suggester, bounds, rest)
        return await self.create_study_from(document, exist_ok=exist_ok)

    async def create_study_from(self, document: Mapping[str, Any], *, exist_ok: bool = False) -> AsyncStudy:
        """Create a study from a document as the service reads it.

        Raises:
            Invalid: naming each place that is wrong.
            Conflict: the name is taken.
        """
        return AsyncStudy(self, await self._run(flows.create_study(self._retrying, dict(document), exist_ok)))

    async def study(self, name: str) -> AsyncStudy:
        """A study by its name or id.

        Raises:
            NotFound: there is none in the key's project.
        """
        return AsyncStudy(self, await self._json(get(study_path(name))))

    async def studies(
        self,
        *,
        state: str | None = None,
        labels: Mapping[str, str] | None = None,
        q: str | None = None,
        order_by: str = "created_at",
    ) -> AsyncIterator[AsyncStudy]:
        """Every study, read page by page.

        Args:
            q: part of the name.
            order_by: `created_at` or `name`, with `-` before it for the reverse.
        """
        wanted = [f"{name}:{value}" for name, value in (labels or {}).items()] or None
        query = {"state": state, "label": wanted, "q": q, "order_by": order_by, "page_size": 200}
        async for data in self._list("/v1/studies", query, "studies"):
            yield AsyncStudy(self, data)

    async def suggesters(self) -> list[Json]:
        """The catalogue: what each suggester serves, its options as JSON Schema, its reference."""
        return list((await self._json(get("/v1/suggesters")))["suggesters"])

    async def operation(self, id: str, wait_seconds: float = 0.0) -> Json:
        """An ask that went on as an operation: `done`, `trials`, `error`; waits up to `wait_seconds` for its end."""
        query = {"wait_seconds": wait_seconds}
        found: Json = await self._json(get(f"/v1/operations/{id}", query, wait_seconds))
        return found

    async def close(self) -> None:
        """Keep no leases any more and give the connections back."""
        await self._leases.close()
        await self._wire.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ---- inside

    @staticmethod
    def _wires(transport: Transport) -> Callable[[str, str | None, float], AsyncWire]:
        if transport == "http":
            return AsyncHttpWire
        from .rpc_wire import AsyncRpcWire

        return AsyncRpcWire

    async def _run(self, flow: Flow[T]) -> T:
        return await run_async(flow, self._wire)

    async def _json(self, request: Request) -> Any:
        return await self._run(self._retrying.json(request))

    async def _list(self, path: str, query: Json, what: str) -> AsyncIterator[Json]:
        token = ""
        while True:
            found, token = await self._run(flows.pages(self._retrying, path, query, what, token))
            for data in found:
                yield data
            if not token:
                return

    @contextlib.asynccontextmanager
    async def _stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            async with self._wire.stream(request) as chunks:
                yield chunks
        except ConnectionBroke as broke:
            raise Unavailable(f"the answer broke off: {broke}") from broke

    async def _beat(self, trial: AsyncTrial) -> Json:
        path = trial_path(trial.data["study"], trial.number, ":heartbeat")
        answer: Json = await self._json(flows.post(path))
        trial.data["lease_expires_at"] = answer["lease_expires_at"]
        return answer
