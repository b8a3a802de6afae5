"""What every document of the contract shares: strict, frozen, finite, bounded, read through one door."""

from __future__ import annotations

import json
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import ErrorDetails, from_json

from .errors import FieldError, Invalid

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Scalar: TypeAlias = str | bool | int | float | None

MAX_DEPTH = 32
MAX_NAME = 128
LARGEST_EXACT_INTEGER = 2**53

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
        try:
            return cls.model_validate_json(body or b"{}")
        except ValidationError as error:
            raise invalid_from(error) from None
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
        message = "nested too deeply" if "recursion" in str(error) else str(error)
        raise Invalid(f"the body is not JSON: {message}", errors=[FieldError("", message)]) from None
    check_value(value)


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


def invalid_from(error: ValidationError, prefix: str = "") -> Invalid:
    """Pydantic's findings as one `Invalid` with a JSON pointer each."""
    details = error.errors(include_url=False, include_context=False)
    found = [FieldError(prefix + _pointer(item), _message(item)) for item in details]
    # A list whose items are all wrong also counts as too short: what is wrong inside says it better.
    found = [f for f in found if not any(o.pointer.startswith(f.pointer + "/") for o in found if f.pointer)] or found
    return Invalid(f"{found[0].pointer or 'body'}: {found[0].message}", errors=found[:50])


def _pointer(item: ErrorDetails) -> str:
    # The tag of a discriminated union appears in `loc` beside the index it belongs to; it is no part of the document.
    parts: list[str] = []
    location = list(item["loc"])
    for index, part in enumerate(location):
        after_index = index > 0 and isinstance(location[index - 1], int)
        if (isinstance(part, str) and after_index and part in PARAMETER_TAGS) or part in SHAPE_TAGS:
            continue
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{part}" for part in parts)


def _message(item: ErrorDetails) -> str:
    return item["msg"].removeprefix("Value error, ")


SHAPE_TAGS = frozenset({"tensor shape", "tensor shapes"})
PARAMETER_TAGS = frozenset(
    {"float", "int", "bool", "categorical", "ordinal", "vector", "seed", "tokens", "permutation", "text"}
)


def canonical(value: Any) -> str:
    """One text for equal JSON values: sorted keys, no spaces, shortest round-trip numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
