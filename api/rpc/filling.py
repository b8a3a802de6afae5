"""Documents of the contract as protos, by descriptor: no message has code of its own.

A document is what REST answers: numbers as numbers, states as short lower-case words, times. Its fields have the names of the
message's; None is left out. Vectors in base64 among `parameters` are bytes in `packed`, where a message has that. What each message
needs is worked out once and kept as closures.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.domain.document import Document

from .descriptors import EPOCH, LIST, STRUCT, TIME, VALUE, enum_numbers, map_value

M = TypeVar("M", bound=Message)
Put = Callable[[Any, Any], None]

PACKED = frozenset({"float32", "float64"})
MANY = 16


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
def _filler(descriptor: Descriptor, without: frozenset[str] = frozenset()) -> Put:
    """What puts a document into a message, but for some fields."""
    scalars: list[str] = []
    others: list[tuple[str, Put]] = []
    for field in descriptor.fields:
        if field.name in without:
            continue
        if field.is_repeated or field.message_type is not None or field.enum_type is not None:
            others.append((field.name, _field_filler(field)))
        else:
            scalars.append(field.name)

    has_packed = "packed" in descriptor.fields_by_name and "packed" not in without

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
        value_field = map_value(field)
        return _repeated_filler(name, field) if value_field is None else _map_filler(name, value_field)
    if field.enum_type is not None:
        numbers = enum_numbers(field.enum_type)

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
    known = {VALUE: _put_value, STRUCT: _put_struct, LIST: _put_list, TIME: _put_time}
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
    descriptor, put_item = field.message_type, _message_filler(field.message_type)

    def put_messages(message: Any, value: Any) -> None:
        add = getattr(message, name).add
        if len(value) < MANY or not isinstance(value[0], Document):
            for item in value:
                put_item(add(), item)
            return
        same = _shared(value)
        template = add()
        _filler(descriptor, frozenset(descriptor.fields_by_name) - same)(template, value[0])
        put_rest = _filler(descriptor, same)
        for item in value[1:]:
            new = add()
            new.CopyFrom(template)
            put_rest(new, item)
        put_rest(template, value[0])

    return put_messages


def _shared(documents: Sequence[Document]) -> frozenset[str]:
    """The fields that hold one and the same value in all documents: they are put once and copied."""
    first, *others = (document.__dict__ for document in documents)  # parameters of other kinds have other fields
    return frozenset(
        name
        for name, value in first.items()
        if type(value) is not dict and all(other.get(name, other) is value for other in others)
    )


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
