"""The parameter types of a search space and what a value of each looks like."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from .document import LARGEST_EXACT_INTEGER, Scalar, canonical
from .parameter_base import (
    GRID_TOLERANCE,
    BaseParameter,
    Choice,
    ExactInteger,
    Finite,
    Scale,
    are_distinct,
    number_of,
    same,
)
from .sequence_parameters import PermutationParameter, TextParameter, TokensParameter
from .vector_parameters import SeedVectorParameter, VectorParameter

__all__ = [
    "BoolParameter",
    "CategoricalParameter",
    "ExactInteger",
    "Finite",
    "FloatParameter",
    "IntParameter",
    "OrdinalParameter",
    "Parameter",
    "PermutationParameter",
    "SeedVectorParameter",
    "TextParameter",
    "TokensParameter",
    "VectorParameter",
    "same",
]


class FloatParameter(BaseParameter):
    """A real number between `min` and `max`; with `step`, the grid min, min + step, …"""

    type: Literal["float"]
    min: Finite
    max: Finite
    scale: Scale = "linear"
    step: Finite | None = None
    default: Finite | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if not math.isfinite(self.max - self.min):
            raise ValueError("max - min must be finite")
        if self.scale == "log" and self.min <= 0:
            raise ValueError("scale log needs min > 0")
        if self.scale == "logit" and not 0 < self.min <= self.max < 1:
            raise ValueError("scale logit needs 0 < min and max < 1")
        if self.step is not None:
            if self.step <= 0:
                raise ValueError("step must be > 0")
            if self.scale != "linear":
                raise ValueError("step goes with scale linear only")
            if (self.max - self.min) / self.step > LARGEST_EXACT_INTEGER:
                raise ValueError("step is too small for this range")
        return self

    @property
    def size(self) -> int | None:
        if self.min == self.max:
            return 1
        return None if self.step is None else math.floor((self.max - self.min) / self.step + GRID_TOLERANCE) + 1

    def level(self, index: int) -> float:
        """The value at a place of the grid, 0 to size - 1."""
        return self.min if self.step is None else min(self.min + index * self.step, self.max)

    def accept(self, value: Any) -> float:
        number = float(number_of(value))
        if not self.min <= number <= self.max:
            raise ValueError(f"{number:g} is outside [{self.min:g}, {self.max:g}]")
        if self.step is None:
            return number
        index = round((number - self.min) / self.step)
        nearest = self.level(index)
        if abs(nearest - number) > GRID_TOLERANCE * max(1.0, abs(self.step), abs(number)):
            raise ValueError(f"{number:g} is not on the grid of step {self.step:g} from {self.min:g}")
        return nearest

    def centre(self) -> float:
        if self.size is not None:
            return self.level((self.size - 1) // 2)
        if self.scale == "log":
            return min(max(math.sqrt(self.min) * math.sqrt(self.max), self.min), self.max)
        return self.min / 2 + self.max / 2


class IntParameter(BaseParameter):
    """A whole number between `min` and `max`, both included; with `step`, every step-th from `min`."""

    type: Literal["int"]
    min: ExactInteger
    max: ExactInteger
    scale: Literal["linear", "log"] = "linear"
    step: Annotated[int, Field(ge=1, le=LARGEST_EXACT_INTEGER)] = 1
    default: ExactInteger | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if self.scale == "log" and self.min < 1:
            raise ValueError("scale log needs min >= 1")
        if self.scale == "log" and self.step != 1:
            raise ValueError("step goes with scale linear only")
        return self

    @property
    def size(self) -> int:
        return (self.max - self.min) // self.step + 1

    def level(self, index: int) -> int:
        """The value at a place of the grid, 0 to size - 1."""
        return self.min + index * self.step

    def accept(self, value: Any) -> int:
        number = number_of(value)
        if number != int(number):
            raise ValueError(f"{number:g} is not a whole number")
        whole = int(number)
        if not self.min <= whole <= self.max:
            raise ValueError(f"{whole} is outside [{self.min}, {self.max}]")
        if (whole - self.min) % self.step:
            raise ValueError(f"{whole} is not on the grid of step {self.step} from {self.min}")
        return whole

    def centre(self) -> int:
        return self.level((self.size - 1) // 2)


class BoolParameter(BaseParameter):
    """True or false."""

    type: Literal["bool"]
    default: bool | None = None

    @property
    def size(self) -> int:
        return 2

    @property
    def choices(self) -> tuple[Scalar, ...]:
        return (False, True)

    def accept(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value

    def centre(self) -> bool:
        return False


class _Choices(BaseParameter):
    choices: Annotated[tuple[Choice, ...], Field(min_length=1, max_length=10_000)]

    @field_validator("choices")
    @classmethod
    def _no_twins(cls, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        if not are_distinct(choices):
            raise ValueError("choices must differ from each other")
        return choices

    @property
    def size(self) -> int:
        return len(self.choices)

    def accept(self, value: Any) -> Scalar:
        for choice in self.choices:
            if same(choice, value):
                return choice
        raise ValueError(f"{canonical(value)[:100]} is not one of the choices")

    def centre(self) -> Scalar:
        return self.choices[0]


class CategoricalParameter(_Choices):
    """One of `choices`, without order."""

    type: Literal["categorical"]
    default: Choice = None


class OrdinalParameter(_Choices):
    """One of `choices`, in the given order."""

    type: Literal["ordinal"]
    default: Choice = None


def _tag(value: Any) -> str | None:
    """Which parameter a document or an object means."""
    if not isinstance(value, dict):
        return str(getattr(value, "kind", ""))
    kind = value.get("type")
    encoding = value.get("encoding", "list")
    if kind == "vector" and encoding not in ENCODINGS:
        return None
    if kind == "vector" and encoding == "seed":
        return "seed"
    return kind if isinstance(kind, str) else None


ENCODINGS = ("list", "float32", "float64", "seed")
_WRONG_TYPE = (
    "type must be float, int, bool, categorical, ordinal, vector, tokens, permutation or text, "
    "and a vector's encoding list, float32, float64 or seed"
)

Parameter = Annotated[
    Annotated[FloatParameter, Tag("float")]
    | Annotated[IntParameter, Tag("int")]
    | Annotated[BoolParameter, Tag("bool")]
    | Annotated[CategoricalParameter, Tag("categorical")]
    | Annotated[OrdinalParameter, Tag("ordinal")]
    | Annotated[VectorParameter, Tag("vector")]
    | Annotated[SeedVectorParameter, Tag("seed")]
    | Annotated[TokensParameter, Tag("tokens")]
    | Annotated[PermutationParameter, Tag("permutation")]
    | Annotated[TextParameter, Tag("text")],
    Discriminator(_tag, custom_error_type="parameter_type", custom_error_message=_WRONG_TYPE),
]
