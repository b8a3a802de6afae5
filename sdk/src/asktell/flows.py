"""What is said to the service and when, without saying it: every call is a generator that yields requests and pauses.

The blocking and the asyncio client run the same flows; only sending and sleeping differ (`wire.py`).
"""

from __future__ import annotations

import contextlib
import json
import random
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from .bodies import encode
from .errors import AsktellError, Conflict, Exhausted, NotActive, NotFound, Unavailable, from_problem

T = TypeVar("T")
Json = dict[str, Any]

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
LONGEST_RETRY_AFTER = 120.0
OPERATION_POLL_SECONDS = 30.0
PATIENCE = 3
"""Times the usual retries where giving up would throw an evaluation or a worker away: some 70 to 130 s of a service's absence."""
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        wait_seconds: how long the service may take by intent, beyond the usual.
        patience: how many times the usual number of retries it is worth.
    """

    method: str
    path: str
    body: bytes | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_seconds: float = 0.0
    patience: int = 1


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Sleep for so many seconds."""

    seconds: float


class ConnectionBroke(Exception):
    """The request may or may not have arrived; no answer came."""


Flow = Generator[Request | Pause, Any, T]


def error_of(reply: Reply) -> AsktellError:
    """The error that an answer of 400 and more means."""
    retry_after = reply.headers.get("retry-after", "")
    seconds = float(retry_after) if retry_after.replace(".", "", 1).isdigit() else None
    try:
        problem = json.loads(reply.body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": f"the service answered {reply.status}: {reply.body[:200].decode(errors='replace')}"}
    return from_problem(problem, reply.status, seconds)


@dataclass(frozen=True)
class Retrying:
    """How often, and how long between.

    Attributes:
        retries: further attempts after the first, when the connection breaks or the service answers 429, 502, 503 or 504; for
            some requests `PATIENCE` times as many. Safe, for each write carries an `Idempotency-Key`.
    """

    retries: int = 6

    def send(self, request: Request) -> Flow[Reply]:
        """Send until there is an answer that stands.

        Raises:
            AsktellError: of the kind that the answer names; Unavailable if none came.
        """
        retries = self.retries * request.patience
        for attempt in range(retries + 1):
            try:
                reply: Reply = yield request
            except ConnectionBroke as broke:
                error: AsktellError = Unavailable(f"no answer from the service: {broke}")
            else:
                if reply.status < 400:
                    return reply
                error = error_of(reply)
            if attempt == retries or not isinstance(error, Exhausted | Unavailable):
                raise error
            yield Pause(self._pause(attempt, error.retry_after))
        raise AssertionError("unreachable")

    @staticmethod
    def _pause(attempt: int, retry_after: float | None) -> float:
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
        jitter = random.uniform(longest / 2, longest)  # so that many clients do not come back at once
        return jitter if retry_after is None else min(retry_after, LONGEST_RETRY_AFTER) + jitter / 4

    def json(self, request: Request) -> Flow[Any]:
        """Send, and read the answer as JSON."""
        reply = yield from self.send(request)
        return json.loads(reply.body) if reply.body else None


def get(path: str, query: Mapping[str, Any] | None = None, wait_seconds: float = 0.0, patience: int = 1) -> Request:
    """A reading request; parameters that are None are left out."""
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return Request("GET", path, query=given, wait_seconds=wait_seconds, patience=patience)


def post(path: str, document: Any = None, wait_seconds: float = 0.0) -> Request:
    """A writing request, with a key of its own under which retries are one."""
    patience = PATIENCE if path.endswith(":tell") else 1
    return _write("POST", path, document, "application/json", {}, wait_seconds, patience)


def patch(path: str, document: Any, media: str = "application/json", if_match: str | None = None) -> Request:
    """A changing request."""
    return _write("PATCH", path, document, media, {} if if_match is None else {"If-Match": if_match}, 0.0, 1)


def _write(
    method: str, path: str, document: Any, media: str, headers: Mapping[str, str], wait_seconds: float, patience: int
) -> Request:
    body = b"{}" if document is None else encode(document)
    headers = {"Content-Type": media, "Idempotency-Key": uuid.uuid4().hex, **headers}
    return Request(method, path, body, headers=headers, wait_seconds=wait_seconds, patience=patience)


def study_path(name: str, rest: str = "") -> str:
    """Where a study is."""
    return f"/v1/studies/{quote(name, safe='')}{rest}"


def trial_path(study: str, number: int, verb: str = "") -> str:
    """Where a trial is."""
    return study_path(study, f"/trials/{number}{verb}")


@dataclass(frozen=True)
class Wish:
    """What is asked for; as in the contract.

    Attributes:
        timeout: seconds after which an operation is not followed any more; None follows it to its end.
    """

    worker: str
    count: int = 1
    wait_seconds: float = 30.0
    lease_seconds: float = 3600.0
    fresh: bool = True
    resume: bool = False
    timeout: float | None = None

    def document(self) -> Json:
        """As the service reads it."""
        names = ("worker", "count", "wait_seconds", "lease_seconds", "fresh", "resume")
        return {name: getattr(self, name) for name in names}


def create_study(retrying: Retrying, document: Json, exist_ok: bool) -> Flow[Json]:
    """Create a study, or take the one of the same name and the same problem.

    Raises:
        Conflict: the name is taken, by another problem if `exist_ok`.
    """
    try:
        return (yield from retrying.json(post("/v1/studies", document)))  # type: ignore[no-any-return]
    except Conflict:
        if not exist_ok:
            raise
    found: Json = yield from retrying.json(get(study_path(document["name"])))
    for part in ("parameters", "objectives", "constraints", "parameter_constraints"):
        if not _agrees(document.get(part) or [], found.get(part) or []):
            raise Conflict(f"study {document['name']!r} exists with other {part}", status=409)
    return found


def _agrees(given: Any, found: Any) -> bool:
    """Whether all that is given was found; the service adds defaults."""
    if isinstance(given, Mapping):
        return isinstance(found, Mapping) and all(_agrees(value, found.get(name)) for name, value in given.items())
    if isinstance(given, list):
        return isinstance(found, list) and len(given) == len(found) and all(map(_agrees, given, found))
    return bool(given == found)


def delete(retrying: Retrying, path: str) -> Flow[None]:
    """Delete what is at a path.

    Raises:
        NotFound: there was nothing before the first attempt.
    """
    request = Request("DELETE", path)
    try:
        yield from Retrying(0).send(request)
    except (Unavailable, Exhausted):
        # The lost answer may have been the good one: then there is nothing any more, as wanted.
        yield Pause(FIRST_PAUSE)
        with contextlib.suppress(NotFound):
            yield from retrying.send(request)


def ask(retrying: Retrying, study: str, wish: Wish) -> Flow[list[Json]]:
    """Trials, also where that takes an operation.

    Raises:
        NotActive: the study hands out none now.
        Unavailable: the operation was not done within `wish.timeout`.
    """
    started = time.monotonic()
    answer = yield from retrying.json(post(study_path(study, "/trials:ask"), wish.document(), wish.wait_seconds))
    operation = answer.get("operation")
    while operation is not None and not operation["done"]:
        left = float("inf") if wish.timeout is None else started + wish.timeout - time.monotonic()
        if left <= 0:
            raise Unavailable(f"operation {operation['id']} is not done after {wish.timeout} s; it goes on")
        wait = min(OPERATION_POLL_SECONDS, left)
        operation = yield from retrying.json(get(f"/v1/operations/{operation['id']}", {"wait_seconds": wait}, wait))
    if operation is not None and operation.get("error"):
        raise from_problem(operation["error"])
    return list((operation or answer)["trials"])


def next_trial(retrying: Retrying, study: str, wish: Wish, own_running: Callable[[], int]) -> Flow[Json | None]:
    """One trial; None when the study will hand out no more.

    A study that is active but full (`max_running`) or whose space is out for the moment is asked again.

    Args:
        own_running: how many trials of the study this caller evaluates right now; when they end, more may come.
    """
    pause, retrying = FIRST_PAUSE, Retrying(retrying.retries * PATIENCE)
    while True:
        try:
            return (yield from ask(retrying, study, wish))[0]
        except NotActive:
            found = yield from retrying.json(get(study_path(study)))
        if not _may_come(found, own_running()):
            return None
        yield Pause(random.uniform(pause / 2, pause))
        pause = min(2.0, pause * 1.5)


def _may_come(study: Json, own_running: int) -> bool:
    if study["state"] != "active":
        return False
    limits = study["limits"]
    is_spent = limits.get("max_trials") is not None and sum(study["trial_counts"].values()) >= limits["max_trials"]
    return own_running > 0 or (limits.get("max_running") is not None and not is_spent)


def pages(retrying: Retrying, path: str, query: Json, what: str, page_token: str) -> Flow[tuple[list[Json], str]]:
    """One page of a list, and the token of the next."""
    answer = yield from retrying.json(get(path, {**query, "page_token": page_token or None}))
    return answer[what], answer.get("next_page_token") or ""
