"""What gRPC and protobuf say went wrong, as the problem documents of REST."""

from __future__ import annotations

import json
import re
from typing import Any

import grpc
from google.protobuf.json_format import ParseError
from google.rpc import error_details_pb2, status_pb2

from .errors import BY_KIND, PROBLEMS
from .flows import ConnectionBroke, Reply

STATUS = {
    "invalid": 422,
    "not-found": 404,
    "conflict": 409,
    "not-active": 409,
    "unauthenticated": 401,
    "forbidden": 403,
    "exhausted": 429,
    "stale": 412,
    "unavailable": 503,
}
_KIND_OF_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: "invalid",
    grpc.StatusCode.NOT_FOUND: "not-found",
    grpc.StatusCode.ALREADY_EXISTS: "conflict",
    grpc.StatusCode.FAILED_PRECONDITION: "conflict",
    grpc.StatusCode.UNAUTHENTICATED: "unauthenticated",
    grpc.StatusCode.PERMISSION_DENIED: "forbidden",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "exhausted",
    grpc.StatusCode.ABORTED: "stale",
}
_TOO_LARGE = re.compile(r"Received message larger than max \(\d+ vs\. (\d+)\)")
_SEND_LESS = (
    "the body is over the limit of {} bytes: send less in one request (fewer trials or outcomes, vectors packed as "
    "float32), or start the server with a larger --max-body-mib"
)
_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
# "Failed to parse outcomes field: Failed to parse number field: …", or "… at TellTrialRequest.metrics[loss]"
_FIELD = re.compile(r"Failed to parse (\w+) field: ")
_AT = re.compile(r" at \"?\w+(?P<path>(?:\.\w+|\[[^\]]*\])*)\"?\.*$")
_STEP = re.compile(r"\.(\w+)|\[([^\]]*)\]")
_UNKNOWN = re.compile(r"has no field named \"([^\"]+)\"")


def refused(error: ParseError) -> Reply:
    """A request that no message can hold."""
    text = str(error).splitlines()[0].rstrip(".")
    pointer = _place(text)
    reason = _AT.sub("", _FIELD.sub("", text)).rstrip(".")
    detail = f"{pointer}: {reason}" if pointer else reason
    return _problem("invalid", detail, [{"pointer": pointer, "message": reason}])


def _place(text: str) -> str:
    """Where protobuf says that a value does not fit, as a JSON pointer into REST's body."""
    at, fields = _AT.search(text), _FIELD.findall(text)
    parts = [index or word for word, index in _STEP.findall(at["path"])] if at else fields
    parts += _UNKNOWN.findall(text)
    if len(parts) > 1 and parts[0] in ("study", "trial"):
        parts = parts[1:]  # the field of the message that holds the body
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def failed(error: Any) -> Reply:
    """An error of the service.

    Args:
        error: the `grpc.RpcError`.

    Raises:
        ConnectionBroke: the service was not reached, or did not end its answer.
    """
    status = status_pb2.Status()
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            status.ParseFromString(value)
    kind, errors, retry_after = "", [], None
    for detail in status.details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            kind = info.metadata["kind"]
        elif detail.Unpack(bad):
            errors = [{"pointer": pointer_of(v.field), "message": v.description} for v in bad.field_violations]
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    if not kind and error.code() in _BROKEN:
        raise ConnectionBroke(error.details() or error.code().name) from error
    too_large = _TOO_LARGE.search(error.details() or "") if not kind else None
    if too_large is not None:  # gRPC's own refusal, which no repetition changes
        return _problem("invalid", _SEND_LESS.format(too_large[1]))
    kind = kind if kind in BY_KIND else _KIND_OF_CODE.get(error.code(), "error")
    return _problem(kind, status.message or error.details() or error.code().name, errors, retry_after)


def _problem(kind: str, detail: str, errors: list[Any] | None = None, retry_after: float | None = None) -> Reply:
    number = STATUS.get(kind, 500)
    document = {"type": PROBLEMS + kind, "status": number, "detail": detail, "errors": errors or []}
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return Reply(number, headers, json.dumps(document).encode())


_PART = re.compile(r'\[(?P<index>\d+)\]|\[(?P<key>"(?:[^"\\]|\\.)*")\]|\.?(?P<word>[A-Za-z_]\w*)')


def pointer_of(field: str) -> str:
    """A place as `BadRequest` writes it, as a JSON pointer: `parameters[0].max` is `/parameters/0/max`."""
    parts = [m["index"] or (json.loads(m["key"]) if m["key"] else m["word"]) for m in _PART.finditer(field)]
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
