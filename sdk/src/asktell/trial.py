"""A trial that this process evaluates, or looks at."""

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

if TYPE_CHECKING:
    from .client import Client

FEEDBACK_CHARACTERS = 10_000


def told_by(error: BaseException) -> str:
    """An exception as feedback."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return text[:FEEDBACK_CHARACTERS]


class Trial(TrialFields):
    """One point to evaluate, and what came of it.

    As a context manager it cannot be forgotten: an exception tells it as failed with the exception's text (`Pruned` and
    `Infeasible` tell what they say, and end there; a value told or reported that is not finite makes it infeasible), leaving
    without a tell hands it back.
    """

    def __init__(self, client: Client, data: Json) -> None:
        self._client = client
        self.data = data
        self._since = time.monotonic()

    # ---- while it runs

    def report(self, step: int, metrics: Metrics | None = None, **values: float) -> bool:
        """Tell an intermediate measurement; extends the lease.

        Args:
            step: >= 0, in the study's own unit: an epoch, a batch.

        Returns:
            Whether the trial should give up: `prune()` it then.

        Raises:
            Conflict: it is not running any more.
        """
        with self._measured():
            document = {"step": step, "metrics": numbers({**(metrics or {}), **values})}
        answer = self._post(":report", document)
        self.should_stop = bool(answer["should_stop"])
        return self.should_stop

    def heartbeat(self, lease_seconds: float | None = None) -> bool:
        """Extend the lease; done by itself for trials that were asked for.

        Returns:
            Whether the trial should give up.

        Raises:
            Conflict: it is not running any more.
        """
        answer = self._post(":heartbeat", {} if lease_seconds is None else {"lease_seconds": lease_seconds})
        self.data["lease_expires_at"] = answer["lease_expires_at"]
        self.should_stop = bool(answer["should_stop"])
        return self.should_stop

    # ---- how it ends

    def tell(
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
    ) -> Trial:
        """Tell the outcome.

        Args:
            metrics, values: every objective and constraint of the study, and what else was measured.
            state: `completed`, `pruned`, `infeasible` or `failed`.
            std: standard error of a metric's value; absent means unknown.
            examples: for studies that score on examples: `id`, `score`, and `output`, `expected`, `feedback`.
            elapsed_seconds: since the ask, if absent.
            residual: what was measured minus what was wanted, for methods that take more than a number.
            fingerprint: of the parameters that were evaluated, where they travel as seeds (`Replica.fingerprint()`).

        Raises:
            Invalid: a metric is missing or no number.
            NotFinite: one is NaN or infinite; nothing was sent.
            Conflict: another outcome was told before.
        """
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
        return self._end(":tell", document)

    def prune(self, feedback: str | None = None) -> Trial:
        """Stopped early: the last report stands."""
        return self.tell(state="pruned", feedback=feedback)

    def infeasible(self, feedback: str | None = None) -> Trial:
        """The black box cannot be evaluated here; the suggester learns it."""
        return self.tell(state="infeasible", feedback=feedback)

    def fail(self, feedback: str | None = None) -> Trial:
        """The evaluation broke."""
        return self.tell(state="failed", feedback=feedback)

    def release(self) -> Trial:
        """Hand it back for another worker."""
        return self._end(":release")

    def cancel(self) -> Trial:
        """Give it up for good."""
        return self._end(":cancel")

    # ---- at any time

    def receipt(self) -> Json:
        """What was believed when the point was proposed and, after the tell, how it turned out."""
        found: Json = self._client._json(get(self._path(":receipt")))
        return found

    def annotate(
        self, metadata: Mapping[str, Any] | None = None, labels: Mapping[str, str | None] | None = None
    ) -> Trial:
        """Merge metadata and labels, also after the end; None removes an entry."""
        given = {"metadata": metadata, "labels": labels}
        document = {name: dict(value) for name, value in given.items() if value is not None}
        self.data = self._client._json(patch(self._path(), document))
        return self

    def refresh(self) -> Trial:
        """Read it anew."""
        self.data = self._client._json(get(self._path()))
        return self

    def _path(self, verb: str = "") -> str:
        return trial_path(self.data["study"], self.number, verb)

    def _post(self, verb: str, document: Any = None) -> Any:
        return self._client._json(post(self._path(verb), document))

    def _end(self, verb: str, document: Any = None) -> Trial:
        self.data = self._post(verb, document)
        self._client._leases.drop(self)
        return self

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self.state != "running":
            return self._is_ended_by(error) and not isinstance(error, Invalid)
        if error is None:
            self.release()
            return False
        if self._is_ended_by(error):
            self.tell(error.metrics, state=error.state, feedback=error.feedback)
            return True
        # Whatever comes of this, the exception at hand is the one to see.
        with contextlib.suppress(AsktellError):
            if isinstance(error, Exception):
                if not isinstance(error, Unavailable):
                    self.fail(told_by(error))
            else:
                self.release()
        return False
