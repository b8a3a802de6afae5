"""API keys: made, listed, revoked, and who a request is."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
import uuid
from datetime import timedelta

from sqlalchemy import Connection

from .answers import Key
from .caller import Caller, Role
from .domain.errors import Forbidden, Invalid, NotFound, Unauthenticated
from .store import keys as store
from .store import studies as study_store
from .transactions import Transactions

DEFAULT_PROJECT = "default"
PREFIX = "ak_"
CACHE_SECONDS = 5.0
MOST_CACHED = 10_000


def digest(secret: str) -> str:
    """What is stored of a key. A key is 256 random bits, so one plain hash is as strong as the key."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Keys:
    """The use cases about keys."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._known: dict[str, tuple[float, Caller]] = {}
        self._guarded: tuple[float, bool] = (0.0, False)

    async def authenticate(self, secret: str | None) -> Caller:
        """Who a request is. Without any key in the database everyone is admin of `default` (then only loopback is served).

        A revoked key is refused within `CACHE_SECONDS`.

        Raises:
            Unauthenticated: no key, or none that is known and valid.
        """
        if secret is None:
            if await self.are_required():
                raise Unauthenticated("an API key is needed: send `Authorization: Bearer ak_…`")
            return Caller(DEFAULT_PROJECT, Role.ADMIN)
        known = self._known.get(secret)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        caller = await self._look_up(secret)
        while len(self._known) >= MOST_CACHED:
            self._known.pop(next(iter(self._known)), None)
        self._known[secret] = (time.monotonic() + CACHE_SECONDS, caller)
        return caller

    async def _look_up(self, secret: str) -> Caller:
        found = await self._transactions.read(lambda connection: store.find(connection, digest(secret)))
        now = self._transactions.now()
        if found is None or found.revoked_at is not None or (found.expires_at is not None and found.expires_at <= now):
            self._known.pop(secret, None)
            raise Unauthenticated("this API key is not known, or it was revoked or has expired")
        return Caller(found.project, Role(found.role), found.id)

    async def are_required(self) -> bool:
        """Whether keys guard this database."""
        until, answer = self._guarded
        if until <= time.monotonic():
            answer = await self._transactions.read(store.any_exist)
            self._guarded = (time.monotonic() + CACHE_SECONDS, answer)
        return answer

    async def create(
        self,
        caller: Caller,
        project: str,
        role: str,
        label: str = "",
        days: float | None = None,
        *,
        only_first: bool = False,
    ) -> Key | None:
        """A new key; its secret is in the answer and nowhere else.

        Args:
            days: valid for so long, None for ever.
            only_first: None is answered, and nothing made, if any key exists.

        Raises:
            Invalid: a project name or role that cannot be.
        """
        self._must_reach(caller, project)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}", project):
            raise Invalid.at("/project", "a project's name has letters, digits, _ . - and at most 63 of them")
        if role not in list(Role):
            raise Invalid.at("/role", f"is one of {', '.join(Role)}")
        secret = PREFIX + secrets.token_urlsafe(32)
        now = self._transactions.now()
        expires = None if days is None else now + timedelta(days=days)
        record = store.KeyRecord(f"key_{uuid.uuid4().hex[:16]}", project, label, role, digest(secret), now, expires)

        def run(connection: Connection) -> bool:
            if only_first and store.any_exist(connection):
                return False
            study_store.ensure_project(connection, project, now)
            store.add(connection, record)
            return True

        made = await self._transactions.write(run)
        self._guarded = (0.0, False)
        return _answer(record, secret) if made else None

    async def list(self, caller: Caller, project: str | None = None) -> list[Key]:
        """Keys without their secrets."""
        self._must_reach(caller, project)
        return [_answer(r) for r in await self._transactions.read(lambda connection: store.listed(connection, project))]

    async def revoke(self, caller: Caller, key_id: str) -> None:
        """Make a key useless.

        Raises:
            NotFound: there is no such key.
        """
        caller.must_be(Role.ADMIN)
        now = self._transactions.now()
        if not await self._transactions.write(lambda connection: store.revoke(connection, key_id, now)):
            raise NotFound(f"there is no key {key_id!r}")
        self._known.clear()

    @staticmethod
    def _must_reach(caller: Caller, project: str | None) -> None:
        caller.must_be(Role.ADMIN)
        if caller.key is not None and caller.project != project:
            raise Forbidden("a key reaches its own project only")


def _answer(record: store.KeyRecord, secret: str | None = None) -> Key:
    return Key(
        id=record.id,
        project=record.project,
        label=record.label,
        role=record.role,
        created_at=record.created_at,
        expires_at=record.expires_at,
        revoked_at=record.revoked_at,
        secret=secret,
    )
