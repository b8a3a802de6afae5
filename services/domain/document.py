"""What every document of the contract shares: strict, frozen, finite, bounded, read through one door."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Self, TypeAlias

import orjson
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import ErrorDetails, from_json

from .errors import FieldError, Invalid

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Scalar: TypeAlias = str | bool | int | float | None

MAX_DEPTH = 32
MAX_NAME = 128
LARGEST_EXACT_INTEGER = 2**53
NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

# A study's name stands in a path, a parameter's or metric's name in expressions and command lines.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$", max_length=MAX_NAME)]
ShortText = Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00]*$")]
LongText = Annotated[str, StringConstraints(max_length=1_000_000, pattern=r"^[^\x00]*$")]


class Document(BaseModel):
    """A part of the contract: unknown fields refused, no coercion, no NaN or infinity, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def read(cls, body: bytes | str) -> Self:
        """Parse a JSON document.

        Raises:
            Invalid: with a JSON pointer and a message for every place that is wrong.
        """
        check_json(body)
        return cls._validated(body)

    @classmethod
    def read_value(cls, value: Json) -> Self:
        """As `read`, for what is parsed already.

        Raises:
            Invalid: as `read`.
            TypeError: it is not JSON.
        """
        body = orjson.dumps(value)
        if b"null" in body and (errors := not_finite(value)):  # they are written so
            raise Invalid(f"{errors[0].pointer}: {errors[0].message}", errors=errors)
        check_value(value)
        return cls._validated(body)

    @classmethod
    def _validated(cls, body: bytes | str) -> Self:
        try:
            return cls.model_validate_json(body or b"{}")
        except ValidationError as error:
            raise invalid_from(error, from_json(body or b"{}")) from None
        except ArithmeticError:
            raise Invalid("a number is too large or too small to work with") from None

    @classmethod
    def made(cls, **fields: Any) -> Self:
        """As `model_construct` where every field is given, at a fraction of its cost: for what is answered by the thousand."""
        document = cls.__new__(cls)
        put = object.__setattr__
        put(document, "__dict__", fields)
        put(document, "__pydantic_fields_set__", set(fields))
        put(document, "__pydantic_extra__", None)
        put(document, "__pydantic_private__", None)
        return document

    def wire(self) -> dict[str, Any]:
        """The document as JSON-ready values, in the words of the contract."""
        return self.model_dump(mode="json")


def check_json(body: bytes | str) -> None:
    """Refuse what pydantic alone would take or answer unclearly: NUL characters, deep nesting, lone surrogates.

    Raises:
        Invalid: naming what is wrong.
    """
    if not body:
        return
    try:
        value = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise _unreadable(body, str(error)) from None
    check_value(value)


def _unreadable(body: bytes | str, why: str) -> Invalid:
    """What is wrong with a body that is no JSON: NaN and infinity, which some programs write, by their places."""
    try:
        found = not_finite(from_json(body, allow_inf_nan=True))
    except ValueError:
        found = []
    if found:
        return Invalid(f"{found[0].pointer or 'body'}: {found[0].message}", errors=found)
    message = "nested too deeply" if "recursion" in why else why
    return Invalid(f"the body is not JSON: {message}", errors=[FieldError("", message)])


def not_finite(value: Json) -> list[FieldError]:
    """Where NaN and infinity stand, 50 places at most."""
    return list(islice(_not_finite(value, ""), 50))


def _not_finite(value: Json, pointer: str) -> Iterator[FieldError]:
    if isinstance(value, float) and not math.isfinite(value):
        yield FieldError(pointer, _must_be_finite(NOT_FINITE[str(value)], "/metrics/" in pointer))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _not_finite(item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_finite(item, f"{pointer}/{index}")


def _must_be_finite(name: str, is_measured: bool) -> str:
    hint = "; where nothing could be measured, tell the state infeasible or failed" if is_measured else ""
    return f"is {name}, must be a finite number{hint}"


def check_value(value: Json, pointer: str = "", depth: int = 0) -> None:
    """Refuse NUL characters, which no text column of Postgres holds, whole numbers beyond 64 bits, nesting beyond `MAX_DEPTH`."""
    if depth > MAX_DEPTH:
        raise Invalid.at(pointer[:200], f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        if "\x00" in value:
            raise Invalid.at(pointer, "text must not contain NUL characters")
    elif isinstance(value, dict):
        for key, item in value.items():
            if "\x00" in key:
                raise Invalid.at(pointer, "names must not contain NUL characters")
            check_value(item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, (str, dict, list)) or _is_too_large(item):
                check_value(item, f"{pointer}/{index}", depth + 1)
    elif _is_too_large(value):
        raise Invalid.at(pointer, "must be a number of 64 bits; give longer ones as text")


def _is_too_large(value: Json) -> bool:
    return isinstance(value, int) and not -(2**63) <= value < 2**64


def invalid_from(error: ValidationError, document: Json, prefix: str = "") -> Invalid:
    """Pydantic's findings about a JSON document as one `Invalid` with a JSON pointer each."""
    said: dict[str, list[str]] = {}
    for item in error.errors(include_url=False, include_context=False):
        messages = said.setdefault(prefix + _pointer(item, document), [])
        if _message(item) not in messages:
            messages.append(_message(item))
    # Where one of several forms would do, each says why it is not that one.
    found = [FieldError(pointer, ", or: ".join(messages)) for pointer, messages in said.items()]
    # A list whose items are all wrong also counts as too short: what is wrong inside says it better.
    found = [f for f in found if not any(o.pointer.startswith(f.pointer + "/") for o in found if f.pointer)] or found
    return Invalid(f"{found[0].pointer or 'body'}: {found[0].message}", errors=found[:50])


def _pointer(item: ErrorDetails, document: Json) -> str:
    """The place in the document: `loc` also names the members of unions, which are no part of it."""
    parts: list[str] = []
    location, at = item["loc"], document
    for depth, part in enumerate(location, 1):
        if isinstance(at, dict) and part in at:
            at = at[str(part)]
        elif isinstance(at, (list, tuple)) and isinstance(part, int) and part < len(at):
            at = at[part]
        elif item["type"] != "missing" or depth < len(location):
            continue
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{part}" for part in parts)


def _message(item: ErrorDetails) -> str:
    if item["type"] == "float_type" and item["input"] in NOT_FINITE.values():
        return _must_be_finite(item["input"], "metrics" in item["loc"])  # as gRPC's doubles come here
    # Those who wrote JSON know arrays and objects, and nothing of validation.
    return _PYTHON.sub("", item["msg"].removeprefix("Value error, ").replace(" after validation", ""))


_PYTHON = re.compile(r"^(Tuple|List|Set|Frozenset|Dictionary) (?=should have)")


def canonical(value: Any) -> str:
    """One text for equal JSON values: sorted keys, no spaces, shortest round-trip numbers."""
    return _canonical.encode(value)


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
