"""Who is calling: the project a key belongs to and what its role allows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .domain.errors import Forbidden


class Role(StrEnum):
    """What a key may do; each role may do all that the ones before it may."""

    READER = "reader"  # look
    WORKER = "worker"  # ask, tell, report, heartbeat, release
    WRITER = "writer"  # create, change and delete studies
    ADMIN = "admin"  # keys

    @property
    def rank(self) -> int:
        """0 for reader to 3 for admin."""
        return list(Role).index(self)


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated client.

    Attributes:
        project: the only one it sees.
        role: what it may do there.
        key: the key's id, None where no keys guard the database.
    """

    project: str
    role: Role
    key: str | None = None

    def must_be(self, role: Role) -> None:
        """Refuse what the role does not reach.

        Raises:
            Forbidden: it does not.
        """
        if self.role.rank < role.rank:
            raise Forbidden(f"this needs the role {role.value}; the key has the role {self.role.value}")
