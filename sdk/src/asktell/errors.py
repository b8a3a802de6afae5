"""What can go wrong, by kind, and the two exceptions with which an evaluation says how it ended.

AsktellError
├── Invalid           the request contradicts the contract or the study; `errors` names each place
│   └── NotFinite     what was measured is NaN or infinite; also an `Infeasible`
├── NotFound          no such thing in this project
├── Conflict          it exists already, or another outcome stands
│   └── NotActive     the study is paused or completed, or a limit is reached
├── Unauthenticated   no key, or one that is not known
├── Forbidden         the key's role does not reach this far
├── Exhausted         a quota or rate is used up for now
├── Stale             the precondition (`If-Match`) does not hold any more
└── Unavailable       the service, or a part that is needed, is away; try again

Ended
├── Pruned            raised in an evaluation: stopped early, the last report stands
└── Infeasible        raised in an evaluation: the black box cannot be evaluated at this point
    └── NotFinite     as where a network diverged
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One place in a request and what is wrong there.

    Attributes:
        pointer: JSON pointer (RFC 6901) into the request body, `""` for the whole.
        message: what is wrong and what would be right.
    """

    pointer: str
    message: str


class AsktellError(Exception):
    """Something went wrong.

    Attributes:
        detail: what, where, and what to do.
        errors: each place of the request that is wrong.
        status: the HTTP status, None if there was no answer.
        retry_after: seconds after which a retry makes sense, where the service said so.
    """

    kind: ClassVar[str] = "error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip().splitlines()[0]
        self.errors = tuple(errors)
        self.status = status
        self.retry_after = retry_after
        super().__init__(self.detail)


class Invalid(AsktellError):
    """The request is not valid."""

    kind = "invalid"

    @classmethod
    def at(cls, pointer: str, message: str) -> Invalid:
        """An error about one place of the request."""
        return cls(f"{pointer}: {message}", errors=[FieldError(pointer, message)])


class NotFound(AsktellError):
    """No such thing."""

    kind = "not-found"


class Conflict(AsktellError):
    """It exists already, or has another outcome."""

    kind = "conflict"


class NotActive(Conflict):
    """The study hands out no trials now."""

    kind = "not-active"


class Unauthenticated(AsktellError):
    """No valid API key came with the request."""

    kind = "unauthenticated"


class Forbidden(AsktellError):
    """The key's role does not allow this."""

    kind = "forbidden"


class Exhausted(AsktellError):
    """Too many requests for now."""

    kind = "exhausted"


class Stale(AsktellError):
    """It has changed since it was read."""

    kind = "stale"


class Unavailable(AsktellError):
    """The service is away; try again."""

    kind = "unavailable"


class Ended(Exception):
    """Raised in an evaluation to say how it ended; its text becomes the trial's feedback.

    Attributes:
        metrics: what was measured all the same.
    """

    state: ClassVar[str]
    metrics: Mapping[str, float] = {}

    @property
    def feedback(self) -> str | None:
        """What to tell about it."""
        return str(self) or None


class Pruned(Ended):
    """Stopped early; the last report stands."""

    state = "pruned"


class Infeasible(Ended):
    """The black box cannot be evaluated at this point."""

    state = "infeasible"


class NotFinite(Invalid, Infeasible):
    """A value is not finite. Nothing was sent; an evaluation that ends with it tells its trial as infeasible.

    Attributes:
        trial: whose outcome or report it was, None where that was told by number.
    """

    trial: object = None

    def __init__(self, pointer: str, number: float, metrics: Mapping[str, float]) -> None:
        message = f"is {number}; where the point is to blame, as for a network that diverged, tell `infeasible()`"
        super().__init__(f"{pointer}: {message}", errors=[FieldError(pointer, message)])
        self.metrics = metrics
        self._feedback = f"{pointer.removeprefix('/metrics/')} is {number}"

    @property
    def feedback(self) -> str:
        """Which value it is."""
        return self._feedback


PROBLEMS = "https://asktell.dev/problems/"
BY_KIND: dict[str, type[AsktellError]] = {
    kind.kind: kind
    for kind in (Invalid, NotFound, Conflict, NotActive, Unauthenticated, Forbidden, Exhausted, Stale, Unavailable)
}
_BY_STATUS: dict[int, type[AsktellError]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Stale,
    413: Invalid,
    422: Invalid,
    429: Exhausted,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def from_problem(
    problem: Mapping[str, Any], status: int | None = None, retry_after: float | None = None
) -> AsktellError:
    """A problem document (RFC 9457) as an error: by its `type`, else by its status."""
    number = status if status is not None else int(problem.get("status") or 500)
    kind = str(problem.get("type") or "").removeprefix(PROBLEMS)
    found = BY_KIND.get(kind) or _BY_STATUS.get(number, AsktellError)
    places = [FieldError(str(e.get("pointer", "")), str(e.get("message", ""))) for e in problem.get("errors") or ()]
    detail = problem.get("detail") or problem.get("title") or f"the service answered {number}"
    return found(str(detail), errors=places, status=number, retry_after=retry_after)
