"""Protos as the documents of the contract, by descriptor: no message has code of its own (`filling` goes the other way).

A document is what REST reads: numbers as numbers, states as short lower-case words, times as RFC 3339. Its fields have the names of
the message's fields. What each message needs is worked out once and kept as closures.

What is not set is left out, so that the document's own defaults and checks apply; zeros of fields without presence count as not set, a
required list or map is empty then. Whole numbers become ints. NaN and infinities become their names, as in proto3's JSON, which no
number field takes; in free values (`google.protobuf.Value`) they are refused here. Bytes in `packed` are vectors in base64 among
`parameters`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import orjson
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.domain.document import LARGEST_EXACT_INTEGER, Document, Json
from services.domain.errors import FieldError, Invalid

from .descriptors import EPOCH, LIST, STRUCT, TIME, VALUE, enum_numbers, map_value

D = TypeVar("D", bound=Document)
Take = Callable[[Any], Any]

_FLOATS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)


class _Unfit(Exception):
    """A value that no document can hold; where it stands is found afterwards."""


def read(message: Message, model: type[D], leave_out: frozenset[str] = frozenset()) -> D:
    """A request as a document, through the same door as REST's bodies.

    Args:
        leave_out: fields that say where the document belongs and are no part of it.

    Raises:
        Invalid: with a JSON pointer and a message for every place that is wrong.
    """
    found = take(message)
    for name in leave_out:
        found.pop(name, None)
    return model.read(orjson.dumps(found))


def check_known(message: Message) -> None:
    """Refuse fields that this server does not know; proto3 would pass over them in silence.

    Raises:
        Invalid: there are some, at any depth.
    """
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        raise Invalid("the request has fields that this server does not know; is the client newer than the server?")


def take(message: Message) -> dict[str, Any]:
    """A message as a JSON document; a Struct as the object it stands for.

    Raises:
        Invalid: it has free values that JSON does not know, or times that no calendar knows.
    """
    try:
        found: dict[str, Any] = _taker(message.DESCRIPTOR)(message)
    except _Unfit:
        problems = list(_unfit(message, ""))[:50]
        raise Invalid(f"{problems[0].pointer}: {problems[0].message}", errors=problems) from None
    return found


@cache
def _taker(descriptor: Descriptor) -> Take:
    if descriptor.full_name == STRUCT:
        return _take_struct
    plan: dict[int, tuple[str, Take | None]] = {f.number: (f.name, _field_taker(f)) for f in descriptor.fields}
    # An empty list or map is not sent, so where one is required its absence means empty.
    empty: list[tuple[str, Callable[[], Any]]] = [
        (f.name, dict if map_value(f) is not None else list)
        for f in descriptor.fields
        if f.is_repeated and field_behavior_pb2.REQUIRED in f.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    ]

    def take_fields(message: Any) -> dict[str, Any]:
        found: dict[str, Any] = {name: make() for name, make in empty}
        for field, value in message.ListFields():
            name, take_field = plan[field.number]
            found[name] = value if take_field is None else take_field(value)
        if "packed" in found:
            _take_packed(found)
        return found

    return take_fields


def _take_packed(found: dict[str, Any]) -> None:
    """Bytes among the parameters, as documents hold them."""
    parameters = found.setdefault("parameters", {})
    for name, vector in found.pop("packed").items():
        if name in parameters:
            raise Invalid.at(f"/packed/{_escaped(name)}", "is given among the parameters too")
        parameters[name] = {kind: base64.b64encode(data).decode() for kind, data in vector.items()}


def _field_taker(field: FieldDescriptor) -> Take | None:
    """How to take one field; None for as it is."""
    value_field = map_value(field)
    if value_field is not None:
        take_item = _single_taker(value_field)
        if take_item is None:
            return dict
        return lambda value: {key: take_item(value[key]) for key in value}  # a map's `items` is slow
    take_one = _single_taker(field)
    if not field.is_repeated:
        return take_one
    if take_one is None:
        return list
    return lambda value: [take_one(item) for item in value]


def _single_taker(field: FieldDescriptor) -> Take | None:
    if field.enum_type is not None:
        words = {number: word for word, number in enum_numbers(field.enum_type).items()}
        return lambda value: words.get(value, value)
    if field.message_type is None:
        return _number if field.cpp_type in _FLOATS else None
    known: dict[str, Take] = {VALUE: _take_value, STRUCT: _take_struct, LIST: _take_list, TIME: _take_time}
    if field.message_type.full_name in known:
        return known[field.message_type.full_name]
    descriptor = field.message_type
    return lambda value: _taker(descriptor)(value)


def _number(value: float) -> float | int | str:
    if value.is_integer():
        return int(value) if -LARGEST_EXACT_INTEGER <= value <= LARGEST_EXACT_INTEGER else value
    if value - value == 0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _take_value(message: Any) -> Json:
    kind = message.WhichOneof("kind")
    if kind == "number_value":
        number = _number(message.number_value)
        if isinstance(number, str):
            raise _Unfit
        return number
    if kind == "string_value":
        return str(message.string_value)
    if kind == "bool_value":
        return bool(message.bool_value)
    if kind == "null_value":
        return None
    if kind == "list_value":
        return _take_list(message.list_value)
    if kind == "struct_value":
        return _take_struct(message.struct_value)
    raise _Unfit


def _take_struct(message: Any) -> dict[str, Json]:
    return {key: _take_value(item) for key, item in message.fields.items()}


def _take_list(message: Any) -> list[Json]:
    return [_take_value(item) for item in message.values]


def _take_time(message: Any) -> str:
    try:
        moment = EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError:
        raise _Unfit from None
    return moment.isoformat().replace("+00:00", "Z")


def _unfit(message: Any, pointer: str) -> Iterator[FieldError]:
    """Where the values stand that no document can hold."""
    name = message.DESCRIPTOR.full_name
    if name == VALUE:
        yield from _unfit_value(message, pointer)
    elif name == STRUCT:
        for key, item in message.fields.items():
            yield from _unfit_value(item, f"{pointer}/{_escaped(key)}")
    elif name == LIST:
        for index, item in enumerate(message.values):
            yield from _unfit_value(item, f"{pointer}/{index}")
    elif name == TIME:
        try:
            _take_time(message)
        except _Unfit:
            yield FieldError(pointer, "must be a time between the years 1 and 9999")
    else:
        for field, value in message.ListFields():
            for place, child in _children(field, value):
                yield from _unfit(child, f"{pointer}/{field.name}{place}")


def _unfit_value(message: Any, pointer: str) -> Iterator[FieldError]:
    match message.WhichOneof("kind"):
        case None:
            yield FieldError(pointer, "must have a value; say null_value for null")
        case "number_value":
            if isinstance(number := _number(message.number_value), str):
                yield FieldError(pointer, f"is {number}, must be a finite number")
        case "list_value":
            yield from _unfit(message.list_value, pointer)
        case "struct_value":
            yield from _unfit(message.struct_value, pointer)


def _children(field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Any]]:
    if field.message_type is None:
        return
    value_field = map_value(field)
    if value_field is not None:
        if value_field.message_type is not None:
            yield from ((f"/{_escaped(key)}", item) for key, item in value.items())
    elif field.is_repeated:
        yield from ((f"/{index}", item) for index, item in enumerate(value))
    else:
        yield "", value


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
