"""Everything that can go wrong, by kind. Edges map kinds to their own codes; the domain knows no HTTP and no gRPC.

AsktellError
├── Invalid           the request contradicts the contract or the study; `errors` names each place
├── NotFound          no such thing in this project
├── Conflict          it exists already, or another outcome stands
│   └── NotActive     the study is paused or completed, or a limit is reached
├── Unauthenticated   no key, or one that is not known
├── Forbidden         the key's role does not reach this far
├── Exhausted         a quota or rate is used up for now
├── Stale             the precondition (`If-Match`) does not hold any more
└── Unavailable       a part that is needed is away; try again
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One place in a document and what is wrong there.

    Attributes:
        pointer: JSON pointer (RFC 6901) into the request body, `""` for the whole.
        message: what is wrong and what would be right.
    """

    pointer: str
    message: str


class AsktellError(Exception):
    """Something went wrong."""

    kind: ClassVar[str] = "error"

    def __init__(
        self, detail: str | None = None, *, errors: Sequence[FieldError] = (), retry_after: float | None = None
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.errors = tuple(errors)
        self.retry_after = retry_after
        super().__init__(self.detail)


class Invalid(AsktellError):
    """The request is not valid."""

    kind = "invalid"

    @classmethod
    def at(cls, pointer: str, message: str) -> Invalid:
        """An error about one place of the document."""
        return cls(f"{pointer or 'body'}: {message}", errors=[FieldError(pointer, message)])


class NotFound(AsktellError):
    """There is no such thing here."""

    kind = "not-found"


class Conflict(AsktellError):
    """The request contradicts what is already stored."""

    kind = "conflict"


class NotActive(Conflict):
    """The study does not take this now: it is paused, completed or at a limit."""

    kind = "not-active"


class Unauthenticated(AsktellError):
    """A valid API key is needed."""

    kind = "unauthenticated"


class Forbidden(AsktellError):
    """The key's role does not allow this."""

    kind = "forbidden"


class Exhausted(AsktellError):
    """Too many requests for now."""

    kind = "exhausted"


class Stale(AsktellError):
    """The resource has changed since it was read."""

    kind = "stale"


class Unavailable(AsktellError):
    """A part that is needed is away; try again."""

    kind = "unavailable"


def kinds() -> list[type[AsktellError]]:
    """Every error class that can reach an edge, subclasses after their parents."""
    found: list[type[AsktellError]] = []
    open_classes: list[type[AsktellError]] = [AsktellError]
    while open_classes:
        current = open_classes.pop(0)
        found.append(current)
        open_classes.extend(current.__subclasses__())
    return found
