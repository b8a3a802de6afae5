"""A trial that a task of this process evaluates: `Trial` with `await`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .documents import Metrics, numbers, outcome
from .errors import AsktellError, Invalid, Unavailable
from .fields import TrialFields
from .flows import Json, get, patch, post, trial_path
from .trial import told_by

if TYPE_CHECKING:
    from .async_client import AsyncClient


class AsyncTrial(TrialFields):
    """One point to evaluate, and what came of it; the same as `Trial`, with `await` and `async with`."""

    def __init__(self, client: AsyncClient, data: Json) -> None:
        self._client = client
        self.data = data
        self._since = time.monotonic()

    # ---- while it runs

    async def report(self, step: int, metrics: Metrics | None = None, **values: float) -> bool:
        """Tell an intermediate measurement; whether the trial should give up. As `Trial.report`."""
        with self._measured():
            document = {"step": step, "metrics": numbers({**(metrics or {}), **values})}
        answer = await self._post(":report", document)
        self.should_stop = bool(answer["should_stop"])
        return self.should_stop

    async def heartbeat(self, lease_seconds: float | None = None) -> bool:
        """Extend the lease; whether the trial should give up. As `Trial.heartbeat`."""
        answer = await self._post(":heartbeat", {} if lease_seconds is None else {"lease_seconds": lease_seconds})
        self.data["lease_expires_at"] = answer["lease_expires_at"]
        self.should_stop = bool(answer["should_stop"])
        return self.should_stop

    # ---- how it ends

    async def tell(
        self,
        metrics: Metrics | None = None,
        *,
        state: str = "completed",
        std: Metrics | None = None,
        feedback: str | None = None,
        examples: Sequence[Mapping[str, Any]] | None = None,
        cost: float | None = None,
        elapsed_seconds: float | None = None,
        residual: Sequence[float] | None = None,
        fingerprint: str | None = None,
        **values: float,
    ) -> AsyncTrial:
        """Tell the outcome. As `Trial.tell`."""
        elapsed = (
            time.monotonic() - self._since if elapsed_seconds is None and not self.is_finished else elapsed_seconds
        )
        with self._measured():
            document = outcome(
                metrics,
                values,
                state=state,
                std=std,
                feedback=feedback,
                examples=examples,
                cost=cost,
                elapsed_seconds=elapsed,
                residual=residual,
                fingerprint=fingerprint,
            )
        return await self._end(":tell", document)

    async def prune(self, feedback: str | None = None) -> AsyncTrial:
        """Stopped early: the last report stands."""
        return await self.tell(state="pruned", feedback=feedback)

    async def infeasible(self, feedback: str | None = None) -> AsyncTrial:
        """The black box cannot be evaluated here; the suggester learns it."""
        return await self.tell(state="infeasible", feedback=feedback)

    async def fail(self, feedback: str | None = None) -> AsyncTrial:
        """The evaluation broke."""
        return await self.tell(state="failed", feedback=feedback)

    async def release(self) -> AsyncTrial:
        """Hand it back for another worker."""
        return await self._end(":release")

    async def cancel(self) -> AsyncTrial:
        """Give it up for good."""
        return await self._end(":cancel")

    # ---- at any time

    async def receipt(self) -> Json:
        """What was believed when the point was proposed and, after the tell, how it turned out."""
        found: Json = await self._client._json(get(self._path(":receipt")))
        return found

    async def annotate(
        self, metadata: Mapping[str, Any] | None = None, labels: Mapping[str, str | None] | None = None
    ) -> AsyncTrial:
        """Merge metadata and labels, also after the end; None removes an entry."""
        given = {"metadata": metadata, "labels": labels}
        document = {name: dict(value) for name, value in given.items() if value is not None}
        self.data = await self._client._json(patch(self._path(), document))
        return self

    async def refresh(self) -> AsyncTrial:
        """Read it anew."""
        self.data = await self._client._json(get(self._path()))
        return self

    def _path(self, verb: str = "") -> str:
        return trial_path(self.data["study"], self.number, verb)

    async def _post(self, verb: str, document: Any = None) -> Any:
        return await self._client._json(post(self._path(verb), document))

    async def _end(self, verb: str, document: Any = None) -> AsyncTrial:
        self.data = await self._post(verb, document)
        self._client._leases.drop(self)
        return self

    async def __aenter__(self) -> AsyncTrial:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self.state != "running":
            return self._is_ended_by(error) and not isinstance(error, Invalid)
        if error is None:
            await self.release()
            return False
        if self._is_ended_by(error):
            await self.tell(error.metrics, state=error.state, feedback=error.feedback)
            return True
        # Whatever comes of this, the exception at hand is the one to see.
        with contextlib.suppress(AsktellError):
            if isinstance(error, Exception):
                if not isinstance(error, Unavailable):
                    await self.fail(told_by(error))
            else:
                await self.release()
        return False
