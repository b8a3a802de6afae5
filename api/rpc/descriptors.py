"""What both ways between protos and documents read from descriptors."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
VALUE, STRUCT, LIST, TIME = (f"google.protobuf.{name}" for name in ("Value", "Struct", "ListValue", "Timestamp"))


def map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """The values of a map field; None for any other field."""
    entry = field.message_type
    return entry.fields_by_name["value"] if entry is not None and entry.GetOptions().map_entry else None


def enum_numbers(enum: EnumDescriptor) -> dict[str, int]:
    """`running` → 2 of TRIAL_STATE_RUNNING; the unspecified zero has no word."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {v.name.removeprefix(prefix).lower(): v.number for v in enum.values if v.number != 0}
