"""Requests as gRPC messages and back, by descriptor: which call serves a path stands in the protos (`google.api.http`).

Needs `asktell[grpc]`; nothing imports this module unless a client asks for `transport="grpc"`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote

from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from .flows import Reply, Request
from .packed import is_packed
from .v1 import operation_pb2, study_pb2, suggester_pb2, trial_pb2

FILES = (study_pb2, trial_pb2, operation_pb2, suggester_pb2)
FREE = frozenset({"google.protobuf.Value", "google.protobuf.Struct", "google.protobuf.ListValue"})
TIME = "google.protobuf.Timestamp"
NOT_TOLD = frozenset(
    {"asktell.v1.Trial.std", "asktell.v1.Trial.examples", "asktell.v1.Trial.residual", "asktell.v1.Update.sums"}
)
"""Where REST writes null for nothing: protos do not tell an empty list or map from an absent one."""


@dataclass(frozen=True)
class Call:
    """A call of the protos and the path it serves.

    Attributes:
        body: the field that holds the body, `*` for the message itself, empty for none.
    """

    method: str
    path: re.Pattern[str]
    descriptor: MethodDescriptor
    body: str

    @property
    def name(self) -> str:
        """Such as `/asktell.v1.Trials/AskTrials`."""
        return f"/{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @property
    def answers(self) -> type[Message]:
        """What it answers."""
        return GetMessageClass(self.descriptor.output_type)


@cache
def calls() -> list[Call]:
    """Every call that has a path."""
    found = []
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                rule = method.GetOptions().Extensions[annotations_pb2.http]
                kind = rule.WhichOneof("pattern")
                if kind is not None:
                    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/:]+)", re.escape(getattr(rule, kind)))
                    found.append(Call(kind.upper(), re.compile(pattern), method, rule.body))
    return found


def message_of(request: Request) -> tuple[Call, Message]:
    """The call that serves a request, and its message.

    Raises:
        ParseError: a field that the message does not have, or a value that does not fit it.
    """
    body = json.loads(request.body) if request.body else {}
    for call in calls():
        place = call.path.fullmatch(request.path)
        if (
            place is None
            or call.method != request.method
            or (call.descriptor.name == "CreateTrial" and "trials" in body)
        ):
            continue
        names = call.descriptor.input_type.fields_by_name
        values: dict[str, Any] = {name: unquote(value) for name, value in place.groupdict().items()}
        values |= request.query
        values |= body if call.body == "*" else {call.body: body} if call.body else {}
        headers = {name.lower(): value for name, value in request.headers.items()}
        for header, name in (("idempotency-key", "request_id"), ("if-match", "etag"), ("last-event-id", "after")):
            if header in headers and name in names:
                values[name] = headers[header]
        message = GetMessageClass(call.descriptor.input_type)()
        json_format.ParseDict(_long(call.descriptor.input_type, values), message)
        return call, message
    raise ValueError(f"no call of the protos serves {request.method} {request.path}")


def _prefix(enum: EnumDescriptor) -> str:
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")


def _item_of(field: Any) -> Any:
    """The values' field, where a field is a map."""
    kind = field.message_type
    return kind.fields_by_name["value"] if kind is not None and kind.GetOptions().map_entry else None


def _long(descriptor: Descriptor, document: Any) -> Any:
    """A document with its enumerations' words as proto3's JSON writes them."""
    if descriptor.full_name in FREE or not isinstance(document, Mapping):
        return document
    if "packed" in descriptor.fields_by_name:
        document = _unmixed(document)
    found = {}
    for name, value in document.items():
        field = descriptor.fields_by_name.get(name)
        if field is None or value is None:
            found[name] = value
            continue
        item = _item_of(field)
        if item is not None and isinstance(value, Mapping):
            found[name] = {key: _long_one(item, part) for key, part in value.items()}
        elif isinstance(value, list) and field.is_repeated:
            found[name] = [_long_one(field, part) for part in value]
        else:
            found[name] = _long_one(field, value)
    return found


def _unmixed(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A trial whose packed vectors stand apart from its other parameters, as its message has them."""
    given = document.get("parameters")
    vectors = {k: v for k, v in given.items() if is_packed(v)} if isinstance(given, Mapping) else {}
    if not vectors:
        return document
    rest = {k: v for k, v in document["parameters"].items() if k not in vectors}
    return {**document, "parameters": rest, "packed": vectors}


def _long_one(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None and isinstance(value, str):
        return _prefix(field.enum_type) + value.upper()
    return value if field.message_type is None else _long(field.message_type, value)


def document_of(message: Message) -> Any:
    """A message as REST would write it."""
    descriptor = message.DESCRIPTOR
    if descriptor.full_name in FREE:
        return _whole(json_format.MessageToDict(message))
    if descriptor.full_name == TIME:
        return json_format.MessageToDict(message)
    # REST leaves out what a parameter's type does not have; everything else that is not set is null.
    is_sparse = descriptor.full_name == "asktell.v1.Parameter"
    found: dict[str, Any] = {}
    for field in descriptor.fields:
        if field.name == "packed":
            continue
        value = getattr(message, field.name)
        item = _item_of(field)
        if item is not None:
            value = {key: _short_one(item, value[key]) for key in value}
        elif field.is_repeated:
            value = [_short_one(field, part) for part in value]
        elif field.has_presence and not message.HasField(field.name):
            value = None
        else:
            value = _short_one(field, value)
        if field.full_name in NOT_TOLD and not value:
            value = None
        if not is_sparse or value not in (None, [], {}):
            found[field.name] = value
    for name, vector in getattr(message, "packed", {}).items():
        found["parameters"][name] = {kind.name: base64.b64encode(data).decode() for kind, data in vector.ListFields()}
    return found


def _short_one(field: Any, value: Any) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name.removeprefix(_prefix(field.enum_type)).lower()
    return document_of(value) if field.message_type is not None else value


def _whole(value: Any) -> Any:
    """Protos know no whole numbers in free values: 3.0 is 3 again."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return {key: _whole(item) for key, item in value.items()} if isinstance(value, dict) else value


def reply_of(message: Message) -> Reply:
    """An answer."""
    return Reply(200, {}, json.dumps(document_of(message)).encode())


def event_of(message: Message) -> bytes:
    """A message of a stream as a piece of the body that REST streams."""
    if message.DESCRIPTOR.full_name == "google.api.HttpBody":
        data: bytes = getattr(message, "data")  # noqa: B009
        return data
    found = document_of(message)
    return f"id: {found['seq']}\nevent: {found['type']}\ndata: {json.dumps(found)}\n\n".encode()
