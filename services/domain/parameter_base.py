"""What the parameter types share: names, conditions, defaults, and numbers that JSON carries exactly."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from .document import LARGEST_EXACT_INTEGER, Document, Name, Scalar

Scale = Literal["linear", "log", "logit"]
Finite = Annotated[float, Field(ge=-1e308, le=1e308)]
ExactInteger = Annotated[int, Field(ge=-LARGEST_EXACT_INTEGER, le=LARGEST_EXACT_INTEGER)]
Choice = Annotated[str, Field(max_length=10_000)] | bool | ExactInteger | Finite | None

GRID_TOLERANCE = 1e-9


def same(a: Scalar, b: Scalar) -> bool:
    """Equality of JSON scalars: 1 and 1.0 are the same number, True and 1 are not the same thing."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def number_of(value: Any) -> float | int:
    """A finite number, as it is.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def are_distinct(values: tuple[Scalar, ...] | list[Scalar]) -> bool:
    """Whether no two are the same."""
    return len({(isinstance(v, bool), v) for v in values}) == len(values)


class BaseParameter(Document):
    """A parameter of a search space."""

    name: Name
    when: dict[Name, Annotated[tuple[Choice, ...], Field(min_length=1)]] | None = Field(
        default=None, description="Active only when every named parent has one of these values."
    )

    @model_validator(mode="after")
    def _default_is_a_value(self) -> Self:
        default = getattr(self, "default", None)
        if default is not None:
            try:
                self.accept(default)
            except ArithmeticError:
                return self  # bounds or step make no sense, which their own check says next
            except ValueError as error:
                raise ValueError(f"default {error}") from None
        return self

    @model_serializer(mode="wrap")
    def _without_the_unset(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = serialise(self)
        return {name: v for name, v in found.items() if v is not None or name in self.model_fields_set}

    def accept(self, value: Any) -> Any:
        """The value in its canonical form.

        Raises:
            ValueError: it is not a value of this parameter.
        """
        raise TypeError(f"{type(self).__name__} takes no value")  # every concrete parameter defines its own

    def centre(self) -> Any:
        """A value in the middle, where a point needs one and nothing better is known."""
        raise TypeError(f"{type(self).__name__} has no centre")

    @property
    def kind(self) -> str:
        """What suggesters say that they serve: the type, and `seed` for a vector that travels as a seed."""
        return str(getattr(self, "type", ""))

    @property
    def size(self) -> int | None:
        """How many values there are, None where they cannot be counted."""
        return None
