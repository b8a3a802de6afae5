"""The door to a service."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar, Unpack

from . import flows
from .documents import Limits, Names, study_document
from .errors import Unavailable
from .flows import ConnectionBroke, Flow, Json, Request, Retrying, get, study_path, trial_path
from .leases import LeaseThread
from .space import Space
from .study import Study
from .trial import Trial
from .wire import HttpWire, Wire, run

T = TypeVar("T")
Transport = Literal["http", "grpc"]
DEFAULTS = {"http": ("ASKTELL_URL", "http://127.0.0.1:8000"), "grpc": ("ASKTELL_GRPC_URL", "127.0.0.1:50051")}


def base_url_or_default(base_url: str | None, transport: Transport) -> str:
    """The service's address: as given, as in ASKTELL_URL or ASKTELL_GRPC_URL, or this machine's."""
    if transport not in DEFAULTS:
        raise ValueError(f"transport {transport!r}: there are 'http' and 'grpc'")
    variable, default = DEFAULTS[transport]
    return (base_url or os.environ.get(variable) or default).rstrip("/")


def api_key_or_default(api_key: str | None) -> str | None:
    """The key: as given, or as in ASKTELL_API_KEY."""
    return api_key or os.environ.get("ASKTELL_API_KEY") or None


def worker_or_default(worker: str | None) -> str:
    """The worker's name: as given, as in ASKTELL_WORKER, or host and process."""
    return worker or os.environ.get("ASKTELL_WORKER") or f"{socket.gethostname()}:{os.getpid()}"


class Client:
    """Speaks to a service; threads may share one.

    Args:
        base_url: such as `http://127.0.0.1:8000`, which is the default; else ASKTELL_URL.
        api_key: else ASKTELL_API_KEY; a service on loopback may need none.
        worker: the name under which trials are taken; else ASKTELL_WORKER, else host:pid.
        timeout: seconds for an answer, beyond what a call waits by intent.
        retries: further attempts when the connection breaks or the service is busy or away; three times as many for outcomes
            and in loops that evaluate. Safe: each write has a key.
        transport: `http` speaks REST, `grpc` the protos: `Client("127.0.0.1:50051", transport="grpc")`, needs `asktell[grpc]`.
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
        self._wire: Wire = self._wires(transport)(self.base_url, api_key_or_default(api_key), timeout)
        self._leases = LeaseThread[Trial](self._beat)

    def create_study(
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
    ) -> Study:
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
        return self.create_study_from(document, exist_ok=exist_ok)

    def create_study_from(self, document: Mapping[str, Any], *, exist_ok: bool = False) -> Study:
        """Create a study from a document as the service reads it.

        Raises:
            Invalid: naming each place that is wrong.
            Conflict: the name is taken.
        """
        return Study(self, self._run(flows.create_study(self._retrying, dict(document), exist_ok)))

    def study(self, name: str) -> Study:
        """A study by its name or id.

        Raises:
            NotFound: there is none in the key's project.
        """
        return Study(self, self._json(get(study_path(name))))

    def studies(
        self,
        *,
        state: str | None = None,
        labels: Mapping[str, str] | None = None,
        q: str | None = None,
        order_by: str = "created_at",
    ) -> Iterator[Study]:
        """Every study, read page by page.

        Args:
            q: part of the name.
            order_by: `created_at` or `name`, with `-` before it for the reverse.
        """
        wanted = [f"{name}:{value}" for name, value in (labels or {}).items()] or None
        query = {"state": state, "label": wanted, "q": q, "order_by": order_by, "page_size": 200}
        for data in self._list("/v1/studies", query, "studies"):
            yield Study(self, data)

    def suggesters(self) -> list[Json]:
        """The catalogue: what each suggester serves, its options as JSON Schema, its reference."""
        return list(self._json(get("/v1/suggesters"))["suggesters"])

    def operation(self, id: str, wait_seconds: float = 0.0) -> Json:
        """An ask that went on as an operation: `done`, `trials`, `error`; waits up to `wait_seconds` for its end."""
        query = {"wait_seconds": wait_seconds}
        found: Json = self._json(get(f"/v1/operations/{id}", query, wait_seconds))
        return found

    def close(self) -> None:
        """Keep no leases any more and give the connections back."""
        self._leases.close()
        self._wire.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- inside

    @staticmethod
    def _wires(transport: Transport) -> Callable[[str, str | None, float], Wire]:
        if transport == "http":
            return HttpWire
        from .rpc_wire import RpcWire

        return RpcWire

    def _run(self, flow: Flow[T]) -> T:
        return run(flow, self._wire)

    def _json(self, request: Request) -> Any:
        return self._run(self._retrying.json(request))

    def _list(self, path: str, query: Json, what: str) -> Iterator[Json]:
        token = ""
        while True:
            found, token = self._run(flows.pages(self._retrying, path, query, what, token))
            yield from found
            if not token:
                return

    @contextlib.contextmanager
    def _stream(self, request: Request) -> Iterator[Iterator[bytes]]:
        try:
            with self._wire.stream(request) as chunks:
                yield chunks
        except ConnectionBroke as broke:
            raise Unavailable(f"the answer broke off: {broke}") from broke

    def _beat(self, trial: Trial) -> Json:
        path = trial_path(trial.data["study"], trial.number, ":heartbeat")
        answer: Json = self._json(flows.post(path))
        trial.data["lease_expires_at"] = answer["lease_expires_at"]
        return answer
