"""Whatever a client sends, the server answers with a code that says whose fault it is, and never with its own."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.rpc.server import FILES
from services.container import Services
from services.pages import ListStudies
from tests.support.builders import ADMIN
from tests.support.grpc_client import Client

OUR_FAULT = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
METHODS = [
    method for file in FILES for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods
]
WORDS = ["", "s", "x", "w", "loss", "float", "int", "categorical", "minimize", "random", "none", "-number"]
ODD = ["a/b", "~1", "\x00", "🦆", "a" * 300]
TEXTS = st.sampled_from(WORDS + ODD) | st.text(st.characters(codec="utf-8"), max_size=12)
NUMBERS = st.sampled_from([0, 1, 2, 3, -1, 2**31 - 1, -(2**31)]) | st.integers(-10, 10)
LARGE = NUMBERS | st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, -(2**63)])
FLOATS = st.sampled_from([0.0, 0.5, 1.0, 2.5, -1.0, 1e300, -1e308, 5e-324]) | st.floats()
DEEPEST = 6


def scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.integers(0, 9)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=12)
    return {
        FieldDescriptor.CPPTYPE_STRING: TEXTS,
        FieldDescriptor.CPPTYPE_INT32: NUMBERS,
        FieldDescriptor.CPPTYPE_INT64: LARGE,
        FieldDescriptor.CPPTYPE_DOUBLE: FLOATS,
        FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    }[field.cpp_type]


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 0) -> Message:
    """Any message of a kind."""
    message = GetMessageClass(descriptor)()
    if depth > DEEPEST:
        return message
    for field in descriptor.fields:
        if draw(st.booleans()) or (depth == 0 and field.name in ("study", "number", "name")):
            put(draw, message, field, depth)
    return message


def put(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    target = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        for key in draw(st.lists(TEXTS, max_size=3)):
            if value.message_type is None:
                target[key] = draw(scalar(value))
            else:
                target[key].CopyFrom(draw(messages(value.message_type, depth + 1)))
    elif field.is_repeated:
        for _ in range(draw(st.integers(0, 3))):
            if field.message_type is None:
                target.append(draw(scalar(field)))
            else:
                target.add().CopyFrom(draw(messages(field.message_type, depth + 1)))
    elif field.message_type is not None:
        if field.containing_oneof is None or message.WhichOneof(field.containing_oneof.name) is None:
            target.SetInParent()
            target.CopyFrom(draw(messages(field.message_type, depth + 1)))
    elif field.name == "wait_seconds":
        setattr(message, field.name, draw(st.sampled_from([0.0, -1.0, float("nan"), 601.0])))
    elif field.name == "study" and depth == 0 and draw(st.booleans()):
        message.study = "known"
    else:
        setattr(message, field.name, draw(scalar(field)))


async def code_of(client: Client, method: MethodDescriptor, request: Message) -> grpc.StatusCode:
    path = f"/{method.containing_service.full_name}/{method.name}"
    encode, decode = type(request).SerializeToString, GetMessageClass(method.output_type).FromString
    call: Any
    if method.client_streaming:
        call = client.channel.stream_stream(path, encode, decode)(iter([request]), timeout=20)
    elif method.server_streaming:
        call = client.channel.unary_stream(path, encode, decode)(request, timeout=20)
    else:
        call = client.channel.unary_unary(path, encode, decode)(request, timeout=20)
    try:
        if not method.server_streaming:
            await call
            return grpc.StatusCode.OK
        async with asyncio.timeout(0.2 if method.name == "StreamEvents" else 20):
            async for _ in call:
                pass
    except TimeoutError:
        call.cancel()  # events have no end
        return grpc.StatusCode.OK
    except grpc.aio.AioRpcError as error:
        return error.code()
    return await call.code()  # type: ignore[no-any-return]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@given(data=st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_no_message_breaks_a_call(
    client: Client, services: Services, method: MethodDescriptor, data: st.DataObject
) -> None:
    if not (await services.studies.list(ADMIN, ListStudies(q="known"))).studies:
        await client.create(name="known")
        await client.ask("known", 2)
    request = data.draw(messages(method.input_type))
    before = await stored(services)
    code = await code_of(client, method, request)
    assert code not in OUR_FAULT
    # A stream may have done something before the message that makes no sense.
    if code is grpc.StatusCode.INVALID_ARGUMENT and method.name != "Evaluate":
        assert await stored(services) == before


async def stored(services: Services) -> list[tuple[str, int]]:
    found = await services.studies.list(ADMIN, ListStudies())
    return [(study.name, study.seq) for study in found.studies]
