"""Retries are safe: the answer to a request with an `Idempotency-Key` is stored in the transaction of its effect."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from pydantic import BaseModel
from sqlalchemy import Connection

from .domain.errors import Conflict, Invalid
from .store import idempotency as store

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

KEPT = timedelta(hours=24)
MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A request's key and what makes it the same request.

    Attributes:
        key: <= 255 characters, chosen by the client.
        fingerprint: hash of method, path and body.
    """

    key: str
    fingerprint: str

    @classmethod
    def of(cls, key: str, method: str, path: str, body: bytes) -> Idempotency:
        """The key of one request.

        Raises:
            Invalid: an empty or overlong key.
        """
        if not 0 < len(key) <= MAX_KEY or "\x00" in key:
            raise Invalid(f"an idempotency key has 1 to {MAX_KEY} characters")
        digest = hashlib.blake2b(f"{method} {path}\n".encode() + body, digest_size=16)
        return cls(key, digest.hexdigest())


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """An answer, and whether it is the recorded one of an earlier request."""

    value: T
    replayed: bool = False


def recorded(
    connection: Connection, project: str, idem: Idempotency | None, model: type[M], now: datetime
) -> Reply[M] | None:
    """The answer already given under this key.

    Raises:
        Conflict: the key came with another request before.
    """
    if idem is None:
        return None
    record = store.get(connection, project, idem.key)
    if record is None:
        return None
    if record.expires_at <= now:
        store.remove(connection, project, idem.key)
        return None
    if record.fingerprint != idem.fingerprint:
        raise Conflict("this Idempotency-Key came with another request before; use a new key for a new request")
    return Reply(model.model_validate_json(record.answer, strict=False), replayed=True)


def record(connection: Connection, project: str, idem: Idempotency | None, answer: BaseModel, now: datetime) -> None:
    """Keep an answer in the transaction of its effect."""
    if idem is not None:
        kept = store.AnswerRecord(project, idem.key, idem.fingerprint, answer.model_dump_json(), now + KEPT)
        store.put(connection, kept)
