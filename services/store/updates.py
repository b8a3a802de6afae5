"""The update log of a study and what its workers say of their parameters."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate

from sqlalchemy import Connection, delete, func, insert, select

from .tables import FingerprintRow, UpdateRow, table

UPDATES = table(UpdateRow)
FINGERPRINTS = table(FingerprintRow)


def published(connection: Connection, study_id: str) -> int:
    """How many updates there are: the version of theta that they lead to."""
    query = select(func.max(UPDATES.c.version)).where(UPDATES.c.study_id == study_id)
    newest = connection.execute(query).scalar_one()
    return 0 if newest is None else int(newest) + 1


def append(
    connection: Connection, study_id: str, bodies: Sequence[tuple[int, bytes]], seq: int, now: datetime
) -> list[int]:
    """Write updates that are not there yet; what is there stands. The versions that were written."""
    known = published(connection, study_id)
    rows = [
        {"study_id": study_id, "version": version, "body": body, "seq": seq, "created_at": now}
        for version, body in bodies
        if version >= known
    ]
    if rows:
        connection.execute(insert(UPDATES), rows)
    return [row["version"] for row in rows]  # type: ignore[misc]


def since(connection: Connection, study_id: str, version: int, limit: int, most_bytes: int) -> list[bytes]:
    """Updates from a version of theta on, in their order: at most `limit`, and no more bytes than that after the first."""
    following = UPDATES.c.study_id == study_id, UPDATES.c.version >= version
    lengths = select(func.length(UPDATES.c.body)).where(*following).order_by(UPDATES.c.version).limit(limit)
    sums = list(accumulate(connection.execute(lengths).scalars()))
    count = max(1, bisect_right(sums, most_bytes))
    query = select(UPDATES.c.body).where(*following).order_by(UPDATES.c.version).limit(count)
    return [bytes(body) for body in connection.execute(query).scalars()]


def fingerprints(connection: Connection, study_id: str, version: int) -> dict[str, tuple[str, int]]:
    """What each worker said of its parameters at a version, and when (`seq`)."""
    query = select(FINGERPRINTS.c.worker, FINGERPRINTS.c.fingerprint, FINGERPRINTS.c.seq).where(
        FINGERPRINTS.c.study_id == study_id, FINGERPRINTS.c.version == version
    )
    return {worker: (fingerprint, seq) for worker, fingerprint, seq in connection.execute(query)}


def put_fingerprint(
    connection: Connection, study_id: str, version: int, worker: str, fingerprint: str, seq: int
) -> None:
    """Write what a worker says now."""
    connection.execute(
        delete(FINGERPRINTS).where(
            FINGERPRINTS.c.study_id == study_id, FINGERPRINTS.c.version == version, FINGERPRINTS.c.worker == worker
        )
    )
    row = {"study_id": study_id, "version": version, "worker": worker, "fingerprint": fingerprint, "seq": seq}
    connection.execute(insert(FINGERPRINTS), [row])
