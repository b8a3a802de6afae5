"""Both edges behind one call, in REST's words: so that one story can be told to either.

The gRPC side finds the rpc by its `google.api.http` annotation, as a gateway would.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qs

import grpc.aio
import httpx
from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2, status_pb2

from api.rpc.filling import write
from api.rpc.messages import take
from api.rpc.server import FILES
from api.rpc.status import field_path

METHODS = [m for f in FILES for s in f.DESCRIPTOR.services_by_name.values() for m in s.methods]


@dataclass(frozen=True)
class Answer:
    """What an edge said.

    Attributes:
        kind: of the error, as in the problem's type; empty when it went well.
        body: the document, without what is absent, empty or zero.
        places: that were wrong, as gRPC writes them.
        replayed: the answer of an earlier request with the same key.
    """

    kind: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    places: tuple[str, ...] = ()
    replayed: bool = False


class Edge(Protocol):
    """A client in REST's words."""

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        etag: str = "",
        secret: str = "",
    ) -> Answer:
        """One request.

        Args:
            path: below /v1, with its query.
            key: the idempotency key.
            etag: to be matched.
            secret: the API key.
        """
        ...


class RestEdge:
    """Over HTTP."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        etag: str = "",
        secret: str = "",
    ) -> Answer:
        """One request."""
        given = {"idempotency-key": key, "if-match": etag, "authorization": f"Bearer {secret}" if secret else ""}
        headers = {name: value for name, value in given.items() if value}
        response = await self._client.request(method, f"/v1{path}", json=body, headers=headers)
        document = response.json() if response.content else {}
        if response.status_code >= 400:
            places = tuple(field_path(error["pointer"]) for error in document["errors"])
            return Answer(kind=document["type"].rpartition("/")[2], places=places)
        rpc, _ = route(method, path, body)
        # Through the message, so that absent, empty and zero are what they are over gRPC.
        shown = take(write(GetMessageClass(rpc.output_type), document))
        return Answer(body=shown, replayed=response.headers.get("idempotent-replayed") == "true")


class RpcEdge:
    """Over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        etag: str = "",
        secret: str = "",
    ) -> Answer:
        """One request."""
        rpc, request = route(method, path, body)
        for name, value in (("request_id", key), ("etag", etag)):
            if value:
                setattr(request, name, value)
        call = self._channel.unary_unary(
            f"/{rpc.containing_service.full_name}/{rpc.name}",
            type(request).SerializeToString,
            GetMessageClass(rpc.output_type).FromString,
        )(request, metadata=(("authorization", f"Bearer {secret}"),) if secret else ())
        try:
            message = await call
        except grpc.aio.AioRpcError as error:
            return refusal(error)
        replayed = dict(await call.trailing_metadata()).get("idempotent-replayed") == "true"
        return Answer(body=take(message), replayed=replayed)


def refusal(error: grpc.aio.AioRpcError) -> Answer:
    """An error by its details."""
    kind, places = "", tuple[str, ...]()
    blob: Any = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    for packed in status_pb2.Status.FromString(blob).details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if packed.Unpack(info):
            kind = info.metadata["kind"]
        elif packed.Unpack(bad):
            places = tuple(violation.field for violation in bad.field_violations)
    assert kind, f"an error of the server's own: {error}"
    return Answer(kind=kind, places=places)


def route(method: str, path: str, body: Mapping[str, Any] | None) -> tuple[MethodDescriptor, Message]:
    """The rpc of a REST request, and its message."""
    bare, _, query = path.partition("?")
    for rpc in METHODS:
        rule = rpc.GetOptions().Extensions[annotations_pb2.http]
        verb = rule.WhichOneof("pattern")
        if verb is None or verb.upper() != method or (rpc.name == "CreateTrials") != ("trials" in (body or {})):
            continue
        found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/:]+)", getattr(rule, verb)), f"/v1{bare}")
        if found:
            given = {**found.groupdict(), **{name: values[0] for name, values in parse_qs(query).items()}}
            return rpc, _request(rpc.input_type, given, rule.body, body or {})
    raise LookupError(f"no rpc is annotated as {method} /v1{bare}")


def _request(kind: Descriptor, given: Mapping[str, str], place: str, body: Mapping[str, Any]) -> Message:
    message = GetMessageClass(kind)()
    for name, text in given.items():
        target = kind.fields_by_name[name]
        if target.is_repeated:
            getattr(message, name).append(text)
        elif target.enum_type is not None:
            setattr(message, name, target.enum_type.values_by_name[f"{_prefix(target)}{text.upper()}"].number)
        else:
            setattr(message, name, _typed(target, text))
    document: Any = {place: body} if place not in ("", "*") else body
    if isinstance(getattr(message, place, None), Struct):
        ParseDict(body, getattr(message, place))
        return message
    message.MergeFrom(write(type(message), document))
    return message


def _prefix(target: FieldDescriptor) -> str:
    assert target.enum_type is not None
    return target.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")


def _typed(target: FieldDescriptor, text: str) -> str | int | float:
    if target.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return text
    return float(text) if target.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE else int(text)
