"""Errors as gRPC statuses with Google's details: one table, and what a client needs to act without reading prose."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.domain.errors import AsktellError, FieldError

DOMAIN = "asktell"

CODES = {
    "error": grpc.StatusCode.INTERNAL,
    "invalid": grpc.StatusCode.INVALID_ARGUMENT,
    "not-found": grpc.StatusCode.NOT_FOUND,
    "conflict": grpc.StatusCode.FAILED_PRECONDITION,
    "not-active": grpc.StatusCode.FAILED_PRECONDITION,
    "unauthenticated": grpc.StatusCode.UNAUTHENTICATED,
    "forbidden": grpc.StatusCode.PERMISSION_DENIED,
    "exhausted": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "stale": grpc.StatusCode.ABORTED,
    "unavailable": grpc.StatusCode.UNAVAILABLE,
}
"""The code of each kind of error. A conflict on creation is ALREADY_EXISTS instead."""

RETRY_SECONDS = {"exhausted": 1.0, "unavailable": 1.0}
"""Kinds that pass by themselves, and when to try again where the error does not say."""

# A client refuses trailers over 8 KiB, and bytes travel in them as base64: what exceeds this is left out at the end.
MOST_DETAIL_BYTES = 3500
MOST_MESSAGE_BYTES = 1200
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def code_of(error: AsktellError, method: str = "") -> grpc.StatusCode:
    """The gRPC code of an error.

    Args:
        method: the full name of the call, such as `/asktell.v1.Studies/CreateStudy`.
    """
    if error.kind == "conflict" and "/Create" in method:
        return grpc.StatusCode.ALREADY_EXISTS
    return CODES[error.kind]


def status_of(error: AsktellError, method: str = "") -> grpc.Status:
    """An error as a status with BadRequest, ErrorInfo and RetryInfo."""
    code = code_of(error, method)
    status = status_pb2.Status(code=code.value[0], message=_shortened(error.detail))
    if error.errors:
        status.details.add().Pack(_bad_request(error.errors))
    info = error_details_pb2.ErrorInfo(reason=reason_of(error.kind), domain=DOMAIN, metadata={"kind": error.kind})
    status.details.add().Pack(info)
    seconds = error.retry_after if error.retry_after is not None else RETRY_SECONDS.get(error.kind)
    if seconds is not None:
        delay = Duration()
        delay.FromMilliseconds(max(1, round(seconds * 1000)))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return rpc_status.to_status(status)


def broken() -> grpc.Status:
    """A defect: logged in full at the edge, never shown."""
    return rpc_status.to_status(
        status_pb2.Status(
            code=grpc.StatusCode.INTERNAL.value[0],
            message="Something broke in the server: this is a defect; the server's log has the details",
        )
    )


def reason_of(kind: str) -> str:
    """A kind as ErrorInfo spells it: `not-found` is NOT_FOUND."""
    return kind.upper().replace("-", "_")


def _bad_request(errors: tuple[FieldError, ...]) -> error_details_pb2.BadRequest:
    found, left = error_details_pb2.BadRequest(), MOST_DETAIL_BYTES
    for error in errors:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=field_path(error.pointer), description=_shortened(error.message)
        )
        left -= violation.ByteSize() + 4
        if left < 0:
            break
        found.field_violations.append(violation)
    return found


def field_path(pointer: str) -> str:
    """A JSON pointer as BadRequest writes places: `/parameters/0/max` is `parameters[0].max`.

    A part that is no identifier stands in brackets as a JSON string: `/metrics/a.b` is `metrics["a.b"]`.
    """
    path = ""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if key.isascii() and key.isdigit():
            path += f"[{key}]"
        elif _WORD.match(key):
            path += f".{key}" if path else key
        else:
            path += f"[{json.dumps(key[:200])}]"
    return path


def _shortened(text: str) -> str:
    # gRPC writes each byte beyond ASCII as three in its message header.
    text = text[:MOST_MESSAGE_BYTES]
    while len(quote(text, safe=" ")) > MOST_MESSAGE_BYTES:
        text = text[: len(text) * 3 // 4]
    return text
