"""Between protos and the documents of the contract, by descriptor: no message has code of its own.

A document is what REST reads and writes: numbers as numbers, states as short lower-case words, times as RFC 3339. Its
fields have the names of the message's fields. What each message needs is worked out once and kept as closures.

- message → document: what is not set is left out, so that the document's own defaults and checks apply; zeros of fields
  without presence count as not set, a required list or map is empty then. Whole numbers become ints. NaN and infinities
  become their names, as in proto3's JSON, which no number field takes; in free values (`google.protobuf.Value`) they are
  refused here.
- document → message: from a dict or straight from a pydantic document; None is left out.
- vectors in base64 among `parameters` are bytes in `packed`, where a message has that.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar

import orjson
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from services.domain.document import LARGEST_EXACT_INTEGER, Document, Json
from services.domain.errors import FieldError, Invalid

M = TypeVar("M", bound=Message)
D = TypeVar("D", bound=Document)
Put = Callable[[Any, Any], None]
Take = Callable[[Any], Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VALUE, _STRUCT, _LIST, _TIME = (f"google.protobuf.{name}" for name in ("Value", "Struct", "ListValue", "Timestamp"))
PACKED = frozenset({"float32", "float64"})
_FLOATS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)


class _Unfit(Exception):
    """A value that no document can hold; where it stands is found afterwards."""


# ---- document → message


def write(kind: type[M], source: Document | Mapping[str, Any]) -> M:
    """A document as a message of its kind.

    Args:
        source: with fields named as the message's; others are not read.
    """
    message = kind()
    fill(message, source)
    return message


def fill(message: Message, source: Document | Mapping[str, Any]) -> None:
    """Put a document's fields into a message."""
    _filler(message.DESCRIPTOR)(message, source)


@cache
def _filler(descriptor: Descriptor) -> Put:
    scalars: list[str] = []
    others: list[tuple[str, Put]] = []
    for field in descriptor.fields:
        if field.is_repeated or field.message_type is not None or field.enum_type is not None:
            others.append((field.name, _field_filler(field)))
        else:
            scalars.append(field.name)

    has_packed = "packed" in descriptor.fields_by_name

    def put(message: Any, source: Any) -> None:
        found = source if isinstance(source, dict) else source.__dict__
        if has_packed and any(map(_is_packed, found["parameters"].values())):
            found = {**found, "parameters": _put_packed(message.packed, found["parameters"])}
        for name in scalars:
            value = found.get(name)
            if value is not None:
                setattr(message, name, value)
        for name, put_field in others:
            value = found.get(name)
            if value is not None:
                put_field(message, value)

    return put


def _is_packed(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and not PACKED.isdisjoint(value)


def _put_packed(message: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Vectors in base64 as the bytes they are; the parameters that are left."""
    left = {}
    for name, value in parameters.items():
        if _is_packed(value):
            for kind, text in value.items():
                setattr(message[name], kind, base64.b64decode(text))
        else:
            left[name] = value
    return left


def _field_filler(field: FieldDescriptor) -> Put:
    name = field.name
    if field.is_repeated:
        value_field = _map_value(field)
        return _repeated_filler(name, field) if value_field is None else _map_filler(name, value_field)
    if field.enum_type is not None:
        numbers = _numbers(field.enum_type)

        def put_enum(message: Any, value: Any) -> None:
            setattr(message, name, numbers[value])

        return put_enum
    assert field.message_type is not None
    put_child = _message_filler(field.message_type)

    def put_message(message: Any, value: Any) -> None:
        child = getattr(message, name)
        child.SetInParent()
        put_child(child, value)

    return put_message


def _message_filler(descriptor: Descriptor) -> Put:
    known = {_VALUE: _put_value, _STRUCT: _put_struct, _LIST: _put_list, _TIME: _put_time}
    if descriptor.full_name in known:
        return known[descriptor.full_name]

    def put(message: Any, value: Any) -> None:
        # Looked up when it is used: messages may hold messages of their own kind.
        _filler(descriptor)(message, value)

    return put


def _map_filler(name: str, value_field: FieldDescriptor) -> Put:
    if value_field.message_type is None:

        def put_scalars(message: Any, value: Any) -> None:
            target = getattr(message, name)
            for key, item in value.items():
                target[key] = item

        return put_scalars
    put_item = _message_filler(value_field.message_type)

    def put_messages(message: Any, value: Any) -> None:
        target = getattr(message, name)
        for key, item in value.items():
            put_item(target[key], item)

    return put_messages


def _repeated_filler(name: str, field: FieldDescriptor) -> Put:
    if field.message_type is None:

        def put_scalars(message: Any, value: Any) -> None:
            getattr(message, name).extend(sorted(value) if isinstance(value, frozenset) else value)

        return put_scalars
    put_item = _message_filler(field.message_type)

    def put_messages(message: Any, value: Any) -> None:
        add = getattr(message, name).add
        for item in value:
            put_item(add(), item)

    return put_messages


def _put_value(message: Any, value: Any) -> None:
    kind = type(value)
    if kind is float or kind is int:
        try:
            message.number_value = value
        except OverflowError:  # a whole number beyond every double
            message.string_value = str(value)
    elif kind is str:
        message.string_value = value
    elif kind is bool:
        message.bool_value = value
    elif value is None:
        message.null_value = 0
    elif isinstance(value, Mapping):
        message.struct_value.SetInParent()
        _put_struct(message.struct_value, value)
    else:
        message.list_value.SetInParent()
        _put_list(message.list_value, value)


def _put_struct(message: Any, value: Any) -> None:
    fields = message.fields
    for key, item in value.items():
        _put_value(fields[key], item)


def _put_list(message: Any, value: Any) -> None:
    add = message.values.add
    for item in value:
        _put_value(add(), item)


def _put_time(message: Any, value: Any) -> None:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    since = moment - EPOCH
    message.seconds = since.days * 86_400 + since.seconds
    message.nanos = since.microseconds * 1000


# ---- message → document


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
    if descriptor.full_name == _STRUCT:
        return _take_struct
    plan: dict[int, tuple[str, Take | None]] = {f.number: (f.name, _field_taker(f)) for f in descriptor.fields}
    # An empty list or map is not sent, so where one is required its absence means empty.
    empty: list[tuple[str, Callable[[], Any]]] = [
        (f.name, dict if _map_value(f) is not None else list)
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
    value_field = _map_value(field)
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
        words = {number: word for word, number in _numbers(field.enum_type).items()}
        return lambda value: words.get(value, value)
    if field.message_type is None:
        return _number if field.cpp_type in _FLOATS else None
    known: dict[str, Take] = {_VALUE: _take_value, _STRUCT: _take_struct, _LIST: _take_list, _TIME: _take_time}
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
    if name == _VALUE:
        yield from _unfit_value(message, pointer)
    elif name == _STRUCT:
        for key, item in message.fields.items():
            yield from _unfit_value(item, f"{pointer}/{_escaped(key)}")
    elif name == _LIST:
        for index, item in enumerate(message.values):
            yield from _unfit_value(item, f"{pointer}/{index}")
    elif name == _TIME:
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
            if isinstance(_number(message.number_value), str):
                yield FieldError(pointer, "must be a finite number")
        case "list_value":
            yield from _unfit(message.list_value, pointer)
        case "struct_value":
            yield from _unfit(message.struct_value, pointer)


def _children(field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Any]]:
    if field.message_type is None:
        return
    value_field = _map_value(field)
    if value_field is not None:
        if value_field.message_type is not None:
            yield from ((f"/{_escaped(key)}", item) for key, item in value.items())
    elif field.is_repeated:
        yield from ((f"/{index}", item) for index, item in enumerate(value))
    else:
        yield "", value


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """The values of a map field; None for any other field."""
    entry = field.message_type
    return entry.fields_by_name["value"] if entry is not None and entry.GetOptions().map_entry else None


def _numbers(enum: EnumDescriptor) -> dict[str, int]:
    """`running` → 2 of TRIAL_STATE_RUNNING; the unspecified zero has no word."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {v.name.removeprefix(prefix).lower(): v.number for v in enum.values if v.number != 0}
